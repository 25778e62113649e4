//! From a file and its overrides to a checked configuration, with messages that name the place.

use std::io::Read;
use std::path::Path;

use regent_coordinator::config::JobManagerConfig;
use regent_security::{Security, SecurityError};
use regent_worker::config::TaskManagerConfig;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as KeyPath, Segment};

use super::overlay::{Assignment, first_line};
use super::tree::{Node, Origin, Tree};
use crate::failure::Failure;

/// Larger configuration files are a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whose configuration a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    JobManager,
    TaskManager,
}

impl Role {
    /// The verb that takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JobManager => "jobmanager",
            Self::TaskManager => "taskmanager",
        }
    }
}

/// Reads and checks a JobManager's configuration.
pub(crate) fn jobmanager(file: &Path, over: &[Assignment]) -> Result<JobManagerConfig, Failure> {
    let tree = read_tree(file, over)?;
    check_loopback(file, &tree)?;
    let config: JobManagerConfig = typed(file, &tree)?;
    config
        .validate()
        .map_err(|e| Failure::invalid(place(file, &tree, e.key, &e.problem)))?;
    Ok(config)
}

/// Reads and checks a TaskManager's configuration.
pub(crate) fn taskmanager(file: &Path, over: &[Assignment]) -> Result<TaskManagerConfig, Failure> {
    let tree = read_tree(file, over)?;
    check_loopback(file, &tree)?;
    let config: TaskManagerConfig = typed(file, &tree)?;
    config.validate().map_err(|e| {
        let text = e.to_string();
        let (key, problem) = text.split_once(": ").unwrap_or(("", &text));
        Failure::invalid(place(file, &tree, key, problem))
    })?;
    Ok(config)
}

/// Reads the files that `security` names, as the process will at start.
pub(crate) fn check_security(
    file: &Path,
    over: &[Assignment],
    load: impl FnOnce() -> Result<Security, SecurityError>,
) -> Result<Security, Failure> {
    load().map_err(|error| match read_tree(file, over) {
        Ok(tree) => Failure::invalid(place(file, &tree, error.key, &error.problem)),
        Err(failure) => failure,
    })
}

/// Tells by its keys whose configuration a file is.
pub(crate) fn role_of(file: &Path) -> Result<Role, Failure> {
    let tree = read_tree(file, &[])?;
    let count = |keys: &[&str]| keys.iter().filter(|k| tree.get(k).is_some()).count();
    let jobmanager = count(&["node-id", "peers", "timing", "cleanup-strategy"]);
    let taskmanager = count(&["worker-id", "jobmanagers", "slots"]);
    if jobmanager == taskmanager {
        return Err(Failure::invalid(format!(
            "{}: neither a JobManager's configuration (node-id) nor a TaskManager's (worker-id)",
            file.display()
        )));
    }
    Ok(if jobmanager > taskmanager {
        Role::JobManager
    } else {
        Role::TaskManager
    })
}

/// Reads a text file of limited size.
pub(crate) fn read_text(file: &Path, limit: u64) -> Result<String, Failure> {
    let shown = file.display();
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::invalid(format!("{shown}: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::invalid(format!(
            "{shown}: larger than {limit} bytes"
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::invalid(format!("{shown}: not a text file (it isn't UTF-8)")))?;
    if text.contains('\0') {
        return Err(Failure::invalid(format!(
            "{shown}: not a text file (it holds a NUL byte)"
        )));
    }
    Ok(text)
}

pub(super) fn read_tree(file: &Path, over: &[Assignment]) -> Result<Tree, Failure> {
    let text = read_text(file, FILE_BYTES_MAX)?;
    let mut tree = Tree::parse(&text).map_err(|e| {
        let at = e
            .location()
            .map_or_else(String::new, |l| format!(":{}:{}", l.line(), l.column()));
        let problem = e.without_snippet().to_string();
        Failure::invalid(format!("{}{at}: {}", file.display(), first_line(&problem)))
    })?;
    if tree.node == Node::Null {
        tree = Tree::empty(Origin::File(1, 1));
    }
    if !matches!(tree.node, Node::Map(_)) {
        return Err(Failure::invalid(format!(
            "{}: not a configuration: it must begin with `key: value`",
            file.display()
        )));
    }
    for assignment in over {
        assignment
            .apply(&mut tree)
            .map_err(|e| Failure::invalid(format!("{}: {e}", file.display())))?;
    }
    Ok(tree)
}

fn typed<T: DeserializeOwned>(file: &Path, tree: &Tree) -> Result<T, Failure> {
    let value = serde_json::to_value(tree)
        .map_err(|e| Failure::invalid(format!("{}: {e}", file.display())))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let keys = keys_of(error.path());
        let problem = error.inner().to_string();
        Failure::invalid(place(file, tree, &keys, &with_nearest(&problem)))
    })
}

fn keys_of(path: &KeyPath) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect::<Vec<_>>()
        .join(".")
}

/// `FILE:LINE:COLUMN: key: problem`, or the variable or option instead of the file's place.
fn place(file: &Path, tree: &Tree, keys: &str, problem: &str) -> String {
    let mut at = tree;
    for key in keys.split('.').filter(|k| !k.is_empty()) {
        match at.get(key) {
            Some(below) => at = below,
            None => break,
        }
    }
    let origin = match &at.origin {
        Origin::File(line, column) => format!("{}:{line}:{column}", file.display()),
        Origin::Environment(name) => name.clone(),
        Origin::Option(key) => format!("--set {key}"),
        Origin::Unknown => file.display().to_string(),
    };
    if keys.is_empty() {
        format!("{origin}: {problem}")
    } else {
        format!("{origin}: {keys}: {problem}")
    }
}

