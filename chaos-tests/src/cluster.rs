//! A `regent local` of one test: started on free ports in its own directory, asked and hurt from
//! outside, and gone when it is dropped, whatever happened.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{self, NO_MAJORITY, Outcome, kill, lines_of, regent, run, wait_for};
use crate::logs::tail;
use crate::manifest::{Entry, Manifest};
use crate::wait::{poll, wait_until};
use crate::{failpoints, knobs, signals};

/// From nothing to `ready`, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(40);
/// The contract gives 15 s.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(15);
/// A command's own time-out, and the second more that the contract allows it.
const COMMAND_TIMEOUT: &str = "20s";
const COMMAND_WITHIN: Duration = Duration::from_secs(22);
/// The same for commands that outlive a leader.
const PATIENT_TIMEOUT: &str = "60s";
const PATIENT_WITHIN: Duration = Duration::from_secs(62);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// JobManagers.
    pub jobmanagers: u32,
    /// TaskManagers.
    pub taskmanagers: u32,
    /// Slots of each TaskManager.
    pub slots: u32,
    /// `on-failure` or `never`.
    pub restart: &'static str,
    /// Its processes obey orders at named moments.
    pub failpoints: bool,
    /// Configuration of every process, as environment variables (`REGENT_STORAGE__CHECKPOINT_DIR`).
    pub environment: Vec<(&'static str, String)>,
    /// Another program that is `regent` and more; else the binary under test.
    pub program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobmanagers: 3,
            taskmanagers: 2,
            slots: 4,
            restart: "on-failure",
            failpoints: false,
            environment: Vec::new(),
            program: None,
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    home: Home,
    base_port: u16,
    local: Option<Child>,
    stdout: Option<Receiver<String>>,
    /// Processes that the test started by hand.
    pub(crate) by_hand: Vec<Child>,
}

/// The directory of a test: removed at the end unless it is to be kept.
#[derive(Debug)]
enum Home {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("regent-chaos-").tempdir();
        let dir = dir.expect("a temporary directory can be made");
        if knobs::keep() {
            let path = dir.keep();
            println!("kept: {}", path.display());
            Self::Kept(path)
        } else {
            Self::Temporary(dir)
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Cluster {
    /// Starts one and waits for `ready`.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let mut cluster = Self::nothing_yet(options);
        cluster.start_again();
        cluster
    }

    /// A directory and ports, and no process.
    pub(crate) fn nothing_yet(options: Options) -> Self {
        Self {
            options,
            home: Home::new(),
            base_port: regent_ports::base_port(),
            local: None,
            stdout: None,
            by_hand: Vec::new(),
        }
    }

    /// What it is made of.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Takes over a process that belongs to it.
    pub(crate) fn keep(&mut self, child: Child) {
        self.by_hand.push(child);
    }

    /// Starts `local` on the same directory, after [`Cluster::stop`] or its death.
    ///
    /// # Panics
    /// If it isn't ready in time.
    pub fn start_again(&mut self) {
        let mut local = self.local_command();
        let mut child = local.spawn().expect("the binary can be started");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let first = lines.recv_timeout(READY_WITHIN);
        self.local = Some(child);
        self.stdout = Some(lines);
        assert_eq!(
            first.as_deref(),
            Ok("ready"),
            "first line of stdout\n{}",
            self.logs()
        );
    }

    fn regent(&self) -> Command {
        match &self.options.program {
            Some(program) => command::program(program, self.home()),
            None => regent(self.home()),
        }
    }

    /// The command that starts `local` here.
    #[must_use]
    pub fn local_command(&self) -> Command {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.local_log());
        let mut command = self.regent();
        if self.options.failpoints {
            command = command::instrumented(self.home());
            command.env("REGENT_FAILPOINTS", failpoints::directory(self.home()));
        }
        command.arg("local").arg("--dir").arg(self.dir());
        command.args(["--jobmanagers", &self.options.jobmanagers.to_string()]);
        command.args(["--taskmanagers", &self.options.taskmanagers.to_string()]);
        command.args(["--slots", &self.options.slots.to_string()]);
        command.args(["--base-port", &self.base_port.to_string()]);
        command.args(["--restart", self.options.restart]);
        for (name, value) in &self.options.environment {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.expect("the log can be opened"));
        command
    }

