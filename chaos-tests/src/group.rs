//! JobManagers started by hand, each with a configuration of its own: a group that grows, shrinks and is
//! taken apart, and a client that writes all the while.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Outcome, kill, regent, run, wait_for};
use crate::signals;
use crate::wait::{pause, wait_until};

/// Node numbers start at 1 and end below this; ports follow from them.
const NODES_MAX: u16 = 24;
/// A command's own time-out, and what the whole run may take.
const COMMAND_TIMEOUT: &str = "40s";
const COMMAND_WITHIN: Duration = Duration::from_secs(45);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// JobManagers by number.
#[derive(Debug)]
pub struct Group {
    home: TempDir,
    base_port: u16,
    running: BTreeMap<u16, Child>,
    started: Arc<Mutex<Vec<String>>>,
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// Nobody runs yet.
    ///
    /// # Panics
    /// If no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("regent-group-").tempdir();
        Self {
            home: home.expect("a temporary directory can be made"),
            base_port: regent_ports::base_port(),
            running: BTreeMap::new(),
            started: Arc::default(),
        }
    }

    /// The directory of the test.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn api(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + node)
    }

    /// Where other replicas reach it.
    #[must_use]
    pub fn peer(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + NODES_MAX + node)
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self, node: u16) -> PathBuf {
        self.home().join(format!("jm-{node}"))
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self, node: u16) -> PathBuf {
        self.home().join(format!("jm-{node}.yaml"))
    }

    /// Writes its configuration.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write_config(&self, node: u16) {
        let peers: Vec<_> = (1..NODES_MAX / 2)
            .map(|n| format!("{:?}", self.peer(n)))
            .collect();
        let text = format!(
            "node-id: {node}\nname: jm-{node}\ndata-dir: {}\nlisten: {{ api: {:?}, peer: {:?} }}\npeers: [ {} ]\n\
             storage: {{ checkpoint-dir: {} }}\n",
            self.data_dir(node).display(),
            self.api(node),
            self.peer(node),
            peers.join(", "),
            self.home().join("checkpoints").display(),
        );
        fs::write(self.config(node), text).expect("a configuration can be written");
    }

    /// Starts a node and waits until it answers.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn start(&mut self, node: u16) {
        self.write_config(node);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(node));
        let mut command = regent(self.home());
        command
            .arg("jobmanager")
            .arg("--config")
            .arg(self.config(node));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.expect("the log can be opened"));
        let child = command.spawn().expect("the binary can be started");
        self.running.insert(node, child);
        self.started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.api(node));
        for address in [self.api(node), self.peer(node)] {
            wait_until(
                Duration::from_secs(40),
                &format!("jm-{node} listens"),
                || std::net::TcpStream::connect(&address).ok(),
            );
        }
    }

    fn log(&self, node: u16) -> PathBuf {
        self.home().join(format!("jm-{node}.log"))
    }

    /// What it has said.
    #[must_use]
    pub fn said(&self, node: u16) -> String {
        fs::read_to_string(self.log(node)).unwrap_or_default()
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, node: u16) {
        if let Some(mut child) = self.running.remove(&node) {
            kill(&mut child);
        }
    }

    /// Stops a node with SIGTERM.
    pub fn stop(&mut self, node: u16) {
        if let Some(mut child) = self.running.remove(&node) {
            signals::send(child.id(), "jobmanager", Signal::SIGTERM);
            if wait_for(&mut child, STOP_WITHIN).is_none() {
                kill(&mut child);
            }
        }
    }

    /// The API addresses of all that run.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let apis: Vec<_> = self.running.keys().map(|node| self.api(*node)).collect();
        apis.join(",")
    }

    /// Runs the binary against all that run.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Outcome {
        self.ask(&self.endpoints(), arguments)
    }

    /// Runs the binary against these endpoints.
    #[must_use]
    pub fn ask(&self, endpoints: &str, arguments: &[&str]) -> Outcome {
        let mut command = regent(self.home());
        command.args([
            "--endpoints",
            endpoints,
            "-o",
            "json",
            "--timeout",
            COMMAND_TIMEOUT,
        ]);
        command.args(arguments);
        run(command, COMMAND_WITHIN)
    }

    /// Runs the binary without endpoints.
    #[must_use]
    pub fn alone(&self, arguments: &[&str]) -> Outcome {
        let mut command = regent(self.home());
        command.args(["-o", "json"]).args(arguments);
        run(command, COMMAND_WITHIN)
    }

    /// Names of the voters, in order.
    #[must_use]
    pub fn voters(&self) -> Vec<String> {
        let members = self.cli(&["members", "list"]).json();
        let voters = members
            .as_array()
            .into_iter()
            .flatten()
            .filter(|m| m["role"] == "voter");
        voters
            .filter_map(|m| m["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Number of the leader, waited for.
    #[must_use]
    pub fn leader(&self) -> u16 {
        wait_until(Duration::from_secs(60), "a leader", || {
            let shown = self.cli(&["leader", "show"]).json();
            shown["leader"]["node_id"]
                .as_u64()
                .and_then(|id| u16::try_from(id).ok())
        })
    }

    /// The ids of all jobs, read linearizably.
    ///
    /// # Panics
    /// If they can't be read.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        let list = self.cli(&["job", "list"]).json();
        let ids = list
            .as_array()
            .into_iter()
            .flatten()
            .map(|job| job["job_id"].clone());
        ids.filter_map(|id| id.as_str().map(str::to_owned))
            .collect()
    }

    /// Starts a client that submits one small job after the other and reads each back.
    ///
    /// # Panics
    /// If the job file can't be written.
    #[must_use]
    pub fn writer(&self) -> Writer {
        let file = self.home().join("small.yaml");
        let text = "name: small\nvertices:\n  - { id: numbers, source: sequence, with: { end: 1 } }\n  \
                    - { id: out, sink: blackhole, inputs: [ numbers ] }\n";
        fs::write(&file, text).expect("the job file can be written");
        let stop = Arc::new(AtomicBool::new(false));
        let written: Arc<Mutex<Written>> = Arc::default();
        let client = Client {
            home: self.home().to_owned(),
            file,
            endpoints: Arc::clone(&self.started),
            stop: Arc::clone(&stop),
            written: Arc::clone(&written),
        };
        let thread = std::thread::spawn(move || client.run());
        Writer {
            stop,
            written,
            thread: Some(thread),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 1..NODES_MAX {
                let said = self.said(node);
                let lines: Vec<_> = said
                    .lines()
                    .filter(|line| !line.contains("INFO openraft"))
                    .collect();
                let last = lines.len().saturating_sub(15);
                for line in &lines[last..] {
                    println!("jm-{node}: {}", line.chars().take(300).collect::<String>());
                }
            }
        }
        for child in self.running.values_mut() {
            kill(child);
        }
    }
}

/// What a client was told.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Ids of the jobs that were acknowledged.
    pub acknowledged: Vec<String>,
    /// Acknowledged jobs that a linearizable read right after didn't show.
    pub stale: Vec<String>,
    /// The longest time between two acknowledgements.
    pub longest_pause: Duration,
    /// Answers that no client should get.
    pub wrong: Vec<String>,
}

