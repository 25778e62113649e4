//! Signals to processes by pid, and whether a pid still is the process that was meant: a pid is used
//! only together with a piece of its command line.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal to the process if its command line contains `mark`. False: there is none such.
pub fn send(pid: u32, mark: &str, signal: Signal) -> bool {
    let Ok(raw) = i32::try_from(pid) else {
        return false;
    };
    raw > 1 && is_running(pid, mark) && kill(Pid::from_raw(raw), signal).is_ok()
}

/// Whether a process of this pid runs (isn't a zombie) and has `mark` in its command line.
#[must_use]
pub fn is_running(pid: u32, mark: &str) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command).contains(mark)
}

/// Pids of all running processes that have `mark` in their command line.
#[must_use]
pub fn running(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && is_running(*pid, mark))
        .collect()
}
