//! What a leader is told when a deployment can't even begin: every subtask that it wanted on this
//! worker failed, with the cause. Pure.

use regent_protocol::v1::{Deploy, TaskKey, TaskPhase, TaskReport};

/// One failed report for each subtask of this order on this incarnation of this worker.
pub(crate) fn failed_reports(
    order: &Deploy,
    worker_id: &str,
    incarnation: u64,
    cause: &str,
) -> Vec<TaskReport> {
    let ours = |worker: &str, process: u64| worker == worker_id && process == incarnation;
    let slots = order
        .slots
        .iter()
        .filter(|slot| ours(&slot.worker_id, slot.incarnation));
    let tasks = slots.flat_map(|slot| {
        let vertices = order.vertices.iter().filter(|v| v.parallelism > slot.index);
        vertices.map(|vertex| TaskKey {
            vertex: vertex.id.clone(),
            subtask: slot.index,
        })
    });
    let report = |task| TaskReport {
        attempt: order.attempt.clone(),
        task: Some(task),
        phase: TaskPhase::Failed.into(),
        cause: cause.to_owned(),
        pending_transactions: 0,
        failure_kind: "task".to_owned(),
        stuck: false,
        metrics: None,
    };
    tasks.map(report).collect()
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::{SlotAssignment, VertexPlan};

    use super::*;

    fn slot(index: u32, worker_id: &str, incarnation: u64) -> SlotAssignment {
        let worker_id = worker_id.to_owned();
        SlotAssignment {
            index,
            worker_id,
            incarnation,
            ..SlotAssignment::default()
        }
    }

    fn vertex(id: &str, parallelism: u32) -> VertexPlan {
        VertexPlan {
            id: id.to_owned(),
            parallelism,
            ..VertexPlan::default()
        }
    }

    #[test]
    fn only_subtasks_placed_on_this_process_are_named() {
        let order = Deploy {
            vertices: vec![vertex("source", 3), vertex("out", 1)],
            slots: vec![slot(0, "tm-1", 2), slot(1, "tm-2", 1), slot(2, "tm-1", 1)],
            ..Deploy::default()
        };
        let reports = failed_reports(&order, "tm-1", 2, "no room");
        let names: Vec<String> = reports
            .iter()
            .filter_map(|report| report.task.as_ref())
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["source/0", "out/0"]);
        assert!(reports.iter().all(|report| report.cause == "no room"));
    }
}
