//! Invariants around one job: its state, attempts, checkpoints and result.

use super::{Checked, Violation, implies, must};
use crate::apply::{SAVEPOINT_REQUESTS_MAX, SAVEPOINTS_LISTED_MAX};
use crate::machine::Machine;
use crate::model::{
    ArtefactState, AttemptState, Checkpoint, CheckpointStatus, Job, JobHistory, JobState, Wanted,
};
use crate::path;

pub(super) fn check(machine: &Machine, job: &Job) -> Checked {
    check_state(job)?;
    check_numbers(job)?;
    check_pending(machine, job)?;
    check_attempts(machine, job)?;
    check_checkpoints(machine, job)?;
    check_result(machine, job)?;
    check_bounds(machine, job)
}

fn check_state(job: &Job) -> Checked {
    let ending = match job.state {
        JobState::Cancelling | JobState::Canceled => job.wanted == Wanted::Cancel,
        JobState::Failing | JobState::Failed => job.wanted == Wanted::Fail,
        _ => job.wanted.keeps_running(),
    };
    must(ending, "what is wanted fits the state", job.id)?;
    let runs = matches!(job.state, JobState::Running | JobState::Reconciling);
    let attempt_runs = job.attempt_state == Some(AttemptState::Running);
    must(
        runs == attempt_runs,
        "a running job has a running attempt",
        job.id,
    )?;
    let stopped = matches!(job.state, JobState::Failing | JobState::Cancelling);
    let ended = matches!(job.attempt_state, None | Some(AttemptState::Ended));
    implies(
        stopped || job.is_terminal(),
        ended,
        "an ending job has no current attempt",
        job.id,
    )?;
    must(
        job.token.is_some() == job.attempt_state.is_some(),
        "an attempt has a state",
        job.id,
    )
}

fn check_numbers(job: &Job) -> Checked {
    must(
        (job.attempt == 0) == job.token.is_none(),
        "attempts count from 1",
        job.id,
    )?;
    must(
        job.restarts == job.attempt.saturating_sub(1),
        "restarts follow the first",
        job.id,
    )?;
    let latest = job.latest.as_ref().map(|latest| latest.id);
    must(
        latest < Some(job.next_checkpoint),
        "checkpoint ids rise",
        job.id,
    )?;
    must(
        job.committed_through <= latest,
        "only completed ones are committed",
        job.id,
    )?;
    let last = job.final_checkpoint;
    implies(
        last.is_some(),
        last == latest,
        "nothing follows the last checkpoint",
        job.id,
    )?;
    let starts_elsewhere = job.restore.is_some() && job.latest.is_none() && !job.is_terminal();
    must(
        job.pinned == starts_elsewhere,
        "pinned until the first own checkpoint or the end",
        job.id,
    )
}

fn check_pending(machine: &Machine, job: &Job) -> Checked {
    let Some(pending) = &job.pending else {
        return Ok(());
    };
    must(
        job.state == JobState::Running,
        "only a running job has a pending checkpoint",
        job.id,
    )?;
    must(
        job.is_current(pending.token),
        "it is of the current attempt",
        job.id,
    )?;
    must(
        !job.only_commits(),
        "none follows the last checkpoint",
        job.id,
    )?;
    let above = job
        .latest
        .as_ref()
        .is_none_or(|latest| latest.id < pending.id);
    must(
        above && pending.id < job.next_checkpoint,
        "its id is the highest",
        job.id,
    )?;
    let stored = machine.checkpoint(job.id, job.run, pending.id);
    let found = stored.is_some_and(|each| each.status == CheckpointStatus::Pending);
    must(found, "a pending checkpoint is stored", job.id)
}

fn check_attempts(machine: &Machine, job: &Job) -> Checked {
    for attempt in machine.attempts(job.id) {
        must(
            attempt.run == job.run,
            "attempts are of the run",
            attempt.token,
        )?;
        must(
            attempt.number <= job.attempt,
            "attempt numbers rise",
            attempt.token,
        )?;
        must(
            Some(attempt.token) <= job.token,
            "the current token is the highest",
            attempt.token,
        )?;
        for staging in &attempt.staging {
            let state = machine.artefact(*staging).map(|artefact| artefact.state);
            must(
                state == Some(ArtefactState::Live),
                "staging outlives its attempt",
                staging,
            )?;
        }
    }
    let current = job.token.filter(|_| !job.is_terminal());
    let known = current.is_none_or(|token| machine.attempt(job.id, token).is_some());
    must(known, "the current attempt is kept", job.id)
}

fn check_checkpoints(machine: &Machine, job: &Job) -> Checked {
    let (mut pending, mut own, mut savepoints) = (0, 0, 0);
    for checkpoint in machine.checkpoints_of(job.id, job.run) {
        check_artefact(machine, job, checkpoint)?;
        match &checkpoint.status {
            CheckpointStatus::Pending => pending += 1,
            _ if checkpoint.kind.is_savepoint() => savepoints += 1,
            CheckpointStatus::Completed { .. } => own += 1,
        }
    }
    must(
        pending == usize::from(job.pending.is_some()),
        "at most one is pending",
        job.id,
    )?;
    let keep = machine
        .graph(job.id)
        .map_or(1, |graph| graph.num_retained());
    must(own <= keep, "no more checkpoints than retained", job.id)?;
    must(
        savepoints <= SAVEPOINTS_LISTED_MAX,
        "listed savepoints are bounded",
        job.id,
    )?;
    let latest = job.latest.as_ref().filter(|_| !job.is_terminal());
    let restorable =
        latest.is_none_or(|latest| machine.checkpoint(job.id, job.run, latest.id).is_some());
    must(restorable, "the restore point is kept", job.id)
}

