//! Counters of this process, and the Prometheus text that `/metrics` answers with.
//!
//! Gauges are read from the applied state when asked; counters start at 0 with each process, as
//! Prometheus expects.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use regent_ha::{FailoverCounts, Status, Takeover};
use regent_state::Machine;
use regent_state::model::{ArtefactState, JobState};

use crate::node::Node;

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What this process has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Reigns begun here.
    pub(crate) reigns: Counter,
    /// Checkpoints completed under this process's leadership.
    pub(crate) checkpoints_completed: Counter,
    /// Checkpoints declined, timed out or not written.
    pub(crate) checkpoints_failed: Counter,
    /// Deletions that failed and are tried again.
    pub(crate) cleanup_retries: Counter,
}

/// Prometheus text.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }
}

/// The answer of `/metrics`.
pub(crate) fn render(node: &Node) -> String {
    let mut text = Text::default();
    replica(&mut text, node);
    state(&mut text, &node.replica.stale().machine);
    process(&mut text, &node.counters);
    if let Some(rule) = node.ruling() {
        let seen = rule.hub.seen();
        let present = seen
            .workers
            .values()
            .filter(|worker| worker.present())
            .count();
        let help = "Workers with an open session; on the leader only.";
        text.single("regent_workers_registered", "gauge", help, present);
    }
    text.0
}

fn replica(text: &mut Text, node: &Node) {
    let status = node.replica.status();
    text.head("regent_raft_role", "gauge", "1 for what this replica is.");
    for role in ["leader", "follower", "candidate", "learner", "down"] {
        let is = u8::from(status.role.to_string() == role);
        text.line("regent_raft_role", &format!("{{role=\"{role}\"}}"), is);
    }
    text.single("regent_raft_term", "gauge", "Raft term.", status.term);
    let applied = status.applied_index;
    text.single(
        "regent_raft_applied_index",
        "gauge",
        "Last applied log index.",
        applied,
    );
    let last = status.last_log_index.unwrap_or(0);
    text.single(
        "regent_raft_last_log_index",
        "gauge",
        "Last log index.",
        last,
    );
    let serving = u8::from(node.ruling().is_some());
    text.single(
        "regent_leader_serving",
        "gauge",
        "1 while this replica serves as leader.",
        serving,
    );
    failovers(text, &status.failovers);
    if let Some(moments) = status.takeover {
        takeover(text, moments);
    }
    alarms(text, node, &status);
}

/// What should be 0, always.
fn alarms(text: &mut Text, node: &Node, status: &Status) {
    let diverged = u8::from(status.divergence.is_some());
    let table = [
        (
            "regent_disk_stalled",
            "1 while writes to the log hang or entries are not applied.",
            u64::from(node.replica.is_stalled()),
        ),
        (
            "regent_state_diverged",
            "1 once another replica held another state after the same entry.",
            u64::from(diverged),
        ),
        (
            "regent_clock_skew_milliseconds",
            "Largest difference to another replica's wall clock.",
            node.replica.clock_skew_ms(),
        ),
    ];
    for (name, help, value) in table {
        text.single(name, "gauge", help, value);
    }
}

fn failovers(text: &mut Text, counts: &FailoverCounts) {
    let table = [
        (
            "tried",
            "Hard signs of the leader's death acted on.",
            counts.tried,
        ),
        ("fired", "Fast failovers stood for.", counts.fired),
        (
            "lost",
            "Deaths after which this replica stood and didn't win.",
            counts.lost,
        ),
        (
            "not_needed",
            "Deaths after which this replica didn't have to stand.",
            counts.not_needed,
        ),
    ];
    for (name, help, count) in table {
        let name = format!("regent_failovers_{name}_total");
        text.single(&name, "counter", help, count);
    }
}

/// The steps of the latest takeover by this process, as Unix times.
fn takeover(text: &mut Text, moments: Takeover) {
    let name = "regent_takeover_timestamp_seconds";
    text.head(
        name,
        "gauge",
        "When the latest takeover by this process reached each step.",
    );
    let steps = [
        ("detected", moments.detected),
        ("elected", Some(moments.elected)),
        ("announced", Some(moments.announced)),
    ];
    for (step, at) in steps {
        if let Some(at) = at {
            text.line(name, &format!("{{step=\"{step}\"}}"), unix_seconds(at));
        }
    }
}

