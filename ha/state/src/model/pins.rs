//! Frozen numbers of the variants of stored enums: their order is their encoding.

use super::*;
use crate::codec;
use crate::command::{CheckpointPointer, FailureKind, Outcome};
use crate::ids::{ArtefactId, CheckpointId, LogIndex, Run, WorkerRef};
use crate::response::Rejection;

/// The leading bytes (version, variant) of each value.
fn variants<T: serde::Serialize>(values: &[T]) -> Vec<u8> {
    values.iter().map(|value| codec::encode(value)[1]).collect()
}

fn counting(count: u8) -> Vec<u8> {
    (0..count).collect()
}

#[test]
fn states_keep_their_numbers() {
    assert_eq!(variants(&JobState::ALL), counting(10));
    let attempt = [
        AttemptState::Deploying,
        AttemptState::Running,
        AttemptState::Ended,
    ];
    assert_eq!(variants(&attempt), counting(3));
    let artefact = [
        ArtefactState::Live,
        ArtefactState::Retained,
        ArtefactState::Pending,
        ArtefactState::Retrying,
        ArtefactState::Done,
        ArtefactState::Dirty,
    ];
    assert_eq!(variants(&artefact), counting(6));
    let stop = Wanted::Stop {
        target: String::new(),
        drain: false,
    };
    assert_eq!(
        variants(&[Wanted::Run, Wanted::Cancel, stop, Wanted::Fail]),
        counting(4)
    );
    let savepoint = [
        SavepointState::Waiting,
        SavepointState::Completed {
            path: String::new(),
        },
        SavepointState::Failed {
            cause: String::new(),
        },
    ];
    assert_eq!(variants(&savepoint), counting(3));
}

#[test]
fn kinds_keep_their_numbers() {
    let worker = WorkerRef {
        worker: String::new(),
        incarnation: 0,
    };
    let artefact = [
        ArtefactKind::Checkpoint {
            id: CheckpointId(0),
        },
        ArtefactKind::Savepoint {
            id: None,
            completed: false,
        },
        ArtefactKind::Staging {
            vertex: String::new(),
        },
        ArtefactKind::Replaced {
            vertex: String::new(),
            files: Vec::new(),
        },
        ArtefactKind::WorkerScratch { worker },
        ArtefactKind::Blob,
    ];
    assert_eq!(variants(&artefact), counting(6));
    let failure = [
        FailureKind::TaskFailure,
        FailureKind::WorkerLost,
        FailureKind::IncompleteAfterTakeover,
        FailureKind::ChannelBroken,
        FailureKind::CheckpointsFailing,
        FailureKind::Unrecoverable,
        FailureKind::Drained,
    ];
    assert_eq!(variants(&failure), counting(7));
    let outcome = [Outcome::Finished, Outcome::Failed, Outcome::Canceled];
    assert_eq!(variants(&outcome), counting(3));
    let event = [
        JobEventKind::Submitted,
        JobEventKind::Deployed,
        JobEventKind::Running,
        JobEventKind::Adopted,
        JobEventKind::Reconciling,
        JobEventKind::Restarting,
        JobEventKind::Failing,
        JobEventKind::Cancelling,
        JobEventKind::Stopping,
        JobEventKind::Savepoint,
        JobEventKind::LastCheckpoint,
        JobEventKind::Ended,
        JobEventKind::OutputCommitted,
        JobEventKind::Clean,
        JobEventKind::CleanupStuck,
        JobEventKind::CleanupRetried,
        JobEventKind::Forgotten,
    ];
    assert_eq!(variants(&event), counting(17));
}

#[test]
fn records_keep_their_numbers() {
    let (job, run) = (crate::ids::JobId([0; 16]), Run::default());
    let answers = [
        RequestAnswer::Job { job, run },
        RequestAnswer::Savepoint {
            job,
            run,
            request: LogIndex(0),
        },
        RequestAnswer::Done,
        RequestAnswer::Rejected(Box::new(Rejection::UnknownArtefact(ArtefactId(0)))),
    ];
    assert_eq!(variants(&answers), counting(4));
    let pointer = CheckpointPointer {
        path: String::new(),
        metadata_len: 0,
        metadata_crc: 0,
        size_bytes: 0,
        duration_ms: 0,
        files: 0,
        has_transactions: false,
    };
    let completed = CheckpointStatus::Completed {
        pointer,
        completed_at_ms: 0,
        retained: false,
    };
    assert_eq!(
        variants(&[CheckpointStatus::Pending, completed]),
        counting(2)
    );
}
