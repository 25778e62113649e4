//! One peer as seen from here: its channels, the introduction, and calls with a deadline each.
//!
//! Channels connect lazily and again by themselves; snapshots have one of their own, so that a big
//! transfer never stands in front of a heartbeat. What the calls mean is `network.rs`'s business.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use regent_security::{Dialer, Role};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::memory::Refusal;
use crate::shared::Shared;
use crate::types::NodeId;
use crate::wire::proto;
use crate::wire::proto::peer_client::PeerClient;

/// Largest message either side accepts: a batch of entries with some room.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a call to a peer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or the peer isn't serving.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// One of the two sides doesn't want the other.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer remembers this replica better than it is now: for good.
    #[error("expelled: {0}")]
    Expelled(String),
    /// The peer answered with an error, or with what can't be understood.
    #[error("failed: {0}")]
    Failed(String),
}

/// A lazily connected channel to the replica at `address` (`host:port`).
pub(crate) fn channel(dialer: &Dialer, address: &str) -> Result<Channel, CallError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| CallError::Failed(format!("address {address}: {e}")))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024);
    Ok(dialer.lazy(&endpoint, Role::Peer))
}

/// A client with the raised message limits.
pub(crate) fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What the peer said; of a connection that couldn't be made, the deepest cause: "transport error" helps
/// nobody.
fn words(status: &Status) -> String {
    let mut deepest = std::error::Error::source(status);
    while let Some(deeper) = deepest.and_then(std::error::Error::source) {
        deepest = Some(deeper);
    }
    deepest.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// Sorts a gRPC status by what the caller can do about it.
pub(crate) fn classify(status: &Status) -> CallError {
    let text = words(status);
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => CallError::Unreachable(text),
        Code::PermissionDenied => CallError::Expelled(text),
        Code::FailedPrecondition | Code::Unauthenticated => CallError::Refused(text),
        Code::DeadlineExceeded => CallError::Unreachable(format!("deadline exceeded: {text}")),
        _ => CallError::Failed(format!("{:?}: {text}", status.code())),
    }
}

/// A peer's channels and whether the two processes know each other.
#[derive(Debug)]
pub(crate) struct Link {
    target: NodeId,
    address: String,
    shared: Arc<Shared>,
    channel: Channel,
    snapshots: Channel,
    introduced: AtomicBool,
    introducing: Mutex<()>,
}

impl Link {
    /// Prepares channels to `target` at `address`; nothing is sent yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        target: NodeId,
        address: &str,
    ) -> Result<Self, CallError> {
        let (calls, snapshots) = {
            let dialer = shared.dialer();
            (channel(dialer, address)?, channel(dialer, address)?)
        };
        Ok(Self {
            target,
            address: address.to_owned(),
            shared,
            channel: calls,
            snapshots,
            introduced: AtomicBool::new(false),
            introducing: Mutex::new(()),
        })
    }

    /// The peer's `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The client on the snapshot channel. Introduce yourself first: `introduce`.
    pub(crate) fn snapshot_client(&self) -> PeerClient<Channel> {
        client(self.snapshots.clone())
    }

    /// One call within `deadline`, after an introduction if the peer asks for one.
    pub(crate) async fn call<T, F, Fut>(&self, deadline: Duration, rpc: F) -> Result<T, CallError>
    where
        F: Fn(PeerClient<Channel>, proto::Caller) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        timeout(deadline, self.call_introduced(rpc))
            .await
            .unwrap_or(Err(CallError::Timeout(deadline)))
    }

    async fn call_introduced<T, F, Fut>(&self, rpc: F) -> Result<T, CallError>
    where
        F: Fn(PeerClient<Channel>, proto::Caller) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        // Twice at most: the peer may have been started anew since the last introduction.
        let mut again = true;
        loop {
            self.introduce().await?;
            let caller = self.shared.caller()?;
            match rpc(client(self.channel.clone()), caller).await {
                Ok(reply) => return Ok(reply.into_inner()),
                Err(status) if status.code() == Code::Unauthenticated && again => {
                    self.forget_introduction();
                    again = false;
                }
                Err(status) => return Err(self.noted(classify(&status))),
            }
        }
    }

    /// The next call introduces itself again.
    pub(crate) fn forget_introduction(&self) {
        self.introduced.store(false, Ordering::Release);
    }

    /// Exchanges identities, unless done. Both sides check the other's claim.
    pub(crate) async fn introduce(&self) -> Result<(), CallError> {
        if self.introduced.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.introducing.lock().await;
        if self.introduced.load(Ordering::Acquire) {
            return Ok(());
        }
        let reply = timeout(INTRODUCTION_TIMEOUT, self.exchange())
            .await
            .unwrap_or(Err(CallError::Timeout(INTRODUCTION_TIMEOUT)))?;
        self.accept(&reply)?;
        self.introduced.store(true, Ordering::Release);
        Ok(())
    }

    async fn exchange(&self) -> Result<proto::HandshakeReply, CallError> {
        let request = proto::HandshakeRequest {
            caller: Some(self.shared.caller()?),
            progress: Some(self.shared.progress()),
        };
        client(self.channel.clone())
            .handshake(request)
            .await
            .map(Response::into_inner)
            .map_err(|status| self.noted(classify(&status)))
    }

    fn accept(&self, reply: &proto::HandshakeReply) -> Result<(), CallError> {
        let answer = self
            .shared
            .take_introduction(reply.callee.as_ref(), reply.progress.as_ref());
        let speaker = answer.map_err(|refusal| self.refuse(&refusal))?;
        if speaker != self.target {
            return Err(CallError::Refused(format!(
                "{} answers as node {speaker}, node {} was expected there",
                self.address, self.target
            )));
        }
        Ok(())
    }

    fn refuse(&self, refusal: &Refusal) -> CallError {
        tracing::warn!(peer = self.target, address = %self.address, %refusal, "peer refused");
        CallError::Refused(refusal.to_string())
    }

    // A refusal that names a remedy concerns the operator, not only this call.
    fn noted(&self, error: CallError) -> CallError {
        if let CallError::Expelled(text) = &error {
            self.shared.expelled_by(self.target, text);
        }
        error
    }
}
