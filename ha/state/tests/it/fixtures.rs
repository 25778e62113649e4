//! Domain things by name: graphs, placements, pointers.

use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;

pub(crate) fn failed(job: JobId, token: AttemptToken, kind: FailureKind) -> Command {
    Command::AttemptFailed(AttemptFailed {
        job,
        token,
        cause: "division by zero".to_owned(),
        kind,
        worker: Some(worker(0)),
        vertex: Some("filter".to_owned()),
        subtask: Some(0),
        jitter_permille: 0,
    })
}

pub(crate) fn worker(number: u32) -> WorkerRef {
    WorkerRef {
        worker: format!("tm-{number}"),
        incarnation: 1,
    }
}

pub(crate) fn placement(slots: u32) -> Vec<SlotPlacement> {
    let place = |slot| SlotPlacement {
        slot,
        worker: worker(slot % 2),
        address: format!("127.0.0.1:{}", 7200 + slot % 2),
    };
    (0..slots).map(place).collect()
}

pub(crate) fn pointer(path: String, has_transactions: bool) -> CheckpointPointer {
    CheckpointPointer {
        path,
        metadata_len: 120,
        metadata_crc: 0xfeed,
        size_bytes: 4_096,
        duration_ms: 12,
        files: 2,
        has_transactions,
    }
}

/// A bounded job: source, filter, exactly-once files sink at `/out/<name>`.
pub(crate) fn files_job(name: &str) -> JobGraph {
    graph(name, Some(sink(&format!("/out/{name}"), IfExists::Refuse)))
}

/// A bounded job into a black hole.
pub(crate) fn blackhole_job(name: &str) -> JobGraph {
    graph(name, None)
}

pub(crate) fn sink(path: &str, mode: IfExists) -> SinkInfo {
    SinkInfo {
        path: path.to_owned(),
        mode,
        exactly_once: true,
    }
}

pub(crate) fn graph(name: &str, sink: Option<SinkInfo>) -> JobGraph {
    let operator = if sink.is_some() { "files" } else { "blackhole" };
    JobGraph {
        name: name.to_owned(),
        parallelism: 2,
        checkpointing: Some(checkpointing(1, Retention::NoExternalizedCheckpoints)),
        restart_strategy: RestartStrategy::FixedDelay {
            attempts: 3,
            delay_ms: 1_000,
        },
        vertices: vec![
            vertex("source", VertexKind::Source, "sequence", &[]),
            vertex("filter", VertexKind::Operator, "filter", &["source"]),
            Vertex {
                sink,
                ..vertex("out", VertexKind::Sink, operator, &["filter"])
            },
        ],
    }
}

pub(crate) fn checkpointing(num_retained: u32, retention: Retention) -> CheckpointConfig {
    CheckpointConfig {
        interval_ms: Some(1_000),
        timeout_ms: 600_000,
        min_pause_ms: 0,
        num_retained,
        tolerable_failed: 0,
        retention,
    }
}

fn vertex(id: &str, kind: VertexKind, operator: &str, inputs: &[&str]) -> Vertex {
    let edge = |from: &&str| Edge {
        from: (*from).to_owned(),
        partition: Partition::Forward,
    };
    Vertex {
        id: id.to_owned(),
        kind,
        operator: operator.to_owned(),
        parallelism: 2,
        inputs: inputs.iter().map(edge).collect(),
        config_json: "{}".to_owned(),
        columns: vec![Column {
            name: "value".to_owned(),
            data_type: DataType::Int64,
        }],
        bounded: true,
        zombie_safe: true,
        sink: None,
    }
}
