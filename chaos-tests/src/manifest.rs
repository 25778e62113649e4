//! `cluster.json` as the contract describes it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// Client addresses of all JobManagers.
    pub endpoints: Vec<String>,
    /// Every process, running or not.
    pub processes: Vec<Entry>,
}

/// One process.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// `jm-1`, `tm-1`, ...
    pub name: String,
    /// `jobmanager` or `taskmanager`.
    pub role: String,
    /// JobManagers only.
    #[serde(default)]
    pub node_id: Option<u64>,
    /// Null while it is down.
    pub pid: Option<u32>,
    /// `running` or `exited`.
    pub state: String,
    /// Client or HTTP address.
    #[serde(default)]
    pub api: String,
    /// Its directory.
    #[serde(default)]
    pub data_dir: String,
    /// Starts it by hand.
    pub command: Vec<String>,
}

impl Manifest {
    /// Reads the file of a cluster's directory; `None` before it was written.
    ///
    /// # Panics
    /// If it is there and isn't what the contract says: it is replaced by rename, never half.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join("cluster.json")).ok()?;
        let parsed = serde_json::from_str(&text);
        Some(parsed.unwrap_or_else(|error| panic!("cluster.json: {error}: {text}")))
    }

    /// The process of that name.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<&Entry> {
        self.processes.iter().find(|entry| entry.name == name)
    }

    /// Names of the processes of a role, running or not.
    #[must_use]
    pub fn names(&self, role: &str) -> Vec<String> {
        let of_role = self.processes.iter().filter(|entry| entry.role == role);
        of_role.map(|entry| entry.name.clone()).collect()
    }
}
