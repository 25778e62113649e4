//! How jobs look in the format `table`.

use regent_protocol::view::{
    HistoryEvent, JobDetail, JobResultView, JobSummary, LatestCheckpoint, TaskView, VertexView,
};

use crate::output::table::{Table, pairs};
use crate::output::words::{ago, count, dash, moment, now_ms, or_dash, share, size, span};

pub(super) fn list(jobs: &Vec<JobSummary>) -> String {
    let mut table = Table::new(
        &["JOB", "NAME", "STATE", ">ATTEMPT", "SUBMITTED"],
        "no jobs",
    );
    for job in jobs {
        table.row(vec![
            job.job_id.clone(),
            job.name.clone(),
            job.state.clone(),
            job.attempt.to_string(),
            ago(job.submitted_at_ms, now_ms()),
        ]);
    }
    table.render()
}

pub(super) fn detail(job: &JobDetail) -> String {
    let mut entries = vec![
        ("job", job.job_id.clone()),
        ("name", job.name.clone()),
        ("state", job.state.clone()),
    ];
    if let Some(reason) = &job.reason {
        entries.push(("reason", reason.clone()));
    }
    entries.extend([
        ("attempt", job.attempt.to_string()),
        ("adoptions", job.adoptions.to_string()),
        ("restarts", job.restarts.to_string()),
        ("submitted", ago(job.submitted_at_ms, now_ms())),
        (
            "checkpoints",
            format!(
                "{} completed, {} failed",
                job.checkpoints.completed, job.checkpoints.failed
            ),
        ),
        (
            "latest",
            or_dash(job.checkpoints.latest.as_ref().map(latest)),
        ),
    ]);
    let mut text = pairs(&entries);
    for part in [vertices(job), tasks(job), failures(job)] {
        text.push('\n');
        text.push_str(&part);
    }
    text
}

fn latest(checkpoint: &LatestCheckpoint) -> String {
    format!(
        "{} ({}, took {}, {}) {}",
        checkpoint.id,
        size(checkpoint.size_bytes),
        span(checkpoint.duration_ms),
        ago(checkpoint.completed_at_ms, now_ms()),
        checkpoint.path
    )
}

fn vertices(job: &JobDetail) -> String {
    let mut table = Table::new(
        &[
            "VERTEX",
            "OPERATOR",
            ">TASKS",
            ">IN",
            ">OUT",
            ">BYTES OUT",
            ">BUSY",
            ">BLOCKED",
            ">DROPPED",
            ">STATE",
            ">CHECKPOINT",
            "WATERMARK",
        ],
        "no vertices",
    );
    for vertex in &job.vertices {
        table.row(vec![
            vertex.id.clone(),
            vertex.operator.clone(),
            vertex.parallelism.to_string(),
            or_dash(vertex.records_in.map(count)),
            or_dash(vertex.records_out.map(count)),
            or_dash(vertex.bytes_out.map(size)),
            share(vertex.busy_ratio),
            share(vertex.backpressured_ratio),
            or_dash(dropped(vertex).map(count)),
            size(vertex.state_bytes),
            or_dash(vertex_checkpoint(vertex)),
            or_dash(vertex.watermark_ms.map(watermark)),
        ]);
    }
    table.render()
}

/// Rows that it was given and that are in no output: they didn't parse, or came too late.
fn dropped(vertex: &VertexView) -> Option<u64> {
    let parts = [vertex.records_skipped, vertex.records_late];
    parts.into_iter().flatten().reduce(u64::saturating_add)
}

/// Its part of the latest checkpoint: how large, and how long the slowest subtask took.
fn vertex_checkpoint(vertex: &VertexView) -> Option<String> {
    let (bytes, took) = vertex
        .checkpoint_size_bytes
        .zip(vertex.checkpoint_duration_ms)?;
    Some(format!("{} in {}", size(bytes), span(took)))
}

/// A time before 1970 is shown as it is: nobody's clock says so, but a row may.
fn watermark(millis: i64) -> String {
    u64::try_from(millis).map_or_else(|_| format!("{millis} ms"), moment)
}

fn tasks(job: &JobDetail) -> String {
    let mut table = Table::new(&["TASK", "WORKER", "STATE"], "no tasks");
    let name = |task: &TaskView| format!("{}/{}", task.vertex, task.subtask);
    for task in &job.tasks {
        table.row(vec![
            name(task),
            or_dash(task.worker.clone()),
            task.state.clone(),
        ]);
    }
    table.render()
}

fn failures(job: &JobDetail) -> String {
    let mut table = Table::new(
        &["FAILED AT", ">ATTEMPT", "TASK", "WORKER", "CAUSE"],
        "no failures",
    );
    for failure in &job.failures {
        let task = match (&failure.vertex, failure.subtask) {
            (Some(vertex), Some(subtask)) => format!("{vertex}/{subtask}"),
            (Some(vertex), None) => vertex.clone(),
            (None, _) => dash(),
        };
        table.row(vec![
            moment(failure.at_ms),
            failure.attempt.to_string(),
            task,
            or_dash(failure.worker.clone()),
            failure.cause.clone(),
        ]);
    }
    table.render()
}

pub(super) fn result(result: &JobResultView) -> String {
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    pairs(&[
        ("job", result.job_id.clone()),
        ("state", result.state.clone()),
        ("cause", or_dash(result.cause.clone())),
        ("started", or_dash(result.started_at_ms.map(moment))),
        ("ended", or_dash(result.ended_at_ms.map(moment))),
        ("clean", yes(result.clean)),
        ("output complete", yes(result.output_complete)),
    ])
}

pub(super) fn history(events: &Vec<HistoryEvent>) -> String {
    let mut table = Table::new(&["AT", ">ATTEMPT", "EVENT", "CAUSE"], "nothing yet");
    for event in events {
        table.row(vec![
            moment(event.at_ms),
            event.attempt.to_string(),
            event.event.clone(),
            or_dash(event.cause.clone()),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_job_has_every_section() {
        let text = detail(&JobDetail {
            name: "x".to_owned(),
            ..JobDetail::default()
        });
        for section in ["no vertices", "no tasks", "no failures", "0 completed"] {
            assert!(text.contains(section), "{text}");
        }
    }
}
