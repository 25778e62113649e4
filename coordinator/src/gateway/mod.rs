//! The doors for workers: who leads (every replica), the session (the serving leader only), and the
//! supervisor's proof of death (loopback only).
//!
//! What a session's messages do is `session.rs`; whether a registration is admitted is `admission.rs`.

mod admission;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use regent_ha::Leadership;
use regent_protocol::v1;
use regent_protocol::v1::worker_gateway_server::WorkerGateway;
use regent_security::Origin;
use regent_state::ids::{Epoch, NodeId, WorkerRef};
use tokio::time::interval;
use tokio_stream::wrappers::{IntervalStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

use crate::api;
use crate::leader::hub::not_leading;
use crate::leader::rule::Rule;
use crate::node::Node;
use crate::wire;

/// A worker may come between the election and the applied announcement: it is kept this long.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);

/// How soon workers learn of new members.
const MEMBERS_EVERY: Duration = Duration::from_secs(1);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves `WorkerGateway`.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) node: Arc<Node>,
}

impl Gateway {
    /// The reign served here; a leader whose announcement is under way is waited for.
    async fn ruling(&self) -> Result<Arc<Rule>, Status> {
        if let Some(rule) = self.node.ruling() {
            return Ok(rule);
        }
        let me = self.node.replica.node_id();
        if self
            .node
            .replica
            .leader()
            .is_none_or(|leader| leader.node_id != me)
        {
            return Err(not_leading());
        }
        let mut serving = self.node.rule.subscribe();
        let found = tokio::time::timeout(ANNOUNCE_WAIT, serving.wait_for(Option::is_some)).await;
        match found {
            Ok(Ok(rule)) => rule.clone().ok_or_else(not_leading),
            Ok(Err(_)) | Err(_) => Err(not_leading()),
        }
    }
}

#[tonic::async_trait]
impl WorkerGateway for Gateway {
    type SessionStream = Answers<v1::LeaderMessage>;
    type WatchLeaderStream = Answers<v1::LeaderView>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let rule = self.ruling().await?;
        let caller = api::caller(&request);
        let orders = session::open(rule, &caller, request.into_inner()).await?;
        Ok(Response::new(orders))
    }

    async fn watch_leader(
        &self,
        _request: Request<v1::WatchLeaderRequest>,
    ) -> Result<Response<Self::WatchLeaderStream>, Status> {
        let node = Arc::clone(&self.node);
        let stop = node.stop.clone();
        let changes = WatchStream::new(self.node.replica.leadership()).map(drop);
        // Members change without a change of leadership; nobody waits for that.
        let now_and_then = IntervalStream::new(interval(MEMBERS_EVERY)).map(drop);
        let looks = futures::stream::select(changes, now_and_then);
        let views = looks.scan(None, move |told, ()| {
            let leadership = node.replica.leadership().borrow().clone();
            let view = leader_view(&node, &leadership);
            let news = told.as_ref() != Some(&view);
            *told = Some(view.clone());
            futures::future::ready(Some(news.then_some(Ok(view))))
        });
        let news = views.filter_map(futures::future::ready);
        Ok(Response::new(Box::pin(
            news.take_until(stop.cancelled_owned()),
        )))
    }

    async fn report_worker_death(
        &self,
        request: Request<v1::WorkerDeath>,
    ) -> Result<Response<v1::WorkerDeathReply>, Status> {
        // Beside the role: whoever can talk over this machine's loopback counts as its supervisor.
        let origin = request.extensions().get::<Option<Origin>>();
        let local = origin
            .and_then(Option::as_ref)
            .is_some_and(|origin| origin.remote.ip().is_loopback());
        if !local {
            return Err(Status::permission_denied(
                "deaths are reported over loopback only",
            ));
        }
        let death = request.into_inner();
        let Some(rule) = self.node.ruling() else {
            return Ok(Response::new(v1::WorkerDeathReply { leader: false }));
        };
        let worker = WorkerRef {
            worker: death.worker_id,
            incarnation: death.incarnation,
        };
        tracing::info!(%worker, "its supervisor reports it dead");
        rule.hub.died(worker);
        Ok(Response::new(v1::WorkerDeathReply { leader: true }))
    }
}

/// Where the members are reached; nothing before bootstrap.
fn members(status: &regent_ha::Status) -> Vec<String> {
    let members = status.members.iter();
    members.map(|member| member.node.api.clone()).collect()
}

/// Who leads, as this replica knows it.
fn leader_view(node: &Node, leadership: &Leadership) -> v1::LeaderView {
    let status = node.replica.status();
    let (epoch, api, name) = match leadership {
        Leadership::None => (None, String::new(), String::new()),
        Leadership::Leading(reign) => (
            Some(reign.epoch),
            node.api.clone(),
            node.config.display_name(),
        ),
        Leadership::Following { leader, term } => {
            let node = NodeId(leader.node_id);
            let epoch = Epoch {
                generation: status.generation,
                term: *term,
                node,
            };
            (
                Some(epoch),
                leader.node.api.clone(),
                leader.node.name.clone(),
            )
        }
    };
    let jobmanagers = members(&status);
    v1::LeaderView {
        cluster_id: status.cluster_id.unwrap_or_default(),
        epoch: epoch.map(wire::epoch_to),
        api,
        name,
        jobmanagers,
    }
}