/// No pointer to what the cleaner may delete.
fn check_artefact(machine: &Machine, job: &Job, checkpoint: &Checkpoint) -> Checked {
    let expected = match &checkpoint.status {
        CheckpointStatus::Completed { retained: true, .. } => ArtefactState::Retained,
        _ => ArtefactState::Live,
    };
    let artefact = machine.artefact(checkpoint.artefact);
    let Some(artefact) = artefact else {
        let what = format!("{} of {}", checkpoint.id, job.id);
        return Err(Violation {
            rule: "a checkpoint's directory is in the ledger",
            what,
        });
    };
    must(
        artefact.state == expected,
        "a checkpoint's directory is in use",
        artefact.id,
    )?;
    must(
        artefact.path == checkpoint.path,
        "both know the same directory",
        artefact.id,
    )?;
    must(
        artefact.owner == Some((job.id, job.run)),
        "both know the same owner",
        artefact.id,
    )
}

fn check_result(machine: &Machine, job: &Job) -> Checked {
    must(
        job.is_terminal() == job.result.is_some(),
        "an end has a result",
        job.id,
    )?;
    let Some(result) = &job.result else {
        return Ok(());
    };
    must(
        result.outcome.state() == job.state,
        "the result is that of the state",
        job.id,
    )?;
    must(
        job.pending.is_none(),
        "nothing is pending after the end",
        job.id,
    )?;
    implies(
        job.state == JobState::Finished,
        result.output_complete && job.uncommitted().is_none(),
        "FINISHED means that all output is visible",
        job.id,
    )?;
    implies(
        result.output_complete,
        job.uncommitted().is_none(),
        "complete is committed",
        job.id,
    )?;
    if !result.clean {
        return Ok(());
    }
    must(
        job.uncommitted().is_none(),
        "clean: nothing to commit",
        job.id,
    )?;
    must(
        machine.attempts(job.id).next().is_none(),
        "clean: no unfenced attempt",
        job.id,
    )?;
    for artefact in machine.artefacts_of(job.id, job.run) {
        must(
            !crate::apply::is_open(artefact),
            "clean: nothing to delete",
            artefact.id,
        )?;
    }
    Ok(())
}

fn check_bounds(machine: &Machine, job: &Job) -> Checked {
    let requests = job.savepoints.len();
    must(
        requests <= SAVEPOINT_REQUESTS_MAX,
        "savepoint requests are bounded",
        job.id,
    )?;
    let Some(history) = machine.history(job.id) else {
        return must(false, "a job has a history", job.id);
    };
    must(
        history.events.len() <= JobHistory::EVENTS_MAX,
        "events are bounded",
        job.id,
    )?;
    must(
        history.failures.len() <= JobHistory::FAILURES_MAX,
        "failures are bounded",
        job.id,
    )
}

/// The graph is the one that was submitted, and a run that is not clean holds its claims until its
/// output is committed.
pub(super) fn check_graph(machine: &Machine, job: &Job) -> Checked {
    let Some(graph) = machine.graph(job.id) else {
        return must(false, "a job has a graph", job.id);
    };
    must(
        graph.hash() == job.graph_hash,
        "the graph is the submitted one",
        job.id,
    )?;
    let claims = !job.is_terminal() || job.uncommitted().is_some();
    for (_, sink) in graph.path_sinks().filter(|_| claims) {
        let claim = machine.tables.claims.get(&path::normalise(&sink.path));
        let held = claim.is_some_and(|claim| {
            claim
                .holders
                .iter()
                .any(|holder| (holder.job, holder.run) == (job.id, job.run))
        });
        must(held, "a job that may write holds its claims", &sink.path)?;
    }
    Ok(())
}

/// Nothing belongs to a job that is not there.
pub(super) fn check_orphans(machine: &Machine) -> Checked {
    let tables = &machine.tables;
    let graphs = tables.graphs.iter().map(|(job, _)| *job);
    let histories = tables.histories.iter().map(|(job, _)| *job);
    let attempts = tables.attempts.iter().map(|((job, _), _)| *job);
    for job in graphs.chain(histories).chain(attempts) {
        must(
            machine.job(job).is_some(),
            "everything belongs to a job",
            job,
        )?;
    }
    for (_, checkpoint) in tables.checkpoints.iter() {
        check_owner(machine, checkpoint)?;
    }
    Ok(())
}

/// What is retained outlives its run's result, and is then the ledger's alone.
fn check_owner(machine: &Machine, checkpoint: &Checkpoint) -> Checked {
    let owner = machine.job(checkpoint.job);
    if owner.is_some_and(|job| job.run == checkpoint.run) {
        return Ok(());
    }
    let artefact = machine.artefact(checkpoint.artefact);
    let kept = artefact.is_some_and(|artefact| {
        artefact.state == ArtefactState::Retained && artefact.path == checkpoint.path
    });
    must(
        checkpoint.is_retained() && kept,
        "only what is retained outlives its run",
        checkpoint.id,
    )
}
