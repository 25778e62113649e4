//! Every metric of a TaskManager, in one table, and the page that is made from it.

use regent_protocol::metrics::Kind::{Counter, Gauge};
use regent_protocol::metrics::{Metric, Page, escaped, metric};
use regent_protocol::v1::TaskMetrics;
use regent_security::RenewalStatus;

use super::status::Snapshot;

/// All of them, in the order of the page.
pub static TABLE: &[Metric] = &[
    metric(
        "regent_worker_slots",
        Gauge,
        "worker",
        "worker",
        "Slots offered.",
    ),
    metric(
        "regent_worker_slot_memory_bytes",
        Gauge,
        "worker",
        "worker",
        "What the tasks of a slot may hold: state, and rows that wait.",
    ),
    metric(
        "regent_worker_tasks_stuck",
        Gauge,
        "worker",
        "worker",
        "Tasks that were told to end and don't; their slots aren't used again.",
    ),
    metric(
        "regent_worker_tasks",
        Gauge,
        "worker",
        "worker",
        "Tasks held.",
    ),
    metric(
        "regent_worker_registered",
        Gauge,
        "worker",
        "worker",
        "1 while a leader has this worker registered.",
    ),
    metric(
        "regent_worker_lease_remaining_seconds",
        Gauge,
        "worker",
        "worker",
        "What is left of the lease.",
    ),
    metric(
        "regent_worker_sessions_total",
        Counter,
        "worker",
        "worker",
        "Sessions dialled.",
    ),
    metric(
        "regent_worker_registrations_total",
        Counter,
        "worker",
        "worker",
        "Registrations answered.",
    ),
    metric(
        "regent_worker_heartbeats_answered_total",
        Counter,
        "worker",
        "worker",
        "Heartbeats answered by a leader.",
    ),
    metric(
        "regent_worker_fenced_orders_total",
        Counter,
        "worker",
        "worker",
        "Orders of deposed leaders that were dropped.",
    ),
    metric(
        "regent_worker_leases_lost_total",
        Counter,
        "worker",
        "worker",
        "Times the lease ran out.",
    ),
    metric(
        "regent_worker_reports_dropped_total",
        Counter,
        "worker",
        "worker",
        "Reports that were too late for any leader.",
    ),
    metric(
        "regent_worker_task_records_in_total",
        Counter,
        "worker,job,vertex,subtask",
        "worker",
        "Rows read.",
    ),
    metric(
        "regent_worker_task_records_out_total",
        Counter,
        "worker,job,vertex,subtask",
        "worker",
        "Rows emitted.",
    ),
    metric(
        "regent_worker_task_bytes_out_total",
        Counter,
        "worker,job,vertex,subtask",
        "worker",
        "Bytes emitted.",
    ),
    metric(
        "regent_worker_task_records_skipped_total",
        Counter,
        "worker,job,vertex,subtask",
        "worker",
        "Rows skipped because they did not parse, since the job began.",
    ),
    metric(
        "regent_worker_task_records_late_total",
        Counter,
        "worker,job,vertex,subtask",
        "worker",
        "Rows dropped because their window was closed, or because they had no time.",
    ),
    metric(
        "regent_worker_task_state_bytes",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "State held in memory.",
    ),
    metric(
        "regent_worker_task_buffer_bytes",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "Rows that wait in the channels that the task fills.",
    ),
    metric(
        "regent_worker_task_checkpoint_bytes",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "State in the latest checkpoint that the task acknowledged.",
    ),
    metric(
        "regent_worker_task_checkpoint_duration_seconds",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "Time from that checkpoint's order to durable state.",
    ),
    metric(
        "regent_worker_task_watermark_seconds",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "The task's watermark as a Unix time; absent before the first.",
    ),
    metric(
        "regent_worker_task_busy_ratio",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "Share of time at work.",
    ),
    metric(
        "regent_worker_task_backpressured_ratio",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "Share of time waiting for room downstream.",
    ),
    metric(
        "regent_worker_task_input_gap_seconds",
        Gauge,
        "worker,job,vertex,subtask",
        "worker",
        "Longest wait between two batches of input that ended since the heartbeat before the last.",
    ),
    metric(
        "regent_tls_certificate_ends_seconds",
        Gauge,
        "",
        "worker",
        "When the certificate in use ends, as a Unix time; absent without TLS.",
    ),
    metric(
        "regent_tls_renewals_total",
        Counter,
        "",
        "worker",
        "Times that renewed certificates or tokens came into use since this process started.",
    ),
    metric(
        "regent_tls_files_refused",
        Gauge,
        "",
        "worker",
        "1 while the files hold something that can't be used, so that what was read before stays in use.",
    ),
];

