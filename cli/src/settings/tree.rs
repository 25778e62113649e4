//! A YAML or JSON document in memory that remembers the order of its keys and where each value came from.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::Spanned;

/// Where a value was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Not known.
    #[default]
    Unknown,
    /// Line and column of the file, from 1.
    File(u64, u64),
    /// An environment variable.
    Environment(String),
    /// A `--set`.
    Option(String),
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

/// The value itself. Maps keep the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what `Int` holds.
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// Why a value couldn't be put at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{at}` is a value, not a section")]
pub(crate) struct PathError {
    /// The part of the path that doesn't fit.
    at: String,
}

impl Tree {
    /// Reads a document. `y`, `no`, `off` and the like are text, as in YAML 1.2.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options)
    }

    /// An empty section.
    pub(crate) fn empty(origin: Origin) -> Self {
        Self {
            origin,
            node: Node::Map(Vec::new()),
        }
    }

    /// Gives every value of this document one origin.
    pub(crate) fn with_origin(mut self, origin: &Origin) -> Self {
        self.origin = origin.clone();
        self.node = match self.node {
            Node::List(items) => {
                Node::List(items.into_iter().map(|i| i.with_origin(origin)).collect())
            }
            Node::Map(entries) => Node::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, value.with_origin(origin)))
                    .collect(),
            ),
            scalar => scalar,
        };
        self
    }

    /// The value of this key, if this is a section that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.node {
            Node::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Puts a value at a path, making sections on the way. Lists are replaced as a whole.
    pub(crate) fn set(&mut self, path: &[String], value: Self) -> Result<(), PathError> {
        self.set_below(path, 0, value)
    }

    fn set_below(&mut self, path: &[String], depth: usize, value: Self) -> Result<(), PathError> {
        let Some(key) = path.get(depth) else {
            *self = value;
            return Ok(());
        };
        if self.node == Node::Null {
            self.node = Node::Map(Vec::new());
        }
        match &mut self.node {
            Node::Map(entries) => {
                let at = entries.iter().position(|(k, _)| k == key);
                let at = at.unwrap_or_else(|| {
                    entries.push((key.clone(), Self::empty(value.origin.clone())));
                    entries.len() - 1
                });
                entries[at].1.set_below(path, depth + 1, value)
            }
            _ => Err(PathError {
                at: path[..depth].join("."),
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(from)?;
        let place = spanned.referenced;
        Ok(Self {
            origin: Origin::File(place.line(), place.column()),
            node: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value).map_or(Node::Unsigned(value), Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.node {
            Node::Null => to.serialize_unit(),
            Node::Bool(value) => to.serialize_bool(*value),
            Node::Int(value) => to.serialize_i64(*value),
            Node::Unsigned(value) => to.serialize_u64(*value),
            Node::Float(value) => to.serialize_f64(*value),
            Node::Text(value) => to.serialize_str(value),
            Node::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|i| list.serialize_element(i))?;
                list.end()
            }
            Node::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                entries
                    .iter()
                    .try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn json(tree: &Tree) -> String {
        serde_json::to_string(tree).unwrap()
    }

    #[test]
    fn order_and_places_are_kept() {
        let tree = Tree::parse("zebra: 1\napple:\n  pear: [true, ~, 1.5, x]\n").unwrap();
        assert_eq!(
            json(&tree),
            r#"{"zebra":1,"apple":{"pear":[true,null,1.5,"x"]}}"#
        );
        let pear = tree.get("apple").unwrap().get("pear").unwrap();
        assert_eq!(pear.origin, Origin::File(3, 9));
    }

    #[test]
    fn values_are_put_into_sections() {
        let mut tree = Tree::parse("a: { b: 1 }\nl: [ 1 ]\n").unwrap();
        for (at, text) in [("a.c.d", "2"), ("a.b", "z"), ("l", "[3, 4]"), ("n.m", "~")] {
            tree.set(&path(at), Tree::parse(text).unwrap()).unwrap();
        }
        assert_eq!(
            json(&tree),
            r#"{"a":{"b":"z","c":{"d":2}},"l":[3,4],"n":{"m":null}}"#
        );
    }

    #[test]
    fn a_path_through_a_value_is_refused() {
        let mut tree = Tree::parse("a: 1\nl: []").unwrap();
        for (at, wrong) in [("a.b", "a"), ("l.3", "l")] {
            let error = tree.set(&path(at), Tree::parse("2").unwrap()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{wrong}` is a value, not a section")
            );
        }
    }
}
