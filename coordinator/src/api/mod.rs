//! The doors for clients: read, change, and what this replica alone knows.
//!
//! Any replica may be asked. Whatever needs the leader is forwarded to it, once; a forwarded request is
//! never forwarded again. Waiting is bounded by the client's own timeout.

pub(crate) mod authorise;
mod change;
pub(crate) mod clients;
pub(crate) mod documents;
pub(crate) mod errors;
mod forwarding;
mod members;
mod own_code;
mod past;
mod places;
mod read;
mod refs;
mod rehearse;
mod savepoints;
mod snapshot;
mod status;
mod submit;
mod transfer;
mod wait;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::v1::job_manager_api_server::JobManagerApi;
use regent_security::Caller;
use serde::Serialize;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::node::Node;

/// Serves `JobManagerApi`.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) node: Arc<Node>,
}

/// Timeout of requests that name none.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest timeout that is honoured.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// When a request with this timeout has to be answered.
fn deadline(timeout_ms: u64) -> Instant {
    let timeout = match timeout_ms {
        0 => TIMEOUT_DEFAULT,
        millis => Duration::from_millis(millis).min(TIMEOUT_MAX),
    };
    Instant::now() + timeout
}

/// What is left until then, in milliseconds; at least 1.
fn left_ms(deadline: Instant) -> u64 {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .as_millis();
    u64::try_from(left).unwrap_or(u64::MAX).max(1)
}

/// Who asks, as the gatekeeper found out; nobody if it wasn't there.
pub(crate) fn caller<T>(request: &Request<T>) -> Caller {
    let found = request.extensions().get::<Caller>();
    found.cloned().unwrap_or_else(Caller::nobody)
}

/// A document of the contract.
fn document(value: &impl Serialize) -> Result<v1::Document, ApiError> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(v1::Document {
            json: Bytes::from(json),
        }),
        Err(error) => Err(ApiError::new(ErrorKind::Failed, format!("answer: {error}"))),
    }
}

fn answer(result: Result<v1::Document, ApiError>) -> Result<Response<v1::Document>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl JobManagerApi for Api {
    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        let caller = caller(&request);
        answer(read::read(&self.node, &caller, request.into_inner()).await)
    }

    async fn change(
        &self,
        request: Request<v1::ChangeRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        let caller = caller(&request);
        answer(Box::pin(change::change(&self.node, &caller, request.into_inner())).await)
    }

    type SaveSnapshotStream = snapshot::Pieces;

    async fn save_snapshot(
        &self,
        _request: Request<v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let pieces = snapshot::save(&self.node).await;
        pieces.map(Response::new).map_err(Status::from)
    }

    type ForwardStream = forwarding::Answers;

    async fn forward(
        &self,
        request: Request<tonic::Streaming<v1::ForwardedChange>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let caller = caller(&request);
        let changes = request.into_inner();
        let node = Arc::clone(&self.node);
        Ok(Response::new(forwarding::serve(node, caller, changes)))
    }

    async fn node_status(
        &self,
        _request: Request<v1::NodeStatusRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        answer(document(&status::node_status(&self.node)))
    }
}
