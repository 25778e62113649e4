//! What a local cluster consists of: names, ports, directories, configurations and commands. Pure.

use std::path::{Path, PathBuf};

use regent_ha::{Member, Node};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::settings::Role;

/// Ports `P` to `P + 49` belong to a local cluster.
const PORTS: u16 = 50;
/// The largest base port whose fifty ports exist.
pub(crate) const BASE_PORT_MAX: u16 = u16::MAX - PORTS + 1;
const PEER_OFFSET: u16 = 10;
const WORKER_API_OFFSET: u16 = 20;
const WORKER_DATA_OFFSET: u16 = 35;

/// What was asked for; absent: as before in this directory, or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) jobmanagers: Option<u16>,
    pub(super) taskmanagers: Option<u16>,
    pub(super) slots: Option<u16>,
    pub(super) base_port: Option<u16>,
}

/// Size and place of a cluster, kept in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) jobmanagers: u16,
    pub(super) taskmanagers: u16,
    pub(super) slots: u16,
    pub(super) base_port: u16,
}

impl Shape {
    /// What is wanted, over what the directory holds. Members and addresses of a cluster are in its log,
    /// so they can't be changed by starting it differently.
    pub(super) fn settle(wanted: &Wanted, before: Option<&Self>) -> Result<Self, Failure> {
        let fixed = |asked: Option<u16>, kept: Option<u16>, default: u16, option: &str| match kept {
            Some(kept) if asked.is_some_and(|a| a != kept) => Err(Failure::invalid(format!(
                "the cluster in this directory was made with {option} {kept}; start it so, or choose \
                 another --dir"
            ))),
            _ => Ok(kept.or(asked).unwrap_or(default)),
        };
        let free =
            |asked: Option<u16>, kept: Option<u16>, default| asked.or(kept).unwrap_or(default);
        Ok(Self {
            jobmanagers: fixed(
                wanted.jobmanagers,
                before.map(|b| b.jobmanagers),
                3,
                "--jobmanagers",
            )?,
            base_port: fixed(
                wanted.base_port,
                before.map(|b| b.base_port),
                7100,
                "--base-port",
            )?,
            taskmanagers: free(wanted.taskmanagers, before.map(|b| b.taskmanagers), 2),
            slots: free(wanted.slots, before.map(|b| b.slots), 4),
        })
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) node_id: Option<u64>,
    /// `host:port` for clients and HTTP.
    pub(super) api: String,
    /// `host:port` for peers or data.
    pub(super) inner: String,
    pub(super) data_dir: PathBuf,
    pub(super) config: PathBuf,
    pub(super) config_text: String,
    pub(super) log: PathBuf,
    /// Starts the process by hand.
    pub(super) command: Vec<String>,
}

/// All processes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) processes: Vec<Process>,
}

impl Plan {
    /// Lays out a cluster below `dir` (absolute), run by `program`.
    pub(super) fn new(dir: &Path, shape: &Shape, program: &Path) -> Result<Self, Failure> {
        let root = utf8(dir)?;
        let program = utf8(program)?;
        let jobmanagers = (1..=shape.jobmanagers).map(|i| jobmanager(root, shape, i, program));
        let taskmanagers = (1..=shape.taskmanagers).map(|i| taskmanager(root, shape, i, program));
        Ok(Self {
            processes: jobmanagers.chain(taskmanagers).collect(),
        })
    }

    /// The processes of one role.
    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |p| p.role == role)
    }

    /// Client addresses of all JobManagers.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.of(Role::JobManager).map(|p| p.api.clone()).collect()
    }

    /// Every address that will be listened on, with what for.
    pub(super) fn ports(&self) -> Vec<(String, String)> {
        let both = |p: &Process| {
            let inner = match p.role {
                Role::JobManager => "peer",
                Role::TaskManager => "data",
            };
            [
                (p.api.clone(), format!("{} api", p.name)),
                (p.inner.clone(), format!("{} {inner}", p.name)),
            ]
        };
        self.processes.iter().flat_map(both).collect()
    }

    /// The JobManagers as members of the group.
    pub(super) fn members(&self) -> Vec<Member> {
        let member = |p: &Process| {
            Some(Member {
                node_id: p.node_id?,
                node: Node {
                    name: p.name.clone(),
                    api: p.api.clone(),
                    peer: p.inner.clone(),
                },
            })
        };
        self.of(Role::JobManager).filter_map(member).collect()
    }
}

fn jobmanager(root: &str, shape: &Shape, index: u16, program: &str) -> Process {
    let base = shape.base_port;
    let api = |i: u16| address(base + i);
    let peer = |i: u16| address(base + PEER_OFFSET + i);
    let name = format!("jm-{index}");
    let peers: Vec<String> = (1..=shape.jobmanagers).map(peer).collect();
    let config_text = format!(
        "{HEAD}node-id: {index}\nname: {name}\ndata-dir: {}\nlisten: {{ api: {}, peer: {} }}\n\
         peers: {}\nstorage: {{ checkpoint-dir: {} }}\n",
        quoted(&format!("{root}/data/{name}")),
        quoted(&api(index)),
        quoted(&peer(index)),
        list(&peers),
        quoted(&format!("{root}/checkpoints")),
    );
    process(
        Role::JobManager,
        root,
        &name,
        program,
        Some(u64::from(index)),
        [api(index), peer(index), config_text],
    )
}

