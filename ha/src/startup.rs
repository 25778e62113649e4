//! Starting a replica: open everything, raise the incarnation before the first message, and put the parts
//! together on a runtime of their own, so that neither jobs nor API load can starve heartbeats.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::Fatal;
use regent_security::{Deed, Denied, Door, GatekeeperLayer, Incoming, Role, Rule};
use regent_storage::identity::{DataDir, Identity};
use regent_storage::log::{LogConfig, LogStore};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Server;

use crate::agreement::Agreement;
use crate::config::ReplicaConfig;
use crate::error::StartError;
use crate::failover::Vigil;
use crate::founding::{Founding, belonging_of};
use crate::hints::Effects;
use crate::leadership::{Leadership, Throne};
use crate::link::MESSAGE_BYTES_MAX;
use crate::log::RaftLog;
use crate::lookout::Lookout;
use crate::machine::StateMachine;
use crate::membership::Membership;
use crate::memory::Reached;
use crate::network::{Deadlines, Peers};
use crate::proposals::Proposals;
use crate::raft::RaftHandle;
use crate::reads::Reads;
use crate::receive_snapshot::Inbox;
use crate::recovery::{self, Recovered};
use crate::replica::Parts;
use crate::server::PeerService;
use crate::shared::{Phase, Shared};
use crate::snapshot::Snapshots;
use crate::snapshotting::Every;
use crate::tally::Counters;
use crate::transfer::Transfer;
use crate::view::Views;
use crate::watchdog::{self, Watchdog};
use crate::watching;
use crate::wire::proto::peer_server::PeerServer;

/// Threads of Raft's runtime.
const RAFT_THREADS: usize = 2;

/// A replica's parts and the threads they run on.
pub(crate) struct Started {
    pub(crate) parts: Parts,
    pub(crate) runtime: Runtime,
}

struct Opened {
    dir: DataDir,
    identity: Identity,
    log: RaftLog,
    snapshots: Snapshots,
    recovered: Recovered,
}

/// Opens the data directory and starts everything.
pub(crate) async fn start(config: ReplicaConfig) -> Result<Started, StartError> {
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || open(&opening))
        .await
        .map_err(|e| StartError::Storage(e.to_string()))??;
    let runtime = Builder::new_multi_thread()
        .worker_threads(RAFT_THREADS)
        .thread_name("regent-raft")
        .enable_all()
        .build()
        .map_err(|e| StartError::Config(format!("threads: {e}")))?;
    let joined = runtime.spawn(join(config, opened)).await;
    match joined {
        Ok(Ok(parts)) => Ok(Started { parts, runtime }),
        Ok(Err(error)) => {
            runtime.shutdown_background();
            Err(error)
        }
        Err(panic) => {
            runtime.shutdown_background();
            Err(StartError::Raft(panic.to_string()))
        }
    }
}

fn storage(error: impl std::fmt::Display) -> StartError {
    StartError::Storage(error.to_string())
}

fn open(config: &ReplicaConfig) -> Result<Opened, StartError> {
    let refused = |e: regent_storage::identity::IdentityError| StartError::DataDir(e.to_string());
    let dir = DataDir::lock(&config.data_dir).map_err(refused)?;
    let identity = dir
        .open_and_increment_incarnation(config.node_id)
        .map_err(refused)?;
    let snapshots = Snapshots::open(&config.data_dir.join("snapshots")).map_err(storage)?;
    let log = LogStore::open(config.data_dir.join("log"), LogConfig::default()).map_err(storage)?;
    if let Some(cut) = log.cut_tail() {
        tracing::warn!(
            ?cut,
            "the log ended in a write torn by a crash; it was cut off"
        );
    }
    let log = RaftLog::new(log, snapshots.covered()).map_err(storage)?;
    let recovered = recovery::recover(&config.data_dir.join("state"), &log, &snapshots)?;
    check_cluster(&identity, &recovered)?;
    Ok(Opened {
        dir,
        identity,
        log,
        snapshots,
        recovered,
    })
}

fn check_cluster(identity: &Identity, recovered: &Recovered) -> Result<(), StartError> {
    let state = recovered.view.machine.cluster_id().map(|id| id.0);
    if state.is_some() && state != identity.cluster_id {
        return Err(StartError::DataDir(
            "its state belongs to another cluster than its identity: files of two replicas were mixed; \
             remove this replica and add it again with an empty data directory (regent members remove, \
             then regent members add)"
                .to_owned(),
        ));
    }
    Ok(())
}