/// A client that writes until it is stopped.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .acknowledged
            .len()
    }

    /// The ids that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<String> {
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .acknowledged
            .clone()
    }

    /// Waits until `more` further writes are acknowledged.
    pub fn wait_for(&self, more: usize) {
        let goal = self.count() + more;
        wait_until(Duration::from_secs(90), "acknowledged writes", || {
            (self.count() >= goal).then_some(())
        });
    }

    /// Stops the client and tells what it was told.
    ///
    /// # Panics
    /// If the client has failed.
    #[must_use]
    pub fn finish(mut self) -> Written {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it is finished once");
        thread.join().expect("the client doesn't panic");
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

struct Client {
    home: PathBuf,
    file: PathBuf,
    endpoints: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
}

impl Client {
    fn run(&self) {
        let mut last = Instant::now();
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Acquire) {
            number += 1;
            let id = format!("{number:032x}");
            if !self.submit(&id) {
                return;
            }
            let gap = last.elapsed();
            last = Instant::now();
            let shown = self.ask(&["job", "show", &id]);
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.longest_pause = written.longest_pause.max(gap);
            if shown.code == Some(1) && shown.stderr.contains("there is no job") {
                written.stale.push(id.clone());
            }
            written.acknowledged.push(id);
        }
    }

    /// The same id until it is acknowledged; false once the test is over.
    fn submit(&self, id: &str) -> bool {
        let file = self.file.display().to_string();
        loop {
            let outcome = self.ask(&["job", "submit", &file, "--job-id", id]);
            match outcome.code {
                Some(0) => return true,
                // No leader, no majority, unknown: the same again is safe.
                Some(1 | 3 | 4 | 6) => {}
                // Begun in one life of the cluster and answered in the next.
                Some(5) if outcome.stderr.contains("too old") => {}
                _ => {
                    let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    written.wrong.push(outcome.to_string());
                }
            }
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            pause(Duration::from_millis(20));
        }
    }

    fn ask(&self, arguments: &[&str]) -> Outcome {
        let endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join(",");
        let mut command = regent(&self.home);
        command.args(["--endpoints", &endpoints, "-o", "json", "--timeout", "10s"]);
        command.args(arguments);
        run(command, Duration::from_secs(30))
    }
}

/// The role of a member in a list.
#[must_use]
pub fn role_of(members: &Value, name: &str) -> Option<String> {
    let mut members = members.as_array()?.iter();
    let member = members.find(|member| member["name"] == name)?;
    member["role"].as_str().map(str::to_owned)
}
