//! What overrides a configuration file: `REGENT_SECTION__KEY` in the environment, then `--set key=value`.
//!
//! Only names with `__` are configuration, so that `REGENT_ENDPOINTS`, `REGENT_LOG` and the like are none.

use std::ffi::OsString;

use super::tree::{Origin, PathError, Tree};

/// One override.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    path: Vec<String>,
    value: Tree,
}

impl Assignment {
    /// Reads `key=value`. The key is dotted (`listen.api`), the value is YAML.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not key=value"))?;
        let origin = Origin::Option(key.to_owned());
        Self::new(key.split('.').map(str::to_owned).collect(), value, &origin)
    }

    /// The option `key` set to `value`, as if by `--set`.
    pub(crate) fn of(key: &str, value: bool) -> Self {
        Self {
            path: key.split('.').map(str::to_owned).collect(),
            value: Tree {
                origin: Origin::Option(key.to_owned()),
                node: super::tree::Node::Bool(value),
            },
        }
    }

    fn new(path: Vec<String>, value: &str, origin: &Origin) -> Result<Self, String> {
        if path.iter().any(String::is_empty) {
            return Err(format!("`{}` has an empty part", path.join(".")));
        }
        let value = Tree::parse(value)
            .map_err(|e| {
                format!(
                    "`{value}`: {}",
                    first_line(&e.without_snippet().to_string())
                )
            })?
            .with_origin(origin);
        Ok(Self { path, value })
    }

    /// Puts the value into the document.
    pub(crate) fn apply(&self, to: &mut Tree) -> Result<(), PathError> {
        to.set(&self.path, self.value.clone())
    }
}

/// The overrides in an environment, by name. Names that aren't text are none of ours.
pub(crate) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<Assignment>, String> {
    let mut found: Vec<(String, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("REGENT_") && name.contains("__"))
        .collect();
    found.sort();
    found
        .iter()
        .map(|(name, value)| {
            let origin = Origin::Environment(name.clone());
            Assignment::new(environment_path(name), value, &origin)
                .map_err(|problem| format!("{name}: {problem}"))
        })
        .collect()
}

/// `REGENT_LISTEN__API` is `listen.api`, `REGENT__NODE_ID` is `node-id`.
fn environment_path(name: &str) -> Vec<String> {
    let rest = name.strip_prefix("REGENT").unwrap_or(name);
    let rest = rest
        .strip_prefix("__")
        .or_else(|| rest.strip_prefix('_'))
        .unwrap_or(rest);
    rest.split("__")
        .map(|part| part.to_ascii_lowercase().replace('_', "-"))
        .collect()
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_two_underscores_are_configuration() {
        let variables = [
            ("REGENT_LISTEN__API", "127.0.0.1:1"),
            ("REGENT__NODE_ID", "2"),
            ("REGENT_STORAGE__CHECKPOINT_DIR", "/tmp/x"),
            ("REGENT_ENDPOINTS", "a:1"),
            ("REGENT_LOG", "debug"),
            ("OTHER__KEY", "x"),
        ];
        let overrides = environment(variables.iter().map(|(k, v)| (k.into(), v.into()))).unwrap();
        let mut tree = Tree::parse("listen: { api: x, peer: y }").unwrap();
        for one in &overrides {
            one.apply(&mut tree).unwrap();
        }
        assert_eq!(
            serde_json::to_string(&tree).unwrap(),
            r#"{"listen":{"api":"127.0.0.1:1","peer":"y"},"storage":{"checkpoint-dir":"/tmp/x"},"node-id":2}"#
        );
        let api = tree.get("listen").unwrap().get("api").unwrap();
        assert_eq!(
            api.origin,
            Origin::Environment("REGENT_LISTEN__API".to_owned())
        );
    }

    #[test]
    fn an_assignment_needs_a_key_and_yaml() {
        assert!(Assignment::parse("a.b=[1, 2]").is_ok());
        assert_eq!(
            Assignment::parse("a.b").unwrap_err(),
            "`a.b` is not key=value"
        );
        assert!(Assignment::parse("a..b=1").unwrap_err().contains("empty"));
        assert!(Assignment::parse("a=[1").is_err());
        assert!(Assignment::parse("=1").is_err());
    }
}
