//! Fills the table in: from this replica's own account, the applied state, and what a leader sees.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regent_ha::{Status, Takeover};
use regent_protocol::metrics::{Page, escaped};
use regent_security::RenewalStatus;
use regent_state::Machine;
use regent_state::model::{ArtefactState, Job, JobState};

use super::{Counters, TABLE};
use crate::api::documents;
use crate::leader::seen::Phase;
use crate::node::{Node, wall_ms};

/// Jobs that have series of their own: the youngest ones. A page must stay small.
const JOBS_MAX: usize = 1_000;

/// The answer of `/metrics`.
pub(crate) fn render(node: &Node) -> String {
    let mut page = Page::new(TABLE);
    let view = node.replica.stale();
    raft(&mut page, &node.replica.status());
    leadership(&mut page, node);
    disk(&mut page, node);
    tls(&mut page, &node.security.renewal());
    state(&mut page, &view.machine);
    cleanup(&mut page, &view.machine, wall_ms());
    process(&mut page, &node.counters);
    workers(&mut page, node, &view.machine);
    jobs(&mut page, &view.machine, wall_ms());
    page.finish()
}

fn raft(page: &mut Page, status: &Status) {
    page.family("regent_raft_role");
    for role in ["leader", "follower", "candidate", "learner", "down"] {
        let is = u8::from(status.role.to_string() == role);
        page.sample(&format!("role=\"{role}\""), is);
    }
    let last = status.last_log_index.unwrap_or(0);
    let committed = status.committed_index.unwrap_or(0);
    page.single("regent_raft_term", status.term);
    page.single("regent_raft_elections_total", status.elections);
    page.single("regent_raft_last_log_index", last);
    page.single("regent_raft_committed_index", committed);
    page.single("regent_raft_applied_index", status.applied_index);
    page.single(
        "regent_raft_apply_lag_entries",
        committed.saturating_sub(status.applied_index),
    );
    let name = |node_id: u64| {
        let member = status.members.iter().find(|m| m.node_id == node_id);
        let name = member.map_or_else(|| node_id.to_string(), |m| m.node.name.clone());
        format!("peer=\"{}\"", escaped(&name))
    };
    page.family("regent_raft_peer_lag_entries");
    for peer in &status.peers {
        let holds = peer.matched_index.unwrap_or(0);
        page.sample(&name(peer.node_id), last.saturating_sub(holds));
    }
    page.family("regent_raft_peer_silence_seconds");
    for peer in &status.peers {
        if let Some(ms) = peer.last_contact_ms {
            page.sample(&name(peer.node_id), seconds(ms));
        }
    }
    let leads = status
        .leader
        .as_ref()
        .is_some_and(|l| l.node_id == status.node_id);
    if let Some(ms) = status.leader_heard_ms.or(leads.then_some(0)) {
        page.single(
            "regent_raft_leader_silence_seconds",
            if leads { 0.0 } else { seconds(ms) },
        );
    }
    page.single("regent_raft_voters", status.voters.len());
}

