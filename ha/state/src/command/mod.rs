//! Everything that the replicated log may carry: one closed, append-only enum.
//!
//! Each command says in prose what it means and on which condition it may run; the condition is
//! checked by `apply`, at the index where the entry stands. Variants and fields are never
//! reordered or removed: golden bytes in the tests pin every encoding.

mod attempts;
mod checkpoints;
mod cleanup;
mod cluster;
mod display;
mod jobs;

use serde::{Deserialize, Serialize};

pub use attempts::{
    AttemptAdopted, AttemptFailed, AttemptRunning, AttemptsOver, DeployAttempt, FailureKind,
    SlotPlacement,
};
pub use checkpoints::{
    AbortCheckpoint, BeginCheckpoint, CheckpointKind, CheckpointPointer, CompleteCheckpoint,
    SinksCommitted,
};
pub use cleanup::CleanupReport;
pub use cleanup::{
    CleanupAttempted, CleanupOutcome, CleanupSwept, DisposeSavepoint, ExpireResults,
    ForgetArtefact, RetryCleanup, SweepOutcome, SweepReport,
};
pub use cluster::{AnnounceLeader, ChangeMember, DrainWorker, ResumeJobs, SetFeatureLevel};
pub use jobs::{
    CancelJob, FailJob, JobTerminated, JobWaiting, Outcome, RequestSavepoint, RestoreFrom,
    SinkPrepared, StopJob, SubmitJob,
};

use crate::codec::{self, DecodeError};
use crate::ids::{Epoch, RequestId};

/// One log entry: a command with everything that `apply` must not ask for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The reign of the reconciler that proposes; `None` for clients.
    pub epoch: Option<Epoch>,
    /// Makes a client's retry harmless; `None` for reconcilers.
    pub request: Option<RequestTag>,
    /// The proposing leader's machine clock in milliseconds: the clock when its `AnnounceLeader`
    /// was applied, plus its monotonic time since.
    pub proposed_at_ms: u64,
    /// Milliseconds since 1970, for people only; decides nothing.
    pub wall_ms: u64,
    /// Who asked, for people: a user, a reconciler.
    pub actor: String,
    /// What is to happen.
    pub command: Command,
}

/// Identifies one intention of a client over all its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTag {
    /// Chosen by the client, fixed over retries.
    pub id: RequestId,
    /// The cluster's generation when the client made the request.
    pub base_generation: u64,
    /// The applied index at some replica before the first try, fixed over retries.
    pub base_index: u64,
}

/// What is to happen. See each payload for its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each payload type documents its command")]
pub enum Command {
    AnnounceLeader(AnnounceLeader),
    SubmitJob(SubmitJob),
    DeployAttempt(DeployAttempt),
    AttemptRunning(AttemptRunning),
    AttemptAdopted(AttemptAdopted),
    AttemptFailed(AttemptFailed),
    AttemptsOver(AttemptsOver),
    CancelJob(CancelJob),
    StopJob(StopJob),
    RequestSavepoint(RequestSavepoint),
    FailJob(FailJob),
    JobWaiting(JobWaiting),
    SinkPrepared(SinkPrepared),
    SinksCommitted(SinksCommitted),
    JobTerminated(JobTerminated),
    BeginCheckpoint(BeginCheckpoint),
    CompleteCheckpoint(CompleteCheckpoint),
    AbortCheckpoint(AbortCheckpoint),
    CleanupAttempted(CleanupAttempted),
    CleanupSwept(CleanupSwept),
    RetryCleanup(RetryCleanup),
    ForgetArtefact(ForgetArtefact),
    DisposeSavepoint(DisposeSavepoint),
    ExpireResults(ExpireResults),
    SetFeatureLevel(SetFeatureLevel),
    ChangeMember(ChangeMember),
    DrainWorker(DrainWorker),
    ResumeJobs(ResumeJobs),
}

/// Who may propose a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A new leader, as the first entry of its reign.
    NewLeader,
    /// The leader's reconcilers: the envelope carries the epoch.
    Reconciler,
    /// A user: the envelope carries no epoch, and may be forwarded.
    Client,
}

impl Command {
    /// Who may propose this command.
    pub fn authority(&self) -> Authority {
        match self {
            Self::AnnounceLeader(_) => Authority::NewLeader,
            Self::SubmitJob(_)
            | Self::CancelJob(_)
            | Self::StopJob(_)
            | Self::RequestSavepoint(_)
            | Self::RetryCleanup(_)
            | Self::ForgetArtefact(_)
            | Self::DisposeSavepoint(_)
            | Self::ChangeMember(_)
            | Self::DrainWorker(_)
            | Self::ResumeJobs(_) => Authority::Client,
            Self::DeployAttempt(_)
            | Self::AttemptRunning(_)
            | Self::AttemptAdopted(_)
            | Self::AttemptFailed(_)
            | Self::AttemptsOver(_)
            | Self::FailJob(_)
            | Self::JobWaiting(_)
            | Self::SinkPrepared(_)
            | Self::SinksCommitted(_)
            | Self::JobTerminated(_)
            | Self::BeginCheckpoint(_)
            | Self::CompleteCheckpoint(_)
            | Self::AbortCheckpoint(_)
            | Self::CleanupAttempted(_)
            | Self::CleanupSwept(_)
            | Self::ExpireResults(_)
            | Self::SetFeatureLevel(_) => Authority::Reconciler,
        }
    }
}

impl Envelope {
    /// The bytes of the log entry.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the bytes of a log entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}