/// Microseconds are shown; a float has no room for more.
fn unix_seconds(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", since.as_secs(), since.subsec_micros())
}

fn state(text: &mut Text, machine: &Machine) {
    let mut jobs: BTreeMap<JobState, u64> = BTreeMap::new();
    let (mut adoptions, mut restarts) = (0_u64, 0_u64);
    for job in machine.jobs() {
        *jobs.entry(job.state).or_default() += 1;
        adoptions += job.adoptions;
        restarts += job.restarts;
    }
    text.head("regent_jobs", "gauge", "Jobs by state.");
    for state in JobState::ALL {
        let count = jobs.get(&state).copied().unwrap_or(0);
        text.line("regent_jobs", &format!("{{state=\"{state}\"}}"), count);
    }
    let count = |wanted: fn(ArtefactState) -> bool| {
        machine
            .artefacts()
            .filter(|artefact| wanted(artefact.state))
            .count()
    };
    let pending = count(ArtefactState::is_due_work);
    text.single(
        "regent_cleanup_pending",
        "gauge",
        "Artefacts still to be removed.",
        pending,
    );
    let dirty = count(|state| state == ArtefactState::Dirty);
    text.single(
        "regent_cleanup_dirty",
        "gauge",
        "Artefacts whose retries are used up.",
        dirty,
    );
    let dirty_jobs = machine.dirty_jobs().count();
    text.single(
        "regent_jobs_dirty",
        "gauge",
        "Ended jobs that are not clean.",
        dirty_jobs,
    );
    let takeovers = machine.meta().map_or(0, |meta| meta.reign);
    text.single(
        "regent_reigns_total",
        "counter",
        "Reigns of this cluster.",
        takeovers,
    );
    let help = "Attempts that takeovers kept, of all known jobs.";
    text.single("regent_job_adoptions", "gauge", help, adoptions);
    text.single(
        "regent_job_restarts",
        "gauge",
        "Restarts of all known jobs.",
        restarts,
    );
}

fn process(text: &mut Text, counters: &Counters) {
    let table = [
        (
            "regent_takeovers_total",
            "Reigns begun by this process.",
            &counters.reigns,
        ),
        (
            "regent_checkpoints_completed_total",
            "Checkpoints completed under this process.",
            &counters.checkpoints_completed,
        ),
        (
            "regent_checkpoints_failed_total",
            "Checkpoints declined, timed out or not written.",
            &counters.checkpoints_failed,
        ),
        (
            "regent_cleanup_retries_total",
            "Deletions that failed.",
            &counters.cleanup_retries,
        ),
    ];
    for (name, help, counter) in table {
        text.single(name, "counter", help, counter.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_the_contract_has_its_line() {
        let mut text = Text::default();
        state(&mut text, &Machine::new());
        assert!(
            text.0.contains("regent_jobs{state=\"RUNNING\"} 0\n"),
            "{}",
            text.0
        );
        assert!(text.0.contains("regent_cleanup_dirty 0\n"));
        let moment = |micros| UNIX_EPOCH + std::time::Duration::from_micros(micros);
        takeover(
            &mut text,
            Takeover {
                detected: None,
                elected: moment(5_000_001),
                announced: moment(5_002_000),
            },
        );
        let elected = "regent_takeover_timestamp_seconds{step=\"elected\"} 5.000001\n";
        assert!(text.0.contains(elected), "{}", text.0);
        assert!(!text.0.contains("detected"), "{}", text.0);
        let counters = Counters::default();
        counters.checkpoints_failed.add(2);
        process(&mut text, &counters);
        assert!(
            text.0
                .contains("# TYPE regent_checkpoints_failed_total counter\n")
        );
        assert!(text.0.contains("regent_checkpoints_failed_total 2\n"));
    }
}
