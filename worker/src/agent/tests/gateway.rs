//! A JobManager that does what a test says: it pushes views and hands each session to the test.

use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_gateway_server::{WorkerGateway, WorkerGatewayServer};
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{
    Epoch, Heartbeat, HeartbeatAnswer, LeaderMessage, LeaderView, Register, Registered,
    WatchLeaderRequest, WorkerDeath, WorkerDeathReply, WorkerMessage,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

/// Nothing that a test waits for takes longer.
pub(super) const SOON: Duration = Duration::from_secs(10);

type Out = mpsc::Sender<Result<LeaderMessage, Status>>;

struct Gateway {
    views: watch::Receiver<LeaderView>,
    sessions: mpsc::Sender<FakeSession>,
}

#[tonic::async_trait]
impl WorkerGateway for Gateway {
    type SessionStream = ReceiverStream<Result<LeaderMessage, Status>>;
    type WatchLeaderStream = BoxStream<'static, Result<LeaderView, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (out, stream) = mpsc::channel(64);
        let session = FakeSession {
            incoming: request.into_inner(),
            out,
            epoch: None,
        };
        let sent = self.sessions.send(session).await;
        sent.map_err(|_| Status::failed_precondition("doesn't lead"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn watch_leader(
        &self,
        _request: Request<WatchLeaderRequest>,
    ) -> Result<Response<Self::WatchLeaderStream>, Status> {
        let views = WatchStream::new(self.views.clone()).map(Ok);
        Ok(Response::new(views.boxed()))
    }

    async fn report_worker_death(
        &self,
        _request: Request<WorkerDeath>,
    ) -> Result<Response<WorkerDeathReply>, Status> {
        Err(Status::unimplemented("workers don't report deaths"))
    }
}

/// A JobManager process.
pub(super) struct FakeJobManager {
    pub(super) address: SocketAddr,
    views: watch::Sender<LeaderView>,
    sessions: mpsc::Receiver<FakeSession>,
    server: JoinHandle<()>,
}

impl FakeJobManager {
    /// Serves, and knows of no leader.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (views, watched) = watch::channel(LeaderView::default());
        let (sender, sessions) = mpsc::channel(16);
        let service = WorkerGatewayServer::new(Gateway {
            views: watched,
            sessions: sender,
        });
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .map(|_| ());
        Self {
            address,
            views,
            sessions,
            server: tokio::spawn(server),
        }
    }

    /// Tells watchers that `leader` leads.
    pub(super) fn announce(&self, cluster_id: &str, epoch: Epoch, leader: &FakeJobManager) {
        self.views.send_replace(LeaderView {
            cluster_id: cluster_id.to_owned(),
            epoch: Some(epoch),
            api: leader.address.to_string(),
            name: "jm".to_owned(),
            jobmanagers: Vec::new(),
        });
    }

    /// Leads with this epoch, and waits for the worker to register.
    pub(super) async fn lead(&mut self, cluster_id: &str, epoch: Epoch) -> (FakeSession, Register) {
        self.announce(cluster_id, epoch, self);
        self.registered(cluster_id, epoch, 10_000).await
    }

    /// Registers the next worker that opens a session.
    pub(super) async fn registered(
        &mut self,
        cluster_id: &str,
        epoch: Epoch,
        lease_ms: u64,
    ) -> (FakeSession, Register) {
        let mut session = self.session().await;
        let register = session.register().await;
        session.epoch = Some(epoch);
        let answer = Registered {
            cluster_id: cluster_id.to_owned(),
            lease_ms,
            heartbeat_ms: 50,
        };
        session.order(Order::Registered(answer)).await;
        (session, register)
    }

    /// The next session that a worker opens.
    pub(super) async fn session(&mut self) -> FakeSession {
        timeout(SOON, self.sessions.recv())
            .await
            .expect("a session is opened")
            .unwrap()
    }

    /// Whether a session is opened within `time`.
    pub(super) async fn is_dialled_within(&mut self, time: Duration) -> bool {
        timeout(time, self.sessions.recv()).await.is_ok()
    }
}

impl Drop for FakeJobManager {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The leader's end of a session. Dropping it breaks the stream.
pub(super) struct FakeSession {
    incoming: Streaming<WorkerMessage>,
    out: Out,
    epoch: Option<Epoch>,
}

impl FakeSession {
    async fn register(&mut self) -> Register {
        match self.report().await {
            Some(Report::Register(register)) => register,
            other => panic!("the first message is {other:?}"),
        }
    }

    /// Sends an order of this session's epoch.
    pub(super) async fn order(&self, order: Order) {
        self.order_as(self.epoch, order).await;
    }

    /// Sends an order of any epoch.
    pub(super) async fn order_as(&self, epoch: Option<Epoch>, order: Order) {
        let message = LeaderMessage {
            epoch,
            message: Some(order),
        };
        self.out.send(Ok(message)).await.unwrap();
    }

    /// The next message; `None` when the worker closed the stream.
    pub(super) async fn report(&mut self) -> Option<Report> {
        let next = timeout(SOON, self.incoming.message())
            .await
            .expect("something is said");
        next.ok().flatten().and_then(|message| message.message)
    }

    /// The next heartbeat, left unanswered.
    pub(super) async fn heartbeat(&mut self) -> Heartbeat {
        loop {
            match self.report().await {
                Some(Report::Heartbeat(heartbeat)) => return heartbeat,
                Some(_) => {}
                None => panic!("the session ended"),
            }
        }
    }

    /// Answers heartbeats until `wanted` finds what it looks for.
    pub(super) async fn until<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            let report = timeout_at(deadline, self.report())
                .await
                .expect("it is said in time");
            let report = report.expect("the session goes on");
            if let Report::Heartbeat(heartbeat) = &report {
                self.answer(heartbeat.sequence).await;
            }
            if let Some(found) = wanted(&report) {
                return found;
            }
        }
    }

    /// Answers heartbeats for this long; everything else that was said.
    pub(super) async fn serve_for(&mut self, time: Duration) -> Vec<Report> {
        let deadline = Instant::now() + time;
        let mut said = Vec::new();
        while let Ok(report) = timeout_at(deadline, self.report()).await {
            match report.expect("the session goes on") {
                Report::Heartbeat(heartbeat) => self.answer(heartbeat.sequence).await,
                other => said.push(other),
            }
        }
        said
    }

    /// Answers a heartbeat.
    pub(super) async fn answer(&self, sequence: u64) {
        self.order(Order::Heartbeat(HeartbeatAnswer { sequence }))
            .await;
    }
}
