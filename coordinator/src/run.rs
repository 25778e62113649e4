//! Puts a JobManager together: replica, API listener, leadership; and takes it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use regent_ha::{Replica, ReplicaConfig, Role};
use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::v1::job_manager_api_server::JobManagerApiServer;
use regent_protocol::v1::worker_gateway_server::WorkerGatewayServer;
use regent_security::{Door, DoorLimits, GatekeeperLayer, Security};
use regent_storage::objects::Objects;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::api::clients::Clients;
use crate::api::{Api, authorise};
use crate::config::{JobManagerConfig, Timing};
use crate::error::JobManagerError;
use crate::gateway::Gateway;
use crate::metrics::Counters;
use crate::node::Node;
use crate::{http, leader};

/// How long open requests may take once the process is to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a leader that is to stop may take to hand over; then the others elect one by themselves.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(1);
/// How long an idle connection is believed in.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Requests that one connection may have open.
const STREAMS_MAX: u32 = 1_024;

/// Runs a JobManager until `shutdown` completes or it can't go on.
///
/// # Errors
/// The configuration is refused, an address or the data directory can't be used, or Raft has stopped
/// for good (then the process should end, and be started again once the cause is mended).
pub async fn run(
    config: JobManagerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), JobManagerError> {
    let mut manager = JobManager::start(config).await?;
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        error = manager.failed() => Err(error),
    };
    manager.shutdown().await;
    ended
}

/// A running JobManager.
#[derive(Debug)]
pub struct JobManager {
    node: Arc<Node>,
    address: SocketAddr,
    /// Ends the leader's work; before the listener goes.
    reign_stop: CancellationToken,
    reigning: JoinHandle<()>,
    /// Ends when it is dropped.
    _renewing: JoinSet<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    failure: watch::Receiver<Option<String>>,
}

impl JobManager {
    /// Starts everything; returns before there is a leader.
    ///
    /// # Errors
    /// See [`run`].
    pub async fn start(config: JobManagerConfig) -> Result<Self, JobManagerError> {
        config.validate()?;
        let security = config.load_security()?;
        let (listener, address) = listen(&config.listen.api).await?;
        let api = advertised(&config, address);
        let replica = Replica::start(replica_config(&config, &api, &security)).await?;
        let failure = replica.failure();
        let stop = CancellationToken::new();
        let objects = Objects::with_s3(&config.storage.access());
        let node = Arc::new(Node {
            config: Arc::new(config),
            replica,
            objects,
            counters: Arc::new(Counters::default()),
            rule: watch::Sender::new(None),
            clients: Clients::new(security.dialer()),
            security: security.clone(),
            stop: stop.clone(),
            api,
            verifying: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
        });
        let reign_stop = CancellationToken::new();
        let reigning = tokio::spawn(leader::follow(Arc::clone(&node), reign_stop.clone()));
        let mut renewing = JoinSet::new();
        renewing.spawn(security.clone().keep_fresh());
        let serving = tokio::spawn(serve(Arc::clone(&node), security, listener, stop));
        tracing::info!(name = %node.config.display_name(), %address, "JobManager started");
        Ok(Self {
            node,
            address,
            reign_stop,
            reigning,
            _renewing: renewing,
            serving,
            failure,
        })
    }

    /// The address that clients and workers are served on.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.address
    }

    /// The address that other replicas are served on.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.node.replica.peer_address()
    }

    /// The replica underneath, for looking around.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.node.replica
    }

    /// Completes when this JobManager can't go on.
    pub async fn failed(&mut self) -> JobManagerError {
        let raft = self.failure.wait_for(Option::is_some);
        tokio::select! {
            ended = &mut self.serving => {
                let text = match ended {
                    Ok(Ok(())) => "without a reason".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                JobManagerError::Server(text)
            }
            failed = raft => {
                let cause = failed.ok().and_then(|cause| cause.clone());
                JobManagerError::Raft(cause.unwrap_or_else(|| "it stopped".to_owned()))
            }
        }
    }

    /// Stops in order: a leader hands over, the reign is revoked and its sessions close, then requests are
    /// drained, then the replica stops and its files are closed.
    pub async fn shutdown(mut self) {
        self.hand_over().await;
        self.reign_stop.cancel();
        if let Err(error) = (&mut self.reigning).await {
            tracing::warn!(%error, "the reign ended badly");
        }
        self.node.stop.cancel();
        if !self.serving.is_finished() {
            let drained = tokio::time::timeout(DRAIN_LIMIT, &mut self.serving).await;
            if drained.is_err() {
                self.serving.abort();
            }
        }
        self.node.replica.shutdown().await;
        tracing::info!(name = %self.node.config.display_name(), "JobManager stopped");
    }
}

impl JobManager {
    /// While it is under way writes wait, and go to the winner. If nobody can take over, the others elect.
    async fn hand_over(&self) {
        let status = self.node.replica.status();
        if status.role != Role::Leader || status.voters.len() < 2 {
            return;
        }
        let moving = self.node.replica.hand_over();
        match tokio::time::timeout(HAND_OVER_LIMIT, moving).await {
            Ok(Ok(moved)) => tracing::info!(to = moved.to, took = ?moved.took, "handed over"),
            Ok(Err(error)) => tracing::warn!(%error, "not handed over"),
            Err(_) => tracing::warn!("not handed over within {HAND_OVER_LIMIT:?}"),
        }
    }
}

async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), JobManagerError> {
    let refused = |source| JobManagerError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

/// What others dial: as configured, or what was listened on with the port that was given.
fn advertised(config: &JobManagerConfig, bound: SocketAddr) -> String {
    if let Some(api) = &config.advertise.api {
        return api.clone();
    }
    let listen = &config.listen.api;
    let host = listen
        .rsplit_once(':')
        .map_or(listen.as_str(), |(host, _)| host);
    format!("{host}:{}", bound.port())
}

fn replica_config(config: &JobManagerConfig, api: &str, security: &Security) -> ReplicaConfig {
    let timing = match config.timing {
        Timing::Lan => regent_ha::Timing::Lan,
        Timing::Wan => regent_ha::Timing::Wan,
        Timing::CloudSlowDisk => regent_ha::Timing::CloudSlowDisk,
        Timing::Custom {
            heartbeat,
            election_min,
            election_max,
        } => regent_ha::Timing::Custom {
            heartbeat_ms: millis(heartbeat),
            election_min_ms: millis(election_min),
            election_max_ms: millis(election_max),
        },
    };
    ReplicaConfig {
        api: api.to_owned(),
        listen_peer: config.listen.peer.clone(),
        advertise_peer: config.advertise.peer.clone(),
        peers: config.peers.clone(),
        timing,
        snapshot_every: config.log.snapshot_every,
        keep_entries: config.log.keep_entries,
        max_inflight_proposals: config.limits.proposals,
        security: security.clone(),
        ..ReplicaConfig::new(
            config.data_dir.clone(),
            config.node_id,
            config.display_name(),
        )
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn serve(
    node: Arc<Node>,
    security: Security,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let limits = DoorLimits {
        connections: node.config.limits.connections,
        handshake: node.config.limits.handshake,
    };
    let incoming = Door::for_all(&security, limits).open(listener);
    let gatekeeper = GatekeeperLayer::new(security.tokens, authorise::rule, authorise::status);
    let api = JobManagerApiServer::new(Api {
        node: Arc::clone(&node),
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let gateway = WorkerGatewayServer::new(Gateway {
        node: Arc::clone(&node),
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut routes = Routes::new(api).add_service(gateway);
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.merge(http::routes(node));
    Server::builder()
        .layer(gatekeeper)
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(Some(STREAMS_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
}
