//! `cluster.json`: what runs in a local cluster. Replaced by rename after each change, so that a reader
//! sees the old or the new one, never a half.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Process};
use crate::failure::Failure;
use crate::output;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Client addresses of all JobManagers.
    pub(crate) endpoints: Vec<String>,
    /// Every process, running or not.
    pub(crate) processes: Vec<Entry>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// `jobmanager` or `taskmanager`.
    pub(crate) role: String,
    /// JobManagers only.
    pub(crate) node_id: Option<u64>,
    /// Null while it is down.
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) api: String,
    pub(crate) data_dir: String,
    /// Starts the process by hand, without the supervisor.
    pub(crate) command: Vec<String>,
}

/// Whether the supervisor's process of that name lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Exited,
}

impl Manifest {
    /// The file of a cluster of which nothing runs yet.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            endpoints: plan.endpoints(),
            processes: plan.processes.iter().map(entry).collect(),
        }
    }

    /// Reads the file in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Failure> {
        let file = dir.join("cluster.json");
        let text = std::fs::read_to_string(&file)
            .map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?;
        serde_json::from_str(&text).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))
    }

    /// The process of this name.
    pub(crate) fn process(&self, name: &str) -> Option<&Entry> {
        self.processes.iter().find(|p| p.name == name)
    }

    fn set(&mut self, name: &str, pid: Option<u32>) {
        if let Some(entry) = self.processes.iter_mut().find(|p| p.name == name) {
            entry.pid = pid;
            entry.state = if pid.is_some() {
                State::Running
            } else {
                State::Exited
            };
        }
    }
}

fn entry(process: &Process) -> Entry {
    Entry {
        name: process.name.clone(),
        role: process.role.name().to_owned(),
        node_id: process.node_id,
        pid: None,
        state: State::Exited,
        api: process.api.clone(),
        data_dir: process.data_dir.display().to_string(),
        command: process.command.clone(),
    }
}

/// The file and its present content.
#[derive(Debug)]
pub(super) struct ManifestFile {
    path: PathBuf,
    content: Mutex<Manifest>,
}

impl ManifestFile {
    /// Writes the first version.
    pub(super) fn create(path: PathBuf, plan: &Plan) -> Result<Self, Failure> {
        let content = Manifest::new(plan);
        replace(&path, &content)
            .map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        Ok(Self {
            path,
            content: Mutex::new(content),
        })
    }

    /// Notes that a process runs (`Some`) or is down (`None`).
    pub(super) fn set(&self, name: &str, pid: Option<u32>) {
        // The lock is held over the rename, so that versions reach the disk in order.
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.set(name, pid);
        if let Err(error) = replace(&self.path, &content) {
            output::note(&format!(
                "{} can't be written: {error}",
                self.path.display()
            ));
        }
    }
}

fn replace(path: &Path, content: &Manifest) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(content)?;
    let staged = path.with_extension("json.new");
    std::fs::write(&staged, text + "\n")?;
    std::fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Shape;
    use super::*;

    #[test]
    fn the_shape_is_the_contracts_and_entries_stay() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape {
            jobmanagers: 1,
            taskmanagers: 1,
            slots: 4,
            base_port: 7100,
        };
        let plan = Plan::new(Path::new("/d"), &shape, Path::new("/bin/regent")).unwrap();
        let file = ManifestFile::create(dir.path().join("cluster.json"), &plan).unwrap();
        file.set("jm-1", Some(123));
        let text = std::fs::read_to_string(dir.path().join("cluster.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "endpoints": ["127.0.0.1:7101"],
            "processes": [
                {"name": "jm-1", "role": "jobmanager", "node_id": 1, "pid": 123, "state": "running",
                 "api": "127.0.0.1:7101", "data_dir": "/d/data/jm-1",
                 "command": ["/bin/regent", "jobmanager", "--config", "/d/conf/jm-1.yaml"]},
                {"name": "tm-1", "role": "taskmanager", "node_id": null, "pid": null, "state": "exited",
                 "api": "127.0.0.1:7121", "data_dir": "/d/data/tm-1",
                 "command": ["/bin/regent", "taskmanager", "--config", "/d/conf/tm-1.yaml"]},
            ],
        });
        assert_eq!(json, expected);
        file.set("jm-1", None);
        let read = Manifest::read(dir.path()).unwrap();
        let jm = read.process("jm-1").unwrap();
        assert_eq!((jm.pid, jm.state), (None, State::Exited));
        assert_eq!(read.processes.len(), 2);
    }
}
