//! The janitor: lets results of ended jobs expire, by command, never by reading a clock elsewhere.

use std::sync::Arc;
use std::time::Duration;

use regent_state::command::ExpireResults;
use regent_state::{Command, Machine, Response};

use crate::config::Results;
use crate::leader::rule::Rule;

/// Between two looks; results are kept for hours at least.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>) {
    loop {
        while expire(&rule).await {}
        tokio::select! {
            () = rule.stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Drops a bounded number; answers whether there are more.
async fn expire(rule: &Rule) -> bool {
    let view = rule.view();
    let Some(command) = plan(&view.machine, &rule.config.results, rule.clock_ms()) else {
        return false;
    };
    let answer = rule
        .propose("janitor", Command::ExpireResults(command))
        .await;
    matches!(answer, Ok(Response::ResultsExpired { more: true, .. }))
}

/// Pure: whether anything has had its time.
fn plan(machine: &Machine, results: &Results, clock_ms: u64) -> Option<ExpireResults> {
    let older_than_ms = u64::try_from(results.max_age.as_millis()).unwrap_or(u64::MAX);
    let command = ExpireResults {
        older_than_ms,
        keep_at_most: results.max_count,
    };
    let any = machine.expired(&command, clock_ms).next().is_some();
    any.then_some(command)
}