fn tls(page: &mut Page, renewal: &RenewalStatus) {
    if let Some(validity) = renewal.validity {
        page.single("regent_tls_certificate_ends_seconds", validity.until_s);
    }
    page.single("regent_tls_renewals_total", renewal.renewed);
    page.single(
        "regent_tls_files_refused",
        u8::from(renewal.refused.is_some()),
    );
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn leadership(page: &mut Page, node: &Node) {
    let status = node.replica.status();
    page.single("regent_leader_serving", u8::from(node.ruling().is_some()));
    let meta = node
        .replica
        .stale()
        .machine
        .meta()
        .map_or(0, |meta| meta.reign);
    page.single("regent_reigns_total", meta);
    page.single("regent_takeovers_total", node.counters.reigns.get());
    let counts = status.failovers;
    page.single("regent_failovers_tried_total", counts.tried);
    page.single("regent_failovers_fired_total", counts.fired);
    page.single("regent_failovers_lost_total", counts.lost);
    page.single("regent_failovers_not_needed_total", counts.not_needed);
    if let Some(moments) = status.takeover {
        takeover(page, moments);
    }
    let proposals = node.replica.proposal_latencies();
    page.latencies("regent_proposal_seconds", &proposals.counts, proposals.sum);
    let diverged = u8::from(status.divergence.is_some());
    page.single("regent_disk_stalled", u8::from(node.replica.is_stalled()));
    page.single(
        "regent_clock_skew_milliseconds",
        node.replica.clock_skew_ms(),
    );
    page.single("regent_state_diverged", diverged);
}

/// The steps of the latest takeover by this process, as Unix times.
fn takeover(page: &mut Page, moments: Takeover) {
    page.family("regent_takeover_timestamp_seconds");
    let steps = [
        ("detected", moments.detected),
        ("elected", Some(moments.elected)),
        ("announced", Some(moments.announced)),
    ];
    for (step, at) in steps {
        if let Some(at) = at {
            page.sample(&format!("step=\"{step}\""), unix_seconds(at));
        }
    }
}

/// Microseconds are shown; a float has no room for more.
fn unix_seconds(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", since.as_secs(), since.subsec_micros())
}

fn disk(page: &mut Page, node: &Node) {
    let log = node.replica.log_metrics();
    page.latencies("regent_log_sync_seconds", &log.syncs.counts, log.syncs.sum);
    page.single("regent_log_bytes", log.bytes_on_disk);
    page.single("regent_log_queued_bytes", log.queued_bytes);
    let age = log
        .outstanding_since
        .map(|since| since.elapsed().as_secs_f64());
    page.single("regent_log_outstanding_seconds", age.unwrap_or(0.0));
    page.single("regent_log_disk_full", u8::from(log.disk_full));
    page.single("regent_log_failed", u8::from(log.poisoned));
    if let Some(at_ms) = node.replica.snapshot_written_ms() {
        let age_ms = wall_ms().saturating_sub(at_ms);
        page.single("regent_snapshot_age_seconds", seconds(age_ms));
    }
    let covers = node.replica.status().snapshot_index.unwrap_or(0);
    page.single("regent_snapshot_index", covers);
}

fn state(page: &mut Page, machine: &Machine) {
    let mut states: BTreeMap<JobState, u64> = BTreeMap::new();
    let (mut adoptions, mut restarts) = (0_u64, 0_u64);
    for job in machine.jobs() {
        *states.entry(job.state).or_default() += 1;
        adoptions += job.adoptions;
        restarts += job.restarts;
    }
    let of = |state: JobState| states.get(&state).copied().unwrap_or(0);
    page.family("regent_jobs");
    for state in JobState::ALL {
        page.sample(&format!("state=\"{state}\""), of(state));
    }
    let idle = machine
        .active_jobs()
        .filter(|job| job.state != JobState::Running);
    page.single("regent_jobs_not_running", idle.count());
    page.single("regent_jobs_dirty", machine.dirty_jobs().count());
    page.single("regent_job_adoptions", adoptions);
    page.single("regent_job_restarts", restarts);
    page.single("regent_jobmanager_numRunningJobs", of(JobState::Running));
}

/// What is left to remove, and since when.
fn cleanup(page: &mut Page, machine: &Machine, wall_ms: u64) {
    let undone = machine.artefacts().filter(|one| one.state.is_undone());
    let (mut dirty, mut oldest_ms) = (0_u64, None);
    for artefact in undone {
        dirty += u64::from(artefact.state == ArtefactState::Dirty);
        oldest_ms = oldest_ms.into_iter().chain(artefact.given_up_ms).min();
    }
    let age_s = oldest_ms.map_or(0, |since_ms: u64| wall_ms.saturating_sub(since_ms) / 1_000);
    page.single("regent_cleanup_pending", machine.cleanup_backlog());
    page.single("regent_cleanup_dirty", dirty);
    page.single("regent_cleanup_oldest_age_seconds", age_s);
}

fn process(page: &mut Page, counters: &Counters) {
    for (name, counter) in [
        (
            "regent_checkpoints_completed_total",
            &counters.checkpoints_completed,
        ),
        (
            "regent_checkpoints_failed_total",
            &counters.checkpoints_failed,
        ),
        ("regent_cleanup_attempts_total", &counters.cleanup_attempts),
    ] {
        page.single(name, counter.get());
    }
    let failures = counters.cleanup_failures.by_kind();
    let all: u64 = failures.map(|(_, count)| count).sum();
    page.single("regent_cleanup_retries_total", all);
    page.family("regent_cleanup_failures_total");
    for (kind, count) in counters.cleanup_failures.by_kind() {
        page.sample(&format!("kind=\"{}\"", kind.name()), count);
    }
}

fn workers(page: &mut Page, node: &Node, machine: &Machine) {
    let Some(rule) = node.ruling() else { return };
    let seen = rule.hub.seen();
    let present = seen
        .workers
        .values()
        .filter(|worker| worker.present())
        .count();
    page.single("regent_jobmanager_numRegisteredTaskManagers", present);
    let tasks = seen.workers.values().flat_map(|worker| {
        let attempts = worker.tasks.values();
        attempts.flat_map(BTreeMap::values)
    });
    let stuck = tasks.filter(|phase| matches!(phase, Phase::Stuck { .. }));
    page.single("regent_tasks_stuck", stuck.count());
    let (all, free) = documents::slots(machine, &seen).totals();
    page.single("regent_jobmanager_taskSlotsTotal", all);
    page.single("regent_jobmanager_taskSlotsAvailable", free);
    let foreign = u8::from(rule.ownership.refusal().is_some());
    page.single("regent_storage_foreign", foreign);
}

fn jobs(page: &mut Page, machine: &Machine, wall_ms: u64) {
    type Number = fn(&Job, u64) -> Option<u64>;
    let columns: [(&str, Number); 8] = [
        ("numRestarts", |job, _| Some(job.restarts)),
        ("uptime", |job, now| {
            job.started_ms.map(|at| now.saturating_sub(at))
        }),
        ("numberOfCompletedCheckpoints", |job, _| {
            Some(job.checkpoints.completed)
        }),
        ("numberOfFailedCheckpoints", |job, _| {
            Some(job.checkpoints.failed)
        }),
        ("numberOfInProgressCheckpoints", |job, _| {
            Some(u64::from(job.pending.is_some()))
        }),
        ("lastCompletedCheckpointId", |job, _| {
            job.latest.as_ref().map(|c| c.id.0)
        }),
        ("lastCheckpointDuration", |job, _| {
            job.latest.as_ref().map(|c| c.duration_ms)
        }),
        ("lastCheckpointSize", |job, _| {
            job.latest.as_ref().map(|c| c.size_bytes)
        }),
    ];
    let mut active: Vec<_> = machine.active_jobs().collect();
    active.sort_by_key(|job| std::cmp::Reverse(job.run));
    active.truncate(JOBS_MAX);
    let age: (&str, Number) = ("lastCheckpointAge", |job, now| {
        job.latest
            .as_ref()
            .map(|c| now.saturating_sub(c.completed_at_ms))
    });
    for (column, number) in columns.into_iter().chain([age]) {
        page.family(&format!("regent_jobmanager_job_{column}"));
        for job in &active {
            if let Some(value) = number(job, wall_ms) {
                let labels = format!("job_id=\"{}\",job_name=\"{}\"", job.id, escaped(&job.name));
                page.sample(&labels, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleaner::plan::FailureKind;
    use crate::testing::*;
    use regent_state::command::CheckpointKind;

    #[test]
    fn jobs_have_flinks_names_and_every_state_its_line() {
        let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
        env.run(&[tm(1, 1)]);
        env.checkpoint(CheckpointKind::Checkpoint, false);
        let mut page = Page::new(TABLE);
        state(&mut page, &env.machine);
        jobs(&mut page, &env.machine, 0);
        let counters = Counters::default();
        counters.checkpoints_failed.add(2);
        counters.cleanup_failures.add(FailureKind::Denied);
        cleanup(&mut page, &env.machine, 5_000);
        process(&mut page, &counters);
        let moment = |micros| UNIX_EPOCH + Duration::from_micros(micros);
        takeover(
            &mut page,
            Takeover {
                detected: None,
                elected: moment(5_000_001),
                announced: moment(5_002_000),
            },
        );
        let text = page.finish();
        let job = format!("job_id=\"{JOB}\",job_name=\"test\"");
        for line in [
            "regent_jobs{state=\"RUNNING\"} 1\n".to_owned(),
            "regent_jobs{state=\"FAILED\"} 0\n".to_owned(),
            "regent_jobs_not_running 0\n".to_owned(),
            "regent_cleanup_dirty 0\n".to_owned(),
            "regent_takeover_timestamp_seconds{step=\"elected\"} 5.000001\n".to_owned(),
            "# TYPE regent_checkpoints_failed_total counter\n".to_owned(),
            "regent_checkpoints_failed_total 2\n".to_owned(),
            "regent_cleanup_oldest_age_seconds 0\n".to_owned(),
            "regent_cleanup_failures_total{kind=\"denied\"} 1\n".to_owned(),
            "regent_cleanup_failures_total{kind=\"timeout\"} 0\n".to_owned(),
            "regent_cleanup_retries_total 1\n".to_owned(),
            format!("regent_jobmanager_job_numberOfCompletedCheckpoints{{{job}}} 1\n"),
            format!("regent_jobmanager_job_lastCompletedCheckpointId{{{job}}} 1\n"),
        ] {
            assert!(text.contains(&line), "{line} in\n{text}");
        }
    }
}
