//! Savepoints as clients name them: whether what lies at a path is one, and fits a job.
//!
//! Read before anything is proposed, so that a slip of the pen is refused at once and nothing is handed
//! to the cleaner. The workers check every byte again when they restore.

use std::time::Duration;

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::metadata::{METADATA_NAME, decode_metadata, files, later_version, mismatch};
use regent_protocol::spec::OwnSpec;
use regent_protocol::v1::CheckpointMetadata;
use regent_protocol::view::{CheckpointDetail, CheckpointFile, CheckpointView};
use regent_state::JobGraph;
use regent_state::command::RestoreFrom;
use regent_storage::objects::{Location, LocationError, ObjectError, Objects};

use crate::job_file::is_built_in;

/// How long reading a `_metadata` may take.
const METADATA_LIMIT: Duration = Duration::from_secs(5);

/// The one spelling of a path that a client gave.
pub(super) fn canonical(path: &str) -> Result<String, ApiError> {
    let location: Result<Location, LocationError> = path.parse();
    location.map(|location| location.to_string()).map_err(bad)
}

pub(super) fn bad(error: LocationError) -> ApiError {
    ApiError::new(ErrorKind::Invalid, error.to_string())
}

/// The `_metadata` of ours at this path; refused if there is none.
pub(super) async fn read(objects: &Objects, path: &str) -> Result<CheckpointMetadata, ApiError> {
    let dir: Location = path.parse().map_err(bad)?;
    let location = dir.join(METADATA_NAME).map_err(bad)?;
    let refused = |cause: String| {
        let message = format!("{path} is not a savepoint or checkpoint of Regent: {cause}");
        ApiError::new(ErrorKind::Refused, message)
    };
    let file = match objects.get(&location, METADATA_LIMIT).await {
        Ok(file) => file,
        Err(error @ ObjectError::NotFound { .. }) => return Err(refused(error.to_string())),
        // Whether it is one can't be told now.
        Err(error) => return Err(ApiError::new(ErrorKind::Failed, error.to_string())),
    };
    decode_metadata(&file).map_err(|error| refused(error.to_string()))
}

/// A completed checkpoint with its files, by its own word.
pub(super) async fn with_files(
    objects: &Objects,
    checkpoint: CheckpointView,
) -> Result<CheckpointDetail, ApiError> {
    let failed = |text: String| ApiError::new(ErrorKind::Failed, text);
    let dir: Location = checkpoint.path.parse().map_err(bad)?;
    let own = dir.join(METADATA_NAME).map_err(bad)?;
    let bytes = objects.get(&own, METADATA_LIMIT).await;
    let bytes = bytes.map_err(|error| failed(format!("{error}; see: regent cleanup verify")))?;
    let metadata = decode_metadata(&bytes);
    let metadata = metadata.map_err(|error| failed(format!("{own}: {error}")))?;
    let mut named = vec![CheckpointFile {
        path: own.to_string(),
        size_bytes: bytes.len() as u64,
    }];
    for (name, size_bytes) in files(&metadata) {
        let path = dir.join(name).map_err(bad)?.to_string();
        named.push(CheckpointFile { path, size_bytes });
    }
    named.sort();
    Ok(CheckpointDetail {
        checkpoint,
        files: named,
    })
}

/// Whether a job of this graph can start from it.
pub(super) async fn check_restore(
    objects: &Objects,
    graph: &JobGraph,
    from: &RestoreFrom,
) -> Result<(), ApiError> {
    let metadata = read(objects, &from.path).await?;
    let operator_of = |id: &str| graph.vertex(id).map(|vertex| vertex.operator.as_str());
    let unfit = mismatch(&metadata, operator_of, from.allow_unclaimed_state)
        .or_else(|| later_version(&metadata, |id| own_version(graph, id)));
    match unfit {
        None => Ok(()),
        Some(cause) => Err(ApiError::new(
            ErrorKind::Refused,
            format!("{} doesn't fit this job: {cause}", from.path),
        )),
    }
}

/// The version of the user's code that a vertex runs; `None` for what is built in.
fn own_version(graph: &JobGraph, id: &str) -> Option<u32> {
    let vertex = graph.vertex(id)?;
    if is_built_in(vertex.kind, &vertex.operator) {
        return None;
    }
    let spec: OwnSpec = serde_json::from_str(&vertex.config_json).ok()?;
    Some(spec.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SinkKind, graph};
    use regent_protocol::metadata::encode_metadata;
    use regent_protocol::v1::{StateFile, SubtaskHandle, VertexState, subtask_handle::State};

    fn metadata(vertex: &str, operator: &str) -> CheckpointMetadata {
        let handle = SubtaskHandle {
            state: Some(State::File(StateFile::default())),
            ..SubtaskHandle::default()
        };
        let state = VertexState {
            vertex: vertex.to_owned(),
            operator: operator.to_owned(),
            subtasks: vec![handle],
            ..VertexState::default()
        };
        CheckpointMetadata {
            vertices: vec![state],
            ..CheckpointMetadata::default()
        }
    }

    #[tokio::test]
    async fn only_what_is_ours_and_fits_is_accepted() {
        let root = tempfile::tempdir().unwrap();
        let objects = Objects::new();
        let graph = graph(1, SinkKind::Blackhole);
        let written = |name: &str, bytes: &[u8]| {
            let dir = root.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join(METADATA_NAME), bytes).unwrap();
        };
        let fits = encode_metadata(&metadata("numbers", "sequence")).unwrap();
        written("fits", &fits);
        written(
            "gone",
            &encode_metadata(&metadata("old", "sequence")).unwrap(),
        );
        written(
            "other",
            &encode_metadata(&metadata("numbers", "files")).unwrap(),
        );
        written("damaged", &fits[..fits.len() - 1]);
        written("flinks", b"\x49\x60\xe5\x67\0\0\0\x03");
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let cases = [
            ("fits", false, None),
            ("gone", false, Some("state of old")),
            ("gone", true, None),
            ("other", true, Some("numbers (files)")),
            ("damaged", false, Some("not a savepoint")),
            ("flinks", false, Some("not a savepoint")),
            ("empty", false, Some("doesn't exist")),
            ("nowhere", false, Some("doesn't exist")),
        ];
        for (name, allow_unclaimed_state, cause) in cases {
            let from = RestoreFrom {
                path: root.path().join(name).to_str().unwrap().to_owned(),
                allow_unclaimed_state,
            };
            let checked = check_restore(&objects, &graph, &from).await;
            match (checked, cause) {
                (Ok(()), None) => {}
                (Err(error), Some(cause)) => {
                    assert_eq!(error.kind, ErrorKind::Refused, "{name}: {error}");
                    assert!(error.message.contains(cause), "{name}: {error}");
                }
                (checked, _) => panic!("{name}: {checked:?}"),
            }
        }
        assert_eq!(canonical("/a//b/").unwrap(), "/a/b");
        assert_eq!(canonical("a/b").unwrap_err().kind, ErrorKind::Invalid);
    }
}
