//! Typed reading of a tree: known keys, required keys, numbers, durations, names. Every refusal
//! says what was expected and what was found, at the place of the value.

use super::error::{Place, Problems, quoted};
use super::scalar::{self, Scalar};
use super::suggest;
use super::tree::{Entry, Node, Value};

/// A map whose keys are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'n> {
    /// Where the map begins: the place for what is missing.
    pub(super) at: Place,
    entries: &'n [Entry],
    /// A key that is missing beside an unknown one is most likely that one, misspelt.
    all_known: bool,
}

impl<'n> Fields<'n> {
    /// A map without entries, for an absent section.
    pub(super) fn absent(at: Place) -> Self {
        Self {
            at,
            entries: &[],
            all_known: true,
        }
    }

    /// Opens `node`, which `what` names in messages, and reports each key that isn't in `known`.
    pub(super) fn open(
        node: &'n Node,
        what: &str,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return problems.none(node.at, || {
                format!("{what} must be a map of keys, found {}", node.describe())
            });
        };
        for entry in entries
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            problems.add(entry.key_at, || unknown_key(&entry.key, known));
        }
        let all_known = entries
            .iter()
            .all(|entry| known.contains(&entry.key.as_str()));
        Some(Self {
            at: node.at,
            entries,
            all_known,
        })
    }

    /// The value of the key; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// As [`Self::get`], with the place of the key.
    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries
            .iter()
            .find(|entry| entry.key == key && !entry.node.is_null())
    }

    /// The value of a key that can't be left out.
    pub(super) fn need(&self, key: &str, what: &str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            self.missing(problems, || format!("{what} needs the key `{key}`"));
        }
        found
    }

    /// Notes that something is missing, unless a misspelt key explains it.
    pub(super) fn missing(&self, problems: &mut Problems, message: impl FnOnce() -> String) {
        if self.all_known {
            problems.add(self.at, message);
        }
    }
}

/// How keys begin that people will look for in vain.
const SECURED: [&str; 6] = ["sasl", "ssl", "tls", "security", "username", "password"];

/// What is said of a key that isn't in `known`.
fn unknown_key(key: &str, known: &[&str]) -> String {
    if known.contains(&"brokers") && SECURED.iter().any(|begin| key.starts_with(begin)) {
        let key = quoted(key);
        return format!(
            "unknown key {key}: brokers are spoken to without TLS and authentication; use a listener \
             that asks for neither"
        );
    }
    suggest::unknown("key", key, known.iter().copied())
}

/// The value of one key of a node, before it is known which other keys belong there.
pub(super) fn map_entry<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    entries
        .iter()
        .find(|entry| entry.key == key && !entry.node.is_null())
        .map(|entry| &entry.node)
}

/// The text of a scalar; a plain number is taken as the name that it spells.
pub(super) fn text<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> Option<&'n str> {
    match &node.value {
        Value::Scalar {
            text,
            scalar: Scalar::Text | Scalar::Int(_) | Scalar::HugeInt | Scalar::Float(_),
        } => Some(text),
        Value::Scalar {
            text,
            scalar: Scalar::Bool(_),
        } => problems.none(node.at, || {
            format!(
                "{what} must be text, found {}; if it is a name, write \"{text}\"",
                quoted(text)
            )
        }),
        _ => problems.none(node.at, || {
            format!("{what} must be text, found {}", node.describe())
        }),
    }
}

/// The items of a list.
pub(super) fn list<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> Option<&'n [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        _ => problems.none(node.at, || {
            format!("{what} must be a list, found {}", node.describe())
        }),
    }
}

/// A whole number within the bounds, both included.
pub(super) fn integer(
    node: &Node,
    what: &str,
    (low, high): (i64, i64),
    problems: &mut Problems,
) -> Option<i64> {
    match node.value {
        Value::Scalar {
            scalar: Scalar::Int(value),
            ..
        } if (low..=high).contains(&value) => Some(value),
        _ => problems.none(node.at, || {
            let range = range(low, high);
            format!(
                "{what} must be a whole number{range}, found {}",
                node.describe()
            )
        }),
    }
}

fn range(low: i64, high: i64) -> String {
    match (low, high) {
        (i64::MIN, i64::MAX) => " of 64 bits".to_owned(),
        (low, i64::MAX) => format!(", at least {low}"),
        (low, high) => format!(" from {low} to {high}"),
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node, what: &str, problems: &mut Problems) -> Option<bool> {
    match node.value {
        Value::Scalar {
            scalar: Scalar::Bool(value),
            ..
        } => Some(value),
        _ => problems.none(node.at, || {
            format!("{what} must be true or false, found {}", node.describe())
        }),
    }
}

/// A finite number, whole or not.
pub(super) fn number(node: &Node, what: &str, problems: &mut Problems) -> Option<f64> {
    match node.value {
        // Whole numbers beyond 2^53 lose their last digits here, as they would in any float column.
        Value::Scalar {
            scalar: Scalar::Int(value),
            ..
        } => Some(value as f64),
        Value::Scalar {
            scalar: Scalar::Float(value),
            ..
        } if value.is_finite() => Some(value),
        _ => problems.none(node.at, || {
            format!("{what} must be a number, found {}", node.describe())
        }),
    }
}

/// A duration in milliseconds, at least `low_ms`.
pub(super) fn duration_ms(
    node: &Node,
    what: &str,
    low_ms: u64,
    problems: &mut Problems,
) -> Option<u64> {
    let parsed = match &node.value {
        Value::Scalar {
            text,
            scalar: Scalar::Text,
        } => scalar::duration_ms(text),
        _ => None,
    };
    match parsed {
        None => problems.none(node.at, || {
            format!(
                "{what} must be a duration such as 250ms, 10s, 5m or 1h (at most a year), found {}",
                node.describe()
            )
        }),
        Some(ms) if ms < low_ms => problems.none(node.at, || {
            format!(
                "{what} must be at least {low_ms}ms, found {}",
                node.describe()
            )
        }),
        Some(ms) => Some(ms),
    }
}

/// One of a few words, each with its meaning.
pub(super) fn choice<T: Copy>(
    node: &Node,
    what: &str,
    valid: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let word = text(node, what, problems)?;
    let found = valid
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, value)| *value);
    found.or_else(|| {
        problems.none(node.at, || {
            let names = valid.iter().map(|(name, _)| *name);
            suggest::with_nearest(&format!("{what} can't be {}", quoted(word)), word, names)
        })
    })
}
