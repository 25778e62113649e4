//! The shape of one vertex: its keys, read without looking at any other vertex.

use regent_state::graph::VertexKind;

use super::catalog::{self, Named};
use super::error::{Place, Problems, quoted};
use super::fields::{self, Fields};
use super::own::{OwnCode, OwnName};
use super::settings;
use super::tree::{Node, Value};

const ID_CHARS_MAX: usize = 64;
/// Inputs of one vertex: each is a channel for every pair of subtasks.
const INPUTS_MAX: usize = 64;
pub(super) const KEYS: [&str; 8] = [
    "id",
    "source",
    "operator",
    "sink",
    "inputs",
    "with",
    "parallelism",
    "version",
];
pub(super) const INPUT_KEYS: [&str; 3] = ["from", "partition", "by"];
const KINDS: [VertexKind; 3] = [VertexKind::Source, VertexKind::Operator, VertexKind::Sink];
const PARTITIONS: [(&str, Spread); 4] = [
    ("forward", Spread::Forward),
    ("hash", Spread::Hash),
    ("rebalance", Spread::Rebalance),
    ("broadcast", Spread::Broadcast),
];

/// A vertex as written.
#[derive(Debug, Clone)]
pub(super) struct RawVertex<'n> {
    pub(super) id: &'n str,
    pub(super) id_at: Place,
    pub(super) at: Place,
    pub(super) named: Named<'n>,
    /// At least one for operators and sinks, none for sources.
    pub(super) inputs: Vec<RawInput<'n>>,
    /// `None`: the job's.
    pub(super) parallelism: Option<u32>,
    pub(super) with: Option<&'n Node>,
}

/// An input as written.
#[derive(Debug, Clone)]
pub(super) struct RawInput<'n> {
    pub(super) from: &'n str,
    pub(super) from_at: Place,
    pub(super) spread: Spread,
    /// Where the partition is named, or else the input.
    pub(super) spread_at: Place,
    /// Key columns; not empty with `hash`, empty otherwise.
    pub(super) by: Vec<(&'n str, Place)>,
}

/// How rows are spread, before the key columns are known to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Forward,
    Hash,
    Rebalance,
    Broadcast,
}

/// Reads a vertex. `None`: problems were noted.
pub(super) fn read<'n>(
    node: &'n Node,
    code: &OwnCode,
    problems: &mut Problems,
) -> Option<RawVertex<'n>> {
    let map = Fields::open(node, "a vertex", &KEYS, problems)?;
    let id_node = map.need("id", "a vertex", problems);
    let id = id_node.and_then(|node| id(node, problems));
    let named = named(&map, id, code, problems);
    let parallelism = match map.get("parallelism") {
        Some(node) => settings::parallelism(node, problems).map(Some),
        None => Some(None),
    };
    let inputs = inputs(&map, &named?, problems)?;
    let (id, id_at) = (id?, id_node?.at);
    let (named, parallelism, with) = (named?, parallelism?, map.get("with"));
    Some(RawVertex {
        id,
        id_at,
        at: map.at,
        named,
        inputs,
        parallelism,
        with,
    })
}

fn id<'n>(node: &'n Node, problems: &mut Problems) -> Option<&'n str> {
    let id = fields::text(node, "id", problems)?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(allowed) {
        return Some(id);
    }
    problems.none(node.at, || {
        let found = node.describe();
        format!("id must be 1 to {ID_CHARS_MAX} of a-z, 0-9 and `-`, found {found}")
    })
}

fn named<'n>(
    map: &Fields<'n>,
    id: Option<&str>,
    code: &OwnCode,
    problems: &mut Problems,
) -> Option<Named<'n>> {
    let mut given = KINDS
        .iter()
        .filter_map(|kind| Some((*kind, map.entry(catalog::kind_key(*kind))?)));
    let Some((kind, entry)) = given.next() else {
        map.missing(problems, || {
            "a vertex needs one of the keys `source`, `operator`, `sink`".to_owned()
        });
        return None;
    };
    if let Some((second, entry)) = given.next() {
        let (one, two) = (catalog::kind_key(kind), catalog::kind_key(second));
        return problems.none(entry.key_at, || {
            format!(
                "a vertex is exactly one of source, operator, sink; \
                 this one has `{one}` and `{two}`"
            )
        });
    }
    let name = fields::text(&entry.node, catalog::kind_key(kind), problems)?;
    if let Some(listing) = catalog::find(kind, name) {
        if let Some(version) = map.entry("version") {
            return problems.none(version.key_at, || {
                format!("{} is built in and has no `version`", quoted(name))
            });
        }
        return Some(Named::BuiltIn(listing));
    }
    let at = entry.node.at;
    let wanted = match map.get("version") {
        Some(node) => Some(version(node, problems)?),
        None => None,
    };
    match code.version(id.unwrap_or_default(), kind, name, wanted) {
        Some(Ok(version)) => Some(Named::Own(OwnName {
            kind,
            name,
            version,
            at,
        })),
        Some(Err(message)) => problems.none(at, || message),
        None => problems.none(at, || catalog::absent(kind, name, code)),
    }
}

