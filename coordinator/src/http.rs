//! What is answered over plain HTTP, on the same port as gRPC: probes and metrics.
//!
//! `/livez` is about local progress only: tied to a majority it would restart followers when the leader
//! is lost, and make matters worse. `/readyz` has named checks; `?exclude=NAME` leaves some out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use regent_ha::{Phase, Role};
use regent_protocol::probe::{self, Check};

use crate::leader::sees_leader;
use crate::metrics;
use crate::node::Node;

/// A replica that trails the committed log by more is not ready.
const TRAILS_MAX: u64 = 1_000;
/// A write of the log that is under way for longer: no progress.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A write of the log that is under way for longer: not ready.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The routes of this process.
pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/leader", get(leader))
        .route("/metrics", get(prometheus))
        .with_state(node)
}

fn answer(checks: &[Check], query: Option<&str>) -> Response {
    let (good, text) = probe::answer(checks, query.unwrap_or_default());
    let code = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, text).into_response()
}

async fn livez(State(node): State<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let status = node.replica.status();
    let why = status.failure.as_deref().unwrap_or("raft has stopped");
    let checks = [
        Check::new("raft", status.role != Role::Down, why),
        disk(&node, STUCK_AFTER),
    ];
    answer(&checks, query.as_deref())
}

async fn readyz(State(node): State<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let status = node.replica.status();
    let member = match &status.phase {
        Phase::Empty => Check::new("member", false, "waits for bootstrap, or to be added"),
        Phase::Refused(reason) => Check::new("member", false, reason.as_str()),
        Phase::Member => Check::new("member", true, ""),
    };
    let sees = sees_leader(&node.replica.leadership().borrow());
    let trails = status
        .committed_index
        .unwrap_or(0)
        .saturating_sub(status.applied_index);
    let behind = format!("{trails} committed entries are not applied yet");
    let checks = [
        member,
        Check::new("leader", sees, "sees no leader"),
        Check::new("caught-up", trails <= TRAILS_MAX, behind),
        disk(&node, SLOW_AFTER),
    ];
    answer(&checks, query.as_deref())
}

/// The log takes writes, and none is under way for longer than `limit`.
fn disk(node: &Node, limit: Duration) -> Check {
    let log = node.replica.log_metrics();
    let age = log.outstanding_since.map(|since| since.elapsed());
    let problem = match age.filter(|age| *age > limit) {
        _ if log.poisoned => "a write of the log failed".to_owned(),
        Some(age) => format!("a write of the log is under way for {} ms", age.as_millis()),
        // Not taking more is progress, too; it makes the replica unfit, not dead.
        None if log.disk_full && limit == SLOW_AFTER => {
            "there is no space left for the log".to_owned()
        }
        None => return Check::new("disk", true, ""),
    };
    Check::new("disk", false, problem)
}

async fn leader(State(node): State<Arc<Node>>) -> Response {
    match node.ruling() {
        Some(_) => (StatusCode::OK, "ok\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "does not lead\n").into_response(),
    }
}

async fn prometheus(State(node): State<Arc<Node>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::render(&node)).into_response()
}
