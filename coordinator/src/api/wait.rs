//! Waiting for the leader, and telling "nobody leads" from "a majority doesn't answer".
//!
//! Nothing here waits for a leader that is dead or frozen: as soon as another one is known, the request goes
//! there.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use regent_ha::{Leadership, Member, NodeId, Phase};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::NodeStatusRequest;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::leader::rule::Rule;
use crate::node::Node;

/// Between two looks for a leader, if nothing is heard meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long another replica may take to show that it is there.
const REACH_LIMIT: Duration = Duration::from_millis(500);
/// Kept back from the client's timeout for finding out why there is no leader.
const REASON_RESERVE: Duration = Duration::from_millis(600);

/// Whoever can serve what only the leader can.
#[derive(Debug)]
pub(crate) enum Server {
    /// This replica.
    Here(Arc<Rule>),
    /// Another one.
    There(Member),
}

/// What a leader that has just been succeeded is given to send the answer that it may be about to send.
pub(crate) const LAST_WORD: Duration = Duration::from_millis(10);

/// Leads one request to whoever serves: follows what this replica knows of the leader while it is under way.
#[derive(Debug)]
pub(crate) struct Guide<'a> {
    node: &'a Node,
    leadership: watch::Receiver<Leadership>,
    serving: watch::Receiver<Option<Arc<Rule>>>,
}

impl<'a> Guide<'a> {
    /// For a request that came to this node.
    pub(crate) fn new(node: &'a Node) -> Self {
        Self {
            node,
            leadership: node.replica.leadership(),
            serving: node.rule.subscribe(),
        }
    }

    /// The leader, as soon as one is known; an error shortly before `deadline`.
    pub(crate) async fn leader(&mut self, deadline: Instant) -> Result<Server, ApiError> {
        let give_up = deadline.checked_sub(REASON_RESERVE).unwrap_or(deadline);
        loop {
            self.mark_seen();
            if let Some(rule) = self.node.ruling() {
                return Ok(Server::Here(rule));
            }
            let me = self.node.replica.node_id();
            match self.node.replica.leader() {
                Some(leader) if leader.node_id != me => return Ok(Server::There(leader)),
                // Elected, and its announcement is under way; or nobody known.
                Some(_) | None => {}
            }
            if Instant::now() >= give_up {
                return Err(no_leader(self.node).await);
            }
            self.again().await;
        }
    }

    /// Whatever changes from now on is news.
    fn mark_seen(&mut self) {
        self.leadership.mark_unchanged();
        self.serving.mark_unchanged();
    }

    /// Waits for news since the last look for the leader, or a moment.
    pub(crate) async fn again(&mut self) {
        let news = async {
            let changed = tokio::select! {
                changed = self.leadership.changed() => changed,
                changed = self.serving.changed() => changed,
            };
            if changed.is_err() {
                // The replica is being stopped: there will be no news.
                sleep(LOOK_AGAIN).await;
            }
        };
        // Without news a look does no harm.
        timeout(LOOK_AGAIN, news).await.ok();
    }

    /// Completes when somebody else than `asked` is known to lead, and `asked` has had that long to answer
    /// nevertheless.
    pub(crate) async fn succeeded(&self, asked: NodeId, last_word: Duration) {
        let mut leadership = self.leadership.clone();
        let other = leadership.wait_for(|now| leads_instead(now, asked));
        if other.await.is_err() {
            // The replica is being stopped; the request's own deadline holds.
            std::future::pending::<()>().await;
        }
        sleep(last_word).await;
    }
}

/// Somebody is known to lead, and it isn't this node. A leader that merely falls silent may still answer.
fn leads_instead(now: &Leadership, asked: NodeId) -> bool {
    match now {
        Leadership::None => false,
        Leadership::Leading(_) => true,
        Leadership::Following { leader, .. } => leader.node_id != asked,
    }
}

/// Why nothing can be served: nobody leads, or a majority doesn't answer.
pub(crate) async fn no_leader(node: &Node) -> ApiError {
    let status = node.replica.status();
    match &status.phase {
        Phase::Empty => {
            let message =
                "this replica belongs to no cluster yet; form one: regent cluster bootstrap";
            return ApiError::new(ErrorKind::NoLeader, message);
        }
        Phase::Refused(reason) => return ApiError::new(ErrorKind::Refused, reason.clone()),
        Phase::Member => {}
    }
    let me = node.replica.node_id();
    let voters: Vec<&Member> = status
        .members
        .iter()
        .filter(|member| status.voters.contains(&member.node_id))
        .collect();
    let others = voters.iter().filter(|member| member.node_id != me);
    let answers = join_all(others.map(|member| answers(node, &member.node.api))).await;
    let own = usize::from(voters.iter().any(|member| member.node_id == me));
    let reached = own + answers.into_iter().filter(|answered| *answered).count();
    let quorum = voters.len() / 2 + 1;
    if reached >= quorum {
        let message = format!("no leader: {reached} of {} replicas answer", voters.len());
        return ApiError::new(ErrorKind::NoLeader, message);
    }
    let message = format!(
        "no majority: {reached} of {} replicas answer, {quorum} are needed; start the others",
        voters.len()
    );
    ApiError::new(ErrorKind::NoQuorum, message)
}

async fn answers(node: &Node, api: &str) -> bool {
    let Ok(mut client) = node.clients.to(api) else {
        return false;
    };
    let asked = client.node_status(NodeStatusRequest {});
    matches!(tokio::time::timeout(REACH_LIMIT, asked).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn following(node_id: NodeId) -> Leadership {
        let node = regent_ha::Node::default();
        Leadership::Following {
            leader: Member { node_id, node },
            term: 3,
        }
    }

    #[test]
    fn only_another_leader_ends_the_wait_for_the_one_that_was_asked() {
        assert!(leads_instead(&following(2), 1));
        assert!(!leads_instead(&following(1), 1));
        assert!(!leads_instead(&Leadership::None, 1));
    }
}
