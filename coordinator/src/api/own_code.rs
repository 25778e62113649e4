//! From a submitted job file to its graph, where vertices may be the user's own code: what that code
//! makes of its configuration and input is asked of a worker that has it. JobManagers hold none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_state::JobGraph;
use regent_state::ids::{JobId, WorkerRef};

use super::change::Asked;
use crate::job_file::{self, JobFileSource, OwnCode, Parse, Told};
use crate::leader::seen::{Seen, WorkerSeen};

/// How long a worker's code may think about its schemas.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Questions in turn: one for each vertex of the user's code that is fed by another.
const ROUNDS_MAX: usize = 100;

/// Parses and checks the job file, asking workers where it takes that.
pub(super) async fn parse(
    asked: &Asked<'_>,
    job: JobId,
    submit: &v1::SubmitJob,
) -> Result<JobGraph, ApiError> {
    let seen = asked.rule.hub.seen();
    let mut code = offered(&seen);
    if let Some(known) = asked.rule.view().machine.graph(job) {
        code.know(known);
    }
    for _ in 0..ROUNDS_MAX {
        match parse_once(submit.clone(), code.clone()).await? {
            Parse::Done(job) => return Ok(job.graph),
            Parse::Asks(questions) => ask(asked, &seen, questions, &mut code).await?,
        }
    }
    Err(ApiError::new(
        ErrorKind::Invalid,
        format!("more than {ROUNDS_MAX} vertices of one's own code feed each other in a row"),
    ))
}

/// What the workers that are there offer beside what is built in.
fn offered(seen: &Seen) -> OwnCode {
    let mut code = OwnCode::default();
    for (name, worker) in seen.workers.iter().filter(|(_, worker)| worker.present()) {
        for offer in worker.offers.iter().filter(|offer| offer.own) {
            code.offer(name, offer);
        }
    }
    code
}

/// Parsing a large file takes a while, so it is done where blocking is allowed.
async fn parse_once(submit: v1::SubmitJob, code: OwnCode) -> Result<Parse, ApiError> {
    let parsing = tokio::task::spawn_blocking(move || {
        let overrides = overrides(&submit.set)?;
        let source = JobFileSource {
            text: &submit.job_file,
            name: &submit.file_name,
            working_dir: Path::new(&submit.working_dir),
            overrides: &overrides,
        };
        job_file::parse_with(source, &code).map_err(|error| invalid(&error))
    });
    let parsed = parsing.await;
    parsed.map_err(|error| ApiError::new(ErrorKind::Failed, error.to_string()))?
}

/// What a worker found wrong with the job's paths, one line each, with the place where the file has it.
pub(super) fn placed(submit: &v1::SubmitJob, problems: &[v1::PathProblem]) -> Vec<String> {
    let overrides = overrides(&submit.set).unwrap_or_default();
    let source = JobFileSource {
        text: &submit.job_file,
        name: &submit.file_name,
        working_dir: Path::new(&submit.working_dir),
        overrides: &overrides,
    };
    let line = |problem: &v1::PathProblem| {
        let finding = Told {
            vertex: &problem.vertex,
            message: &problem.message,
            key: &problem.key,
            valid: &problem.valid,
        };
        job_file::told(source, finding)
    };
    problems.iter().map(line).collect()
}

fn overrides(set: &[String]) -> Result<Vec<(String, String)>, ApiError> {
    set.iter()
        .map(|one| job_file::parse_override(one).map_err(|error| invalid(&error)))
        .collect()
}

fn invalid(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Invalid, error.to_string())
}

/// Asks each question of a worker that offers what it is about, each worker once.
async fn ask(
    asked: &Asked<'_>,
    seen: &Seen,
    questions: Vec<v1::OwnVertex>,
    code: &mut OwnCode,
) -> Result<(), ApiError> {
    let mut of_worker: BTreeMap<WorkerRef, Vec<v1::OwnVertex>> = BTreeMap::new();
    for question in questions {
        let worker = able(seen, &question).ok_or_else(|| gone(&question))?;
        of_worker.entry(worker).or_default().push(question);
    }
    for (worker, questions) in of_worker {
        let answers = answers(asked, &worker, &questions).await?;
        for (question, answer) in questions.into_iter().zip(answers) {
            code.answer(question, answer);
        }
    }
    Ok(())
}

fn able(seen: &Seen, question: &v1::OwnVertex) -> Option<WorkerRef> {
    let offers = |worker: &WorkerSeen| {
        let mut versions = worker.versions(&question.kind, &question.name);
        worker.present() && versions.any(|version| version == question.version)
    };
    let mut workers = seen.workers.iter();
    let found = workers.find(|(_, worker)| offers(worker));
    found.map(|(name, worker)| WorkerRef {
        worker: name.clone(),
        incarnation: worker.incarnation,
    })
}

/// A job that is known runs code that no worker offers now, and the file says something new of it.
fn gone(question: &v1::OwnVertex) -> ApiError {
    let v1::OwnVertex {
        kind,
        name,
        version,
        ..
    } = question;
    ApiError::new(
        ErrorKind::Invalid,
        format!("no worker offers {kind} {name} {version}, so its configuration can't be checked"),
    )
}

async fn answers(
    asked: &Asked<'_>,
    worker: &WorkerRef,
    questions: &[v1::OwnVertex],
) -> Result<Vec<v1::OwnDescription>, ApiError> {
    let receiver = asked.rule.hub.describe(worker, questions.to_vec());
    let silent = || {
        let names: Vec<&str> = questions.iter().map(|one| one.name.as_str()).collect();
        let message = format!(
            "worker {} doesn't say within {ANSWER_LIMIT:?} what it makes of {}; submit the job again",
            worker.worker,
            names.join(", ")
        );
        ApiError::new(ErrorKind::Failed, message)
    };
    let answer = tokio::time::timeout(ANSWER_LIMIT, receiver.ok_or_else(silent)?).await;
    let Ok(Ok(answer)) = answer else {
        return Err(silent());
    };
    let ids = answer.descriptions.iter().map(|one| one.vertex.as_str());
    if !ids.eq(questions.iter().map(|one| one.id.as_str())) {
        let message = format!("worker {} answers other questions", worker.worker);
        return Err(ApiError::new(ErrorKind::Failed, message));
    }
    Ok(answer.descriptions)
}