/// The version of one's own code that a vertex asks for.
fn version(node: &Node, problems: &mut Problems) -> Option<u32> {
    let version = fields::integer(node, "version", (1, i64::from(u32::MAX)), problems)?;
    u32::try_from(version).ok()
}

/// None for a source, at least one for anything else.
fn inputs<'n>(
    map: &Fields<'n>,
    named: &Named<'_>,
    problems: &mut Problems,
) -> Option<Vec<RawInput<'n>>> {
    let key = catalog::kind_key(named.kind());
    match (named.kind(), map.entry("inputs")) {
        (VertexKind::Source, None) => Some(Vec::new()),
        (VertexKind::Source, Some(entry)) => {
            problems.none(entry.key_at, || "a source has no inputs".to_owned())
        }
        (_, None) => {
            map.missing(problems, || {
                format!(
                    "{key} {} needs the key `inputs`: a list of vertex ids",
                    named.name()
                )
            });
            None
        }
        (_, Some(entry)) => {
            let items = fields::list(&entry.node, "inputs", problems)?;
            if !(1..=INPUTS_MAX).contains(&items.len()) {
                return problems.none(entry.node.at, || {
                    format!(
                        "{key} {} takes 1 to {INPUTS_MAX} inputs, found {}",
                        named.name(),
                        items.len()
                    )
                });
            }
            let read: Vec<RawInput<'_>> = items
                .iter()
                .filter_map(|item| input(item, problems))
                .collect();
            (read.len() == items.len()).then_some(read)
        }
    }
}

fn input<'n>(node: &'n Node, problems: &mut Problems) -> Option<RawInput<'n>> {
    if let Value::Scalar { .. } = node.value {
        let from = fields::text(node, "an input", problems)?;
        let (from_at, spread, spread_at) = (node.at, Spread::Forward, node.at);
        return Some(RawInput {
            from,
            from_at,
            spread,
            spread_at,
            by: Vec::new(),
        });
    }
    let map = Fields::open(node, "an input", &INPUT_KEYS, problems)?;
    let from_node = map.need("from", "an input", problems)?;
    let from = fields::text(from_node, "from", problems)?;
    let partition = map.get("partition");
    let spread = match partition {
        Some(node) => fields::choice(node, "partition", &PARTITIONS, problems)?,
        None => Spread::Forward,
    };
    let spread_at = partition.map_or(from_node.at, |node| node.at);
    let by = by(&map, spread, spread_at, problems)?;
    Some(RawInput {
        from,
        from_at: from_node.at,
        spread,
        spread_at,
        by,
    })
}

fn by<'n>(
    map: &Fields<'n>,
    spread: Spread,
    spread_at: Place,
    problems: &mut Problems,
) -> Option<Vec<(&'n str, Place)>> {
    match (spread, map.entry("by")) {
        (Spread::Hash, Some(entry)) => super::aggregate::column_names(&entry.node, "by", problems),
        (Spread::Hash, None) => problems.none(spread_at, || {
            "`partition: hash` needs `by: [column, ..]`".to_owned()
        }),
        (_, Some(entry)) => problems.none(entry.key_at, || {
            "`by` belongs to `partition: hash`; add that or remove `by`".to_owned()
        }),
        (_, None) => Some(Vec::new()),
    }
}

/// Two vertices can't share an id.
pub(super) fn check_ids(vertices: &[RawVertex<'_>], problems: &mut Problems) {
    let mut seen = std::collections::BTreeMap::new();
    for vertex in vertices {
        if let Some(first) = seen.insert(vertex.id, vertex.id_at) {
            problems.add(vertex.id_at, || {
                format!(
                    "id {} is used twice, first in line {}",
                    quoted(vertex.id),
                    first.line
                )
            });
        }
    }
}
