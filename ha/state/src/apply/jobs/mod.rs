//! Commands about jobs as a whole.

pub(super) mod cancel_job;
pub(super) mod fail_job;
pub(super) mod job_terminated;
pub(super) mod job_waiting;
pub(super) mod request_savepoint;
pub(super) mod sink_prepared;
pub(super) mod stop_job;
pub(super) mod submit_job;

use super::Context;
use crate::model::Job;
use crate::response::{JobAnswer, Rejection, Response};

/// The longest path that the state keeps, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 4_096;

fn answer(job: &Job, already: bool) -> Response {
    Response::Job(JobAnswer {
        job: job.id,
        run: job.run,
        state: job.state,
        already,
    })
}

/// A savepoint lies where nothing is deleted around it and nothing is read as output.
fn check_target(ctx: &Context<'_>, target: &str) -> Result<(), Rejection> {
    check_path(target)?;
    match ctx.machine.around_savepoints(target) {
        Some(by) => Err(Rejection::SavepointWithin {
            folder: target.to_owned(),
            by,
        }),
        None => Ok(()),
    }
}

fn wrong_state(job: &Job, needs: &str) -> Rejection {
    Rejection::WrongState {
        job: job.id,
        state: job.state,
        needs: needs.to_owned(),
    }
}

pub(super) fn check_path(path: &str) -> Result<(), Rejection> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        let text = format!("a path has 1 to {PATH_BYTES_MAX} bytes");
        return Err(Rejection::Invalid(text));
    }
    Ok(())
}
