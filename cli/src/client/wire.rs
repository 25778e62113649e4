//! One request to one replica. Says exactly whether a failed one can have had an effect.

use std::error::Error as _;
use std::time::Duration;

use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::error::ApiError;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::{
    ChangeRequest, Document, NodeStatusRequest, ReadRequest, SaveSnapshotRequest, WorkerDeath,
};
use regent_protocol::view::NodeStatus;
use regent_security::Role;
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::call::Request;
use super::{Access, STATUS_TIMEOUT};

/// What one try came to.
#[derive(Debug)]
pub(crate) enum Tried {
    /// Answered.
    Done(Vec<u8>),
    /// Answered no, for good.
    Refused(ApiError),
    /// Nothing happened; another replica, or this one later, may do it.
    NotNow(String),
    /// It was sent and may have happened.
    Unknown(String),
}

/// Why nothing was heard from a replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Silence {
    pub(crate) reason: String,
    /// It heard the question and refused this caller.
    pub(crate) denied: bool,
}

impl Silence {
    fn of(status: &Status) -> Self {
        Self {
            reason: short(status),
            denied: status.code() == Code::PermissionDenied,
        }
    }
}

impl From<String> for Silence {
    fn from(reason: String) -> Self {
        Self {
            reason,
            denied: false,
        }
    }
}

/// A connection that shows the token with every request.
type Line = InterceptedService<Channel, Access>;

/// An open connection to a replica that has just said what it knows.
#[derive(Debug)]
pub(crate) struct Conversation {
    line: Line,
    pub(crate) status: NodeStatus,
}

/// Connects to a replica and asks for its status, all within `STATUS_TIMEOUT`.
pub(crate) async fn open(access: &Access, address: &str) -> Result<Conversation, Silence> {
    match timeout(STATUS_TIMEOUT, connect_and_ask(access, address)).await {
        Ok(result) => result,
        Err(_) => Err("doesn't answer".to_owned().into()),
    }
}

async fn connect_and_ask(access: &Access, address: &str) -> Result<Conversation, Silence> {
    let line = connect(access, address).await?;
    let status = ask_status(&line).await?;
    Ok(Conversation { line, status })
}

async fn ask_status(line: &Line) -> Result<NodeStatus, Silence> {
    let response = api(line).node_status(NodeStatusRequest {}).await;
    let document = response
        .map_err(|status| Silence::of(&status))?
        .into_inner();
    serde_json::from_slice(&document.json)
        .map_err(|e| format!("answers with a status that isn't understood ({e})").into())
}

/// Dials `host:port`.
async fn connect(access: &Access, address: &str) -> Result<Line, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| "isn't an address (host:port)".to_owned())?;
    let channel = access.dialer.connect(&endpoint, Role::Peer).await;
    let channel = channel.map_err(|error| deepest(&error))?;
    Ok(InterceptedService::new(channel, access.clone()))
}

/// The cause behind the causes.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number helps nobody.
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

fn api(line: &Line) -> JobManagerApiClient<Line> {
    JobManagerApiClient::new(line.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl Conversation {
    /// Asks again what the replica knows by itself.
    pub(crate) async fn status_again(&self) -> Result<NodeStatus, String> {
        match timeout(STATUS_TIMEOUT, ask_status(&self.line)).await {
            Ok(status) => status.map_err(|silence| silence.reason),
            Err(_) => Err("doesn't answer".to_owned()),
        }
    }

    /// Sends the request and waits at most `limit`. The replica is told a little less, so that its own
    /// word arrives before we stop listening.
    pub(crate) async fn ask(&self, request: &Request, limit: Duration) -> Tried {
        let told = limit
            .saturating_sub(limit / 10)
            .max(Duration::from_millis(1));
        let timeout_ms = u64::try_from(told.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut api = api(&self.line);
        match request {
            Request::Read { query, stale } => {
                let message = ReadRequest {
                    stale: *stale,
                    timeout_ms,
                    forwarded: false,
                    query: Some(query.clone()),
                };
                // A read has no effect, so its outcome is never unknown.
                match judge(timeout(limit, api.read(message)).await) {
                    Tried::Unknown(reason) => Tried::NotNow(reason),
                    tried => tried,
                }
            }
            Request::Change { change, identity } => {
                let (base_generation, base_index) = identity.base();
                let message = ChangeRequest {
                    request_id: identity.request_id().to_vec().into(),
                    base_generation,
                    base_index,
                    dry_run: identity.dry_run(),
                    timeout_ms,
                    forwarded: false,
                    actor: actor(),
                    change: Some(change.clone()),
                };
                let tried = judge(timeout(limit, api.change(message)).await);
                match tried {
                    // Nothing is written in a dry run.
                    Tried::Unknown(reason) if identity.dry_run() => Tried::NotNow(reason),
                    tried => tried,
                }
            }
        }
    }
}

type Answered = Result<Result<Response<Document>, Status>, tokio::time::error::Elapsed>;

fn judge(answered: Answered) -> Tried {
    use regent_protocol::error::ErrorKind;
    let status = match answered {
        Ok(Ok(response)) => return Tried::Done(response.into_inner().json.to_vec()),
        Ok(Err(status)) => status,
        Err(_) => return Tried::Unknown("doesn't answer in time".to_owned()),
    };
    match ApiError::from_status(&status) {
        Some(error) if !error.kind.retryable() => Tried::Refused(error),
        Some(error) if error.kind == ErrorKind::UnknownOutcome => Tried::Unknown(error.message),
        Some(error) => Tried::NotNow(error.message),
        None => Tried::Unknown(short(&status)),
    }
}

fn short(status: &Status) -> String {
    // Over TLS 1.3 a client learns with its first request that its certificate isn't taken.
    if let Some(cause) = status.source() {
        return regent_security::tls_words(cause).unwrap_or_else(|| deepest(cause));
    }
    let line = status.message().lines().next().unwrap_or_default();
    if line.is_empty() {
        format!("{:?}", status.code())
    } else {
        line.to_owned()
    }
}

/// Who asks, for the history: the user's login name.
fn actor() -> String {
    let name = ["USER", "LOGNAME"]
        .iter()
        .find_map(|v| std::env::var(v).ok());
    name.map_or_else(|| "cli".to_owned(), |n| format!("cli:{n}"))
}

/// Has a replica send the state as a file, and hands over each piece as it comes.
pub(super) async fn save_snapshot(
    access: &Access,
    address: &str,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Silence> {
    let line = connect(access, address).await?;
    let sent = api(&line).save_snapshot(SaveSnapshotRequest {}).await;
    let mut pieces = sent.map_err(|status| Silence::of(&status))?.into_inner();
    while let Some(piece) = pieces.message().await.map_err(|s| short(&s))? {
        take(&piece.data).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tells a replica that a worker's process has been reaped. `Ok(true)`: it leads and has taken note.
pub(crate) async fn report_death(
    address: &str,
    worker_id: &str,
    incarnation: u64,
    limit: Duration,
) -> Result<bool, String> {
    let report = async {
        // Local clusters have no TLS.
        let line = connect(&Access::default(), address).await?;
        let death = WorkerDeath {
            worker_id: worker_id.to_owned(),
            incarnation,
        };
        let reply = WorkerGatewayClient::new(line)
            .report_worker_death(death)
            .await;
        reply.map(|r| r.into_inner().leader).map_err(|s| short(&s))
    };
    match timeout(limit, report).await {
        Ok(result) => result,
        Err(_) => Err("doesn't answer".to_owned()),
    }
}
