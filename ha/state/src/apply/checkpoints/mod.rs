//! Commands about checkpoints, savepoints and what sinks committed.

pub(super) mod abort_checkpoint;
pub(super) mod begin_checkpoint;
pub(super) mod complete_checkpoint;
pub(super) mod sinks_committed;

use crate::command::CheckpointKind;
use crate::ids::CheckpointId;
use crate::model::{Job, PendingCheckpoint, SavepointState};
use crate::response::Rejection;

/// The pending checkpoint, if it is this one.
fn pending(job: &Job, id: CheckpointId) -> Result<PendingCheckpoint, Rejection> {
    let pending = job.pending.as_ref().filter(|pending| pending.id == id);
    pending
        .cloned()
        .ok_or(Rejection::CheckpointNotPending { job: job.id, id })
}

/// Tells the user who asked for this savepoint what became of it.
fn answer_savepoint(job: &mut Job, kind: CheckpointKind, state: SavepointState) {
    let CheckpointKind::Savepoint { request: number } = kind else {
        return;
    };
    let mut requests = job.savepoints.iter_mut();
    if let Some(request) = requests.find(|request| request.request == number) {
        request.state = state;
    }
}

/// Takes note that everything through this checkpoint is committed.
fn commit_through(job: &mut Job, through: CheckpointId) -> Result<(), Rejection> {
    let latest = job.latest.as_ref().map(|latest| latest.id);
    if Some(through) > latest {
        return Err(Rejection::UnknownCheckpoint {
            job: job.id,
            id: through,
        });
    }
    job.committed_through = job.committed_through.max(Some(through));
    Ok(())
}