fn new_shared(config: &ReplicaConfig, opened: &Opened, listening: SocketAddr) -> Arc<Shared> {
    let mut node = config.node();
    if config.advertise_peer.is_none() {
        node.peer = listening.to_string();
    }
    let log = opened.log.clone();
    let reached = Box::new(move || {
        log.reached().unwrap_or_else(|error| {
            // Claiming nothing is the safe lie: a peer that saw more refuses.
            tracing::error!(%error, "the log can't tell how far it is");
            Reached::default()
        })
    });
    let incarnation = opened.identity.incarnation;
    let shared = Arc::new(Shared::new(
        config.node_id,
        node,
        incarnation,
        reached,
        config.security.dialer(),
    ));
    if let Some(belonging) = belonging_of(&opened.identity) {
        shared.belong(belonging);
    }
    let removed = &opened.recovered.view.standing.removed;
    shared.set_removed(removed.iter().copied().collect());
    shared
}

/// What the parts are made of, in the order in which they come to be.
struct Core {
    shared: Arc<Shared>,
    peers: Peers,
    effects: Effects,
    agreement: Arc<Agreement>,
    views: Views,
    raft: RaftHandle,
    leadership: Arc<watch::Sender<Leadership>>,
    failover: Arc<Counters>,
    election: Duration,
}

async fn join(config: ReplicaConfig, opened: Opened) -> Result<Parts, StartError> {
    let listener = listen(&config.listen_peer).await?;
    let peer_address = local_address(&listener, &config.listen_peer)?;
    let shared = new_shared(&config, &opened, peer_address);
    let Opened {
        dir,
        log,
        snapshots,
        recovered,
        ..
    } = opened;
    let store = recovered.store.clone();
    let core = start_raft(&config, shared, log.clone(), snapshots.clone(), recovered).await?;
    let proposals = Proposals::new(
        core.raft.clone(),
        config.max_inflight_proposals,
        config.propose_timeout,
    );
    let reads = core.reads(&config);
    let vigil = core.vigil(&log, config.fast_failover);
    let watchdog = Watchdog::start(
        log.clone(),
        snapshots.clone(),
        &core.raft,
        core.views.clone(),
    )
    .map_err(|e| StartError::Config(format!("threads: {e}")))?;
    let transfer = core.transfer();
    let service = PeerService {
        shared: core.shared.clone(),
        raft: core.raft.clone(),
        reads: reads.clone(),
        views: core.views.clone(),
        inbox: Inbox::new(snapshots.clone()),
        founding: core.founding(dir),
        vigil: vigil.clone(),
    };
    tokio::spawn(serve(&config, listener, service));
    tokio::spawn(core.throne(&proposals, watchdog.stalled()).run());
    tokio::spawn(watchdog::step_aside(
        watchdog.stalled(),
        core.raft.clone(),
        transfer.clone(),
    ));
    tokio::spawn(watching::watch_voters(vigil.clone()));
    tokio::spawn(Every::of(&config, &snapshots).run(core.raft.clone(), core.views.clone()));
    tokio::spawn(stand_back(core.raft.clone(), core.shared.phase()));
    tokio::spawn(Lookout::new(core.shared.clone(), config.peers.clone()).run());
    Ok(Parts {
        failure: watch_failure(&core.raft),
        transfer,
        watchdog,
        membership: Membership::new(core.raft.clone(), core.shared.clone(), core.views.clone()),
        shared: core.shared,
        raft: core.raft,
        proposals,
        reads,
        views: core.views,
        effects: core.effects,
        agreement: core.agreement,
        leadership: core.leadership,
        vigil,
        peer_address,
        log,
        snapshots,
        store,
    })
}

async fn listen(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
            address: address.to_owned(),
            source,
        })
}

fn local_address(listener: &TcpListener, asked: &str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: asked.to_owned(),
        source,
    })
}

