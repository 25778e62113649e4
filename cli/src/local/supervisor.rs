//! Children of `local`: started, reaped, started again, and stopped within a bound.
//!
//! Each child holds the read end of a pipe of its own; when this process is gone, the pipe ends and so do
//! they. Each is in a process group of its own, so that Ctrl-C reaches the supervisor alone and the order
//! of stopping is its.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::death;
use super::environment;
use super::manifest::ManifestFile;
use super::plan::{Plan, Process};
use crate::output;
use crate::settings::Role;

/// Before a process that ended by itself starts again.
const RESTART_DELAY: Duration = Duration::from_secs(2);
/// What each step of stopping may take; three steps stay below the 15 s that were promised.
const STOP_STEP: Duration = Duration::from_secs(4);

/// How far stopping has come. Later steps include the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Run,
    StopJobManagers,
    StopAll,
    Kill,
}

/// The running children.
#[derive(Debug)]
pub(super) struct Supervisor {
    step: watch::Sender<Step>,
    jobmanagers: JoinSet<()>,
    taskmanagers: JoinSet<()>,
}

/// What the task of one child needs.
#[derive(Debug)]
struct Ward {
    process: Process,
    manifest: Arc<ManifestFile>,
    /// Variables that it is started without.
    without: Vec<OsString>,
    /// Whom deaths of workers are reported to.
    endpoints: Arc<Vec<String>>,
    restart: bool,
    step: watch::Receiver<Step>,
}

impl Supervisor {
    /// Starts every process of the plan.
    pub(super) fn start(plan: &Plan, manifest: ManifestFile, restart: bool) -> Self {
        let (step, receiver) = watch::channel(Step::Run);
        let manifest = Arc::new(manifest);
        let endpoints = Arc::new(plan.endpoints());
        let mut supervisor = Self {
            step,
            jobmanagers: JoinSet::new(),
            taskmanagers: JoinSet::new(),
        };
        for process in &plan.processes {
            let ward = Ward {
                process: process.clone(),
                manifest: Arc::clone(&manifest),
                without: environment::without(plan, process.role, std::env::vars_os()),
                endpoints: Arc::clone(&endpoints),
                restart,
                step: receiver.clone(),
            };
            match process.role {
                Role::JobManager => supervisor.jobmanagers.spawn(look_after(ward)),
                Role::TaskManager => supervisor.taskmanagers.spawn(look_after(ward)),
            };
        }
        supervisor
    }

    /// Stops all children, JobManagers first: nobody is then left to count the workers' going as losses.
    pub(super) async fn stop(mut self) {
        self.step.send_replace(Step::StopJobManagers);
        let _ = timeout(STOP_STEP, drain(&mut self.jobmanagers)).await;
        for step in [Step::StopAll, Step::Kill] {
            self.step.send_replace(step);
            let all = async {
                drain(&mut self.jobmanagers).await;
                drain(&mut self.taskmanagers).await;
            };
            if timeout(STOP_STEP, all).await.is_ok() {
                return;
            }
        }
        output::note("a process didn't end even when it was killed; see cluster.json for its pid");
    }
}

async fn drain(children: &mut JoinSet<()>) {
    while children.join_next().await.is_some() {}
}

/// Runs one process until it is to stop, or has ended and isn't to be started again.
async fn look_after(mut ward: Ward) {
    loop {
        match spawn(&ward.process, &ward.without) {
            Ok((child, pipe)) => {
                let name = ward.process.name.clone();
                ward.manifest.set(&name, child.id());
                let status = ward.attend(child).await;
                drop(pipe);
                ward.manifest.set(&name, None);
                if ward.is_to_stop() {
                    return;
                }
                ward.mourn(status);
            }
            Err(error) => output::note(&format!("{} can't be started: {error}", ward.process.name)),
        }
        if !ward.restart {
            return;
        }
        tokio::select! {
            () = sleep(RESTART_DELAY) => {}
            () = ward.told_to_stop() => return,
        }
    }
}

impl Ward {
    fn is_to_stop(&self) -> bool {
        let mine = match self.process.role {
            Role::JobManager => Step::StopJobManagers,
            Role::TaskManager => Step::StopAll,
        };
        *self.step.borrow() >= mine
    }

    async fn told_to_stop(&mut self) {
        while !self.is_to_stop() {
            if self.step.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for the child's end, passing on what the supervisor wants.
    async fn attend(&mut self, mut child: Child) -> std::io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                changed = self.step.changed() => {
                    let step = *self.step.borrow_and_update();
                    if step == Step::Kill || changed.is_err() {
                        child.kill().await?;
                    } else if self.is_to_stop() {
                        signal(&child, Signal::SIGTERM);
                    }
                }
            }
        }
    }

    /// Says that the child ended by itself and, of a worker, tells the leader that it is dead for sure.
    fn mourn(&self, status: std::io::Result<ExitStatus>) {
        let name = &self.process.name;
        let how = status.map_or_else(|e| e.to_string(), describe);
        let next = if self.restart {
            "starting it again in 2s"
        } else {
            "it stays down"
        };
        let log = self.process.log.display();
        output::note(&format!("{name} ended ({how}), {next}; see {log}"));
        if self.process.role == Role::TaskManager {
            // Read now: the next start makes a new incarnation.
            let incarnation = death::incarnation(&self.process.data_dir);
            tokio::spawn(death::report(
                Arc::clone(&self.endpoints),
                name.clone(),
                incarnation,
            ));
        }
    }
}

/// Starts the process, without some variables of this one's environment. Its stdin ends when the answered
/// pipe is dropped or this process is gone.
fn spawn(
    process: &Process,
    without: &[OsString],
) -> std::io::Result<(Child, tokio::process::ChildStdin)> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&process.log)?;
    let (program, arguments) = process
        .command
        .split_first()
        .ok_or_else(|| std::io::Error::other("no command"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--parent-pipe")
        .envs(environment::more(process.role));
    for variable in without {
        command.env_remove(variable);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    // Taken out, since waiting for the child would close it.
    let pipe = child
        .stdin
        .take()
        .ok_or_else(|| std::io::Error::other("no pipe to the child"))?;
    Ok((child, pipe))
}

fn signal(child: &Child, signal: Signal) {
    // A child that isn't reaped yet keeps its pid, so this can't reach a stranger.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => Signal::try_from(number)
            .map_or_else(|_| format!("signal {number}"), |s| s.as_str().to_owned()),
        (None, None) => "for no known reason".to_owned(),
    }
}
