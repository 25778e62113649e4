//! What applying an entry answers: response, refusals with advice, changes, effects.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::{self, DecodeError};
use crate::graph::GraphError;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, Epoch, JobId, LogIndex, RequestId, Run};
use crate::key::Key;
use crate::model::JobState;
use crate::occupied::Occupant;

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// For whoever proposed the entry.
    pub response: Response,
    /// What is different now, in the order of keys, each key at most once.
    pub changes: Vec<Change>,
    /// Hints for the leader's reconcilers; losing one costs latency, never correctness.
    pub effects: Vec<Effect>,
}

/// A difference in the state; one list serves the store, snapshots, watchers and the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entity has this value now.
    Put(Key, Vec<u8>),
    /// The entity is gone.
    Delete(Key),
}

impl Change {
    /// Which entity.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// A hint that wakes a reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// A reign began.
    LeaderAnnounced(Epoch),
    /// The scheduler should look at this job.
    Schedule(JobId),
    /// The checkpoint coordinator should look at this job.
    Checkpoints(JobId),
    /// The cleaner has something to do.
    Cleanup,
    /// A user's job has ended; whoever waits for it can be told.
    JobEnded(JobId),
    /// An artefact's retries are used up: warn.
    CleanupStuck(ArtefactId),
    /// Replicas are wanted to be something else.
    Members,
    /// Workers were drained or offered again.
    Workers,
}

/// The answer to whoever proposed the entry. A refusal is a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Response {
    /// Done, and there is nothing to say.
    #[default]
    Done,
    /// Refused. Only the clock has moved, and a dirty job's cleanup has started again if its id was
    /// submitted.
    Rejected(Rejection),
    /// A reign began.
    Announced(Announced),
    /// A client's command about a job.
    Job(JobAnswer),
    /// A savepoint was requested.
    SavepointRequested {
        /// The job.
        job: JobAnswer,
        /// The number under which the job keeps the request.
        request: LogIndex,
    },
    /// An attempt may be deployed.
    Deployed(Deployed),
    /// What follows a failed attempt.
    AttemptFailed(Verdict),
    /// A checkpoint may be triggered.
    CheckpointBegun {
        /// Its id.
        id: CheckpointId,
        /// Its directory.
        path: String,
        /// Its directory in the ledger.
        artefact: ArtefactId,
    },
    /// A checkpoint is the restore point now.
    CheckpointCompleted {
        /// Directories that moved to the cleanup ledger.
        evicted: Vec<ArtefactId>,
        /// The job ends once its sinks have committed this one.
        last: bool,
    },
    /// A checkpoint was given up.
    CheckpointAborted {
        /// More failed in a row than the job tolerates: propose `AttemptFailed`.
        too_many: bool,
    },
    /// A job has ended.
    Terminated {
        /// Nothing was left to clean.
        clean: bool,
        /// Artefacts that were given up.
        given_up: u64,
        /// Artefacts that are kept on purpose.
        retained: u64,
    },
    /// The ledger took note.
    Ledger {
        /// Runs that became clean by it.
        cleaned: Vec<JobId>,
    },
    /// Results were dropped.
    ResultsExpired {
        /// How many.
        expired: u64,
        /// Whether there are more to drop.
        more: bool,
    },
    /// A savepoint's files are given up.
    Disposing {
        /// The savepoint in the ledger.
        artefact: ArtefactId,
    },
}

/// A reign began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The machine's clock now; `proposed_at` of this reign counts from here.
    pub clock_ms: u64,
    /// Checkpoints that were pending and are aborted.
    pub aborted: u64,
    /// Jobs that wait to be adopted or given up.
    pub reconciling: u64,
    /// This very announcement had been applied before.
    pub already: bool,
}

/// A job as its client learns of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobAnswer {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// Its present state.
    pub state: JobState,
    /// The same was asked before, and answered.
    pub already: bool,
}

/// An attempt may be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The fencing token of its tasks.
    pub token: AttemptToken,
    /// Counts from 1, for people.
    pub number: u64,
    /// Where its tasks take their state from.
    pub restore: RestorePoint,
    /// Its tasks only commit what the last checkpoint names.
    pub commit_only: bool,
    /// The old attempt's checkpoint that this entry aborted.
    pub aborted: Option<CheckpointId>,
    /// Staging directories by vertex.
    pub staging: Vec<(String, String)>,
}

