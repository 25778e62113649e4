//! The bytes of a checkpoint's `_metadata` file: how they are framed, and how damage is told.
//!
//! Leader (writer) and TaskManagers (readers) share this. Where the file lies, who may write it and
//! when it counts belong to the checkpoint coordinator; what the states in it mean, to the operators.

use prost::Message;
use thiserror::Error;

use crate::v1::subtask_handle::State;
use crate::v1::{CheckpointMetadata, TaskState, VertexState};

/// Name of the file inside the checkpoint's directory.
pub const METADATA_NAME: &str = "_metadata";

/// Version of the frame and of [`CheckpointMetadata`] that this program writes.
pub const METADATA_VERSION: u32 = 1;

/// Largest `_metadata` that is written or read (bytes): 1,000 vertices of 128 subtasks with inline
/// states stay far below it, and a damaged length can't make a reader allocate without limit.
pub const METADATA_BYTES_MAX: usize = 2 << 30;

const MAGIC: [u8; 4] = *b"RGCM";
/// Magic, version, payload length, payload crc32c; the numbers are little-endian `u32`.
const HEADER_BYTES: usize = 16;

/// The files that a checkpoint's directory holds beside `_metadata`: (name, length).
pub fn files(metadata: &CheckpointMetadata) -> impl Iterator<Item = (&str, u64)> {
    let handles = metadata.vertices.iter().flat_map(|vertex| &vertex.subtasks);
    handles.filter_map(|handle| match &handle.state {
        Some(State::File(file)) => Some((file.name.as_str(), file.length)),
        Some(State::Inline(_)) | None => None,
    })
}

/// Why a job can't start from this state, if it can't. `operator_of`: the operator of the job's vertex
/// of that id.
pub fn mismatch<'a>(
    metadata: &CheckpointMetadata,
    operator_of: impl Fn(&str) -> Option<&'a str>,
    allow_unclaimed_state: bool,
) -> Option<String> {
    metadata
        .vertices
        .iter()
        .find_map(|state| match operator_of(&state.vertex) {
            Some(operator) if operator != state.operator => Some(format!(
                "it has state of {} ({}), but that vertex is {operator} now",
                state.vertex, state.operator
            )),
            None if !allow_unclaimed_state && holds_state(state) => Some(format!(
                "it has state of {}, which this job doesn't have (submit with \
                 --allow-unclaimed-state to drop it)",
                state.vertex
            )),
            _ => None,
        })
}

/// Why this state is of code that is too new for the job, if it is. `version_of`: the version that the
/// job's vertex of that id runs.
pub fn later_version(
    metadata: &CheckpointMetadata,
    version_of: impl Fn(&str) -> Option<u32>,
) -> Option<String> {
    metadata.vertices.iter().find_map(|state| {
        let version = version_of(&state.vertex)?;
        (state.operator_version > version && holds_state(state)).then(|| {
            format!(
                "its state of {} was written by {} {}, and the job would run {} {version}, which can't \
                 read it; start workers that offer {} {} or later, or name another savepoint",
                state.vertex,
                state.operator,
                state.operator_version,
                state.operator,
                state.operator,
                state.operator_version
            )
        })
    })
}

/// False for vertices such as filters: their states are there, but empty.
fn holds_state(vertex: &VertexState) -> bool {
    let empty = TaskState::default();
    vertex.subtasks.iter().any(|handle| match &handle.state {
        None => false,
        Some(State::File(_)) => true,
        Some(State::Inline(bytes)) => match TaskState::decode(bytes.clone()) {
            Ok(state) => {
                TaskState {
                    finished: false,
                    ..state
                } != empty
            }
            Err(_) => true,
        },
    })
}

/// Why `_metadata` bytes can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// Not a metadata file at all, or its first bytes are damaged.
    #[error("not a checkpoint metadata file (wrong magic)")]
    Magic,
    /// Written by a program that knows a later format.
    #[error("checkpoint metadata version {0} is not known here (known: {METADATA_VERSION})")]
    Version(u32),
    /// Cut short or padded.
    #[error("checkpoint metadata has {found} bytes, expected {expected}")]
    Length {
        /// Bytes that should be there.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The bytes aren't the ones that were written.
    #[error("checkpoint metadata checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// crc32c that should come out.
        expected: u32,
        /// crc32c that came out.
        found: u32,
    },
    /// The payload isn't the message.
    #[error("checkpoint metadata can't be decoded: {0}")]
    Payload(#[from] prost::DecodeError),
}

/// Length and crc32c of the whole file: what the log's checkpoint pointer and `Restore` carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataPointer {
    /// Bytes of the file, header included.
    pub length: u64,
    /// crc32c over all bytes of the file, header included.
    pub crc32c: u32,
}

impl MetadataPointer {
    /// The pointer of these file bytes.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        Self {
            length: file.len() as u64,
            crc32c: crc32c::crc32c(file),
        }
    }
}

/// The file bytes of a checkpoint's metadata.
///
/// # Errors
/// [`MetadataError::Length`] when it is larger than [`METADATA_BYTES_MAX`].
pub fn encode_metadata(metadata: &CheckpointMetadata) -> Result<Vec<u8>, MetadataError> {
    let length = metadata.encoded_len();
    if length > METADATA_BYTES_MAX {
        return Err(MetadataError::Length {
            expected: METADATA_BYTES_MAX as u64,
            found: length as u64,
        });
    }
    let payload = metadata.encode_to_vec();
    let mut file = Vec::with_capacity(HEADER_BYTES + payload.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&METADATA_VERSION.to_le_bytes());
    file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    file.extend_from_slice(&payload);
    Ok(file)
}

