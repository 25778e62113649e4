//! Removes one artefact: idempotent, bounded in time, never more than what the ledger lists.

use std::time::Duration;

use regent_protocol::metadata::{METADATA_NAME, decode_metadata};
use regent_protocol::v1::subtask_handle::State;
use regent_state::model::Artefact;
use regent_storage::objects::{Location, LocationError, ObjectError, Objects};

use super::plan::{self, Failed, FailureKind, Removal, Work};

/// How long one deletion may take; what is left then is tried again.
const DELETE_LIMIT: Duration = Duration::from_secs(10);
/// How long an artefact of many files may take; what is left then is tried again.
const WORK_LIMIT: Duration = Duration::from_secs(60);

/// Removes it, and its own parents if the owner has ended by then; the error is for the operator.
pub(crate) async fn remove(
    objects: &Objects,
    work: &Work,
    owner_ended: impl FnOnce() -> bool,
) -> Result<(), Failed> {
    match tokio::time::timeout(WORK_LIMIT, remove_all(objects, work, owner_ended)).await {
        Ok(done) => done,
        Err(_) => Err(Failed {
            kind: FailureKind::Timeout,
            text: format!(
                "{}: not all of it was removed within {} s",
                work.artefact.path,
                WORK_LIMIT.as_secs()
            ),
        }),
    }
}

async fn remove_all(
    objects: &Objects,
    work: &Work,
    owner_ended: impl FnOnce() -> bool,
) -> Result<(), Failed> {
    let artefact = &work.artefact;
    let location: Location = artefact.path.parse().map_err(unreadable::<LocationError>)?;
    match plan::removal(&artefact.kind) {
        Removal::Directory => objects.delete_dir(&location, DELETE_LIMIT).await?,
        Removal::Names(names) => remove_names(objects, &location, &names).await?,
        Removal::Savepoint => {
            remove_savepoint(objects, &location, artefact.owner.is_some()).await?;
        }
    }
    // Asked now: of several that are removed at once the last one finds the parents empty.
    if owner_ended() {
        remove_parents(objects, artefact, &location).await;
    }
    Ok(())
}

fn unreadable<E: std::fmt::Display>(error: E) -> Failed {
    Failed {
        kind: FailureKind::Unreadable,
        text: error.to_string(),
    }
}

async fn remove_names(objects: &Objects, dir: &Location, names: &[String]) -> Result<(), Failed> {
    for name in names {
        let location = dir.join(name).map_err(unreadable)?;
        objects.delete(&location, DELETE_LIMIT).await?;
    }
    Ok(())
}

async fn remove_savepoint(objects: &Objects, dir: &Location, ours: bool) -> Result<(), Failed> {
    let metadata = dir.join(METADATA_NAME).map_err(unreadable)?;
    let bytes = match objects.get(&metadata, DELETE_LIMIT).await {
        Ok(bytes) => bytes,
        // `_metadata` goes last, so without it only the directory can be left. One that this cluster
        // did not make stays.
        Err(ObjectError::NotFound { .. }) if ours => return remove_if_empty(objects, dir).await,
        Err(ObjectError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let decoded =
        decode_metadata(&bytes).map_err(|error| unreadable(format!("{metadata}: {error}")))?;
    let handles = decoded.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    let names: Vec<String> = handles
        .filter_map(|handle| match &handle.state {
            Some(State::File(file)) => Some(file.name.clone()),
            Some(State::Inline(_)) | None => None,
        })
        .collect();
    remove_names(objects, dir, &names).await?;
    objects.delete(&metadata, DELETE_LIMIT).await?;
    remove_if_empty(objects, dir).await
}

/// Files that are not ours stay, and with them the directory.
async fn remove_if_empty(objects: &Objects, dir: &Location) -> Result<(), Failed> {
    objects.delete_empty_dir(dir, DELETE_LIMIT).await?;
    Ok(())
}

/// Tidiness only: an empty parent that stays is no artefact, so errors don't count.
async fn remove_parents(objects: &Objects, artefact: &Artefact, location: &Location) {
    let mut dir = location.parent();
    for _ in 0..plan::own_parents(artefact) {
        let Some(parent) = dir else { return };
        match objects.delete_empty_dir(&parent, DELETE_LIMIT).await {
            Ok(true) => dir = parent.parent(),
            Ok(false) | Err(_) => return,
        }
    }
}
