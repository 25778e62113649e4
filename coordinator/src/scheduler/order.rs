//! From the log's words to the wire's: the orders that carry a whole job graph. Decides nothing.

use regent_protocol::v1;
use regent_protocol::{MAX_PARALLELISM, spec::ColumnType};
use regent_state::JobGraph;
use regent_state::Machine;
use regent_state::graph::{Column, DataType, Edge, Partition, Vertex};
use regent_state::ids::CheckpointId;
use regent_state::model::{ArtefactKind, Attempt, Checkpoint, Job};

use super::offers::kind_name;
use super::slots::attempt_ref;
use crate::wire;

fn column(column: &Column) -> v1::Column {
    let data_type = match column.data_type {
        DataType::Int64 => ColumnType::Int64,
        DataType::Float64 => ColumnType::Float64,
        DataType::Utf8 => ColumnType::Utf8,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Timestamp => ColumnType::Timestamp,
    };
    v1::Column {
        name: column.name.clone(),
        data_type: data_type.name().to_owned(),
    }
}

/// A schema on the wire.
pub(crate) fn columns(columns: &[Column]) -> Vec<v1::Column> {
    columns.iter().map(column).collect()
}

fn edge(edge: &Edge) -> v1::EdgePlan {
    let (partition, by) = match &edge.partition {
        Partition::Forward => ("forward", Vec::new()),
        Partition::Hash { by } => ("hash", by.clone()),
        Partition::Rebalance => ("rebalance", Vec::new()),
        Partition::Broadcast => ("broadcast", Vec::new()),
    };
    v1::EdgePlan {
        from: edge.from.clone(),
        partition: partition.to_owned(),
        by,
    }
}

fn vertex(vertex: &Vertex) -> v1::VertexPlan {
    v1::VertexPlan {
        id: vertex.id.clone(),
        kind: kind_name(vertex.kind).to_owned(),
        operator: vertex.operator.clone(),
        parallelism: vertex.parallelism,
        inputs: vertex.inputs.iter().map(edge).collect(),
        config_json: vertex.config_json.clone(),
        columns: columns(&vertex.columns),
    }
}

/// A graph on the wire, in file order.
pub(crate) fn vertices(graph: &JobGraph) -> Vec<v1::VertexPlan> {
    graph.vertices.iter().map(vertex).collect()
}

fn own_restore(checkpoint: &Checkpoint) -> Option<v1::Restore> {
    let pointer = checkpoint.pointer()?;
    Some(v1::Restore {
        checkpoint_id: checkpoint.id.0,
        path: checkpoint.path.clone(),
        metadata_length: pointer.metadata_len,
        metadata_crc32c: pointer.metadata_crc,
        allow_unclaimed_state: false,
        foreign: false,
    })
}

/// The restore of a completed checkpoint of the job's present run.
pub(crate) fn restore_of(machine: &Machine, job: &Job, id: CheckpointId) -> Option<v1::Restore> {
    own_restore(machine.checkpoint(job.id, job.run, id)?)
}

/// Where an attempt takes its state from. Outer `None`: its restore point is not there any more, so
/// the attempt is no longer the one that counts.
pub(crate) fn restore(
    machine: &Machine,
    job: &Job,
    attempt: &Attempt,
) -> Option<Option<v1::Restore>> {
    if let Some(id) = attempt.restore_point {
        return restore_of(machine, job, id).map(Some);
    }
    let from = job.restore.as_ref();
    Some(from.map(|from| {
        let known = checkpoint_at(machine, &from.path).and_then(own_restore);
        v1::Restore {
            checkpoint_id: 0,
            path: from.path.clone(),
            allow_unclaimed_state: from.allow_unclaimed_state,
            foreign: true,
            ..known.unwrap_or_default()
        }
    }))
}

/// The completed checkpoint or savepoint at this path, while its job is known.
fn checkpoint_at<'a>(machine: &'a Machine, path: &str) -> Option<&'a Checkpoint> {
    let artefact = machine.artefact_at(path)?;
    let (job, run) = artefact.owner?;
    let id = match &artefact.kind {
        ArtefactKind::Checkpoint { id } => *id,
        ArtefactKind::Savepoint { id, .. } => (*id)?,
        _ => return None,
    };
    machine.checkpoint(job, run, id).map(AsRef::as_ref)
}

/// The deployment of an attempt; each worker takes its own slots out of it.
pub(crate) fn deploy(machine: &Machine, job: &Job, attempt: &Attempt) -> Option<v1::Deploy> {
    let graph = machine.graph(job.id)?;
    let slots = attempt.placement.iter().map(|place| v1::SlotAssignment {
        index: place.slot,
        worker_id: place.worker.worker.clone(),
        incarnation: place.worker.incarnation,
        data_address: place.address.clone(),
    });
    Some(v1::Deploy {
        attempt: Some(wire::attempt_to(attempt_ref(attempt))),
        attempt_number: u32::try_from(attempt.number).unwrap_or(u32::MAX),
        job_name: job.name.clone(),
        vertices: vertices(graph),
        slots: slots.collect(),
        restore: restore(machine, job, attempt)?,
        commit_only: attempt.commit_only,
        max_parallelism: u64::from(MAX_PARALLELISM),
    })
}

/// The order to commit what a checkpoint lists.
pub(crate) fn commit_only(
    machine: &Machine,
    job: &Job,
    id: CheckpointId,
) -> Option<v1::CommitOnly> {
    Some(v1::CommitOnly {
        job_id: job.id.to_string(),
        run: Some(wire::run_to(job.run)),
        checkpoint_id: id.0,
        restore: Some(restore_of(machine, job, id)?),
        vertices: vertices(machine.graph(job.id)?),
    })
}