/// Where an attempt takes its state from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestorePoint {
    /// From the start.
    Start,
    /// From the run's latest completed checkpoint.
    Checkpoint {
        /// Its id.
        id: CheckpointId,
        /// Its directory.
        path: String,
    },
    /// From what the job was submitted with.
    Savepoint {
        /// Its directory.
        path: String,
        /// Whether state that no vertex claims may be dropped.
        allow_unclaimed_state: bool,
    },
}

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The next attempt may be deployed at this moment of the machine's clock.
    Restart {
        /// When.
        due_ms: u64,
    },
    /// The job fails: stop its tasks.
    Fail,
}

/// Why an entry was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each message tells what its fields are")]
pub enum Rejection {
    #[error("epoch {given} is not the present one ({current})")]
    StaleEpoch { given: Epoch, current: Epoch },
    #[error("the leader of this entry has not announced itself yet")]
    LeaderNotAnnounced,
    #[error("this command may not be proposed this way: {0}")]
    WrongAuthority(String),
    #[error("this state belongs to cluster {ours}, generation {generation}")]
    ForeignCluster { ours: String, generation: u64 },
    #[error("request {request} is too old to be told apart from a new one")]
    Expired { request: RequestId },
    #[error("request {request} claims to follow entry {base}, which is not written yet")]
    BaseAhead { request: RequestId, base: LogIndex },
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    #[error("the result of job {0} has expired")]
    ResultExpired(JobId),
    #[error("job {job} exists already with another graph")]
    JobIdConflict { job: JobId },
    #[error("job {job} has another run now ({current})")]
    WrongRun { job: JobId, current: Run },
    #[error("{0}")]
    InvalidGraph(GraphError),
    #[error("sink path {path} is in use by job {job}")]
    SinkClaimed { path: String, job: JobId },
    #[error("with --from-savepoint, sink {vertex} must append")]
    RestoreMustAppend { vertex: String },
    #[error("savepoint {path} is being deleted")]
    SavepointGone { path: String },
    #[error("{path} is the checkpoint of a running attempt; take a savepoint instead")]
    SavepointPending { path: String },
    #[error("job {job} is {state} already")]
    AlreadyTerminal { job: JobId, state: JobState },
    #[error("job {job} is {state}; this needs {needs}")]
    WrongState {
        job: JobId,
        state: JobState,
        needs: String,
    },
    #[error("job {job} is at attempt {}, not {}", Token(*current), Token(*given))]
    WrongToken {
        job: JobId,
        given: Option<AttemptToken>,
        current: Option<AttemptToken>,
    },
    #[error("attempt {token} of job {job} has ended already")]
    AttemptEnded { job: JobId, token: AttemptToken },
    #[error("job {job} may be deployed at {due_ms} ms, not before")]
    NotDue { job: JobId, due_ms: u64 },
    #[error("the placement of job {job} is not one worker for each of {needed} slots")]
    WrongPlacement { job: JobId, needed: u32 },
    #[error("sink {vertex} of job {job} is not prepared")]
    SinkNotPrepared { job: JobId, vertex: String },
    #[error("job {job} has no unprepared sink {vertex}")]
    UnknownSink { job: JobId, vertex: String },
    #[error("checkpoint {pending} of job {job} is pending")]
    CheckpointPending { job: JobId, pending: CheckpointId },
    #[error("checkpoint {id} of job {job} is not pending")]
    CheckpointNotPending { job: JobId, id: CheckpointId },
    #[error("checkpoint {id} of job {job} was declared at {declared}")]
    WrongPath {
        job: JobId,
        id: CheckpointId,
        declared: String,
    },
    #[error("job {job} has no completed checkpoint {id}")]
    UnknownCheckpoint { job: JobId, id: CheckpointId },
    #[error("job {job} has no waiting savepoint request {request}")]
    UnknownSavepointRequest { job: JobId, request: LogIndex },
    #[error("job {job} has {waiting} savepoint requests waiting; try again later")]
    TooManySavepoints { job: JobId, waiting: u64 },
    #[error("output of job {job} is not committed yet")]
    OutputNotCommitted { job: JobId },
    #[error("there is no artefact {0}")]
    UnknownArtefact(ArtefactId),
    #[error("artefact {artefact} is in use")]
    ArtefactInUse { artefact: ArtefactId },
    #[error("{path} is the restore point of job {job}")]
    RestorePointInUse { path: String, job: JobId },
    #[error("{path} is pinned by job {job}, which starts from it")]
    Pinned { path: String, job: JobId },
    #[error("{path} is not a savepoint or retained checkpoint")]
    NotDisposable { path: String },
    #[error("the feature level is {current} and never falls")]
    FeatureLevelFalls { current: u32 },
    #[error("{0}")]
    Invalid(String),
    #[error("node {node} was removed, and a removed number never comes back")]
    MemberRemoved { node: u64 },
    #[error("node {node} is the member at {peer}")]
    MemberElsewhere { node: u64, peer: String },
    #[error("sink path {path} meets the {by}")]
    SinkOccupied { path: String, by: Occupant },
    #[error("a savepoint in {folder} would lie within the {by}")]
    SavepointWithin { folder: String, by: Occupant },
}

