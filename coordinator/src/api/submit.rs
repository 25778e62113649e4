//! Submitting a job: parse and check, let a worker look at the paths, then into the log.

use std::time::Duration;

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::view;
use regent_state::command::{RestoreFrom, SubmitJob};
use regent_state::graph::VertexKind;
use regent_state::ids::{JobId, WorkerRef};
use regent_state::{Command, JobGraph, Response};

use super::change::Asked;
use super::rehearse::rehearse;
use super::{document, own_code, places, savepoints};
use crate::scheduler::offers::offers_all;
use crate::scheduler::order;

/// How long a worker may look at paths while the client waits; later it is done before deployment.
const INSPECT_LIMIT: Duration = Duration::from_secs(3);

pub(super) async fn submit(
    asked: &Asked<'_>,
    submit: &v1::SubmitJob,
) -> Result<v1::Document, ApiError> {
    let job_id: JobId = submit.job_id.parse().map_err(|error| invalid(&error))?;
    let graph = own_code::parse(asked, job_id, submit).await?;
    let view = asked.rule.view();
    // A repeated submission finds its own output where the first one saw nothing.
    let known = view.machine.job(job_id);
    let first = known.is_none();
    let restore = restore_from(asked, submit, first).await?;
    let command = |graph: JobGraph| {
        Command::SubmitJob(SubmitJob {
            job_id,
            graph,
            restore: restore.clone(),
        })
    };
    if asked.request.dry_run || (first && restore.is_some()) {
        rehearse(asked.rule, asked.tag, command(graph.clone()))?;
    }
    if first {
        places::check_sinks(&view.machine, asked.root(), &graph).await?;
        inspect(asked, &graph, submit).await?;
        if let Some(from) = &restore {
            savepoints::check_restore(&asked.rule.objects, &graph, from).await?;
        }
    }
    if asked.request.dry_run {
        let state = known.map_or_else(|| "CREATED".to_owned(), |job| job.state.to_string());
        let (job_id, already) = (job_id.to_string(), known.is_some());
        return document(&view::Submitted {
            job_id,
            state,
            already,
        });
    }
    match asked.propose(command(graph)).await? {
        Response::Job(answer) => document(&view::Submitted {
            job_id: answer.job.to_string(),
            state: answer.state.to_string(),
            already: answer.already,
        }),
        other => Err(ApiError::new(
            ErrorKind::Failed,
            format!("unexpected answer {other:?}"),
        )),
    }
}

/// Under the name that the log has for it, so that it is pinned by that.
async fn restore_from(
    asked: &Asked<'_>,
    submit: &v1::SubmitJob,
    first: bool,
) -> Result<Option<RestoreFrom>, ApiError> {
    if submit.from_savepoint.is_empty() {
        return Ok(None);
    }
    let mut path = savepoints::canonical(&submit.from_savepoint)?;
    if first {
        let (objects, view) = (&asked.rule.objects, asked.rule.view());
        path = places::restore_point(objects, &view.machine, &path).await?;
    }
    Ok(Some(RestoreFrom {
        path,
        allow_unclaimed_state: submit.allow_unclaimed_state,
    }))
}

fn invalid(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Invalid, error.to_string())
}

/// Lets a worker that has all operators look; without one it is done before the first attempt.
async fn inspect(
    asked: &Asked<'_>,
    graph: &JobGraph,
    submit: &v1::SubmitJob,
) -> Result<(), ApiError> {
    let seen = asked.rule.hub.seen();
    let mut present = seen.workers.iter().filter(|(_, worker)| worker.present());
    let Some((name, worker)) = present.find(|(_, worker)| offers_all(graph, Some(worker))) else {
        return Ok(());
    };
    let worker = WorkerRef {
        worker: name.clone(),
        incarnation: worker.incarnation,
    };
    let Some(answer) = asked.rule.hub.inspect(&worker, order::vertices(graph)) else {
        return Ok(());
    };
    match tokio::time::timeout(INSPECT_LIMIT, answer).await {
        Ok(Ok(found)) if found.problems.is_empty() => Ok(()),
        Ok(Ok(found)) => Err(problems(graph, found.problems, submit.clone()).await),
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// A problem with a source makes the file invalid; one with a sink's path is refused for safety.
async fn problems(
    graph: &JobGraph,
    problems: Vec<v1::PathProblem>,
    submit: v1::SubmitJob,
) -> ApiError {
    let is_sink = |problem: &v1::PathProblem| {
        graph
            .vertex(&problem.vertex)
            .is_some_and(|vertex| vertex.kind == VertexKind::Sink)
    };
    let kind = match problems.iter().all(is_sink) {
        true => ErrorKind::Refused,
        false => ErrorKind::Invalid,
    };
    let line = |problem: &v1::PathProblem| format!("{}: {}", problem.vertex, problem.message);
    let lines: Vec<String> = problems.iter().map(line).collect();
    // Where the file names what is wrong is found out by reading it again, which may take a while.
    let placed = tokio::task::spawn_blocking(move || own_code::placed(&submit, &problems)).await;
    ApiError::new(kind, placed.unwrap_or(lines).join("\n"))
}
