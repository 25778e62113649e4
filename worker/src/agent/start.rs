//! Puts a TaskManager together and takes it apart: directory, addresses, engine, lease, agent. The
//! order matters: the lock on the data directory comes first, for it makes the incarnation proof that
//! no earlier process of this worker still runs.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::Register;
use regent_security::{Deed, Denied, Door, DoorLimits, GatekeeperLayer, Role, Rule, Security};
use regent_storage::identity::{DataDir, WorkerIdentity};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Server;

use super::driver::{Driver, Parts, Sources};
use super::error::WorkerError;
use super::http;
use super::lease::Lease;
use super::lease_guard::LeaseGuard;
use super::memory::Memory;
use super::session_plan::SessionPlan;
use super::status::Status;
use super::watch;
use crate::config::TaskManagerConfig;
use crate::engine::{Engine, EngineConfig};
use crate::own::Registry;

/// Runs a TaskManager until `shutdown` is ready, then cancels its tasks and says goodbye.
///
/// # Errors
/// When it can't start (configuration, data directory in use, port in use), or when what it must
/// remember can't be written.
pub async fn run(
    config: TaskManagerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WorkerError> {
    run_with(config, Registry::default(), shutdown).await
}

/// The same with sources, operators and sinks beside the built-in ones.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: TaskManagerConfig,
    own: Registry,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WorkerError> {
    config.validate()?;
    let security = config.load_security()?;
    let dir = DataDir::lock(&config.data_dir)?;
    let doors = Doors::open(&config).await?;
    let identity = dir.open_worker(&config.worker_id)?;
    tracing::info!(
        worker = identity.worker_id,
        incarnation = identity.incarnation,
        api = %doors.api_address,
        data = %doors.data_address,
        "taskmanager_started"
    );
    let made = (identity, own, security);
    let result = serve(&config, &dir, made, doors, shutdown).await;
    drop(dir);
    result
}

async fn serve(
    config: &TaskManagerConfig,
    dir: &DataDir,
    (identity, own, security): (WorkerIdentity, Registry, Security),
    doors: Doors,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WorkerError> {
    let (memory, fence) = Memory::open(dir.path())?;
    let lease = Arc::new(Lease::default());
    let (engine, events) = start_engine(config, &identity, own, &security, &lease)?;
    let guard = LeaseGuard::start(Arc::clone(&lease), engine.clone())
        .map_err(|_| WorkerError::Ended("lease guard"))?;
    let slots = (config.slots, config.slot_memory);
    let status = Status::new(config.worker_id.clone(), slots, Arc::clone(&lease));
    let status = Arc::new(status);
    status.update(|shown| shown.cluster_id.clone_from(&fence.cluster_id));
    let (view_sender, views) = mpsc::channel(64);
    let watchers = watch::start(
        &config.jobmanagers,
        &config.worker_id,
        &security.dialer(),
        &status,
        &view_sender,
    );
    let mut base = register_base(config, dir.path(), &identity, &doors);
    base.offers = engine.offers();
    let mut services = doors.serve(&engine, &status, &security);
    let mut renewing = JoinSet::new();
    renewing.spawn(security.clone().keep_fresh());
    let plan = SessionPlan::new(fence);
    let parts = Parts {
        dialer: security.dialer(),
        plan,
        base,
        engine,
        lease,
        guard,
        memory,
        status,
    };
    let driver = Driver::new(parts, Sources { views, events });
    let result = tokio::select! {
        result = driver.run(shutdown) => result,
        Some(_) = services.join_next() => Err(WorkerError::Ended("listener")),
    };
    drop((watchers, renewing));
    result
}

fn start_engine(
    config: &TaskManagerConfig,
    identity: &WorkerIdentity,
    own: Registry,
    security: &Security,
    lease: &Arc<Lease>,
) -> Result<(Engine, mpsc::Receiver<crate::engine::EngineEvent>), WorkerError> {
    let files = super::files::open(&config.storage)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Ok(Engine::start(EngineConfig {
        worker_id: config.worker_id.clone(),
        incarnation: identity.incarnation,
        slots: config.slots,
        slot_memory: config.slot_memory,
        cancel_within: config.task_cancellation_timeout,
        files,
        authority: Arc::clone(lease) as _,
        threads,
        own: Arc::new(own),
        dialer: security.dialer(),
    }))
}

/// Who this worker is, as it registers.
fn register_base(
    config: &TaskManagerConfig,
    dir: &Path,
    identity: &WorkerIdentity,
    doors: &Doors,
) -> Register {
    let told = |named: &Option<String>, bound: SocketAddr| {
        named.clone().unwrap_or_else(|| bound.to_string())
    };
    Register {
        worker_id: config.worker_id.clone(),
        incarnation: identity.incarnation,
        machine_id: place(dir, &identity.machine_id),
        data_dir: dir.display().to_string(),
        slots: config.slots,
        data_address: told(&config.advertise.data, doors.data_address),
        api_address: told(&config.advertise.api, doors.api_address),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Register::default()
    }
}

/// Names the place where the directory's lock excludes others. Machine ids are copied with images and
/// paths repeat between containers, so the running kernel and the directory itself are named too.
fn place(dir: &Path, machine_id: &str) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let inode = fs::metadata(dir).map_or((0, 0), |found| (found.dev(), found.ino()));
    format!("{machine_id}/{}/{}.{}", boot.trim(), inode.0, inode.1)
}

/// Connections of probes and collectors of metrics.
const API_LIMITS: DoorLimits = DoorLimits {
    connections: 256,
    handshake: Duration::from_secs(5),
};
/// Whoever keeps a connection of these open must answer pings.
const API_KEEPALIVE: Duration = Duration::from_secs(10);
/// Connections of other workers: a few for each attempt that both run.
const DATA_LIMITS: DoorLimits = DoorLimits {
    connections: 8_192,
    handshake: Duration::from_secs(5),
};

/// What callers of this worker need.
fn rule(path: &str) -> Option<Rule> {
    let deed = match path {
        "/livez" | "/readyz" | "/leader" => Deed::LookAtHealth,
        "/metrics" => Deed::ReadMetrics,
        "/regent.v1.DataPlane/Subscribe" => Deed::TakeRows,
        _ => return None,
    };
    Some(Rule::Deed(deed))
}

fn denied(denied: Denied) -> tonic::Status {
    tonic::Status::permission_denied(denied.to_string())
}

/// The addresses that this worker listens on.
struct Doors {
    api: TcpListener,
    data: TcpListener,
    api_address: SocketAddr,
    data_address: SocketAddr,
}

impl Doors {
    async fn open(config: &TaskManagerConfig) -> Result<Self, WorkerError> {
        let (api, api_address) = listen("listen.api", &config.listen.api).await?;
        let (data, data_address) = listen("listen.data", &config.listen.data).await?;
        Ok(Self {
            api,
            data,
            api_address,
            data_address,
        })
    }

    /// Serves both. They end when the set is dropped.
    fn serve(
        self,
        engine: &Engine,
        status: &Arc<Status>,
        security: &Security,
    ) -> JoinSet<io::Result<()>> {
        let mut services = JoinSet::new();
        let gatekeeper = GatekeeperLayer::new(Arc::clone(&security.tokens), rule, denied);
        let pages = Routes::from(http::router(Arc::clone(status), security.clone()));
        let looking = Door::for_all(security, API_LIMITS).open(self.api);
        let guarded = gatekeeper.clone();
        services.spawn(async move {
            let mut server = Server::builder()
                .layer(guarded)
                .accept_http1(true)
                .http2_keepalive_interval(Some(API_KEEPALIVE))
                .http2_keepalive_timeout(Some(API_KEEPALIVE));
            let served = server.add_routes(pages).serve_with_incoming(looking);
            served.await.map_err(io::Error::other)
        });
        let service = engine.data_plane();
        let taking = Door::for_members(security, &[Role::Worker], DATA_LIMITS).open(self.data);
        services.spawn(async move {
            let server = Server::builder()
                .layer(gatekeeper)
                .tcp_nodelay(true)
                .add_service(service);
            let served = server.serve_with_incoming(taking);
            served.await.map_err(io::Error::other)
        });
        services
    }
}

async fn listen(
    key: &'static str,
    address: &str,
) -> Result<(TcpListener, SocketAddr), WorkerError> {
    let failed = |source| WorkerError::Listen {
        key,
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
