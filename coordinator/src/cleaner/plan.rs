//! What the cleaner does next, and what it tells the log about the outcome. Pure.
//!
//! The ledger itself orders the work (due time, then kind); this module only bounds how much of it is
//! taken at once, and turns outcomes into entries. `docs/protocol.md` §8.

use std::collections::BTreeMap;
use std::sync::Arc;

use regent_state::Machine;
use regent_state::command::{CleanupOutcome, CleanupReport, SweepOutcome, SweepReport};
use regent_state::ids::ArtefactId;
use regent_state::model::{Artefact, ArtefactKind, JobState};
use regent_storage::objects::ObjectError;

use crate::config::CleanupStrategy;

/// Deletions under way at once, of each class: enough to hide a store's latency, too few to starve
/// anybody. Each class has its own places, so neither many hopeless retries nor many first tries hold
/// up the other, and sweeps go on beside both.
const PLACES: [(Class, usize); 3] = [(Class::First, 8), (Class::Again, 4), (Class::Sweep, 4)];
/// A sweep that failed is taken again after this long; sweeps are never given up.
const SWEEP_AGAIN_MS: u64 = 30_000;

/// Why an artefact is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nobody has tried to delete it yet.
    First,
    /// A deletion failed before.
    Again,
    /// It was deleted, and may have got late files.
    Sweep,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) artefact: Arc<Artefact>,
    pub(crate) class: Class,
    /// Second look at something done already, and whether it is the last one.
    pub(crate) sweep: Option<bool>,
}

/// Why something could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: FailureKind,
    /// For the operator: what, where, why.
    pub(crate) text: String,
}

/// Kinds of failure, as the metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureKind {
    /// The process may not do that there.
    Denied,
    /// No answer in time.
    Timeout,
    /// What it is can't be told: a damaged `_metadata`, a path that names nothing.
    Unreadable,
    /// Anything else that the store said.
    Store,
}

impl FailureKind {
    pub(crate) const ALL: [Self; 4] = [Self::Denied, Self::Timeout, Self::Unreadable, Self::Store];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Unreadable => "unreadable",
            Self::Store => "store",
        }
    }
}

impl From<ObjectError> for Failed {
    fn from(error: ObjectError) -> Self {
        let kind = match error {
            ObjectError::PermissionDenied { .. } | ObjectError::Access(_) => FailureKind::Denied,
            ObjectError::Timeout { .. } => FailureKind::Timeout,
            ObjectError::Location(_) => FailureKind::Unreadable,
            ObjectError::NotFound { .. }
            | ObjectError::AlreadyExists { .. }
            | ObjectError::TooMany { .. }
            | ObjectError::Io { .. } => FailureKind::Store,
        };
        let text = error.to_string();
        Self { kind, text }
    }
}

/// How an artefact is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Its own directory, with everything in it.
    Directory,
    /// These names below its path, nothing else.
    Names(Vec<String>),
    /// The files that its `_metadata` names, then `_metadata`, then the directory if it is empty.
    Savepoint,
}

/// How this kind of artefact is removed.
pub(crate) fn removal(kind: &ArtefactKind) -> Removal {
    match kind {
        ArtefactKind::Savepoint {
            completed: true, ..
        } => Removal::Savepoint,
        ArtefactKind::Replaced { files, .. } => Removal::Names(files.clone()),
        ArtefactKind::Savepoint {
            completed: false, ..
        }
        | ArtefactKind::Checkpoint { .. }
        | ArtefactKind::Staging { .. }
        | ArtefactKind::WorkerScratch { .. }
        | ArtefactKind::Blob => Removal::Directory,
    }
}

/// Artefacts under way, or whose outcome isn't written yet.
#[derive(Debug, Default)]
pub(crate) struct Busy(BTreeMap<ArtefactId, Option<Class>>);

impl Busy {
    /// Its deletion begins.
    pub(crate) fn begin(&mut self, work: &Work) {
        self.0.insert(work.artefact.id, Some(work.class));
    }

    /// Its place is free; it stays busy until the outcome is written.
    pub(crate) fn ended(&mut self, id: ArtefactId) {
        self.0.insert(id, None);
    }

    /// Its outcome is written.
    pub(crate) fn written(&mut self, id: ArtefactId) {
        self.0.remove(&id);
    }

    fn holds(&self, id: ArtefactId) -> bool {
        self.0.contains_key(&id)
    }

    fn room(&self, class: Class) -> usize {
        let places = PLACES.iter().find(|(of, _)| *of == class);
        let under_way = self.0.values().filter(|busy| **busy == Some(class));
        places.map_or(0, |(_, places)| places.saturating_sub(under_way.count()))
    }

    /// Whether anything more could be started.
    pub(crate) fn has_room(&self) -> bool {
        PLACES.iter().any(|(class, _)| self.room(*class) > 0)
    }
}

