//! What a worker finds wrong with a key of the file, once the file has passed: at the key's place, with the
//! nearest name that would be right.

use super::error::{JobFileError, Place, Problems, Sources};
use super::tree::{Node, Value};
use super::{JobFileSource, overrides, suggest, tree};

/// A finding of a worker about a vertex.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) vertex: &'a str,
    pub(crate) message: &'a str,
    /// The key that it is about, below the vertex's `with`; empty: none of them.
    pub(crate) key: &'a [String],
    /// Names that would be right in the place of the last one.
    pub(crate) valid: &'a [String],
}

/// The finding as a problem of the file. Without a key, or where the file doesn't have it, it is one of the
/// vertex.
pub(crate) fn told(source: JobFileSource<'_>, told: Told<'_>) -> String {
    let message = format!("{}: {}", told.vertex, told.message);
    let Some(last) = told.key.last() else {
        return message;
    };
    let mut problems = Problems::default();
    let at = tree::read(source.text, 0, &mut problems).and_then(|mut root| {
        overrides::apply(&mut root, source.overrides, &mut problems);
        place(&root, told.vertex, told.key)
    });
    let valid = told.valid.iter().map(String::as_str);
    let message = suggest::with_nearest(&message, last, valid);
    let Some(at) = at.filter(|_| problems.is_empty()) else {
        return message;
    };
    problems.add(at, || message.clone());
    let sources = Sources {
        file: source.name,
        overrides: source.overrides,
    };
    let told = problems.into_result(&sources).err();
    told.map_or(message, |error: JobFileError| error.to_string())
}

/// Where the file has a key of a vertex's `with`.
fn place(root: &Node, vertex: &str, key: &[String]) -> Option<Place> {
    let (_, vertices) = child(root, "vertices")?;
    let Value::List(items) = &vertices.value else {
        return None;
    };
    let found = items
        .iter()
        .find(|item| overrides::id_of(item) == Some(vertex))?;
    let (mut at, mut node) = child(found, "with")?;
    for name in key {
        (at, node) = child(node, name)?;
    }
    Some(at)
}

fn child<'n>(node: &'n Node, name: &str) -> Option<(Place, &'n Node)> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == name)?;
    Some((entry.key_at, &entry.node))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "name: x\nvertices:\n  - id: n\n    source: files\n    \
                        with: { path: /a, columns: { carier: utf8 } }\n";

    fn told_of(key: &[&str], valid: &[&str], overrides: &[(String, String)]) -> String {
        let source = JobFileSource {
            text: TEXT,
            name: "job.yaml",
            working_dir: Path::new("/"),
            overrides,
        };
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let finding = Told {
            vertex: "n",
            message: "there is no column carier",
            key: &owned(key),
            valid: &owned(valid),
        };
        told(source, finding)
    }

    #[test]
    fn a_key_is_named_with_its_place_and_the_nearest_name() {
        let header = ["carrier", "distance"];
        assert_eq!(
            told_of(&["columns", "carier"], &header, &[]),
            "job.yaml:5:34: n: there is no column carier; did you mean `carrier`?"
        );
        let set = (
            "vertices.n.with.columns".to_owned(),
            "{ carier: utf8 }".to_owned(),
        );
        let text = told_of(&["columns", "carier"], &header, &[set]);
        assert!(
            text.starts_with("--set vertices.n.with.columns: n: "),
            "{text}"
        );
        assert_eq!(told_of(&[], &header, &[]), "n: there is no column carier");
        let nowhere = told_of(&["columns", "miles"], &["miles2"], &[]);
        assert_eq!(
            nowhere,
            "n: there is no column carier; did you mean `miles2`?"
        );
    }
}
