//! Where the demo plays: a temporary directory with data and job, and a `regent local` in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::local::{Manifest, free_base_port};
use crate::output;

/// The example job, as it is in `deploy/examples`; its relative paths lead to the files below.
pub(super) const JOB_FILE: &str =
    include_str!("../../../deploy/examples/jobs/flights-per-carrier.yaml");
const FLIGHTS: &str = "deploy/examples/data/flights";
const OUTPUT: &str = "out/flights-per-carrier";

/// January's flights, so that the demo runs from any directory.
const DATA: [(&str, &[u8]); 4] = [
    (
        "flights-2013-01-part1.csv",
        include_bytes!("../../../deploy/examples/data/flights/flights-2013-01-part1.csv"),
    ),
    (
        "flights-2013-01-part2.csv",
        include_bytes!("../../../deploy/examples/data/flights/flights-2013-01-part2.csv"),
    ),
    (
        "flights-2013-01-part3.csv",
        include_bytes!("../../../deploy/examples/data/flights/flights-2013-01-part3.csv"),
    ),
    (
        "flights-2013-01-part4.csv",
        include_bytes!("../../../deploy/examples/data/flights/flights-2013-01-part4.csv"),
    ),
];

/// `local` promises to be gone after 15 s.
const STOP_LIMIT: Duration = Duration::from_secs(16);
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The set stage. Dropping it ends the cluster, too: the pipe to `local` closes.
#[derive(Debug)]
pub(super) struct Stage {
    dir: TempDir,
    cluster: PathBuf,
    local: Mutex<Local>,
}

#[derive(Debug)]
struct Local {
    child: Child,
    /// Ends `local` when it closes.
    _pipe: Option<ChildStdin>,
}

impl Stage {
    /// Writes data and job, and starts the cluster (without waiting for it).
    pub(super) fn set() -> Result<Self, Failure> {
        let wrong = |e: std::io::Error| Failure::failed(format!("the demo can't be set up: {e}"));
        let dir = tempfile::Builder::new()
            .prefix("regent-demo-")
            .tempdir()
            .map_err(wrong)?;
        let flights = dir.path().join(FLIGHTS);
        std::fs::create_dir_all(&flights).map_err(wrong)?;
        for (name, bytes) in DATA {
            std::fs::write(flights.join(name), bytes).map_err(wrong)?;
        }
        let cluster = dir.path().join("cluster");
        let local = start_local(&cluster, dir.path()).map_err(wrong)??;
        Ok(Self {
            dir,
            cluster,
            local: Mutex::new(local),
        })
    }

    /// Waits for `local` to say that it is ready.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let mut local = self.local.lock().await;
        let stdout = local.child.stdout.take();
        let line = async {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                let _ = BufReader::new(stdout).read_line(&mut line).await;
            }
            line
        };
        let said = timeout(READY_LIMIT, line).await.unwrap_or_default();
        if said.trim() == "ready" {
            return Ok(());
        }
        let log = self.dir.path().join("local.log");
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("it says nothing").to_owned();
        Err(Failure::failed(format!("the cluster isn't ready: {last}")))
    }

    /// What relative paths of the job file start from.
    pub(super) fn working_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn input(&self) -> PathBuf {
        self.dir.path().join(FLIGHTS)
    }

    pub(super) fn output(&self) -> PathBuf {
        self.dir.path().join(OUTPUT)
    }

    /// The cluster's processes now.
    pub(super) fn manifest(&self) -> Result<Manifest, Failure> {
        Manifest::read(&self.cluster)
    }

    /// Sends SIGKILL to a process of the cluster by its pid; answers with the pid.
    pub(super) fn kill(&self, name: &str) -> Result<u32, Failure> {
        let pid = self
            .manifest()?
            .process(name)
            .and_then(|p| p.pid)
            .ok_or_else(|| {
                Failure::failed(format!("{name} isn't running, so it can't be killed"))
            })?;
        let raw = i32::try_from(pid)
            .map_err(|_| Failure::failed(format!("{name} has the odd pid {pid}")))?;
        kill(Pid::from_raw(raw), Signal::SIGKILL)
            .map_err(|e| Failure::failed(format!("{name} (pid {pid}) can't be killed: {e}")))?;
        Ok(pid)
    }

    /// Stops the cluster and removes the directory, or answers where it was left.
    pub(super) async fn strike(self, keep: bool) -> Option<PathBuf> {
        let mut local = self.local.into_inner();
        if let Some(raw) = local.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Not reaped yet, so the pid is still its own.
            let _ = kill(Pid::from_raw(raw), Signal::SIGTERM);
        }
        match timeout(STOP_LIMIT, local.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(_) => output::note("warning: the cluster didn't stop cleanly"),
            Err(_) => {
                output::note("warning: the cluster didn't stop in time and was killed");
                let _ = local.child.kill().await;
            }
        }
        keep.then(|| self.dir.keep())
    }
}

fn start_local(cluster: &Path, dir: &Path) -> std::io::Result<Result<Local, Failure>> {
    let port = match free_base_port() {
        Ok(port) => port,
        Err(failure) => return Ok(Err(failure)),
    };
    let log = std::fs::File::create(dir.join("local.log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["local", "--jobmanagers", "3", "--taskmanagers", "2"])
        .args(["--restart", "on-failure", "--parent-pipe"])
        .arg("--base-port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(cluster)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let pipe = child.stdin.take();
    Ok(Ok(Local { child, _pipe: pipe }))
}
