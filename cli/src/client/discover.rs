//! Which replicas to ask: the option or `REGENT_ENDPOINTS`, else a local cluster's `cluster.json`, else
//! the default address.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Access;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::settings::read_text;

/// Where a JobManager of a local cluster listens by default.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:7101";
const DEFAULT_SOURCE: &str = "the default";
/// A larger `cluster.json` isn't ours.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// Addresses of replicas, and where they were found.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// `host:port` each; never empty.
    pub(crate) addresses: Vec<String>,
    /// For messages: `--endpoints`, a file, or the default.
    pub(crate) source: String,
    /// How they are reached.
    pub(crate) access: Access,
}

/// The one field of `cluster.json` that a client needs.
#[derive(Debug, Deserialize)]
struct Manifest {
    endpoints: Vec<String>,
}

/// Finds the replicas by the order of the contract.
pub(crate) fn discover(global: &GlobalArgs) -> Result<Endpoints, Failure> {
    let access = Access::load(&global.access)?;
    let named: Vec<String> = global
        .endpoints
        .iter()
        .map(|e| e.trim().to_owned())
        .filter(|e| !e.is_empty())
        .collect();
    if !named.is_empty() {
        return named_endpoints(named, access);
    }
    for dir in directories(global) {
        if let Some(found) = of_directory(&dir, &access)? {
            return Ok(found);
        }
    }
    Ok(Endpoints {
        addresses: vec![DEFAULT_ENDPOINT.to_owned()],
        source: DEFAULT_SOURCE.to_owned(),
        access,
    })
}

/// Where a local cluster may be, in the order of the contract.
fn directories(global: &GlobalArgs) -> impl Iterator<Item = PathBuf> {
    let usual = [PathBuf::from("."), PathBuf::from("./regent-local")];
    global.dir.iter().cloned().chain(usual)
}

/// The directory of the local cluster that is meant. `None`: there is none.
pub(crate) fn local_directory(global: &GlobalArgs) -> Option<PathBuf> {
    directories(global).find(|dir| dir.join("cluster.json").is_file())
}

impl Endpoints {
    /// Whether nothing named these.
    pub(crate) fn is_default(&self) -> bool {
        self.source == DEFAULT_SOURCE
    }
}

fn named_endpoints(addresses: Vec<String>, access: Access) -> Result<Endpoints, Failure> {
    for address in &addresses {
        check_address(address).map_err(|problem| {
            Failure::invalid(format!("--endpoints: {problem}; write host:port,..."))
        })?;
    }
    Ok(Endpoints {
        addresses,
        source: "--endpoints".to_owned(),
        access,
    })
}

/// The endpoints of the local cluster in `dir`. `None`: there is none.
fn of_directory(dir: &Path, access: &Access) -> Result<Option<Endpoints>, Failure> {
    let file = dir.join("cluster.json");
    if !file.is_file() {
        return Ok(None);
    }
    let shown = file.display();
    let manifest: Manifest = serde_json::from_str(&read_text(&file, MANIFEST_BYTES_MAX)?)
        .map_err(|e| Failure::invalid(format!("{shown}: {e}; name the cluster by --endpoints")))?;
    let right = |a: &String| check_address(a).is_ok();
    if manifest.endpoints.is_empty() || !manifest.endpoints.iter().all(right) {
        return Err(Failure::invalid(format!(
            "{shown}: `endpoints` holds no addresses; name the cluster by --endpoints"
        )));
    }
    Ok(Some(Endpoints {
        addresses: manifest.endpoints,
        source: shown.to_string(),
        access: access.clone(),
    }))
}

fn check_address(address: &str) -> Result<(), String> {
    let refused = || format!("`{address}` is not host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let port: u16 = port.parse().map_err(|_| refused())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-[]:".contains(c);
    if host.is_empty() || port == 0 || !host.chars().all(plain) {
        return Err(refused());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn discovered(arguments: &[&str]) -> Result<Endpoints, Failure> {
        let all = ["regent", "status"].iter().chain(arguments);
        discover(&Cli::try_parse_from(all).unwrap().global)
    }

    fn manifest(dir: &Path, text: &str) {
        std::fs::write(dir.join("cluster.json"), text).unwrap();
    }

    #[test]
    fn named_endpoints_come_first() {
        let dir = tempfile::tempdir().unwrap();
        manifest(dir.path(), r#"{"endpoints":["127.0.0.1:9"]}"#);
        let path = dir.path().to_str().unwrap();
        let found = discovered(&["--dir", path, "--endpoints", "a:1, b:2"]).unwrap();
        assert_eq!(found.addresses, ["a:1", "b:2"]);
        let found = discovered(&["--dir", path]).unwrap();
        assert_eq!(found.addresses, ["127.0.0.1:9"]);
        assert!(found.source.ends_with("cluster.json"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["a", "a:", ":1", "a:x", "a b:1", "a:0", "http://a:1/x"] {
            let failure = discovered(&["--endpoints", wrong]).unwrap_err();
            assert_eq!(failure.code, 2, "{wrong}");
        }
        for right in ["a:1", "10.0.0.1:7101", "[::1]:7101", "jm-1.example.org:1"] {
            assert!(discovered(&["--endpoints", right]).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_damaged_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        for text in ["{", r#"{"endpoints":[]}"#, r#"{"endpoints":["x"]}"#, "{}"] {
            manifest(dir.path(), text);
            let failure = discovered(&["--dir", &path]).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains("cluster.json"), "{failure:?}");
        }
    }
}
