//! `worker drain|undrain`: noted in the log, and waited for until nothing runs there any more.

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::view::WorkerDrained;
use regent_state::Command;
use regent_state::command::DrainWorker;
use tokio::time::{Instant, sleep};

use super::change::{ANSWER_RESERVE, Asked};
use super::document;
use crate::leader::rule::Rule;

/// Between two looks at the worker.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

pub(super) async fn drain(
    asked: &Asked<'_>,
    change: &v1::DrainWorker,
) -> Result<v1::Document, ApiError> {
    let worker = change.worker.as_str();
    let seen = asked.rule.hub.seen();
    let known = seen.workers.contains_key(worker);
    let drained = asked.rule.view().machine.drain(worker).is_some();
    if !known && !drained {
        let names: Vec<&str> = seen.workers.keys().map(String::as_str).collect();
        let message = format!(
            "no worker is called {worker}; there are {}",
            names.join(", ")
        );
        return Err(ApiError::new(ErrorKind::Invalid, message));
    }
    let command = Command::DrainWorker(DrainWorker {
        worker: worker.to_owned(),
        drained: change.drained,
    });
    let noted = asked.carry_out(command).await?.is_some();
    let until = asked.deadline.checked_sub(ANSWER_RESERVE);
    let until = until.unwrap_or(asked.deadline);
    while noted && change.drained && tasks(asked.rule, worker) > 0 && Instant::now() < until {
        sleep(LOOK_AGAIN).await;
    }
    document(&WorkerDrained {
        worker: worker.to_owned(),
        drained: change.drained,
        tasks: tasks(asked.rule, worker),
    })
}

/// Tasks that the worker reports, and those that the log places there.
fn tasks(rule: &Rule, worker: &str) -> u64 {
    let seen = rule.hub.seen();
    let reported = seen.workers.get(worker).map_or(0, |worker| {
        let tasks = worker.tasks.values().flat_map(|tasks| tasks.values());
        tasks.filter(|phase| !phase.ended()).count() as u64
    });
    let view = rule.view();
    let jobs = view.machine.jobs().filter(|job| !job.is_terminal());
    let live = jobs.filter_map(|job| {
        let attempt = view.machine.current_attempt(job.id)?;
        job.is_current(attempt.token).then_some(attempt)
    });
    let placed = live.flat_map(|attempt| attempt.placement.iter());
    let placed = placed.filter(|place| place.worker.worker == worker).count() as u64;
    reported.max(placed)
}
