//! One of every answer and refusal: samples for the golden files.

use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;

use crate::support::*;

/// Refusals are stored with the requests that they answered; all answers travel between replicas.
#[allow(clippy::too_many_lines, reason = "a plain list")]
pub(crate) fn responses() -> Vec<Response> {
    let (job, run) = (
        job_id(0x5a),
        Run {
            generation: 2,
            index: LogIndex(77),
        },
    );
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    let state = JobState::Reconciling;
    let answer = JobAnswer {
        job,
        run,
        state,
        already: true,
    };
    let mut all = vec![
        Response::Done,
        Response::Announced(Announced {
            clock_ms: 9,
            aborted: 1,
            reconciling: 2,
            already: false,
        }),
        Response::Job(answer.clone()),
        Response::SavepointRequested {
            job: answer,
            request: LogIndex(90),
        },
        Response::AttemptFailed(Verdict::Restart { due_ms: 5 }),
        Response::AttemptFailed(Verdict::Fail),
        Response::CheckpointBegun {
            id: CheckpointId(3),
            path: "/chk-3".to_owned(),
            artefact: ArtefactId(8),
        },
        Response::CheckpointCompleted {
            evicted: vec![ArtefactId(7)],
            last: true,
        },
        Response::CheckpointAborted { too_many: true },
        Response::Terminated {
            clean: false,
            given_up: 3,
            retained: 1,
        },
        Response::Ledger { cleaned: vec![job] },
        Response::ResultsExpired {
            expired: 4,
            more: true,
        },
        Response::Disposing {
            artefact: ArtefactId(8),
        },
    ];
    let restores = [
        RestorePoint::Start,
        RestorePoint::Checkpoint {
            id: CheckpointId(3),
            path: "/chk-3".to_owned(),
        },
        RestorePoint::Savepoint {
            path: "/sp".to_owned(),
            allow_unclaimed_state: true,
        },
    ];
    all.extend(restores.map(|restore| {
        Response::Deployed(Deployed {
            token,
            number: 2,
            restore,
            commit_only: true,
            aborted: Some(CheckpointId(2)),
            staging: vec![("out".to_owned(), "/out/_staging/2.77-2.78".to_owned())],
        })
    }));
    all
}

#[allow(clippy::too_many_lines, reason = "a plain list")]
pub(crate) fn rejections() -> Vec<Rejection> {
    let (job, run) = (
        job_id(0x5a),
        Run {
            generation: 2,
            index: LogIndex(77),
        },
    );
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    let epoch = Epoch {
        generation: 2,
        term: 300,
        node: NodeId(3),
    };
    let request = RequestId([0xaa; 16]);
    let (id, artefact) = (CheckpointId(3), ArtefactId(8));
    let (text, vertex, path) = ("why".to_owned(), "out".to_owned(), "/p".to_owned());
    let state = JobState::Running;
    vec![
        Rejection::StaleEpoch {
            given: epoch,
            current: epoch,
        },
        Rejection::LeaderNotAnnounced,
        Rejection::WrongAuthority(text.clone()),
        Rejection::ForeignCluster {
            ours: text.clone(),
            generation: 2,
        },
        Rejection::Expired { request },
        Rejection::BaseAhead {
            request,
            base: LogIndex(4),
        },
        Rejection::UnknownJob(job),
        Rejection::ResultExpired(job),
        Rejection::JobIdConflict { job },
        Rejection::WrongRun { job, current: run },
        Rejection::InvalidGraph(GraphError::VertexCount(0)),
        Rejection::InvalidGraph(GraphError::Parallelism {
            vertex: vertex.clone(),
            parallelism: 0,
        }),
        Rejection::InvalidGraph(GraphError::DuplicateVertex(vertex.clone())),
        Rejection::InvalidGraph(GraphError::UnknownInput {
            vertex: vertex.clone(),
            from: text.clone(),
        }),
        Rejection::InvalidGraph(GraphError::ExactlyOnceWithoutInterval),
        Rejection::InvalidGraph(GraphError::Setting(text.clone())),
        Rejection::InvalidGraph(GraphError::SinksOverlap(path.clone())),
        Rejection::InvalidGraph(GraphError::TooLarge(5)),
        Rejection::SinkClaimed {
            path: path.clone(),
            job,
        },
        Rejection::RestoreMustAppend {
            vertex: vertex.clone(),
        },
        Rejection::SavepointGone { path: path.clone() },
        Rejection::SavepointPending { path: path.clone() },
        Rejection::AlreadyTerminal { job, state },
        Rejection::WrongState {
            job,
            state,
            needs: text.clone(),
        },
        Rejection::WrongToken {
            job,
            given: Some(token),
            current: None,
        },
        Rejection::AttemptEnded { job, token },
        Rejection::NotDue { job, due_ms: 5 },
        Rejection::WrongPlacement { job, needed: 2 },
        Rejection::SinkNotPrepared {
            job,
            vertex: vertex.clone(),
        },
        Rejection::UnknownSink { job, vertex },
        Rejection::CheckpointPending { job, pending: id },
        Rejection::CheckpointNotPending { job, id },
        Rejection::WrongPath {
            job,
            id,
            declared: path.clone(),
        },
        Rejection::UnknownCheckpoint { job, id },
        Rejection::UnknownSavepointRequest {
            job,
            request: LogIndex(90),
        },
        Rejection::TooManySavepoints { job, waiting: 8 },
        Rejection::OutputNotCommitted { job },
        Rejection::UnknownArtefact(artefact),
        Rejection::ArtefactInUse { artefact },
        Rejection::RestorePointInUse {
            path: path.clone(),
            job,
        },
        Rejection::Pinned {
            path: path.clone(),
            job,
        },
        Rejection::NotDisposable { path },
        Rejection::FeatureLevelFalls { current: 4 },
        Rejection::Invalid(text),
        Rejection::MemberRemoved { node: 2 },
        Rejection::MemberElsewhere {
            node: 2,
            peer: "jm-2:7201".to_owned(),
        },
        Rejection::SinkOccupied {
            path: "/out".to_owned(),
            by: occupant(Some(job)),
        },
        Rejection::SavepointWithin {
            folder: "/chk/a".to_owned(),
            by: occupant(None),
        },
    ]
}

fn occupant(job: Option<JobId>) -> regent_state::Occupant {
    regent_state::Occupant {
        what: "checkpoint".to_owned(),
        path: "/chk/a/1.3/chk-9".to_owned(),
        job,
    }
}
