//! Text to a tree in which every key and value knows its line and column.
//!
//! It works on the YAML parser's events rather than through serde, since a semantic error must name
//! the place of the offending value long after parsing. JSON is read as the YAML it is. The limits
//! (depth, nodes, aliases) hold while reading, so a hostile text is refused before it costs memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{
    ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag, options,
};

use super::error::{Place, Problems, quoted};
use super::scalar::{self, Scalar};

/// Nesting of lists and maps, the file's own map included.
pub(super) const DEPTH_MAX: usize = 64;
/// Values in one file, counting what an alias repeats: this is what stops alias bombs.
pub(super) const NODES_MAX: usize = 250_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// The shapes of YAML and JSON.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `text` is as written, so that a name may look like a number.
    Scalar {
        text: String,
        scalar: Scalar,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a map; keys are unique within it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Place,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(
            self.value,
            Value::Scalar {
                scalar: Scalar::Null,
                ..
            }
        )
    }

    /// What it is, for messages: `` a list ``, `` `abc` ``.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar {
                scalar: Scalar::Null,
                ..
            } => "nothing".to_owned(),
            Value::Scalar { text, .. } => quoted(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Lists and maps nested in it, itself included; 0 for a scalar.
    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.node.depth())
                    .max()
                    .unwrap_or(0)
            }
        }
    }

    fn count(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.node.count())
                    .sum::<usize>()
            }
        }
    }
}

/// Reads one document. `source` is 0 for the file, n for the n-th override. A problem is noted and
/// the answer is `None`: a text that doesn't parse has no meaning to go on with.
pub(super) fn read(text: &str, source: usize, problems: &mut Problems) -> Option<Node> {
    let parser_options = options! { emit_comments: false };
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str_with_options(text, parser_options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(unreadable(source, &error)),
        };
        if let Err(stop) = step {
            return problems.none(stop.at, || stop.message);
        }
    }
    let empty = Place {
        source,
        ..Place::FILE
    };
    builder
        .root
        .or_else(|| problems.none(empty, || "the file holds no job".to_owned()))
}

fn place(source: usize, line: usize, column_from_zero: usize) -> Place {
    let bounded = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        source,
        line: bounded(line),
        column: bounded(column_from_zero.saturating_add(1)),
    }
}

/// The parser's own refusal. Its scanner runs ahead of the events, so it may meet its nesting limit
/// before the builder meets ours.
fn unreadable(source: usize, error: &ScanError) -> Stop {
    let mark = error.marker();
    let at = place(source, mark.line(), mark.col());
    let message = match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(),
        _ => error.info(),
    };
    Stop { at, message }
}

/// Why reading ends early.
struct Stop {
    at: Place,
    message: String,
}

/// A list or map that is still open.
struct Frame {
    at: Place,
    anchor: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Place)>,
        lines: BTreeMap<String, u32>,
    },
}

struct Builder {
    source: usize,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn new(source: usize) -> Self {
        let (stack, anchors) = (Vec::new(), BTreeMap::new());
        Self {
            source,
            stack,
            anchors,
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let start = span.tag_start().unwrap_or(span.start);
        let at = place(self.source, start.line(), start.col());
        match event {
            Event::DocumentStart(..) => self.document(at),
            Event::Scalar(text, style, anchor, tag) => {
                let forced = check_tag(tag.as_ref(), at)?;
                let text = text.into_owned();
                let scalar = match forced || style != ScalarStyle::Plain {
                    true => Scalar::Text,
                    false => scalar::resolve(&text),
                };
                let node = Node {
                    at,
                    value: Value::Scalar { text, scalar },
                };
                self.count(1, at)?;
                self.add(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_ref(), at)?;
                self.open(Frame {
                    at,
                    anchor,
                    open: Open::List(Vec::new()),
                })
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_ref(), at)?;
                let (entries, lines) = (Vec::new(), BTreeMap::new());
                self.open(Frame {
                    at,
                    anchor,
                    open: Open::Map {
                        entries,
                        key: None,
                        lines,
                    },
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    fn document(&mut self, at: Place) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents > 1 {
            return stop(
                at,
                "a second document begins here; a job file holds one job",
            );
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return stop(
                at,
                format!("the file has more than {NODES_MAX} values, aliases included"),
            );
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) -> Result<(), Stop> {
        if self.stack.len() >= DEPTH_MAX {
            return stop(frame.at, too_deep());
        }
        if let Some(Frame {
            open: Open::Map { key: None, .. },
            ..
        }) = self.stack.last()
        {
            return stop(frame.at, "a key must be a plain name, not a list or a map");
        }
        self.count(1, frame.at)?;
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(Frame { at, anchor, open }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { at, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            return stop(at, "this alias lies inside the value that it repeats");
        };
        if self.stack.len() + node.depth() > DEPTH_MAX {
            return stop(at, too_deep());
        }
        let nodes = node.count();
        if self.nodes.saturating_add(nodes) <= NODES_MAX {
            let node = node.clone();
            self.nodes += nodes;
            return self.add(node, 0);
        }
        self.count(nodes, at)
    }

    /// Puts a finished value where it belongs: into the open list or map, or as the root.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.count(node.count(), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame {
                open: Open::List(items),
                ..
            }) => items.push(node),
            Some(Frame {
                open:
                    Open::Map {
                        entries,
                        key,
                        lines,
                    },
                ..
            }) => match key.take() {
                Some((key, key_at)) => entries.push(Entry { key, key_at, node }),
                None => *key = Some(new_key(node, lines)?),
            },
        }
        Ok(())
    }
}

fn new_key(node: Node, lines: &mut BTreeMap<String, u32>) -> Result<(String, Place), Stop> {
    let Value::Scalar { text, .. } = node.value else {
        return stop(node.at, "a key must be a plain name, not a list or a map");
    };
    if let Some(line) = lines.insert(text.clone(), node.at.line) {
        let message = format!("key {} is given twice, first in line {line}", quoted(&text));
        return stop(node.at, message);
    }
    Ok((text, node.at))
}

/// Whether the tag makes the scalar text. Tags other than YAML's own have no meaning here.
fn check_tag(tag: Option<&Cow<'_, Tag>>, at: Place) -> Result<bool, Stop> {
    match tag.map(|tag| tag.core_suffix()) {
        None | Some(Some("map" | "seq")) => Ok(false),
        Some(Some("str")) => Ok(true),
        Some(_) => stop(at, "tags (`!...`) have no meaning in a job file; remove it"),
    }
}

fn too_deep() -> String {
    format!("nested more than {DEPTH_MAX} levels deep")
}

fn stop<T>(at: Place, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop {
        at,
        message: message.into(),
    })
}
