//! Where users' paths lead, and whether they may lead there: symbolic links resolved, the storage's own
//! directory kept apart, and what is a checkpoint of this cluster known by the name that the log has for it.
//!
//! The machine decides again for the spelling that it is given (`regent_state::Occupant`), so that no change
//! of leaders races it. Links and the storage's directory it can't know; they are looked at here, before.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::CheckpointMetadata;
use regent_state::ids::{CheckpointId, JobId};
use regent_state::model::{Artefact, ArtefactKind};
use regent_state::response::Rejection;
use regent_state::{JobGraph, Machine};
use regent_storage::objects::{Location, Objects};

use super::errors;
use super::savepoints::{self, canonical};
use crate::wire::run_from;

/// How long resolving the links of a path may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// The part of the storage's directory in which users' savepoints may lie.
const SAVEPOINTS: &str = "savepoints";

/// Where a path leads: links are resolved as far as it exists and can be looked into. Stores that know no links
/// answer the path.
pub(super) async fn resolved(path: &str) -> Result<String, ApiError> {
    let location: Location = path.parse().map_err(savepoints::bad)?;
    let Some(local) = location.local_path() else {
        return Ok(location.to_string());
    };
    let found = tokio::time::timeout(RESOLVE_LIMIT, resolve(local)).await;
    match found {
        Ok(real) => canonical(&real.display().to_string()),
        Err(_) => {
            let text = format!("{path}: the file system doesn't answer; repeat it once it does");
            Err(ApiError::new(ErrorKind::Failed, text))
        }
    }
}

/// The nearest existing directory without its links, and what is to come below it. Where this process may not
/// look, it can't delete either.
async fn resolve(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        match tokio::fs::canonicalize(existing).await {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                return match rest.as_os_str().is_empty() {
                    true => real,
                    false => real.join(rest),
                };
            }
            Err(error) if is_absent(&error) => {}
            Err(_) => break,
        }
    }
    path.to_path_buf()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether savepoints may be put into this folder.
pub(super) async fn check_savepoint_folder(
    machine: &Machine,
    root: &str,
    folder: &str,
) -> Result<(), ApiError> {
    let (real, root) = (resolved(folder).await?, resolved(root).await?);
    if let Some(by) = machine.around_savepoints(&real) {
        let folder = folder.to_owned();
        return Err(errors::rejected(&Rejection::SavepointWithin { folder, by }));
    }
    let users = format!("{root}/{SAVEPOINTS}");
    match is_within(&real, &root) && !is_within(&real, &users) {
        true => Err(refused(format!(
            "{folder} lies in the checkpoint directory {root}; name a folder outside of it, or below {users}"
        ))),
        false => Ok(()),
    }
}

/// Whether the sinks of a job that is new may write where they want to.
pub(super) async fn check_sinks(
    machine: &Machine,
    root: &str,
    graph: &JobGraph,
) -> Result<(), ApiError> {
    let root = resolved(root).await?;
    for (vertex, sink) in graph.path_sinks() {
        // What is no location is told by whoever reads or writes there.
        if sink.path.parse::<Location>().is_err() {
            continue;
        }
        let real = resolved(&sink.path).await?;
        if let Some(by) = machine.met_by_sink(&real) {
            let path = sink.path.clone();
            return Err(errors::rejected(&Rejection::SinkOccupied { path, by }));
        }
        if is_within(&real, &root) || is_within(&root, &real) {
            return Err(refused(format!(
                "{}: sink path {} meets the checkpoint directory {root}; write elsewhere",
                vertex.id, sink.path
            )));
        }
    }
    Ok(())
}

/// Compares by segment.
fn is_within(path: &str, dir: &str) -> bool {
    match (path.parse::<Location>(), dir.parse::<Location>()) {
        (Ok(path), Ok(dir)) => path.is_within(&dir),
        _ => false,
    }
}

fn refused(text: String) -> ApiError {
    ApiError::new(ErrorKind::Refused, text)
}

/// The name by which the log knows the savepoint or checkpoint at a path that a user wants to start from,
/// through whatever links that leads; what it doesn't know keeps the user's.
pub(super) async fn restore_point(
    objects: &Objects,
    machine: &Machine,
    path: &str,
) -> Result<String, ApiError> {
    if machine.artefact_at(path).is_some() {
        return Ok(path.to_owned());
    }
    let real = resolved(path).await?;
    if machine.artefact_at(&real).is_some() {
        return Ok(real);
    }
    // Why it can't be read is told by whoever checks that it fits.
    let Ok(metadata) = savepoints::read(objects, path).await else {
        return Ok(path.to_owned());
    };
    match recorded(machine, &metadata) {
        Some(ours) if resolved(&ours.path).await? == real => Ok(ours.path.clone()),
        // A copy is as good to start from.
        Some(_) | None => Ok(path.to_owned()),
    }
}

