//! Learns who leads: one `WatchLeader` stream to each JobManager, dialled again for ever.
//! It passes on what replicas say; whom to believe is [`super::session_plan`]'s.
//!
//! The configured JobManagers are dialled always, and beside them the members that they name: a cluster
//! may grow, and the replicas of the beginning may all be gone one day.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::{LeaderView, WatchLeaderRequest};
use regent_security::{Dialer, Role};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tonic::transport::Endpoint;

use super::backoff::Backoff;
use super::status::Status;

/// Dialling a replica takes no longer.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A replica that answers no ping for this long is dialled again.
const PING_EVERY: Duration = Duration::from_secs(2);
/// A replica that accepted the connection sends its present view within this time.
const FIRST_VIEW_WITHIN: Duration = Duration::from_secs(3);
/// JobManagers beside the configured ones; a cluster has a handful.
const LEARNED_MAX: usize = 32;

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

/// Starts one watcher for each address, and for each member that is learned of. They end when the set
/// is dropped.
pub(crate) fn start(
    jobmanagers: &[String],
    worker_id: &str,
    dialer: &Dialer,
    status: &Arc<Status>,
    views: &mpsc::Sender<LeaderView>,
) -> JoinSet<()> {
    let (heard, hearing) = mpsc::channel(64);
    let watchers = Watchers {
        configured: jobmanagers.to_vec(),
        worker_id: worker_id.to_owned(),
        dialer: dialer.clone(),
        status: Arc::clone(status),
        heard,
        running: JoinSet::new(),
        learned: BTreeMap::new(),
    };
    let mut all = JoinSet::new();
    all.spawn(watchers.run(hearing, views.clone()));
    all
}

/// All watchers of one worker.
struct Watchers {
    configured: Vec<String>,
    worker_id: String,
    dialer: Dialer,
    status: Arc<Status>,
    heard: mpsc::Sender<LeaderView>,
    running: JoinSet<()>,
    /// By address.
    learned: BTreeMap<String, AbortHandle>,
}

impl Watchers {
    /// Passes views on until nobody wants them any more.
    async fn run(
        mut self,
        mut hearing: mpsc::Receiver<LeaderView>,
        views: mpsc::Sender<LeaderView>,
    ) {
        for api in self.configured.clone() {
            self.watch(api);
        }
        while let Some(view) = hearing.recv().await {
            self.learn(&view);
            if views.send(view).await.is_err() {
                return;
            }
        }
    }

    fn watch(&mut self, api: String) -> AbortHandle {
        let (worker_id, status) = (self.worker_id.clone(), Arc::clone(&self.status));
        let (dialer, views) = (self.dialer.clone(), self.heard.clone());
        self.running
            .spawn(async move { watch(&dialer, &api, &worker_id, &status, &views).await })
    }

    /// Only the word of whoever knows a leader counts: a replica that was removed names old members.
    fn learn(&mut self, view: &LeaderView) {
        let ours = self.status.cluster_id();
        let same_cluster = ours.is_empty() || ours == view.cluster_id;
        if view.epoch.is_none() || view.jobmanagers.is_empty() || !same_cluster {
            return;
        }
        let (gone, new) = changes(&self.configured, self.learned.keys(), &view.jobmanagers);
        for api in gone {
            if let Some(watcher) = self.learned.remove(&api) {
                tracing::info!(jobmanager = api, "no member any more");
                watcher.abort();
            }
        }
        for api in new {
            tracing::info!(jobmanager = api, "learned of a member");
            let watcher = self.watch(api.clone());
            self.learned.insert(api, watcher);
        }
        // Ended ones are only those that were aborted.
        while self.running.try_join_next().is_some() {}
    }
}

/// Which learned members are gone and which are new. Pure.
fn changes<'a>(
    configured: &[String],
    learned: impl Iterator<Item = &'a String> + Clone,
    members: &[String],
) -> (Vec<String>, Vec<String>) {
    let gone: Vec<_> = learned
        .clone()
        .filter(|api| !members.contains(api))
        .cloned()
        .collect();
    let room = LEARNED_MAX.saturating_sub(learned.clone().count() - gone.len());
    let known = |api: &&String| configured.contains(api) || learned.clone().any(|one| one == *api);
    let new = members.iter().filter(|api| !known(api)).take(room);
    (gone, new.cloned().collect())
}

async fn watch(
    dialer: &Dialer,
    api: &str,
    worker_id: &str,
    status: &Status,
    views: &mpsc::Sender<LeaderView>,
) {
    let mut backoff = Backoff::default();
    let mut said = String::new();
    while !views.is_closed() {
        let request = WatchLeaderRequest {
            worker_id: worker_id.to_owned(),
            cluster_id: status.cluster_id(),
        };
        let reason = match follow(dialer, api, request, views, &mut backoff).await {
            Ok(()) => "the stream ended".to_owned(),
            Err(error) => deepest(&*error),
        };
        // A replica that is down is dialled for ever; it is mentioned once.
        if reason != said {
            tracing::info!(jobmanager = api, reason, "watch_ended");
            said = reason;
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

/// The cause behind the causes: "transport error" alone helps nobody.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.downcast_ref::<tonic::Status>() {
        Some(status) if !status.message().is_empty() && status.source().is_none() => {
            status.message().to_owned()
        }
        Some(_) | None => cause.to_string(),
    }
}

async fn follow(
    dialer: &Dialer,
    api: &str,
    request: WatchLeaderRequest,
    views: &mpsc::Sender<LeaderView>,
    backoff: &mut Backoff,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = dialer.connect(&endpoint(api)?, Role::Peer).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn members_come_and_go_and_configured_ones_stay() {
        let configured = texts(&["a", "b"]);
        let learned = texts(&["c", "d"]);
        let (gone, new) = changes(&configured, learned.iter(), &texts(&["b", "d", "e"]));
        assert_eq!((gone, new), (texts(&["c"]), texts(&["e"])));
    }

    #[test]
    fn only_a_handful_is_learned() {
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let (_, new) = changes(&[], [].iter(), &many);
        assert_eq!(new.len(), LEARNED_MAX);
    }
}