    /// Directory of the test: job files, outputs, and the cluster's own directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The cluster's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.home().join("cluster")
    }

    /// First port.
    #[must_use]
    pub fn base_port(&self) -> u16 {
        self.base_port
    }

    fn local_log(&self) -> PathBuf {
        self.home().join("local.log")
    }

    /// `cluster.json`.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest::read(&self.dir()).expect("cluster.json is there")
    }

    /// One process of it.
    #[must_use]
    pub fn process(&self, name: &str) -> Entry {
        let manifest = self.manifest();
        manifest
            .process(name)
            .unwrap_or_else(|| panic!("{name} is in {manifest:?}"))
            .clone()
    }

    /// Pid of `local` itself.
    #[must_use]
    pub fn local_pid(&self) -> u32 {
        self.local.as_ref().expect("local runs").id()
    }

    /// Runs the binary against this cluster, as people would.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Outcome {
        self.cli_within(arguments, COMMAND_TIMEOUT, COMMAND_WITHIN)
    }

    /// The same with its own time-out, and a limit for the whole run.
    #[must_use]
    pub fn cli_within(&self, arguments: &[&str], timeout: &str, limit: Duration) -> Outcome {
        run(self.asking(arguments, timeout), limit)
    }

    fn asking(&self, arguments: &[&str], timeout: &str) -> Command {
        let mut command = self.regent();
        command.arg("--dir").arg(self.dir());
        let common = ["-o", "json", "--timeout", timeout];
        command.args(common).args(arguments);
        command
    }

    /// The same beside the test: for commands that are answered only after something else happened.
    #[must_use]
    pub fn cli_beside(&self, arguments: &[&str]) -> JoinHandle<Outcome> {
        self.cli_beside_within(arguments, PATIENT_TIMEOUT, PATIENT_WITHIN)
    }

    /// The same with its own time-out and limit.
    #[must_use]
    pub fn cli_beside_within(
        &self,
        arguments: &[&str],
        timeout: &str,
        limit: Duration,
    ) -> JoinHandle<Outcome> {
        let command = self.asking(arguments, timeout);
        std::thread::spawn(move || run(command, limit))
    }

    /// The document that a command prints.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.cli(arguments).json()
    }

    /// Name of the leader; `None` while nobody leads, or while nobody answers: a process that was just
    /// started has an id before it listens.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        let shown = self.cli(&["leader", "show"]);
        if shown.code == Some(NO_MAJORITY) {
            return None;
        }
        shown.json()["leader"]["name"].as_str().map(str::to_owned)
    }

    /// Name of the leader, waited for.
    #[must_use]
    pub fn wait_for_leader(&self) -> String {
        wait_until(Duration::from_secs(20), "a leader", || self.leader())
    }

    /// Waits until every replica answers and none trails by more than `most` entries.
    pub fn wait_until_caught_up(&self, most: u64) {
        let caught_up = || {
            let shown = self.json(&["leader", "show"]);
            let replicas = shown["replicas"].as_array()?.clone();
            let near = |r: &Value| r["trails_by"].as_u64().is_some_and(|behind| behind <= most);
            let all = replicas.len() == self.options.jobmanagers as usize;
            (all && shown["leader"].is_object() && replicas.iter().all(near)).then_some(())
        };
        wait_until(Duration::from_secs(30), "all replicas caught up", caught_up);
    }

    /// Waits until `count` workers are registered.
    pub fn wait_for_workers(&self, count: usize) {
        let registered = || {
            let workers = self.json(&["worker", "list"]);
            let workers = workers.as_array()?;
            let ready = workers
                .iter()
                .filter(|worker| worker["state"] == "registered");
            (ready.count() >= count).then_some(())
        };
        wait_until(Duration::from_secs(30), "registered workers", registered);
    }

    /// Kills a process of the cluster with SIGKILL, and waits until it is gone. Its pid.
    pub fn kill(&self, name: &str) -> u32 {
        let pid = self.signal(name, Signal::SIGKILL);
        let mark = self.dir().display().to_string();
        let gone = || (!signals::is_running(pid, &mark)).then_some(());
        wait_until(Duration::from_secs(5), "the killed process is gone", gone);
        pid
    }

    /// Sends a signal to a process of the cluster. Its pid.
    ///
    /// # Panics
    /// If it doesn't run.
    pub fn signal(&self, name: &str, signal: Signal) -> u32 {
        let running = || self.process(name).pid;
        let pid = wait_until(Duration::from_secs(10), &format!("{name} runs"), running);
        let mark = self.dir().display().to_string();
        assert!(
            signals::send(pid, &mark, signal),
            "{name} (pid {pid}) isn't there"
        );
        pid
    }

    /// Stops a process of the cluster where it stands; SIGCONT lets it go on.
    ///
    /// # Panics
    /// If it doesn't run.
    pub fn freeze(&self, name: &str) {
        let pid = self.process(name).pid;
        let pid = pid.unwrap_or_else(|| panic!("{name} doesn't run"));
        signals::freeze(pid, &self.dir().display().to_string());
    }

    /// Waits until a process runs again under another pid.
    #[must_use]
    pub fn wait_for_new_pid(&self, name: &str, old: u32) -> u32 {
        let what = format!("{name} runs again");
        wait_until(Duration::from_secs(20), &what, || {
            self.process(name).pid.filter(|pid| *pid != old)
        })
    }

    /// Stops `local` with this signal and checks that it keeps the contract: 15 s, exit 0, nothing on
    /// stdout but `ready`, nothing left.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn stop_with(&mut self, signal: Signal) {
        let mut child = self.local.take().expect("local runs");
        assert!(
            signals::send(child.id(), "local", signal),
            "local isn't there"
        );
        let status = wait_for(&mut child, STOP_WITHIN);
        if status.is_none() {
            kill(&mut child);
        }
        let code = status.and_then(|status| status.code());
        assert_eq!(
            code,
            Some(0),
            "exit code of local after {signal}\n{}",
            self.logs()
        );
        let more: Vec<String> = self
            .stdout
            .take()
            .into_iter()
            .flat_map(|out| drain(&out))
            .collect();
        assert!(more.is_empty(), "stdout after `ready`: {more:?}");
        self.nothing_is_left(Duration::from_secs(1));
    }

    /// Stops `local` with SIGTERM; see [`Cluster::stop_with`].
    pub fn stop(&mut self) {
        self.stop_with(Signal::SIGTERM);
    }

    /// Kills `local` itself with SIGKILL.
    pub fn kill_local(&mut self) {
        let mut child = self.local.take().expect("local runs");
        kill(&mut child);
    }

    /// Whether `local` still runs.
    #[must_use]
    pub fn local_runs(&mut self) -> bool {
        let child = self.local.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until no process of this cluster is left.
    ///
    /// # Panics
    /// If one is.
    pub fn nothing_is_left(&self, limit: Duration) {
        let mark = self.dir().display().to_string();
        let gone = poll(limit, || signals::running(&mark).is_empty().then_some(()));
        assert!(gone.is_some(), "left: {:?}", signals::running(&mark));
    }

    /// The last lines of every log, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = std::fs::read_dir(self.dir().join("logs"))
            .into_iter()
            .flatten()
            .flatten();
        let mut paths: Vec<PathBuf> = logs.map(|entry| entry.path()).collect();
        paths.sort();
        paths.push(self.local_log());
        let tails = paths
            .iter()
            .map(|path| format!("== {}\n{}\n", path.display(), tail(path)));
        tails.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        for child in self.local.iter_mut().chain(&mut self.by_hand) {
            kill(child);
        }
        // Children end by themselves when `local` is gone; those that are stopped can't.
        let mark = self.dir().display().to_string();
        let gone = || signals::running(&mark).is_empty().then_some(());
        if poll(Duration::from_secs(3), gone).is_none() {
            for pid in signals::running(&mark) {
                signals::send(pid, &mark, Signal::SIGKILL);
            }
        }
    }
}

fn drain(lines: &Receiver<String>) -> Vec<String> {
    std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(1)).ok()).collect()
}

/// Runs any verb of the binary without a cluster, in a folder.
#[must_use]
pub fn alone(folder: &Path, arguments: &[&str], limit: Duration) -> Outcome {
    let mut command = regent(folder);
    command.args(arguments);
    command::run(command, limit)
}
