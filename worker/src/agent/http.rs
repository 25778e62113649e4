//! The worker's pages: `/livez` (the driver makes progress), `/readyz` (registered and holding a
//! lease), `/leader` (never: a worker doesn't lead) and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use regent_protocol::probe::{self, Check};
use regent_security::Security;

use super::status::Status;

/// The routes.
pub(crate) fn router(status: Arc<Status>, security: Security) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/leader", get(leader))
        .route("/metrics", get(move |status| metrics(status, security)))
        .with_state(status)
}

async fn livez(State(status): State<Arc<Status>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let checks = [Check::new(
        "driver",
        status.is_live(),
        "the driver is stuck",
    )];
    answer(&checks, query.as_deref())
}

async fn readyz(State(status): State<Arc<Status>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let (registered, leased) = (status.is_registered(), status.holds_lease());
    let checks = [
        Check::new("registered", registered, "not registered with a leader"),
        Check::new("lease", leased, "holds no lease, so it may not act"),
    ];
    answer(&checks, query.as_deref())
}

async fn leader() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "a TaskManager doesn't lead\n")
}

async fn metrics(State(status): State<Arc<Status>>, security: Security) -> impl IntoResponse {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, status.metrics(&security.renewal()))
}

fn answer(checks: &[Check], query: Option<&str>) -> (StatusCode, String) {
    let (good, text) = probe::answer(checks, query.unwrap_or_default());
    let code = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, text)
}
