//! The processes of a `regent local` on this machine, and signals to them. A pid is used only together
//! with the command line that `cluster.json` names, so that no stranger is ever hit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::client::Endpoints;
use crate::failure::Failure;
use crate::local::Manifest;

const PAUSE: Duration = Duration::from_millis(50);

/// A local cluster.
#[derive(Debug, Clone)]
pub(super) struct Local {
    dir: PathBuf,
}

impl Local {
    /// The cluster that the endpoints were read from, if its processes are here.
    pub(super) fn find(endpoints: &Endpoints) -> Option<Self> {
        let file = Path::new(&endpoints.source);
        let is_manifest = file.file_name().is_some_and(|name| name == "cluster.json");
        let dir = file.parent().filter(|_| is_manifest)?;
        let dir = std::fs::canonicalize(dir).ok()?;
        let manifest = Manifest::read(&dir).ok()?;
        let here = manifest.processes.iter().any(|process| {
            process
                .pid
                .is_some_and(|pid| is_ours(pid, &process.command))
        });
        here.then_some(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the drill may write.
    pub(super) fn drills(&self) -> PathBuf {
        self.dir.join("drills")
    }

    pub(super) fn manifest(&self) -> Result<Manifest, Failure> {
        Manifest::read(&self.dir)
    }

    /// Names of all processes, JobManagers first.
    pub(super) fn names(&self) -> Result<Vec<(String, Option<u64>)>, Failure> {
        let processes = self.manifest()?.processes;
        Ok(processes.into_iter().map(|p| (p.name, p.node_id)).collect())
    }

    /// The pid of a process that runs.
    pub(super) fn pid(&self, name: &str) -> Result<u32, Failure> {
        let manifest = self.manifest()?;
        let process = manifest.process(name);
        let running = process.and_then(|p| p.pid.filter(|pid| is_ours(*pid, &p.command)));
        running.ok_or_else(|| Failure::failed(format!("{name} isn't running on this machine")))
    }

    /// Sends a signal; answers the pid.
    pub(super) fn signal(&self, name: &str, signal: Signal) -> Result<u32, Failure> {
        let pid = self.pid(name)?;
        let raw = i32::try_from(pid)
            .map_err(|_| Failure::failed(format!("{name} has the odd pid {pid}")))?;
        kill(Pid::from_raw(raw), signal)
            .map_err(|e| Failure::failed(format!("{name} (pid {pid}) gets no {signal}: {e}")))?;
        Ok(pid)
    }

    /// Freezes a process until the answer is dropped, whatever happens meanwhile.
    pub(super) fn freeze(&self, name: &str) -> Result<Frozen, Failure> {
        let pid = self.signal(name, Signal::SIGSTOP)?;
        Ok(Frozen {
            local: self.clone(),
            name: name.to_owned(),
            pid,
        })
    }

    /// Waits until every process runs, `gone` under another pid.
    pub(super) async fn all_run(
        &self,
        gone: &[(String, u32)],
        limit: Duration,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let missing = self.missing(gone)?;
            let Some(name) = missing else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(Failure::failed(format!(
                    "{name} didn't come back within {} s; was the cluster started with --restart never? \
                     Its command in cluster.json starts it by hand",
                    limit.as_secs()
                )));
            }
            sleep(PAUSE).await;
        }
    }

    fn missing(&self, gone: &[(String, u32)]) -> Result<Option<String>, Failure> {
        let manifest = self.manifest()?;
        let runs = |name: &str, pid: u32| !gone.iter().any(|(n, p)| n == name && *p == pid);
        let missing = manifest.processes.iter().find(|process| {
            let pid = process.pid.filter(|pid| is_ours(*pid, &process.command));
            !pid.is_some_and(|pid| runs(&process.name, pid))
        });
        Ok(missing.map(|process| process.name.clone()))
    }
}

/// A process that is frozen until this is dropped.
#[derive(Debug)]
pub(super) struct Frozen {
    local: Local,
    name: String,
    pub(super) pid: u32,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(failure) = self.local.signal(&self.name, Signal::SIGCONT) {
            crate::output::note(&format!(
                "{} could not be thawed ({}); do: kill -CONT {}",
                self.name, failure.message, self.pid
            ));
        }
    }
}

/// Whether the process runs with the configuration that its command names.
fn is_ours(pid: u32, command: &[String]) -> bool {
    let Some(config) = command.last() else {
        return false;
    };
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.any(|word| word == config.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_that_command_line_is_meant() {
        let own = std::fs::read("/proc/self/cmdline").unwrap();
        let last = own
            .split(|byte| *byte == 0)
            .rev()
            .nth(1)
            .unwrap_or_default();
        let last = String::from_utf8_lossy(last).into_owned();
        assert!(is_ours(std::process::id(), &["x".to_owned(), last]));
        assert!(!is_ours(
            std::process::id(),
            &["/no/such/config.yaml".to_owned()]
        ));
        assert!(!is_ours(std::process::id(), &[]));
    }
}
