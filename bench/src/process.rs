//! Processes that a benchmark started: their output, memory, bytes written, and their end.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;

/// A child process. Ends with its owner, and also if this process is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command with its output in `log`. Call this on the main thread: the kernel ends the
    /// child when the thread that started it ends.
    pub(crate) fn start(
        command: &[String],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Outcome<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut all = vec![
            "setpriv".to_owned(),
            "--pdeathsig".into(),
            "KILL".into(),
            "--".into(),
        ];
        all.extend_from_slice(command);
        let child = Command::new(&all[0])
            .args(&all[1..])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| format!("{}: {error}", command[0]))?;
        Ok(Self { child })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; waits until it is gone.
    pub(crate) fn kill(&mut self) {
        kill(self.pid(), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }

    /// SIGKILL without waiting: the moment that a failover is measured from.
    pub(crate) fn strike(&self) {
        kill(self.pid(), Signal::SIGKILL).ok();
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        memory(self.id(), "VmRSS:")
    }

    /// Largest resident memory so far, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        peak_bytes(self.id())
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Bytes that it caused to be written to the disk so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.id())).unwrap_or_default();
        let bytes = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes:"));
        bytes.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Processor seconds used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The name may hold spaces; what follows its bracket doesn't.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

/// Largest resident memory of a process since it began or [`reset_peak`], in bytes.
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Lets the largest resident memory be counted from now.
pub(crate) fn reset_peak(pid: u32) {
    // Without the right to do it the peak is of the process's whole life, which is larger.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

/// Whether a program is installed.
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