/// Adds the nearest valid name to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_nearest(problem: &str) -> String {
    let mut quoted = problem.split('`').skip(1).step_by(2);
    let unknown = problem.starts_with("unknown field") || problem.starts_with("unknown variant");
    let Some(name) = quoted.next().filter(|_| unknown) else {
        return problem.to_owned();
    };
    let nearest = quoted
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => {
            let kind = if problem.starts_with("unknown field") {
                "key"
            } else {
                "value"
            };
            format!("unknown {kind} `{name}`; did you mean `{known}`?")
        }
        None => problem.replacen("unknown field", "unknown key", 1),
    }
}

/// Without TLS only loopback is served, unless the operator says that the network is trusted.
fn check_loopback(file: &Path, tree: &Tree) -> Result<(), Failure> {
    let insecure = tree.get("security").and_then(|s| s.get("insecure-dev"));
    if insecure.is_some_and(|value| value.node == Node::Bool(true)) {
        return Ok(());
    }
    if tree.get("security").and_then(|s| s.get("tls")).is_some() {
        return Ok(());
    }
    for key in ["api", "peer", "data"] {
        let Some(Node::Text(address)) = tree
            .get("listen")
            .and_then(|l| l.get(key))
            .map(|address| &address.node)
        else {
            continue;
        };
        if !is_loopback(address) {
            let problem = format!(
                "{address} is reachable from other hosts and there is no TLS; name certificate, key and \
                 ca in security.tls, listen on 127.0.0.1, or pass --insecure-dev \
                 (security.insecure-dev: true) on a trusted network"
            );
            return Err(Failure::refused(place(
                file,
                tree,
                &format!("listen.{key}"),
                &problem,
            )));
        }
    }
    Ok(())
}

/// Whether only this machine can reach the address. What isn't `host:port` is left to the role's check.
fn is_loopback(address: &str) -> bool {
    let Some((host, _)) = address.rsplit_once(':') else {
        return true;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBMANAGER: &str = "\
node-id: 1
data-dir: /var/lib/regent
listen: { api: 127.0.0.1:7101, peer: 127.0.0.1:7201 }
peers: [ 127.0.0.1:7201 ]
storage: { checkpoint-dir: /var/lib/regent/checkpoints }
";

    fn check(text: &str, over: &[&str]) -> Result<JobManagerConfig, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jm.yaml");
        std::fs::write(&file, text).unwrap();
        let over: Vec<_> = over.iter().map(|o| Assignment::parse(o).unwrap()).collect();
        jobmanager(&file, &over)
    }

    fn problem(text: &str, over: &[&str]) -> String {
        let failure = check(text, over).unwrap_err();
        assert_eq!(failure.code, 2, "{failure:?}");
        let at = failure.message.find("jm.yaml").unwrap_or(0);
        failure.message[at..].to_owned()
    }

    #[test]
    fn the_file_and_its_overrides_are_read() {
        let config = check(JOBMANAGER, &["node-id=7", "listen.api=127.0.0.1:9"]).unwrap();
        assert_eq!(config.node_id, 7);
        assert_eq!(config.listen.api, "127.0.0.1:9");
        assert_eq!(config.listen.peer, "127.0.0.1:7201");
    }

    #[test]
    fn a_wrong_key_is_named_with_its_place_and_the_nearest_name() {
        let text = JOBMANAGER.replace("data-dir", "data-dri");
        assert_eq!(
            problem(&text, &[]),
            "jm.yaml:2:11: data-dri: unknown key `data-dri`; did you mean `data-dir`?"
        );
        assert_eq!(
            problem(JOBMANAGER, &["listen.apo=x:1"]),
            "--set listen.apo: listen.apo: unknown key `apo`; did you mean `api`?"
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let text = JOBMANAGER.replace("node-id: 1", "node-id: one");
        let message = problem(&text, &[]);
        assert!(message.starts_with("jm.yaml:1:10: node-id: invalid type"));
        let message = problem(JOBMANAGER, &["timing=lam"]);
        assert!(message.starts_with("--set timing: timing: unknown value `lam`"));
        assert!(message.contains("did you mean `lan`"));
    }

    #[test]
    fn a_missing_key_and_a_broken_file_are_named() {
        let text = JOBMANAGER.replace("data-dir: /var/lib/regent\n", "");
        assert!(problem(&text, &[]).contains("missing field `data-dir`"));
        assert!(problem("a: [", &[]).starts_with("jm.yaml:1:"));
        assert!(problem("- 1", &[]).contains("not a configuration"));
        assert!(problem("", &[]).contains("missing field"));
        assert!(problem("a\0b", &[]).contains("NUL"));
    }

    #[test]
    fn other_hosts_are_let_in_only_on_request() {
        let text = JOBMANAGER.replace("api: 127.0.0.1:7101", "api: 0.0.0.0:7101");
        let failure = check(&text, &["advertise.api=jm-1:7101"]).unwrap_err();
        assert_eq!(failure.code, 5);
        assert!(failure.message.contains("jm.yaml:3:16: listen.api"));
        let trusted = ["advertise.api=jm-1:7101", "security.insecure-dev=true"];
        check(&text, &trusted).unwrap();
    }
}