/// The next pieces of work: none that is under way, of each class as many as have a place.
pub(crate) fn pick(machine: &Machine, clock_ms: u64, busy: &Busy) -> Vec<Work> {
    let tries = |artefact: &Arc<Artefact>, class| Work {
        artefact: Arc::clone(artefact),
        class,
        sweep: None,
    };
    let settled = |artefact: &&Arc<Artefact>| !writers_stop(machine, artefact, clock_ms);
    let first = machine.due_first_tries(clock_ms).filter(settled);
    let again = machine.due_retries(clock_ms).filter(settled);
    let sweeps = machine.due_sweeps(clock_ms);
    let first = first.map(|artefact| tries(artefact, Class::First));
    let again = again.map(|artefact| tries(artefact, Class::Again));
    let sweeps = sweeps.map(|due| Work {
        sweep: Some(due.last),
        ..tries(&due.artefact, Class::Sweep)
    });
    let is_free = |work: &Work| !busy.holds(work.artefact.id);
    let mut picked: Vec<Work> = Vec::new();
    picked.extend(first.filter(is_free).take(busy.room(Class::First)));
    picked.extend(again.filter(is_free).take(busy.room(Class::Again)));
    picked.extend(sweeps.filter(is_free).take(busy.room(Class::Sweep)));
    picked
}

/// Whether the tasks that may still write into the directory of this aborted checkpoint are being stopped: it is removed
/// once they are, so that what they were just writing doesn't come after that. Not held up beyond their write deadline,
/// after which it is swept anyway.
fn writers_stop(machine: &Machine, artefact: &Artefact, clock_ms: u64) -> bool {
    let Some(sweep) = artefact.sweep else {
        return false;
    };
    // A later run of the same id stops others.
    let owner = artefact
        .owner
        .and_then(|(job, run)| machine.job(job).filter(|job| job.run == run));
    let (Some(token), Some(job)) = (artefact.token, owner) else {
        return false;
    };
    let stops = match job.state {
        // With what else the job gives up when it has ended.
        JobState::Cancelling | JobState::Failing => true,
        JobState::Created | JobState::Running | JobState::Reconciling
            if job.token == Some(token) =>
        {
            false
        }
        _ => !sweep.attempt_over,
    };
    stops && clock_ms < sweep.due_ms
}

/// Whether the owner has ended, so that parents which are empty now stay empty.
pub(crate) fn owner_ended(machine: &Machine, artefact: &Artefact) -> bool {
    artefact.owner.is_some_and(|(job, run)| {
        let owner = machine.job(job);
        owner.is_none_or(|job| job.run != run || job.is_terminal())
    })
}

/// When there may be something to do next, by the machine's clock.
pub(crate) fn next_ms(machine: &Machine) -> Option<u64> {
    machine
        .next_cleanup_ms()
        .into_iter()
        .chain(machine.next_sweep_ms())
        .min()
}

/// Empty directories above a removed artefact that Regent made for it alone: (the job's run, the job)
/// above a checkpoint, `_staging` above staging. Innermost first.
pub(crate) fn own_parents(artefact: &Artefact) -> usize {
    let segments: Vec<&str> = artefact.path.trim_end_matches('/').rsplit('/').collect();
    let above = |n: usize| segments.get(n).copied().unwrap_or_default();
    match (&artefact.kind, artefact.owner) {
        (ArtefactKind::Checkpoint { .. }, Some((job, run))) => {
            let of_run = above(1) == run.to_string() && above(2) == job.to_string();
            if of_run { 2 } else { 0 }
        }
        (ArtefactKind::Staging { .. }, Some(_)) => usize::from(above(1) == "_staging"),
        _ => 0,
    }
}

/// What the log is told of a deletion.
pub(crate) fn report(
    artefact: &Artefact,
    error: Option<String>,
    strategy: &CleanupStrategy,
    clock_ms: u64,
) -> CleanupReport {
    let outcome = match error {
        None => CleanupOutcome::Gone,
        Some(error) => {
            let delay = strategy.delay_after(u64::from(artefact.attempts) + 1);
            let ahead_ms = |delay: std::time::Duration| {
                clock_ms.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
            };
            CleanupOutcome::Failed {
                error,
                next_retry_ms: delay.map(ahead_ms),
            }
        }
    };
    CleanupReport {
        artefact: artefact.id,
        outcome,
    }
}

/// What the log is told of a sweep.
pub(crate) fn sweep_report(
    artefact: ArtefactId,
    last: bool,
    error: Option<String>,
    clock_ms: u64,
) -> SweepReport {
    let outcome = match error {
        None => SweepOutcome::Gone,
        Some(error) => SweepOutcome::Failed {
            error,
            next_retry_ms: clock_ms + SWEEP_AGAIN_MS,
        },
    };
    SweepReport {
        artefact,
        last,
        outcome,
    }
}
