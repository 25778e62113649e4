//! Signals to processes by pid, and whether a pid still is the process that was meant: a pid is used
//! only together with a piece of its command line.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::pause;

/// From the signal to the last thread's standstill, on a busy machine.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(1);

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

/// Stops a process, and waits until every one of its threads stands still: one that is at work when the signal comes
/// goes on for a moment.
///
/// # Panics
/// If there is no such process, or it doesn't stop.
pub fn freeze(pid: u32, mark: &str) {
    assert!(send(pid, mark, Signal::SIGSTOP), "pid {pid} isn't there");
    let deadline = Instant::now() + STOPPED_WITHIN;
    while !is_stopped(pid) {
        assert!(Instant::now() < deadline, "pid {pid} doesn't stop");
        pause(LOOK_EVERY);
    }
}

fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = threads.into_iter().flatten().flatten();
    threads.all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which may hold anything.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.trim_start().starts_with('T')
    })
}

/// Pids of all running processes that have `mark` in their command line.
#[must_use]
pub fn running(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && is_running(*pid, mark))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_frozen_process_stands_still_until_it_is_thawed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("started");
        // Right after its start the command line may still be empty.
        let runs = || is_running(child.id(), "sleep").then_some(());
        crate::wait::wait_until(STOPPED_WITHIN, "the child runs", runs);
        freeze(child.id(), "sleep");
        assert!(is_stopped(child.id()));
        assert!(send(child.id(), "sleep", Signal::SIGCONT));
        let thawed = crate::wait::poll(STOPPED_WITHIN, || (!is_stopped(child.id())).then_some(()));
        crate::command::kill(&mut child);
        assert!(thawed.is_some());
    }
}