fn taskmanager(root: &str, shape: &Shape, index: u16, program: &str) -> Process {
    let base = shape.base_port;
    let api = address(base + WORKER_API_OFFSET + index);
    let data = address(base + WORKER_DATA_OFFSET + index);
    let name = format!("tm-{index}");
    let jobmanagers: Vec<String> = (1..=shape.jobmanagers).map(|i| address(base + i)).collect();
    let config_text = format!(
        "{HEAD}worker-id: {name}\ndata-dir: {}\nslots: {}\nlisten: {{ api: {}, data: {} }}\n\
         jobmanagers: {}\nstorage: {{ checkpoint-dir: {} }}\n",
        quoted(&format!("{root}/data/{name}")),
        shape.slots,
        quoted(&api),
        quoted(&data),
        list(&jobmanagers),
        quoted(&format!("{root}/checkpoints")),
    );
    process(
        Role::TaskManager,
        root,
        &name,
        program,
        None,
        [api, data, config_text],
    )
}

const HEAD: &str = "# Written by `regent local` at each start.\n";

fn process(
    role: Role,
    root: &str,
    name: &str,
    program: &str,
    node_id: Option<u64>,
    [api, inner, config_text]: [String; 3],
) -> Process {
    let config = format!("{root}/conf/{name}.yaml");
    let command = [program, role.name(), "--config", &config].map(str::to_owned);
    Process {
        name: name.to_owned(),
        role,
        node_id,
        api,
        inner,
        data_dir: PathBuf::from(format!("{root}/data/{name}")),
        config: PathBuf::from(&config),
        config_text,
        log: PathBuf::from(format!("{root}/logs/{name}.log")),
        command: command.to_vec(),
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A double-quoted YAML string; JSON's spelling is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|i| quoted(i)).collect();
    format!("[ {} ]", items.join(", "))
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::invalid(format!("{}: the path isn't UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings;

    fn shape(jobmanagers: u16, taskmanagers: u16) -> Shape {
        Shape {
            jobmanagers,
            taskmanagers,
            slots: 4,
            base_port: 7100,
        }
    }

    fn plan(dir: &Path, jobmanagers: u16, taskmanagers: u16) -> Plan {
        let shape = shape(jobmanagers, taskmanagers);
        Plan::new(dir, &shape, Path::new("/bin/regent")).unwrap()
    }

    #[test]
    fn every_port_is_used_once_and_lies_in_the_range() {
        let plan = plan(Path::new("/d"), 5, 14);
        let ports: Vec<u16> = plan
            .ports()
            .iter()
            .map(|(address, _)| address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap())
            .collect();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 2 * 19);
        assert_eq!(ports.len(), distinct.len());
        assert!(distinct.iter().all(|p| (7100..7150).contains(p)));
        assert_eq!(plan.endpoints()[0], "127.0.0.1:7101");
    }

    #[test]
    fn the_configurations_are_valid_and_the_commands_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("with \"odd\" name");
        let plan = plan(&root, 3, 2);
        std::fs::create_dir_all(root.join("conf")).unwrap();
        for process in &plan.processes {
            std::fs::write(&process.config, &process.config_text).unwrap();
            match process.role {
                Role::JobManager => {
                    let config = settings::jobmanager(&process.config, &[]).unwrap();
                    assert_eq!(config.data_dir, process.data_dir);
                    assert_eq!(config.peers.len(), 3);
                    assert_eq!(config.listen.api, process.api);
                }
                Role::TaskManager => {
                    let config = settings::taskmanager(&process.config, &[]).unwrap();
                    assert_eq!(config.worker_id, process.name);
                    assert_eq!(config.jobmanagers, plan.endpoints());
                    assert_eq!(config.listen.data, process.inner);
                }
            }
            let config = process.config.to_str().unwrap();
            let expected = ["/bin/regent", process.role.name(), "--config", config];
            assert_eq!(process.command, expected);
        }
        assert_eq!(plan.members().len(), 3);
    }

    #[test]
    fn a_cluster_keeps_its_members_and_ports() {
        let before = shape(3, 2);
        let unasked = Shape::settle(&Wanted::default(), Some(&before)).unwrap();
        assert_eq!(unasked, before);
        let more = Wanted {
            taskmanagers: Some(5),
            slots: Some(1),
            ..Wanted::default()
        };
        let changed = Shape::settle(&more, Some(&before)).unwrap();
        assert_eq!((changed.taskmanagers, changed.slots), (5, 1));
        for wanted in [
            Wanted {
                jobmanagers: Some(1),
                ..Wanted::default()
            },
            Wanted {
                base_port: Some(7200),
                ..Wanted::default()
            },
        ] {
            assert_eq!(Shape::settle(&wanted, Some(&before)).unwrap_err().code, 2);
            assert!(Shape::settle(&wanted, None).is_ok());
        }
    }
}
