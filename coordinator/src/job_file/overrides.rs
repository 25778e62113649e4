//! `--set KEY=VALUE`: replaces or adds single values of the tree before anything is checked.

use super::error::{Place, Problems, quoted};
use super::suggest;
use super::tree::{self, Entry, Node, Value};

/// More than these are no hand-typed command line.
const OVERRIDES_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 64 * 1024;
const SEGMENTS_MAX: usize = 16;

/// Applies the overrides in order; later ones win.
pub(super) fn apply(root: &mut Node, overrides: &[(String, String)], problems: &mut Problems) {
    if overrides.len() > OVERRIDES_MAX {
        problems.add(Place::FILE, || {
            format!("at most {OVERRIDES_MAX} values can be --set")
        });
        return;
    }
    for (index, (key, value)) in overrides.iter().enumerate() {
        let at = Place {
            source: index + 1,
            ..Place::FILE
        };
        let _ = apply_one(root, key, value, at, problems);
    }
}

/// `None`: a problem was noted.
fn apply_one(
    root: &mut Node,
    key: &str,
    value: &str,
    at: Place,
    problems: &mut Problems,
) -> Option<()> {
    let segments: Vec<&str> = key.split('.').collect();
    if segments.len() > SEGMENTS_MAX || segments.iter().any(|segment| segment.is_empty()) {
        let message =
            || "the key must be names with dots between, such as checkpointing.interval".to_owned();
        return problems.none(at, message);
    }
    if value.len() > VALUE_BYTES_MAX {
        return problems.none(at, || {
            format!("the value is longer than {VALUE_BYTES_MAX} bytes")
        });
    }
    let value = if value.trim().is_empty() { "''" } else { value };
    let node = tree::read(value, at.source, problems)?;
    let slot = segments
        .iter()
        .try_fold(root, |node, segment| descend(node, segment, at, problems))?;
    *slot = node;
    Some(())
}

/// The child of that name, made if a map lacks it. In a list the name is a vertex's id.
fn descend<'n>(
    node: &'n mut Node,
    segment: &str,
    at: Place,
    problems: &mut Problems,
) -> Option<&'n mut Node> {
    if node.is_null() {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::Map(entries) => Some(entry(entries, segment, at)),
        Value::List(items) => {
            let found = items.iter().position(|item| id_of(item) == Some(segment));
            match found {
                Some(index) => items.get_mut(index),
                None => {
                    let ids = items.iter().filter_map(id_of);
                    problems.none(at, || suggest::unknown("vertex", segment, ids))
                }
            }
        }
        Value::Scalar { .. } => problems.none(at, || {
            format!(
                "{} can't be set: what it belongs to is a single value",
                quoted(segment)
            )
        }),
    }
}

fn entry<'e>(entries: &'e mut Vec<Entry>, key: &str, at: Place) -> &'e mut Node {
    let index = entries
        .iter()
        .position(|entry| entry.key == key)
        .unwrap_or_else(|| {
            let node = Node {
                at,
                value: Value::Map(Vec::new()),
            };
            entries.push(Entry {
                key: key.to_owned(),
                key_at: at,
                node,
            });
            entries.len() - 1
        });
    &mut entries[index].node
}

pub(super) fn id_of(node: &Node) -> Option<&str> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let id = entries.iter().find(|entry| entry.key == "id")?;
    match &id.node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
