//! What the scheduler's planners look at: a job's facts from the machine, what workers were seen to
//! hold, and what this reign has ordered so far. Plain data; nothing here decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regent_state::JobGraph;
use regent_state::ids::{AttemptToken, CheckpointId, Epoch, JobId, Run, WorkerRef};
use regent_state::model::{Attempt, Job};

use crate::leader::seen::{Moment, Seen};
use crate::wire::AttemptRef;

/// Everything that is common to all jobs in one pass.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) seen: &'a Seen,
    pub(crate) memory: &'a Memory,
    /// Since this reign began, monotonic.
    pub(crate) now: Moment,
    /// The machine's clock.
    pub(crate) clock_ms: u64,
    pub(crate) epoch: Epoch,
    pub(crate) lease: Duration,
}

/// One job, as the log has it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) job: Arc<Job>,
    pub(crate) graph: Arc<JobGraph>,
    /// Oldest first; the current one included.
    pub(crate) attempts: Vec<Arc<Attempt>>,
    /// Since when the current attempt has tasks on a drained worker (wall time).
    pub(crate) drained_at_ms: Option<u64>,
}

impl Facts {
    /// The attempt that counts: current, and not ended.
    pub(crate) fn live(&self) -> Option<&Arc<Attempt>> {
        self.current()
            .filter(|attempt| self.job.is_current(attempt.token))
    }

    pub(crate) fn current(&self) -> Option<&Arc<Attempt>> {
        let token = self.job.token?;
        self.attempts.iter().find(|attempt| attempt.token == token)
    }

    pub(crate) fn reference(&self, token: AttemptToken) -> AttemptRef {
        AttemptRef {
            job: self.job.id,
            run: self.job.run,
            token,
        }
    }
}

/// What this reign has ordered. Lost with the reign; the next one starts from what workers report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// `Deploy` orders by session: a new session of the same worker is ordered again if need be.
    pub(crate) ordered: BTreeMap<(AttemptRef, WorkerRef, u64), Moment>,
    /// `CancelAttempt` orders.
    pub(crate) cancelled: BTreeMap<(AttemptRef, WorkerRef, u64), Moment>,
    /// Looks at a job's paths before its first attempt.
    pub(crate) inspections: BTreeMap<(JobId, Run), Inspection>,
    /// `CommitOnly` orders.
    pub(crate) commits: BTreeMap<(JobId, CheckpointId), Commit>,
}

impl Memory {
    /// `Deploy` orders of one job's attempts.
    pub(crate) fn ordered_of(
        &self,
        job: JobId,
    ) -> impl Iterator<Item = (&(AttemptRef, WorkerRef, u64), &Moment)> {
        let (first, last) = AttemptRef::all_of(job).into_inner();
        let nobody = WorkerRef {
            worker: String::new(),
            incarnation: 0,
        };
        let from = self.ordered.range((first, nobody, 0)..);
        from.take_while(move |((attempt, ..), _)| *attempt <= last)
    }
}

/// How far the look at a job's paths is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// A worker is looking.
    Asked,
    /// Nobody answered; again after this moment.
    Unanswered { again_at: Moment },
    /// The worker's answer.
    Answered {
        problems: Vec<String>,
        existing: Vec<String>,
    },
}

/// A `CommitOnly` order under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Ordered of this worker in this session.
    Ordered {
        worker: WorkerRef,
        session: u64,
        at: Moment,
    },
    /// All transactions are committed.
    Done,
    /// It failed; again after this moment.
    Failed { again_at: Moment },
}
