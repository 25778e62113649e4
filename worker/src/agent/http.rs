//! The worker's pages: `/livez` (the driver makes progress), `/readyz` (registered and holding a
//! lease), `/leader` (never: a worker doesn't lead) and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::status::Status;

/// The routes.
pub(crate) fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/leader", get(leader))
        .route("/metrics", get(metrics))
        .with_state(status)
}

async fn livez(State(status): State<Arc<Status>>) -> impl IntoResponse {
    answer(status.is_live(), "live", "the driver is stuck")
}

async fn readyz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    answer(status.is_ready(), "ready", "not registered with a leader")
}

async fn leader() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "a TaskManager doesn't lead\n")
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, status.metrics())
}

fn answer(well: bool, yes: &str, no: &str) -> (StatusCode, String) {
    if well {
        (StatusCode::OK, format!("{yes}\n"))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{no}\n"))
    }
}
