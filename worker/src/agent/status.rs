//! What the HTTP endpoints show of the worker: copied here by the driver at each step, so that a page
//! never waits for the driver nor the driver for a page.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::v1::TaskMetrics;

use super::lease::{Lease, boottime};
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
    /// Of the latest heartbeat.
    pub(crate) tasks: Vec<TaskMetrics>,
}

/// Shared between driver and pages.
#[derive(Debug)]
pub(crate) struct Status {
    worker_id: String,
    slots: u32,
    lease: Arc<Lease>,
    latest: Mutex<Snapshot>,
}

impl Status {
    /// Of this worker.
    pub(crate) fn new(worker_id: String, slots: u32, lease: Arc<Lease>) -> Self {
        let started = Snapshot {
            stepped_at: boottime(),
            ..Snapshot::default()
        };
        Self {
            worker_id,
            slots,
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

    /// Registered with a leader, and allowed to act.
    pub(crate) fn is_ready(&self) -> bool {
        self.lease.holds() && self.latest().registered
    }

    /// The metrics page, in Prometheus' text format.
    pub(crate) fn metrics(&self) -> String {
        let now = self.latest();
        let mut page = String::with_capacity(2048);
        let worker = format!("worker=\"{}\"", self.worker_id);
        let counters = now.counters;
        let lease = self.lease.remaining().as_secs_f64();
        let rows: [(&str, &str, &str, f64); 10] = [
            ("slots", "gauge", "Slots offered.", f64::from(self.slots)),
            (
                "tasks",
                "gauge",
                "Tasks held.",
                float(now.tasks.len() as u64),
            ),
            (
                "registered",
                "gauge",
                "A leader registered this worker.",
                float(now.registered.into()),
            ),
            (
                "lease_remaining_seconds",
                "gauge",
                "What is left of the lease.",
                lease,
            ),
            (
                "sessions_total",
                "counter",
                "Sessions dialled.",
                float(counters.sessions),
            ),
            (
                "registrations_total",
                "counter",
                "Registrations answered.",
                float(counters.registrations),
            ),
            (
                "heartbeats_answered_total",
                "counter",
                "Heartbeats answered by a leader.",
                float(counters.heartbeats_answered),
            ),
            (
                "fenced_orders_total",
                "counter",
                "Orders of deposed leaders that were dropped.",
                float(counters.fenced),
            ),
            (
                "leases_lost_total",
                "counter",
                "Times the lease ran out.",
                float(counters.leases_lost),
            ),
            (
                "reports_dropped_total",
                "counter",
                "Reports that were too late for any leader.",
                float(now.reports_dropped),
            ),
        ];
        for (name, kind, help, value) in rows {
            head(&mut page, name, kind, help);
            row(&mut page, name, &worker, value);
        }
        task_rows(&mut page, &worker, &now.tasks);
        page
    }

    fn latest(&self) -> Snapshot {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn task_rows(page: &mut String, worker: &str, tasks: &[TaskMetrics]) {
    type Number = fn(&TaskMetrics) -> f64;
    let columns: [(&str, &str, &str, Number); 7] = [
        ("task_records_in_total", "counter", "Rows read.", |t| {
            float(t.records_in)
        }),
        ("task_records_out_total", "counter", "Rows emitted.", |t| {
            float(t.records_out)
        }),
        ("task_bytes_out_total", "counter", "Bytes emitted.", |t| {
            float(t.bytes_out)
        }),
        (
            "task_records_skipped_total",
            "counter",
            "Rows skipped.",
            |t| float(t.records_skipped),
        ),
        ("task_busy_ratio", "gauge", "Share of time at work.", |t| {
            t.busy_ratio
        }),
        (
            "task_backpressured_ratio",
            "gauge",
            "Share of time waiting downstream.",
            |t| t.backpressured_ratio,
        ),
        (
            "task_input_gap_seconds",
            "gauge",
            "Longest wait between two batches of input that ended since the heartbeat before the last.",
            |t| float(t.input_gap_us) / 1e6,
        ),
    ];
    for (name, kind, help, number) in columns {
        head(page, name, kind, help);
        for task in tasks {
            row(page, name, &labels(worker, task), number(task));
        }
    }
}

fn labels(worker: &str, task: &TaskMetrics) -> String {
    let job = task
        .attempt
        .as_ref()
        .map_or("", |attempt| attempt.job_id.as_str());
    let (vertex, subtask) = match &task.task {
        Some(key) => (key.vertex.as_str(), key.subtask),
        None => ("", 0),
    };
    format!("{worker},job=\"{job}\",vertex=\"{vertex}\",subtask=\"{subtask}\"")
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(page, "# HELP regent_worker_{name} {help}");
    let _ = writeln!(page, "# TYPE regent_worker_{name} {kind}");
}

fn row(page: &mut String, name: &str, labels: &str, value: f64) {
    let _ = writeln!(page, "regent_worker_{name}{{{labels}}} {value}");
}

/// Prometheus numbers are floats; counts beyond 2^53 lose their last digits, which nobody reads.
#[expect(
    clippy::cast_precision_loss,
    reason = "shown to people and graphs only"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::{AttemptKey, TaskKey};

    use super::*;

    #[test]
    fn the_page_names_every_number_once() {
        let status = Status::new("tm-1".to_owned(), 4, Arc::default());
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
                ..TaskMetrics::default()
            }];
        });
        let page = status.metrics();
        assert!(
            page.contains("regent_worker_slots{worker=\"tm-1\"} 4\n"),
            "{page}"
        );
        let task = "regent_worker_task_records_in_total\
                    {worker=\"tm-1\",job=\"ab\",vertex=\"v\",subtask=\"1\"} 7\n";
        assert!(page.contains(task), "{page}");
        assert_eq!(page.matches("# TYPE regent_worker_tasks ").count(), 1);
    }

    #[test]
    fn ready_needs_a_registration_and_a_lease() {
        let lease = Arc::new(Lease::default());
        let status = Status::new("tm-1".to_owned(), 4, Arc::clone(&lease));
        assert!(status.is_live());
        status.update(|snapshot| snapshot.registered = true);
        assert!(!status.is_ready());
        lease.grant(boottime(), Duration::from_secs(9));
        assert!(status.is_ready());
        status.update(|snapshot| snapshot.stepped_at = Duration::ZERO);
        assert!(!status.is_live() || boottime() < STUCK_AFTER);
    }
}
