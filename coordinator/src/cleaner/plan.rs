//! What the cleaner does next, and what it tells the log about the outcome. Pure.
//!
//! The ledger itself orders the work (due time, then kind); this module only bounds how much of it is
//! taken at once, and turns outcomes into entries. `docs/protocol.md` §8.

use std::collections::BTreeSet;
use std::sync::Arc;

use regent_state::Machine;
use regent_state::command::{CleanupOutcome, CleanupReport, SweepOutcome, SweepReport};
use regent_state::ids::ArtefactId;
use regent_state::model::{Artefact, ArtefactKind};

use crate::config::CleanupStrategy;

/// Deletions under way at once: enough to hide a store's latency, too few to starve anybody.
pub(crate) const PARALLEL_MAX: usize = 8;
/// A sweep that failed is taken again after this long; sweeps are never given up.
const SWEEP_AGAIN_MS: u64 = 30_000;

/// A piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) artefact: Arc<Artefact>,
    /// Second look at something done already, and whether it is the last one.
    pub(crate) sweep: Option<bool>,
    /// The owner has ended, so that parents which are empty now stay empty.
    pub(crate) owner_ended: bool,
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

/// The next pieces of work, at most `room`, none that is under way.
pub(crate) fn pick(
    machine: &Machine,
    clock_ms: u64,
    busy: &BTreeSet<ArtefactId>,
    room: usize,
) -> Vec<Work> {
    let ended = |artefact: &Artefact| match artefact.owner {
        Some((job, run)) => machine
            .job(job)
            .is_none_or(|job| job.run != run || job.is_terminal()),
        None => false,
    };
    let due = machine.due_cleanups(clock_ms).map(|artefact| Work {
        owner_ended: ended(artefact),
        artefact: Arc::clone(artefact),
        sweep: None,
    });
    let sweeps = machine.due_sweeps(clock_ms).map(|due| Work {
        owner_ended: ended(&due.artefact),
        artefact: due.artefact,
        sweep: Some(due.last),
    });
    due.chain(sweeps)
        .filter(|work| !busy.contains(&work.artefact.id))
        .take(room)
        .collect()
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