/// The page of this worker now.
pub(super) fn page(
    worker_id: &str,
    (slots, slot_memory): (u32, u64),
    lease_seconds: f64,
    now: &Snapshot,
    renewal: &RenewalStatus,
) -> String {
    let mut page = Page::new(TABLE);
    let worker = format!("worker=\"{}\"", escaped(worker_id));
    let counters = now.counters;
    let mut row = |name: &str, value: f64| {
        if page.family(&format!("regent_worker_{name}")) {
            page.sample(&worker, value);
        }
    };
    row("slots", f64::from(slots));
    row("slot_memory_bytes", float(slot_memory));
    row("tasks_stuck", float(now.stuck));
    row("tasks", float(now.tasks.len() as u64));
    row("registered", float(now.registered.into()));
    row("lease_remaining_seconds", lease_seconds);
    row("sessions_total", float(counters.sessions));
    row("registrations_total", float(counters.registrations));
    row(
        "heartbeats_answered_total",
        float(counters.heartbeats_answered),
    );
    row("fenced_orders_total", float(counters.fenced));
    row("leases_lost_total", float(counters.leases_lost));
    row("reports_dropped_total", float(now.reports_dropped));
    tasks(&mut page, &worker, &now.tasks);
    tls(&mut page, renewal);
    page.finish()
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

fn tasks(page: &mut Page, worker: &str, tasks: &[TaskMetrics]) {
    type Number = fn(&TaskMetrics) -> f64;
    let columns: [(&str, Number); 12] = [
        ("records_in_total", |t| float(t.records_in)),
        ("records_out_total", |t| float(t.records_out)),
        ("bytes_out_total", |t| float(t.bytes_out)),
        ("records_skipped_total", |t| float(t.records_skipped)),
        ("records_late_total", |t| float(t.records_late)),
        ("state_bytes", |t| float(t.state_bytes)),
        ("buffer_bytes", |t| float(t.buffer_bytes)),
        ("checkpoint_bytes", |t| float(t.checkpoint_bytes)),
        ("checkpoint_duration_seconds", |t| {
            float(t.checkpoint_us) / 1e6
        }),
        ("busy_ratio", |t| t.busy_ratio),
        ("backpressured_ratio", |t| t.backpressured_ratio),
        ("input_gap_seconds", |t| float(t.input_gap_us) / 1e6),
    ];
    for (column, number) in columns {
        page.family(&format!("regent_worker_task_{column}"));
        for task in tasks {
            page.sample(&labels(worker, task), number(task));
        }
    }
    page.family("regent_worker_task_watermark_seconds");
    for task in tasks.iter().filter(|task| task.has_watermark) {
        page.sample(&labels(worker, task), signed(task.watermark_ms) / 1e3);
    }
}

fn labels(worker: &str, task: &TaskMetrics) -> String {
    let attempt = task.attempt.as_ref();
    let job = attempt.map_or("", |attempt| attempt.job_id.as_str());
    let (vertex, subtask) = match &task.task {
        Some(key) => (key.vertex.as_str(), key.subtask),
        None => ("", 0),
    };
    let (job, vertex) = (escaped(job), escaped(vertex));
    format!("{worker},job=\"{job}\",vertex=\"{vertex}\",subtask=\"{subtask}\"")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown to people and graphs only"
)]
fn signed(value: i64) -> f64 {
    value as f64
}

/// Prometheus numbers are floats; counts beyond 2^53 lose their last digits, which nobody reads.
#[expect(
    clippy::cast_precision_loss,
    reason = "shown to people and graphs only"
)]
fn float(value: u64) -> f64 {
    value as f64
}
