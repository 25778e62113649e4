//! `DeployAttempt`: the token, the restore point and the staging of a new attempt.

use super::super::{Context, ledger, pending, settle};
use super::{retire, wrong_state};
use crate::command::{DeployAttempt, SlotPlacement};
use crate::graph::JobGraph;
use crate::ids::{ArtefactId, AttemptToken};
use crate::model::{ArtefactKind, Attempt, AttemptState, Job, JobEventKind};
use crate::response::{Deployed, Effect, Rejection, Response, RestorePoint};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &DeployAttempt,
) -> Result<Response, Rejection> {
    let mut job = ctx.job(command.job)?;
    let graph = ctx.graph(command.job)?;
    check(ctx, &job, command)?;
    check_placement(&job, &command.placement, graph.slots_needed())?;

    let aborted = pending::abort(ctx, &mut job);
    retire(ctx, &job);
    let token = ctx.new_token();
    let staging = declare_staging(ctx, &job, &graph, token);
    begin(
        ctx,
        &mut job,
        command,
        token,
        staging.iter().map(|(id, ..)| *id).collect(),
    );
    settle::settle(ctx, &mut job);

    let response = Response::Deployed(Deployed {
        token,
        number: job.attempt,
        restore: restore_point(&job),
        commit_only: job.only_commits(),
        aborted,
        staging: staging
            .into_iter()
            .map(|(_, vertex, path)| (vertex, path))
            .collect(),
    });
    ctx.event(&job, JobEventKind::Deployed, None);
    ctx.effect(Effect::Schedule(job.id));
    ctx.put_job(job);
    Ok(response)
}

fn check(ctx: &Context<'_>, job: &Job, command: &DeployAttempt) -> Result<(), Rejection> {
    let (given, current) = (command.prior, job.token);
    if given != current {
        return Err(Rejection::WrongToken {
            job: job.id,
            given,
            current,
        });
    }
    if !job.awaits_deployment() {
        return Err(wrong_state(job, "a job that waits for deployment"));
    }
    let due_ms = job.restart.due_ms;
    if ctx.now_ms() < due_ms {
        return Err(Rejection::NotDue {
            job: job.id,
            due_ms,
        });
    }
    match job.unprepared_sinks.first() {
        Some(vertex) => Err(Rejection::SinkNotPrepared {
            job: job.id,
            vertex: vertex.clone(),
        }),
        None => Ok(()),
    }
}

fn check_placement(job: &Job, placement: &[SlotPlacement], needed: u32) -> Result<(), Rejection> {
    let slots = placement.iter().map(|placed| placed.slot);
    if slots.eq(0..needed) {
        Ok(())
    } else {
        Err(Rejection::WrongPlacement {
            job: job.id,
            needed,
        })
    }
}

/// One directory per exactly-once sink: (artefact, vertex, path).
fn declare_staging(
    ctx: &mut Context<'_>,
    job: &Job,
    graph: &JobGraph,
    token: AttemptToken,
) -> Vec<(ArtefactId, String, String)> {
    let sinks = graph.path_sinks().filter(|(_, sink)| sink.exactly_once);
    let declared = sinks.map(|(vertex, sink)| {
        let root = sink.path.trim_end_matches('/');
        let path = format!("{root}/_staging/{}-{token}", job.run);
        let kind = ArtefactKind::Staging {
            vertex: vertex.id.clone(),
        };
        let owner = Some((job.id, job.run));
        let artefact = ledger::declare(ctx, owner, kind, path.clone(), Some(token));
        (artefact, vertex.id.clone(), path)
    });
    declared.collect()
}

fn begin(
    ctx: &mut Context<'_>,
    job: &mut Job,
    command: &DeployAttempt,
    token: AttemptToken,
    staging: Vec<ArtefactId>,
) {
    job.attempt += 1;
    job.restarts = job.attempt - 1;
    job.token = Some(token);
    job.attempt_state = Some(AttemptState::Deploying);
    job.checkpoints.failed_in_a_row = 0;
    job.reason = None;
    let attempt = Attempt {
        job: job.id,
        run: job.run,
        token,
        number: job.attempt,
        epoch: ctx.meta.epoch.unwrap_or_default(),
        placement: command.placement.clone(),
        restore_point: job.latest.as_ref().map(|latest| latest.id),
        commit_only: job.only_commits(),
        staging,
        over: false,
        commit_through: None,
        deployed_ms: ctx.now_ms(),
    };
    ctx.put::<Attempt>((job.id, token), attempt);
}

fn restore_point(job: &Job) -> RestorePoint {
    if let Some(latest) = &job.latest {
        return RestorePoint::Checkpoint {
            id: latest.id,
            path: latest.path.clone(),
        };
    }
    match &job.restore {
        Some(restore) => RestorePoint::Savepoint {
            path: restore.path.clone(),
            allow_unclaimed_state: restore.allow_unclaimed_state,
        },
        None => RestorePoint::Start,
    }
}
