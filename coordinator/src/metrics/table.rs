//! Every metric of a JobManager, in one table. `docs/metrics.md` is made from it.
//!
//! Where Flink has the same thing, it has Flink's name behind `regent_jobmanager_`: a dashboard made for
//! Flink's Prometheus reporter works once `flink_` is `regent_`.

use regent_protocol::metrics::Kind::{Counter, Gauge, Histogram};
use regent_protocol::metrics::{Metric, metric};

/// All of them, in the order of the page.
pub static TABLE: &[Metric] = &[
    metric(
        "regent_raft_role",
        Gauge,
        "role",
        "all",
        "1 for what this replica is.",
    ),
    metric("regent_raft_term", Gauge, "", "all", "Raft term."),
    metric(
        "regent_raft_elections_total",
        Counter,
        "",
        "all",
        "Terms begun since this process started.",
    ),
    metric(
        "regent_raft_last_log_index",
        Gauge,
        "",
        "all",
        "Index of the last log entry.",
    ),
    metric(
        "regent_raft_committed_index",
        Gauge,
        "",
        "all",
        "Index up to which a majority is known to hold the log.",
    ),
    metric(
        "regent_raft_applied_index",
        Gauge,
        "",
        "all",
        "Index of the last applied entry.",
    ),
    metric(
        "regent_raft_apply_lag_entries",
        Gauge,
        "",
        "all",
        "Committed entries that are not applied here yet.",
    ),
    metric(
        "regent_raft_peer_lag_entries",
        Gauge,
        "peer",
        "leader",
        "Entries that the peer is not known to hold.",
    ),
    metric(
        "regent_raft_peer_silence_seconds",
        Gauge,
        "peer",
        "leader",
        "Time since the peer last acknowledged anything.",
    ),
    metric(
        "regent_raft_leader_silence_seconds",
        Gauge,
        "",
        "all",
        "Time since a leader spoke to this replica; 0 on the leader.",
    ),
    metric(
        "regent_raft_voters",
        Gauge,
        "",
        "all",
        "Voters of the membership.",
    ),
    metric(
        "regent_tls_certificate_ends_seconds",
        Gauge,
        "",
        "all",
        "When the certificate in use ends, as a Unix time; absent without TLS.",
    ),
    metric(
        "regent_tls_renewals_total",
        Counter,
        "",
        "all",
        "Times that renewed certificates or tokens came into use since this process started.",
    ),
    metric(
        "regent_tls_files_refused",
        Gauge,
        "",
        "all",
        "1 while the files hold something that can't be used, so that what was read before stays in use.",
    ),
    metric(
        "regent_leader_serving",
        Gauge,
        "",
        "all",
        "1 while this replica serves as leader.",
    ),
    metric(
        "regent_reigns_total",
        Counter,
        "",
        "all",
        "Reigns of this cluster, over all its life.",
    ),
    metric(
        "regent_takeovers_total",
        Counter,
        "",
        "all",
        "Reigns begun by this process.",
    ),
    metric(
        "regent_takeover_timestamp_seconds",
        Gauge,
        "step",
        "all",
        "Unix time at which the latest takeover by this process reached each step: detected, elected, announced.",
    ),
    metric(
        "regent_failovers_tried_total",
        Counter,
        "",
        "all",
        "Hard signs of the leader's death that this replica acted on.",
    ),
    metric(
        "regent_failovers_fired_total",
        Counter,
        "",
        "all",
        "Elections that it stood for because of one.",
    ),
    metric(
        "regent_failovers_lost_total",
        Counter,
        "",
        "all",
        "Deaths after which it stood and did not win.",
    ),
    metric(
        "regent_failovers_not_needed_total",
        Counter,
        "",
        "all",
        "Deaths after which it did not have to stand.",
    ),
    metric(
        "regent_proposal_seconds",
        Histogram,
        "",
        "leader",
        "From handing a command in until it is committed and applied.",
    ),
    metric(
        "regent_log_sync_seconds",
        Histogram,
        "",
        "all",
        "Writing and syncing a batch of the log.",
    ),
    metric(
        "regent_log_bytes",
        Gauge,
        "",
        "all",
        "Space that the log takes on disk.",
    ),
    metric(
        "regent_log_queued_bytes",
        Gauge,
        "",
        "all",
        "Bytes that wait for the log's writer.",
    ),
    metric(
        "regent_log_outstanding_seconds",
        Gauge,
        "",
        "all",
        "Age of the oldest write that is not durable yet.",
    ),
    metric(
        "regent_log_disk_full",
        Gauge,
        "",
        "all",
        "1 while entries are refused for want of space.",
    ),
    metric(
        "regent_log_failed",
        Gauge,
        "",
        "all",
        "1 once a write or sync failed: the process must start again.",
    ),
    metric(
        "regent_snapshot_age_seconds",
        Gauge,
        "",
        "all",
        "Time since the newest snapshot was written; absent before the first.",
    ),
    metric(
        "regent_snapshot_index",
        Gauge,
        "",
        "all",
        "Index that the newest snapshot covers.",
    ),
    metric(
        "regent_disk_stalled",
        Gauge,
        "",
        "all",
        "1 while writes to the log hang or entries are not applied; it does not lead meanwhile.",
    ),
    metric(
        "regent_clock_skew_milliseconds",
        Gauge,
        "",
        "all",
        "Largest difference to another replica's wall clock.",
    ),
    metric(
        "regent_state_diverged",
        Gauge,
        "",
        "all",
        "1 once another replica held another state after the same entry.",
    ),
    metric("regent_jobs", Gauge, "state", "all", "Jobs by state."),
    metric(
        "regent_jobs_not_running",
        Gauge,
        "",
        "all",
        "Jobs that have not ended and do not run.",
    ),
    metric(
        "regent_jobs_dirty",
        Gauge,
        "",
        "all",
        "Ended jobs that are not clean.",
    ),
    metric(
        "regent_job_adoptions",
        Gauge,
        "",
        "all",
        "Attempts that takeovers kept, of all known jobs.",
    ),
    metric(
        "regent_job_restarts",
        Gauge,
        "",
        "all",
        "Attempts after the first, of all known jobs.",
    ),
    metric(
        "regent_checkpoints_completed_total",
        Counter,
        "",
        "all",
        "Checkpoints completed under this process.",
    ),
    metric(
        "regent_checkpoints_failed_total",
        Counter,
        "",
        "all",
        "Checkpoints declined, timed out or not written under this process.",
    ),
    metric(
        "regent_cleanup_pending",
        Gauge,
        "",
        "all",
        "Artefacts still to be removed.",
    ),
    metric(
        "regent_cleanup_dirty",
        Gauge,
        "",
        "all",
        "Artefacts whose retries are used up.",
    ),
    metric(
        "regent_cleanup_oldest_age_seconds",
        Gauge,
        "",
        "all",
        "How long ago the oldest artefact that is still there was given up.",
    ),
    metric(
        "regent_cleanup_attempts_total",
        Counter,
        "",
        "all",
        "Deletions and sweeps begun by this process.",
    ),
    metric(
        "regent_cleanup_failures_total",
        Counter,
        "kind",
        "all",
        "Deletions and sweeps that failed, by kind: denied, timeout, unreadable, store.",
    ),
    metric(
        "regent_storage_foreign",
        Gauge,
        "",
        "leader",
        "1 while the checkpoint directory is another cluster's.",
    ),
    metric(
        "regent_cleanup_retries_total",
        Counter,
        "",
        "all",
        "Deletions that failed under this process.",
    ),
    metric(
        "regent_jobmanager_numRegisteredTaskManagers",
        Gauge,
        "",
        "leader",
        "Workers with an open session.",
    ),
    metric(
        "regent_tasks_stuck",
        Gauge,
        "",
        "leader",
        "Tasks that were told to end and don't; their slots aren't used again.",
    ),
    metric(
        "regent_jobmanager_numRunningJobs",
        Gauge,
        "",
        "all",
        "Jobs that run.",
    ),
    metric(
        "regent_jobmanager_taskSlotsTotal",
        Gauge,
        "",
        "leader",
        "Slots of all registered workers.",
    ),
    metric(
        "regent_jobmanager_taskSlotsAvailable",
        Gauge,
        "",
        "leader",
        "Free slots.",
    ),
    metric(
        "regent_jobmanager_job_numRestarts",
        Gauge,
        "job_id,job_name",
        "all",
        "Attempts after the first.",
    ),
    metric(
        "regent_jobmanager_job_uptime",
        Gauge,
        "job_id,job_name",
        "all",
        "Milliseconds since its first attempt ran.",
    ),
    metric(
        "regent_jobmanager_job_numberOfCompletedCheckpoints",
        Gauge,
        "job_id,job_name",
        "all",
        "Completed checkpoints and savepoints.",
    ),
    metric(
        "regent_jobmanager_job_numberOfFailedCheckpoints",
        Gauge,
        "job_id,job_name",
        "all",
        "Failed checkpoints.",
    ),
    metric(
        "regent_jobmanager_job_numberOfInProgressCheckpoints",
        Gauge,
        "job_id,job_name",
        "all",
        "Checkpoints that are being taken.",
    ),
    metric(
        "regent_jobmanager_job_lastCompletedCheckpointId",
        Gauge,
        "job_id,job_name",
        "all",
        "Id of the latest completed checkpoint.",
    ),
    metric(
        "regent_jobmanager_job_lastCheckpointDuration",
        Gauge,
        "job_id,job_name",
        "all",
        "Milliseconds that it took.",
    ),
    metric(
        "regent_jobmanager_job_lastCheckpointSize",
        Gauge,
        "job_id,job_name",
        "all",
        "Its bytes.",
    ),
    metric(
        "regent_jobmanager_job_lastCheckpointAge",
        Gauge,
        "job_id,job_name",
        "all",
        "Milliseconds since it was complete (not in Flink).",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::TABLE;

    #[test]
    fn names_are_there_once_and_helps_are_sentences() {
        let names: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for metric in TABLE {
            assert!(
                metric.help.ends_with('.') && !metric.help.contains('|'),
                "{metric:?}"
            );
            assert!(["all", "leader"].contains(&metric.at), "{metric:?}");
        }
    }
}