/// Prints an optional token for messages.
struct Token(Option<AttemptToken>);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(token) => token.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// What whoever was refused can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing: the same again is refused again.
    GiveUp,
    /// Send the same request again, with the same id.
    SendAgain,
    /// Make a new request, with a new base and id; for a client whose outcome is unknown, only
    /// after it has looked.
    NewRequest,
    /// Look at the state again and plan anew. For reconcilers.
    Replan,
    /// Stop: another leader rules.
    StepDown,
}

impl Rejection {
    /// What whoever was refused can do; exhaustive, so that a new reason forces an answer.
    pub fn advice(&self) -> Advice {
        match self {
            Self::StaleEpoch { .. } => Advice::StepDown,
            Self::LeaderNotAnnounced => Advice::SendAgain,
            Self::Expired { .. }
            | Self::BaseAhead { .. }
            | Self::SinkClaimed { .. }
            | Self::SinkOccupied { .. }
            | Self::SavepointWithin { .. }
            | Self::TooManySavepoints { .. }
            | Self::RestorePointInUse { .. }
            | Self::Pinned { .. } => Advice::NewRequest,
            Self::WrongRun { .. }
            | Self::WrongState { .. }
            | Self::WrongToken { .. }
            | Self::AttemptEnded { .. }
            | Self::NotDue { .. }
            | Self::WrongPlacement { .. }
            | Self::SinkNotPrepared { .. }
            | Self::UnknownSink { .. }
            | Self::CheckpointPending { .. }
            | Self::CheckpointNotPending { .. }
            | Self::WrongPath { .. }
            | Self::UnknownCheckpoint { .. }
            | Self::UnknownSavepointRequest { .. }
            | Self::OutputNotCommitted { .. } => Advice::Replan,
            Self::WrongAuthority(_)
            | Self::ForeignCluster { .. }
            | Self::UnknownJob(_)
            | Self::ResultExpired(_)
            | Self::JobIdConflict { .. }
            | Self::InvalidGraph(_)
            | Self::RestoreMustAppend { .. }
            | Self::SavepointGone { .. }
            | Self::SavepointPending { .. }
            | Self::AlreadyTerminal { .. }
            | Self::UnknownArtefact(_)
            | Self::ArtefactInUse { .. }
            | Self::NotDisposable { .. }
            | Self::FeatureLevelFalls { .. }
            | Self::Invalid(_)
            | Self::MemberRemoved { .. }
            | Self::MemberElsewhere { .. } => Advice::GiveUp,
        }
    }
}

impl Response {
    /// The refusal, if it is one.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Splits refusals from answers.
    pub fn into_result(self) -> Result<Self, Rejection> {
        match self {
            Self::Rejected(rejection) => Err(rejection),
            answer => Ok(answer),
        }
    }

    /// Bytes for the way back to a forwarding replica.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads those bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

impl From<Rejection> for Response {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