async fn start_raft(
    config: &ReplicaConfig,
    shared: Arc<Shared>,
    log: RaftLog,
    snapshots: Snapshots,
    recovered: Recovered,
) -> Result<Core, StartError> {
    let (heartbeat_ms, _, election_max_ms) = config.timing.millis();
    let deadlines = Deadlines::new(heartbeat_ms, election_max_ms);
    let peers = Peers::new(shared.clone(), deadlines);
    let effects = Effects::default();
    let agreement: Arc<Agreement> = Arc::default();
    let views = watch::Sender::new(Arc::new(recovered.view));
    let seen = views.subscribe();
    let machine = StateMachine {
        views,
        effects: effects.clone(),
        store: recovered.store,
        snapshots,
        agreement: agreement.clone(),
        shared: Some(shared.clone()),
    };
    let raft_config = Arc::new(config.raft()?);
    let raft = RaftHandle::new(config.node_id, raft_config, peers.clone(), log, machine)
        .await
        .map_err(|e| StartError::Raft(e.to_string()))?;
    Ok(Core {
        shared,
        peers,
        effects,
        agreement,
        views: seen,
        raft,
        leadership: Arc::new(watch::Sender::new(Leadership::None)),
        failover: Arc::default(),
        election: Duration::from_millis(election_max_ms),
    })
}

impl Core {
    fn reads(&self, config: &ReplicaConfig) -> Reads {
        Reads::spawn(
            self.raft.clone(),
            self.peers.clone(),
            self.shared.clone(),
            self.views.clone(),
            config.read_timeout,
        )
    }

    fn founding(&self, dir: DataDir) -> Founding {
        Founding {
            shared: self.shared.clone(),
            raft: self.raft.clone(),
            views: self.views.clone(),
            leadership: self.leadership.clone(),
            dir: Arc::new(Mutex::new(dir)),
        }
    }

    fn throne(&self, proposals: &Proposals, stalled: watch::Receiver<bool>) -> Throne {
        Throne {
            raft: self.raft.clone(),
            shared: self.shared.clone(),
            proposals: proposals.clone(),
            views: self.views.clone(),
            published: self.leadership.clone(),
            election: self.election,
            failover: self.failover.clone(),
            stalled,
        }
    }

    fn vigil(&self, log: &RaftLog, enabled: bool) -> Vigil {
        Vigil::new(
            self.shared.clone(),
            self.raft.clone(),
            self.peers.clone(),
            log.clone(),
            self.agreement.clone(),
            self.failover.clone(),
            enabled,
        )
    }

    fn transfer(&self) -> Transfer {
        Transfer::new(
            self.raft.clone(),
            self.shared.clone(),
            self.peers.clone(),
            self.leadership.clone(),
            self.election,
        )
    }
}

/// What callers of the peer service need. Forming a cluster is an operator's business as well; all else is
/// between replicas.
fn rule(path: &str) -> Option<Rule> {
    let verb = path.strip_prefix("/regent.peer.v1.Peer/")?;
    let deed = match verb {
        "Probe" | "Prepare" | "Initialize" => Deed::Found,
        _ => Deed::Replicate,
    };
    Some(Rule::Deed(deed))
}

fn denied(denied: Denied) -> Status {
    Status::permission_denied(denied.to_string())
}

fn serve(
    config: &ReplicaConfig,
    listener: TcpListener,
    service: PeerService,
) -> impl Future<Output = ()> + use<> {
    let incoming = Door::for_members(&config.security, &[Role::Peer], config.door).open(listener);
    let gatekeeper = GatekeeperLayer::new(config.security.tokens.clone(), rule, denied);
    serve_peers(incoming, gatekeeper, service)
}

async fn serve_peers(incoming: Incoming, gatekeeper: GatekeeperLayer, service: PeerService) {
    let service = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .layer(gatekeeper)
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the peer service ended");
    }
}

// A replica that must not take part doesn't stand for election either.
async fn stand_back(raft: RaftHandle, mut phase: watch::Receiver<Phase>) {
    let refused = phase
        .wait_for(|phase| matches!(phase, Phase::Refused(_)))
        .await
        .is_ok();
    if refused {
        raft.runtime_config().elect(false);
    }
}

fn watch_failure(raft: &RaftHandle) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    let mut metrics = raft.metrics();
    tokio::spawn(async move {
        loop {
            let state = metrics.borrow_and_update().running_state.clone();
            match state {
                Ok(()) => {}
                Err(Fatal::Stopped) => return,
                Err(fatal) => {
                    tracing::error!(%fatal, "raft stopped");
                    sender.send_replace(Some(fatal.to_string()));
                    return;
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}
