//! What the HTTP endpoints show of the worker: copied here by the driver at each step, so that a page
//! never waits for the driver nor the driver for a page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::v1::TaskMetrics;
use regent_security::RenewalStatus;

use super::lease::{Lease, boottime};
use super::metrics;
use super::session_words::Counters;

/// A driver that made no step for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// A copy of the driver's numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Boot time of the driver's last step.
    pub(crate) stepped_at: Duration,
    /// A leader has registered this worker.
    pub(crate) registered: bool,
    /// Empty before the first registration.
    pub(crate) cluster_id: String,
    /// Numbers since the start.
    pub(crate) counters: Counters,
    /// Reports that nobody was told.
    pub(crate) reports_dropped: u64,
    /// Tasks that were told to end and don't.
    pub(crate) stuck: u64,
    /// Of the latest heartbeat.
    pub(crate) tasks: Vec<TaskMetrics>,
}

/// Shared between driver and pages.
#[derive(Debug)]
pub(crate) struct Status {
    worker_id: String,
    slots: u32,
    slot_memory: u64,
    lease: Arc<Lease>,
    latest: Mutex<Snapshot>,
}

impl Status {
    /// Of this worker.
    pub(crate) fn new(
        worker_id: String,
        (slots, slot_memory): (u32, u64),
        lease: Arc<Lease>,
    ) -> Self {
        let started = Snapshot {
            stepped_at: boottime(),
            ..Snapshot::default()
        };
        Self {
            worker_id,
            slots,
            slot_memory,
            lease,
            latest: Mutex::new(started),
        }
    }

    /// Changes the copy.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.latest.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The cluster this worker belongs to; empty before the first registration.
    pub(crate) fn cluster_id(&self) -> String {
        self.latest().cluster_id
    }

    /// The driver makes progress.
    pub(crate) fn is_live(&self) -> bool {
        boottime().saturating_sub(self.latest().stepped_at) < STUCK_AFTER
    }

    /// Registered with a leader.
    pub(crate) fn is_registered(&self) -> bool {
        self.latest().registered
    }

    /// Allowed to act.
    pub(crate) fn holds_lease(&self) -> bool {
        self.lease.holds()
    }

    /// The metrics page, in Prometheus' text format.
    pub(crate) fn metrics(&self, renewal: &RenewalStatus) -> String {
        let lease = self.lease.remaining().as_secs_f64();
        let slots = (self.slots, self.slot_memory);
        metrics::page(&self.worker_id, slots, lease, &self.latest(), renewal)
    }

    fn latest(&self) -> Snapshot {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::{AttemptKey, TaskKey};

    use super::*;

    #[test]
    fn the_page_names_every_number_once() {
        let status = Status::new("tm-1".to_owned(), (4, 1024), Arc::default());
        status.update(|snapshot| {
            snapshot.registered = true;
            snapshot.tasks = vec![TaskMetrics {
                attempt: Some(AttemptKey {
                    job_id: "ab".to_owned(),
                    ..AttemptKey::default()
                }),
                task: Some(TaskKey {
                    vertex: "v".to_owned(),
                    subtask: 1,
                }),
                records_in: 7,
                records_late: 3,
                checkpoint_us: 1_500_000,
                state_bytes: 99,
                ..TaskMetrics::default()
            }];
        });
        let page = status.metrics(&RenewalStatus::default());
        assert!(
            page.contains("regent_worker_slots{worker=\"tm-1\"} 4\n"),
            "{page}"
        );
        let task = "regent_worker_task_records_in_total\
                    {worker=\"tm-1\",job=\"ab\",vertex=\"v\",subtask=\"1\"} 7\n";
        assert!(page.contains(task), "{page}");
        for (name, value) in [
            ("records_late_total", "3"),
            ("state_bytes", "99"),
            ("checkpoint_duration_seconds", "1.5"),
        ] {
            let labels = "{worker=\"tm-1\",job=\"ab\",vertex=\"v\",subtask=\"1\"}";
            let line = format!("regent_worker_task_{name}{labels} {value}\n");
            assert!(page.contains(&line), "{line} in {page}");
        }
        assert!(page.contains("regent_worker_slot_memory_bytes{worker=\"tm-1\"} 1024\n"));
        assert_eq!(page.matches("# TYPE regent_worker_tasks ").count(), 1);
    }

    #[test]
    fn ready_needs_a_registration_and_a_lease() {
        let lease = Arc::new(Lease::default());
        let status = Status::new("tm-1".to_owned(), (4, 1024), Arc::clone(&lease));
        assert!(status.is_live());
        status.update(|snapshot| snapshot.registered = true);
        assert!(status.is_registered() && !status.holds_lease());
        lease.grant(boottime(), Duration::from_secs(9));
        assert!(status.holds_lease());
        status.update(|snapshot| snapshot.stepped_at = Duration::ZERO);
        assert!(!status.is_live() || boottime() < STUCK_AFTER);
    }
}
