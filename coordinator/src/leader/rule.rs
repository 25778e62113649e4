//! What a reign's reconcilers share: the replica, the reign, the hub, and the way into the log.

use std::sync::Arc;
use std::time::Duration;

use regent_ha::{ProposeError, Reign, Replica, View};
use regent_protocol::v1::leader_message::Message as Order;
use regent_state::ids::WorkerRef;
use regent_state::{Command, Rejection, Response};
use regent_storage::objects::Objects;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hub::{CheckpointEvent, Hub};
use super::ownership::Ownership;
use super::writing::Writing;
use crate::config::JobManagerConfig;
use crate::metrics::Counters;
use crate::node::Node;

/// One reign, shared by its reconcilers, sessions and the API.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) reign: Reign,
    pub(crate) hub: Hub,
    pub(crate) config: Arc<JobManagerConfig>,
    pub(crate) objects: Objects,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    /// Whether the storage root is this cluster's.
    pub(crate) ownership: Ownership,
    /// Checkpoints whose `_metadata` is being written.
    pub(crate) writing: Writing,
    replica: Replica,
}

/// Why a reconciler's proposal did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The log has it, and the machine refused: plan anew.
    #[error("refused: {0}")]
    Rejected(Rejection),
    /// The reign is over, a majority is missing, or the outcome is unknown.
    #[error("{0}")]
    NotProposed(#[from] ProposeError),
}

impl Rule {
    pub(crate) fn new(node: &Node, reign: Reign) -> (Self, mpsc::Receiver<CheckpointEvent>) {
        let (hub, events) = Hub::new(reign.epoch, Instant::now(), &node.config.workers);
        let rule = Self {
            hub,
            config: Arc::clone(&node.config),
            objects: node.objects.clone(),
            counters: Arc::clone(&node.counters),
            stop: CancellationToken::new(),
            ownership: Ownership::default(),
            writing: Writing::default(),
            replica: node.replica.clone(),
            reign,
        };
        (rule, events)
    }

    /// The machine's clock.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.reign.clock_ms()
    }

    /// The lease that workers are given.
    pub(crate) fn lease(&self) -> Duration {
        self.config.workers.lease
    }

    /// The applied state as of now; it holds everything this reign has had an answer for.
    pub(crate) fn view(&self) -> Arc<View> {
        self.replica.stale()
    }

    /// The members and how they do.
    pub(crate) fn members_seen(&self) -> regent_ha::membership::plan::Seen {
        self.replica.members_seen()
    }

    /// Carries out one step of a change of members.
    pub(crate) async fn change_members(
        &self,
        step: &regent_ha::membership::plan::Step,
    ) -> Result<(), regent_ha::MembershipError> {
        self.replica.change_members(step).await
    }

    /// Hints of what was applied.
    pub(crate) fn effects(&self) -> regent_ha::EffectHints {
        self.replica.effects()
    }

    /// Completes after a majority acknowledged a round begun after this call.
    pub(crate) async fn confirm_quorum(&self) -> bool {
        self.replica.confirm_quorum().await.is_ok()
    }

    /// Proposes under this reign, and answers with what applying it said.
    pub(crate) async fn propose(
        &self,
        actor: &'static str,
        command: Command,
    ) -> Result<Response, Refused> {
        let line = command.to_string();
        let proposing = self.replica.propose_as_leader(&self.reign, actor, command);
        let proposed = tokio::select! {
            // The entry may be under way; the epoch fences it, and the next leader plans anew.
            () = self.stop.cancelled() => Err(ProposeError::NotLeader { leader: None }),
            proposed = proposing => proposed,
        };
        let answer = match proposed {
            Ok(proposed) => proposed.response.into_result().map_err(Refused::Rejected),
            Err(error) => Err(Refused::from(error)),
        };
        match &answer {
            Ok(_) => tracing::debug!(actor, "{line}"),
            Err(refused) => tracing::debug!(actor, %refused, "not done: {line}"),
        }
        answer
    }

    /// Orders something of each of these workers that has an open session.
    pub(crate) fn order_all(&self, workers: impl IntoIterator<Item = WorkerRef>, order: &Order) {
        for worker in workers {
            if self.hub.send(&worker, order.clone()).is_none() {
                tracing::debug!(%worker, "has no session; the order is dropped");
            }
        }
    }
}
