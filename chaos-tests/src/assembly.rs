//! A cluster whose processes are started one by one instead of by `local`, so that its replicas can be made to talk
//! through a [`Proxy`]: each advertises the proxy's address and listens on another.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, Options};
use crate::command::regent;
use crate::knobs;
use crate::proxy::Proxy;
use crate::wait::wait_until;

/// From the first process to a leader.
const FORMED_WITHIN: Duration = Duration::from_secs(40);
/// Ports from the base on, by what they are for.
const PEER: u16 = 10;
const PROXY: u16 = 20;
const WORKER: u16 = 30;
const DATA: u16 = 40;

/// One process before it is started.
struct Planned {
    name: String,
    role: &'static str,
    node_id: Option<u32>,
    api: String,
    config: String,
}

impl Cluster {
    /// Starts a cluster whose replicas talk to each other through `proxy`, and waits until its workers are
    /// registered. Nothing is started again when it dies.
    ///
    /// # Panics
    /// If it doesn't come up.
    #[must_use]
    pub fn assemble(options: Options, proxy: &Proxy) -> Self {
        let mut cluster = Self::nothing_yet(options.clone());
        for folder in ["conf", "logs", "data"] {
            fs::create_dir_all(cluster.dir().join(folder)).expect("a folder can be made");
        }
        let managers = (1..=options.jobmanagers).map(|index| cluster.manager(index));
        let workers = (1..=options.taskmanagers).map(|index| cluster.worker(index));
        let planned: Vec<Planned> = managers.chain(workers).collect();
        for index in 1..=options.jobmanagers {
            let (address, target) = (cluster.address(PROXY, index), cluster.address(PEER, index));
            proxy.serve(&format!("jm-{index}"), address, target);
        }
        let mut entries = Vec::new();
        for process in &planned {
            let pid = cluster.start_planned(process);
            proxy.name(&process.name, pid);
            entries.push(json!({
                "name": process.name, "role": process.role, "node_id": process.node_id,
                "pid": pid, "state": "running", "api": process.api, "command": [],
            }));
        }
        let endpoints: Vec<&String> = (planned.iter())
            .filter(|process| process.node_id.is_some())
            .map(|process| &process.api)
            .collect();
        let manifest = json!({ "endpoints": endpoints, "processes": entries });
        let path = cluster.dir().join("cluster.json");
        fs::write(path, manifest.to_string()).expect("the manifest can be written");
        cluster.form();
        cluster.wait_for_workers(options.taskmanagers as usize);
        cluster
    }

    /// Replicas may still be starting; repeating the command is harmless.
    fn form(&self) {
        let peers: Vec<String> = (1..=self.options().jobmanagers)
            .map(|index| self.address(PROXY, index).to_string())
            .collect();
        let peers = peers.join(",");
        let formed = || self.cli(&["cluster", "bootstrap", "--peers", &peers]);
        wait_until(FORMED_WITHIN, "a cluster", || {
            (formed().code == Some(0)).then_some(())
        });
    }

    fn address(&self, offset: u16, index: u32) -> SocketAddr {
        let index = u16::try_from(index).expect("a handful of processes");
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base_port() + offset + index))
    }

    fn manager(&self, index: u32) -> Planned {
        let api = self.address(0, index);
        let peers: Vec<SocketAddr> = (1..=self.options().jobmanagers)
            .map(|index| self.address(PROXY, index))
            .collect();
        let config = json!({
            "node-id": index,
            "name": format!("jm-{index}"),
            "data-dir": self.dir().join(format!("data/jm-{index}")),
            "listen": { "api": api, "peer": self.address(PEER, index) },
            "advertise": { "peer": self.address(PROXY, index) },
            "peers": peers,
            "storage": { "checkpoint-dir": self.dir().join("checkpoints") },
        });
        Planned {
            name: format!("jm-{index}"),
            role: "jobmanager",
            node_id: Some(index),
            api: api.to_string(),
            config: config.to_string(),
        }
    }

    fn worker(&self, index: u32) -> Planned {
        let api = self.address(WORKER, index);
        let managers: Vec<SocketAddr> = (1..=self.options().jobmanagers)
            .map(|index| self.address(0, index))
            .collect();
        let config = json!({
            "worker-id": format!("tm-{index}"),
            "data-dir": self.dir().join(format!("data/tm-{index}")),
            "slots": self.options().slots,
            "listen": { "api": api, "data": self.address(DATA, index) },
            "jobmanagers": managers,
            "storage": { "checkpoint-dir": self.dir().join("checkpoints") },
        });
        Planned {
            name: format!("tm-{index}"),
            role: "taskmanager",
            node_id: None,
            api: api.to_string(),
            config: config.to_string(),
        }
    }

    /// JSON is YAML too. The pid.
    fn start_planned(&mut self, process: &Planned) -> u32 {
        let config = self.dir().join(format!("conf/{}.yaml", process.name));
        fs::write(&config, &process.config).expect("a configuration can be written");
        let log = File::create(self.dir().join(format!("logs/{}.log", process.name)));
        let mut command = regent(&knobs::root());
        command
            .arg(process.role)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made"));
        let child = command.spawn().expect("the binary can be started");
        let pid = child.id();
        self.keep(child);
        pid
    }
}
