//! Retries of clients: the same request is run once and answered alike.
//!
//! Refusals are remembered too: a request that came twice over different replicas must not be
//! refused once and then run.

use super::Context;
use crate::command::RequestTag;
use crate::model::{RequestAnswer, RequestRecord};
use crate::response::{JobAnswer, Rejection, Response};

/// For how many entries an answered request is remembered.
pub(crate) const WINDOW: u64 = 100_000;
/// Records evicted by one entry at most; more than an entry adds, so that the memory is bounded.
const EVICTIONS_MAX: usize = 16;

/// Forgets requests that have left the window, by log index.
pub(super) fn evict(ctx: &mut Context<'_>) {
    let oldest = ctx.entry.index.0.saturating_sub(WINDOW);
    let rows = ctx.machine.tables.requests.iter().map(|(index, _)| *index);
    let old: Vec<_> = rows
        .take_while(|index| index.0 < oldest)
        .take(EVICTIONS_MAX)
        .collect();
    for index in old {
        ctx.remove::<RequestRecord>(&index);
    }
}

/// The answer to a request that must not be run: answered before, or too old to tell.
pub(super) fn recall(ctx: &Context<'_>, request: RequestTag) -> Option<Response> {
    if let Some(index) = ctx.machine.index.requests.get(&request.id) {
        let record = ctx.get::<RequestRecord>(index)?;
        return Some(answer_again(ctx, &record.answer));
    }
    let oldest = ctx.entry.index.0.saturating_sub(WINDOW);
    if request.base_generation != ctx.meta.generation || request.base_index < oldest {
        return Some(
            Rejection::Expired {
                request: request.id,
            }
            .into(),
        );
    }
    if request.base_index >= ctx.entry.index.0 {
        let base = crate::ids::LogIndex(request.base_index);
        return Some(
            Rejection::BaseAhead {
                request: request.id,
                base,
            }
            .into(),
        );
    }
    None
}

/// Keeps the answer under the entry's index.
pub(super) fn remember(ctx: &mut Context<'_>, request: RequestTag, response: &Response) {
    let answer = match response {
        Response::Rejected(rejection) => RequestAnswer::Rejected(Box::new(rejection.clone())),
        Response::Job(answer) => RequestAnswer::Job {
            job: answer.job,
            run: answer.run,
        },
        Response::SavepointRequested { job, request } => RequestAnswer::Savepoint {
            job: job.job,
            run: job.run,
            request: *request,
        },
        _ => RequestAnswer::Done,
    };
    ctx.put::<RequestRecord>(
        ctx.entry.index,
        RequestRecord {
            id: request.id,
            answer,
        },
    );
}

fn answer_again(ctx: &Context<'_>, answer: &RequestAnswer) -> Response {
    match answer {
        RequestAnswer::Job { job, run } => match present(ctx, *job, *run) {
            Ok(answer) => Response::Job(answer),
            Err(rejection) => rejection.into(),
        },
        RequestAnswer::Savepoint { job, run, request } => match present(ctx, *job, *run) {
            Ok(job) => Response::SavepointRequested {
                job,
                request: *request,
            },
            Err(rejection) => rejection.into(),
        },
        RequestAnswer::Done => Response::Done,
        RequestAnswer::Rejected(rejection) => Response::Rejected(Rejection::clone(rejection)),
    }
}

fn present(
    ctx: &Context<'_>,
    job: crate::ids::JobId,
    run: crate::ids::Run,
) -> Result<JobAnswer, Rejection> {
    let found = ctx.machine.job(job).filter(|found| found.run == run);
    let found = found.ok_or(Rejection::ResultExpired(job))?;
    Ok(JobAnswer {
        job,
        run,
        state: found.state,
        already: true,
    })
}
