//! Invariants of the artefact ledger: nothing is leaked, nothing alive is given up.

use super::{Checked, implies, must};
use crate::machine::Machine;
use crate::model::{Artefact, ArtefactKind, ArtefactState, Job};

pub(super) fn check(machine: &Machine) -> Checked {
    let mut paths = 0;
    for artefact in machine.artefacts() {
        paths += usize::from(artefact.kind.owns_path());
        check_artefact(machine, artefact)?;
    }
    must(
        paths == machine.index.paths.len(),
        "paths are never shared",
        paths,
    )
}

fn check_artefact(machine: &Machine, artefact: &Artefact) -> Checked {
    let id = artefact.id;
    let next = machine.meta().map(|meta| meta.next_artefact);
    must(Some(id) < next, "artefact ids rise", id)?;
    let job = owner(machine, artefact);
    let given_up = !matches!(
        artefact.state,
        ArtefactState::Live | ArtefactState::Retained
    );
    must(
        given_up == artefact.given_up_ms.is_some(),
        "given up once",
        id,
    )?;
    implies(
        artefact.sweep.is_some(),
        given_up,
        "only what was given up is swept",
        id,
    )?;
    implies(
        artefact.disposed,
        given_up,
        "what is disposed of is given up",
        id,
    )?;
    match artefact.state {
        ArtefactState::Live => must(is_used(machine, job, artefact), "live is in use", id),
        ArtefactState::Done => {
            let kept = artefact.sweep.is_some() || job.is_some_and(Job::is_dirty);
            must(kept, "what is done is dropped", id)
        }
        ArtefactState::Pending | ArtefactState::Retrying | ArtefactState::Dirty => implies(
            !artefact.disposed,
            job.is_some(),
            "undone belongs to a run",
            id,
        ),
        ArtefactState::Retained => must(is_keepable(artefact), "only checkpoints are kept", id),
    }
}

fn owner<'a>(machine: &'a Machine, artefact: &Artefact) -> Option<&'a Job> {
    let (job, run) = artefact.owner?;
    machine
        .job(job)
        .filter(|job| job.run == run)
        .map(|job| &**job)
}

/// A live artefact is what its kind says: of a pending or completed checkpoint, of an attempt.
fn is_used(machine: &Machine, job: Option<&Job>, artefact: &Artefact) -> bool {
    let Some(job) = job else { return false };
    match &artefact.kind {
        ArtefactKind::Checkpoint { id } | ArtefactKind::Savepoint { id: Some(id), .. } => {
            let checkpoint = machine.checkpoint(job.id, job.run, *id);
            checkpoint.is_some_and(|checkpoint| checkpoint.artefact == artefact.id)
        }
        ArtefactKind::Staging { .. } => {
            let token = artefact.token.unwrap_or_default();
            let attempt = machine.attempt(job.id, token);
            attempt.is_some_and(|attempt| attempt.staging.contains(&artefact.id))
        }
        ArtefactKind::Savepoint { id: None, .. } | ArtefactKind::Replaced { .. } => false,
        ArtefactKind::WorkerScratch { .. } | ArtefactKind::Blob => true,
    }
}

fn is_keepable(artefact: &Artefact) -> bool {
    matches!(
        artefact.kind,
        ArtefactKind::Checkpoint { .. } | ArtefactKind::Savepoint { .. }
    )
}