/// The metadata in these file bytes, if every byte is as it was written.
///
/// # Errors
/// Names what doesn't fit; never panics, whatever the bytes are.
pub fn decode_metadata(file: &[u8]) -> Result<CheckpointMetadata, MetadataError> {
    if file.len() < HEADER_BYTES {
        return Err(MetadataError::Length {
            expected: HEADER_BYTES as u64,
            found: file.len() as u64,
        });
    }
    if file[..4] != MAGIC {
        return Err(MetadataError::Magic);
    }
    let version = word(file, 4);
    if version != METADATA_VERSION {
        return Err(MetadataError::Version(version));
    }
    let payload = &file[HEADER_BYTES..];
    check_payload(payload, word(file, 8), word(file, 12))?;
    Ok(CheckpointMetadata::decode(payload)?)
}

/// The metadata in these file bytes, if they also are the ones the pointer names.
///
/// # Errors
/// Names what doesn't fit.
pub fn verify_metadata(
    file: &[u8],
    pointer: MetadataPointer,
) -> Result<CheckpointMetadata, MetadataError> {
    let found = MetadataPointer::of(file);
    if found.length != pointer.length {
        return Err(MetadataError::Length {
            expected: pointer.length,
            found: found.length,
        });
    }
    if found.crc32c != pointer.crc32c {
        return Err(MetadataError::Checksum {
            expected: pointer.crc32c,
            found: found.crc32c,
        });
    }
    decode_metadata(file)
}

fn check_payload(payload: &[u8], length: u32, checksum: u32) -> Result<(), MetadataError> {
    if payload.len() as u64 != u64::from(length) {
        return Err(MetadataError::Length {
            expected: HEADER_BYTES as u64 + u64::from(length),
            found: (HEADER_BYTES + payload.len()) as u64,
        });
    }
    let found = crc32c::crc32c(payload);
    if found != checksum {
        return Err(MetadataError::Checksum {
            expected: checksum,
            found,
        });
    }
    Ok(())
}

/// The little-endian word at `at`; the caller has checked that the header is whole.
fn word(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{StateFile, SubtaskHandle};

    fn sample() -> CheckpointMetadata {
        CheckpointMetadata {
            format_version: 1,
            cluster_id: "c".into(),
            checkpoint_id: 7,
            kind: "checkpoint".into(),
            vertices: vec![VertexState {
                vertex: "v".into(),
                parallelism: 2,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let file = encode_metadata(&sample()).unwrap();
        let hex: String = file.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "5247434d010000001a000000c657abba080112016320072a0a636865636b706f696e7432050a01762002"
        );
        assert_eq!(decode_metadata(&file).unwrap(), sample());
    }

    #[test]
    fn files_and_mismatches_are_named() {
        let mut metadata = sample();
        metadata.vertices[0].operator = "aggregate".into();
        let file = StateFile {
            name: "v-0.state".into(),
            length: 9,
            crc32c: 1,
        };
        metadata.vertices[0].subtasks = vec![SubtaskHandle {
            state: Some(State::File(file)),
            ..Default::default()
        }];
        assert_eq!(files(&metadata).collect::<Vec<_>>(), [("v-0.state", 9)]);
        assert_eq!(mismatch(&metadata, |_| Some("aggregate"), false), None);
        let other = mismatch(&metadata, |_| Some("filter"), true).unwrap();
        assert!(other.contains("v (aggregate)"), "{other}");
        let gone = mismatch(&metadata, |_| None, false).unwrap();
        assert!(gone.contains("state of v"), "{gone}");
        assert_eq!(mismatch(&metadata, |_| None, true), None);
        metadata.vertices[0].operator_version = 3;
        assert_eq!(later_version(&metadata, |_| Some(3)), None);
        assert_eq!(later_version(&metadata, |_| None), None);
        let later = later_version(&metadata, |_| Some(2)).unwrap();
        assert!(
            later.contains("aggregate 3") && later.contains("aggregate 2"),
            "{later}"
        );
        metadata.vertices[0].subtasks[0].state = Some(State::Inline(Default::default()));
        assert_eq!(mismatch(&metadata, |_| None, false), None, "it is empty");
    }

    #[test]
    fn every_flip_and_every_cut_is_refused() {
        let file = encode_metadata(&sample()).unwrap();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                assert!(decode_metadata(&bad).is_err(), "flip at {at}.{bit}");
            }
            assert!(decode_metadata(&file[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_pointer_is_of_the_whole_file() {
        let file = encode_metadata(&sample()).unwrap();
        let pointer = MetadataPointer::of(&file);
        assert_eq!(verify_metadata(&file, pointer).unwrap(), sample());
        let other = MetadataPointer {
            crc32c: pointer.crc32c ^ 1,
            ..pointer
        };
        assert!(matches!(
            verify_metadata(&file, other),
            Err(MetadataError::Checksum { .. })
        ));
        let longer = MetadataPointer {
            length: pointer.length + 1,
            ..pointer
        };
        assert!(matches!(
            verify_metadata(&file, longer),
            Err(MetadataError::Length { .. })
        ));
    }
}
