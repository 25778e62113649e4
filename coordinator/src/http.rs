//! What is answered over plain HTTP, on the same port as gRPC: probes and metrics.
//!
//! `/livez` is about local progress only: tied to a majority it would restart followers when the leader
//! is lost, and make matters worse.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use regent_ha::{Phase, Role};

use crate::leader::sees_leader;
use crate::metrics;
use crate::node::Node;

/// A replica that trails the committed log by more is not ready.
const TRAILS_MAX: u64 = 1_000;

/// The routes of this process.
pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/leader", get(leader))
        .route("/metrics", get(prometheus))
        .with_state(node)
}

fn answer(good: bool, why_not: &str) -> Response {
    match good {
        true => (StatusCode::OK, "ok\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("{why_not}\n")).into_response(),
    }
}

async fn livez(State(node): State<Arc<Node>>) -> Response {
    let status = node.replica.status();
    answer(
        status.role != Role::Down,
        status.failure.as_deref().unwrap_or("raft has stopped"),
    )
}

async fn readyz(State(node): State<Arc<Node>>) -> Response {
    let status = node.replica.status();
    match &status.phase {
        Phase::Empty => return answer(false, "waits for bootstrap, or to be added"),
        Phase::Refused(reason) => return answer(false, reason),
        Phase::Member => {}
    }
    let sees = sees_leader(&node.replica.leadership().borrow());
    let trails = status
        .committed_index
        .unwrap_or(0)
        .saturating_sub(status.applied_index);
    match (sees, trails <= TRAILS_MAX) {
        (false, _) => answer(false, "sees no leader"),
        (true, false) => answer(false, "is catching up"),
        (true, true) => answer(true, ""),
    }
}

async fn leader(State(node): State<Arc<Node>>) -> Response {
    answer(node.ruling().is_some(), "does not lead")
}

async fn prometheus(State(node): State<Arc<Node>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::render(&node)).into_response()
}
