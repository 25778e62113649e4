//! Learns who leads: one `WatchLeader` stream to each configured JobManager, dialled again for ever.
//! It passes on what replicas say; whom to believe is [`super::session_plan`]'s.

use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::{LeaderView, WatchLeaderRequest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::backoff::Backoff;
use super::status::Status;

/// Dialling a replica takes no longer.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A replica that answers no ping for this long is dialled again.
const PING_EVERY: Duration = Duration::from_secs(2);
/// A replica that accepted the connection sends its present view within this time.
const FIRST_VIEW_WITHIN: Duration = Duration::from_secs(3);

/// How to reach a JobManager: bounded in time, with pings, never waiting for small messages to grow.
pub(crate) fn endpoint(api: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{api}"))?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

/// Starts one watcher for each address. They end when the set is dropped.
pub(crate) fn start(
    jobmanagers: &[String],
    worker_id: &str,
    status: &Arc<Status>,
    views: &mpsc::Sender<LeaderView>,
) -> JoinSet<()> {
    let mut watchers = JoinSet::new();
    for api in jobmanagers {
        let (api, worker_id) = (api.clone(), worker_id.to_owned());
        let (status, views) = (Arc::clone(status), views.clone());
        watchers.spawn(async move { watch(&api, &worker_id, &status, &views).await });
    }
    watchers
}

async fn watch(api: &str, worker_id: &str, status: &Status, views: &mpsc::Sender<LeaderView>) {
    let mut backoff = Backoff::default();
    while !views.is_closed() {
        let request = WatchLeaderRequest {
            worker_id: worker_id.to_owned(),
            cluster_id: status.cluster_id(),
        };
        let reason = match follow(api, request, views, &mut backoff).await {
            Ok(()) => "the stream ended".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::debug!(jobmanager = api, reason, "watch_ended");
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

async fn follow(
    api: &str,
    request: WatchLeaderRequest,
    views: &mpsc::Sender<LeaderView>,
    backoff: &mut Backoff,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel: Channel = endpoint(api)?.connect().await?;
    let mut client = WorkerGatewayClient::new(channel);
    let answer = tokio::time::timeout(FIRST_VIEW_WITHIN, client.watch_leader(request)).await??;
    let mut stream = answer.into_inner();
    let mut next = tokio::time::timeout(FIRST_VIEW_WITHIN, stream.message()).await??;
    while let Some(view) = next {
        backoff.reset();
        if views.send(view).await.is_err() {
            return Ok(());
        }
        next = stream.message().await?;
    }
    Ok(())
}
