//! Which value each key has in the end, and where it came from.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::overlay::Assignment;
use super::tree::{Origin, Tree};
use super::{Role, load};
use crate::failure::Failure;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Setting {
    /// Dotted.
    pub(crate) key: String,
    pub(crate) value: Value,
    /// `FILE:LINE:COLUMN`, the variable, the option, or `default`.
    pub(crate) origin: String,
}

/// Every key of a checked configuration.
pub(crate) fn settings(file: &Path, over: &[Assignment]) -> Result<(Role, Vec<Setting>), Failure> {
    let role = load::role_of(file)?;
    let value = match role {
        Role::JobManager => serde_json::to_value(load::jobmanager(file, over)?),
        Role::TaskManager => serde_json::to_value(load::taskmanager(file, over)?),
    };
    let value = value.map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?;
    let tree = load::read_tree(file, over)?;
    let mut found = Vec::new();
    flatten(&value, Some(&tree), "", file, &mut found);
    Ok((role, found))
}

fn flatten(value: &Value, tree: Option<&Tree>, key: &str, file: &Path, found: &mut Vec<Setting>) {
    if let Value::Object(entries) = value
        && !entries.is_empty()
    {
        for (name, below) in entries {
            let inner = tree.and_then(|tree| tree.get(name));
            let dotted = if key.is_empty() {
                name.clone()
            } else {
                format!("{key}.{name}")
            };
            flatten(below, inner, &dotted, file, found);
        }
        return;
    }
    found.push(Setting {
        key: key.to_owned(),
        value: value.clone(),
        origin: tree.map_or_else(|| "default".to_owned(), |tree| told(&tree.origin, file)),
    });
}

fn told(origin: &Origin, file: &Path) -> String {
    match origin {
        Origin::File(line, column) => format!("{}:{line}:{column}", file.display()),
        Origin::Environment(name) => name.clone(),
        Origin::Option(key) => format!("--set {key}"),
        Origin::Unknown => file.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_says_where_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jm.yaml");
        let text = "node-id: 1\ndata-dir: /d\nlisten: { api: 127.0.0.1:1, peer: 127.0.0.1:2 }\n\
                    peers: [ 127.0.0.1:2 ]\nstorage: { checkpoint-dir: /c }\n";
        std::fs::write(&file, text).unwrap();
        let over = [Assignment::parse("listen.api=127.0.0.1:9").unwrap()];
        let (role, found) = settings(&file, &over).unwrap();
        assert_eq!(role, Role::JobManager);
        let of = |key: &str| {
            found
                .iter()
                .find(|s| s.key == key)
                .unwrap_or_else(|| panic!("{key}: {found:?}"))
        };
        assert_eq!(of("listen.api").origin, "--set listen.api");
        assert_eq!(of("listen.api").value, "127.0.0.1:9");
        assert!(
            of("data-dir").origin.ends_with("jm.yaml:2:11"),
            "{:?}",
            of("data-dir")
        );
        assert_eq!(of("timing").origin, "default");
        assert!(
            found
                .iter()
                .any(|s| s.key.starts_with("workers.") && s.origin == "default")
        );
    }
}
