//! `SubmitJob`.

use super::super::{Context, claims, ledger};
use super::{answer, check_path};
use crate::command::SubmitJob;
use crate::graph::{GraphHash, IfExists, JobGraph};
use crate::ids::CheckpointId;
use crate::model::{
    ArtefactState, CheckpointCounters, Job, JobEventKind, JobState, RestartState, Wanted, clip,
};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &SubmitJob,
) -> Result<Response, Rejection> {
    let hash = command.graph.hash();
    if let Ok(job) = ctx.job(command.job_id) {
        return submitted_again(ctx, &job, hash);
    }
    command.graph.validate().map_err(Rejection::InvalidGraph)?;
    check_restore(ctx, command)?;
    claims::check(ctx, &command.graph)?;

    let job = new_job(ctx, command, hash);
    ctx.put::<JobGraph>(job.id, command.graph.clone());
    claims::claim(ctx, &job, &command.graph);
    let submitter = job.submitted_by.clone();
    ctx.event(&job, JobEventKind::Submitted, Some(&submitter));
    ctx.effect(Effect::Schedule(job.id));
    let response = answer(&job, false);
    ctx.put_job(job);
    Ok(response)
}

/// The id is known: never run twice. A dirty job is cleaned once more, whatever the graph.
fn submitted_again(
    ctx: &mut Context<'_>,
    job: &Job,
    hash: GraphHash,
) -> Result<Response, Rejection> {
    if job.is_dirty() {
        ledger::retry_all(ctx, job.id);
        ctx.effect(Effect::Cleanup);
    }
    if job.graph_hash != hash {
        return Err(Rejection::JobIdConflict { job: job.id });
    }
    Ok(answer(job, true))
}

fn check_restore(ctx: &Context<'_>, command: &SubmitJob) -> Result<(), Rejection> {
    let Some(restore) = &command.restore else {
        return Ok(());
    };
    check_path(&restore.path)?;
    let mut sinks = command.graph.path_sinks();
    if let Some((vertex, _)) = sinks.find(|(_, sink)| sink.mode != IfExists::Append) {
        return Err(Rejection::RestoreMustAppend {
            vertex: vertex.id.clone(),
        });
    }
    let path = restore.path.clone();
    match ctx
        .machine
        .artefact_at(&path)
        .map(|artefact| artefact.state)
    {
        // Unknown here: written by another cluster. The first attempt will see.
        None | Some(ArtefactState::Retained) => Ok(()),
        Some(ArtefactState::Live) => Err(Rejection::SavepointPending { path }),
        Some(_) => Err(Rejection::SavepointGone { path }),
    }
}

fn new_job(ctx: &Context<'_>, command: &SubmitJob, graph_hash: GraphHash) -> Job {
    let replaces = command.graph.path_sinks();
    let replaces = replaces.filter(|(_, sink)| sink.mode == IfExists::Replace);
    Job {
        id: command.job_id,
        run: ctx.new_run(),
        name: command.graph.name.clone(),
        graph_hash,
        state: JobState::Created,
        wanted: Wanted::Run,
        reason: None,
        attempt: 0,
        token: None,
        attempt_state: None,
        adoptions: 0,
        restarts: 0,
        restart: RestartState::default(),
        next_checkpoint: CheckpointId(1),
        pending: None,
        checkpoints: CheckpointCounters::default(),
        latest: None,
        final_checkpoint: None,
        committed_through: None,
        savepoints: Vec::new(),
        restore: command.restore.clone(),
        pinned: command.restore.is_some(),
        unprepared_sinks: replaces.map(|(vertex, _)| vertex.id.clone()).collect(),
        submitted_ms: ctx.wall_ms(),
        started_ms: None,
        submitted_by: clip(ctx.actor),
        result: None,
    }
}
