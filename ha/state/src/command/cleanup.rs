//! Commands about the artefact ledger and about results that have had their time.

use serde::{Deserialize, Serialize};

use crate::ids::{ArtefactId, JobId};

/// What the cleaner achieved; many outcomes share an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupAttempted {
    /// One per artefact; those that are not undone are ignored.
    pub outcomes: Vec<CleanupReport>,
}

/// The outcome of one deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupReport {
    /// The artefact.
    pub artefact: ArtefactId,
    /// What came of it.
    pub outcome: CleanupOutcome,
}

/// What came of an attempt to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CleanupOutcome {
    /// Nothing of it is left, whether it was there or not.
    Gone,
    /// Something is left.
    Failed {
        /// For the operator.
        error: String,
        /// When to try again, by the machine's clock; `None` if the retries are used up.
        next_retry_ms: Option<u64>,
    },
}

/// Second looks at the directories of aborted checkpoints, for files that landed late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupSwept {
    /// One per artefact; those that owe no sweep are ignored.
    pub sweeps: Vec<SweepReport>,
}

/// The outcome of one sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// The artefact.
    pub artefact: ArtefactId,
    /// Whether the attempt was already over when the sweep began, so that nothing can follow.
    pub last: bool,
    /// What came of it.
    pub outcome: SweepOutcome,
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SweepOutcome {
    /// Nothing is there.
    Gone,
    /// Something is there and could not be deleted.
    Failed {
        /// For the operator.
        error: String,
        /// When to try again, by the machine's clock.
        next_retry_ms: u64,
    },
}

/// An operator wants the job's cleanup tried again now, with a fresh count of attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryCleanup {
    /// The job.
    pub job: JobId,
}

/// An operator takes over responsibility for an artefact: the ledger drops it, whatever is left of
/// it. For staging of an ended job it also gives up the transactions in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetArtefact {
    /// The artefact.
    pub artefact: ArtefactId,
}

/// A user wants a savepoint or retained checkpoint deleted. Refused while it is a job's restore
/// point, or pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisposeSavepoint {
    /// Its own directory.
    pub path: String,
}

/// Drops clean results that are too old or too many; never one that is younger than an hour, unless there are
/// more than the state may hold. Does a bounded piece of work; the response says whether to come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireResults {
    /// Results that ended longer ago than this, by the machine's clock; at least an hour.
    pub older_than_ms: u64,
    /// Beyond this many clean results the oldest go too, once they are an hour old.
    pub keep_at_most: u64,
}

impl ExpireResults {
    /// The youngest age at which a result may expire.
    pub const AGE_MS_MIN: u64 = 60 * 60 * 1_000;
    /// Clean results that the state holds, whatever is configured: beyond it the oldest go at any age. That is
    /// 28 jobs a second for an hour, some 200 MB.
    pub const HELD_MAX: u64 = 100_000;
    /// Results dropped by one entry.
    pub const BATCH: usize = 500;

    /// Whether a clean result has had its time: the `rank`th oldest (0 the oldest) of `count`, of this age by
    /// the machine's clock.
    pub fn takes(&self, rank: u64, count: u64, age_ms: u64) -> bool {
        let surplus = |keep: u64| rank < count.saturating_sub(keep);
        let of_age = age_ms >= Self::AGE_MS_MIN;
        let by_age = of_age && age_ms >= self.older_than_ms;
        let by_count = of_age && surplus(self.keep_at_most);
        by_age || by_count || surplus(self.keep_at_most.max(Self::HELD_MAX))
    }
}