/// The name by which the log knows what a user wants disposed of; refused if it isn't a savepoint of Regent, if
/// it is one of this cluster's that the log doesn't have there, or if a job starts from it.
pub(super) async fn disposable(
    objects: &Objects,
    machine: &Machine,
    path: &str,
) -> Result<String, ApiError> {
    let real = resolved(path).await?;
    check_pins(machine, &real).await?;
    for name in [path, &*real] {
        if machine.artefact_at(name).is_some() {
            return Ok(name.to_owned());
        }
    }
    let metadata = savepoints::read(objects, path).await?;
    let known = recorded(machine, &metadata);
    if let Some(known) = known
        && resolved(&known.path).await? == real
    {
        return Ok(known.path.clone());
    }
    let cluster = machine.cluster_id().map(|cluster| cluster.to_string());
    if cluster.as_deref() != Some(metadata.cluster_id.as_str()) {
        return Ok(path.to_owned());
    }
    let why = match known {
        Some(known) => format!("it is a copy of {}", known.path),
        None => "the log has no such checkpoint any more".to_owned(),
    };
    Err(refused(format!(
        "{path} says that it is a checkpoint of this cluster, but {why}; remove its directory by hand"
    )))
}

/// The machine compares pins as they are written; here they are followed.
async fn check_pins(machine: &Machine, real: &str) -> Result<(), ApiError> {
    for job in machine.active_jobs().filter(|job| job.pinned) {
        let Some(restore) = &job.restore else {
            continue;
        };
        if resolved(&restore.path).await? == real {
            let (path, job) = (restore.path.clone(), job.id);
            return Err(errors::rejected(&Rejection::Pinned { path, job }));
        }
    }
    Ok(())
}

/// What the ledger has under the job, run and number that a `_metadata` names.
fn recorded<'a>(machine: &'a Machine, metadata: &CheckpointMetadata) -> Option<&'a Artefact> {
    let attempt = metadata.attempt.as_ref()?;
    let job: JobId = attempt.job_id.parse().ok()?;
    let run = run_from(attempt.run.as_ref()?);
    let wanted = Some(CheckpointId(metadata.checkpoint_id));
    let mut owned = machine.artefacts_of(job, run);
    let found = owned.find(|artefact| number(&artefact.kind) == wanted);
    found.map(|artefact| &**artefact)
}

fn number(kind: &ArtefactKind) -> Option<CheckpointId> {
    match kind {
        ArtefactKind::Checkpoint { id } => Some(*id),
        ArtefactKind::Savepoint { id, .. } => *id,
        ArtefactKind::Staging { .. }
        | ArtefactKind::Replaced { .. }
        | ArtefactKind::WorkerScratch { .. }
        | ArtefactKind::Blob => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SinkKind, graph};

    #[tokio::test]
    async fn links_are_resolved_as_far_as_a_path_exists() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        std::fs::create_dir_all(home.join("real/deep")).unwrap();
        std::os::unix::fs::symlink(home.join("real"), home.join("link")).unwrap();
        for (path, real) in [
            ("link", "real"),
            ("link/deep", "real/deep"),
            ("link/new/er", "real/new/er"),
            ("real/deep", "real/deep"),
            ("new", "new"),
        ] {
            let found = resolved(&text(&home.join(path))).await.unwrap();
            assert_eq!(found, text(&home.join(real)), "{path}");
        }
        assert_eq!(
            resolved("/no/such/../x").await.unwrap_err().kind,
            ErrorKind::Invalid
        );
    }

    #[tokio::test]
    async fn the_storage_directory_is_no_place_for_sinks_and_for_savepoints_only_in_part() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let root = at("checkpoints");
        std::fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink(&root, at("link")).unwrap();
        let machine = Machine::new();
        for (folder, open) in [
            ("sp", true),
            ("checkpoints/savepoints", true),
            ("checkpoints/savepoints/mine", true),
            ("link/savepoints/mine", true),
            ("checkpoints-of-mine", true),
            ("checkpoints", false),
            ("checkpoints/owner", false),
            ("checkpoints/deep/er", false),
            ("link/owner", false),
        ] {
            let checked = check_savepoint_folder(&machine, &root, &at(folder)).await;
            assert_eq!(checked.is_ok(), open, "{folder}: {checked:?}");
            if let Err(error) = checked {
                assert_eq!(error.kind, ErrorKind::Refused);
                assert!(error.message.contains(&at(folder)), "{error}");
            }
        }
        for (path, open) in [
            ("out", true),
            ("checkpoints-out", true),
            ("checkpoints", false),
            ("checkpoints/out", false),
            ("checkpoints/savepoints", false),
            ("link/out", false),
            ("", false),
        ] {
            let mut graph = graph(1, SinkKind::ExactlyOnce);
            for vertex in &mut graph.vertices {
                if let Some(sink) = &mut vertex.sink {
                    sink.path = at(path).trim_end_matches('/').to_owned();
                }
            }
            assert_eq!(graph.path_sinks().count(), 1);
            let checked = check_sinks(&machine, &root, &graph).await;
            assert_eq!(checked.is_ok(), open, "{path}: {checked:?}");
        }
    }
}
