//! What a replica with an empty data directory does: wait for bootstrap, say so, and look around.
//!
//! If a peer says that this very node is a member of its cluster, the directory was wiped: entries that
//! this node acknowledged are gone, so it must not take part under its old number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::bootstrap::{Probed, probe};
use crate::shared::Shared;
use crate::types::NodeId;

/// Pause between two looks around.
const PAUSE: Duration = Duration::from_millis(500);
/// How often waiting is mentioned.
const MENTION_EVERY: Duration = Duration::from_secs(30);

/// Looks around until this replica belongs to a cluster or must not take part.
pub(crate) struct Lookout {
    shared: Arc<Shared>,
    peers: Vec<String>,
}

impl Lookout {
    /// Asks `peers` (`host:port` each).
    pub(crate) fn new(shared: Arc<Shared>, peers: Vec<String>) -> Self {
        Self { shared, peers }
    }

    /// Ends when there is nothing to wait for any more.
    pub(crate) async fn run(self) {
        let mut mentioned: Option<Instant> = None;
        while self.shared.belonging().is_none() {
            if mentioned.is_none_or(|at| at.elapsed() >= MENTION_EVERY) {
                mentioned = Some(Instant::now());
                tracing::info!(
                    node_id = self.shared.node_id(),
                    "the data directory is empty: waiting for regent cluster bootstrap, or to be added"
                );
            }
            if let Some(reason) = self.look_around().await {
                self.shared.refuse(&reason);
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn look_around(&self) -> Option<String> {
        for address in &self.peers {
            let Ok(probed) = probe(self.shared.dialer(), address).await else {
                continue;
            };
            // Bootstrap writes to all before it initialises one: asked in this order, a directory that
            // is still empty after the answer was empty before.
            if self.shared.belonging().is_none()
                && let Some(reason) = wiped(self.shared.node_id(), &probed)
            {
                return Some(reason);
            }
        }
        None
    }
}

fn wiped(own: NodeId, probed: &Probed) -> Option<String> {
    if !probed.initialized || probed.node_id == own {
        return None;
    }
    let cluster_id = probed.cluster_id?;
    if probed.removed.contains(&own) {
        return Some(format!(
            "node {own} was removed from cluster {cluster_id} and its number is never used again; add the \
             replica under a new number: regent members add"
        ));
    }
    let known = probed.members.iter().any(|member| member.node_id == own);
    known.then(|| {
        format!(
            "the data directory of node {own} is empty, but cluster {cluster_id} has it as a member: it was \
             wiped; put its own directory back, or stop it, then: regent members remove {own}, and regent members \
             add it under a new number"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, Node};
    use regent_state::ids::ClusterId;
    use std::collections::BTreeSet;

    fn peer(initialized: bool, members: &[NodeId]) -> Probed {
        Probed {
            node_id: 1,
            name: "jm-1".to_owned(),
            cluster_id: Some(ClusterId([7; 16])),
            generation: 1,
            incarnation: 1,
            initialized,
            members: members
                .iter()
                .map(|id| Member {
                    node_id: *id,
                    node: Node::default(),
                })
                .collect(),
            removed: BTreeSet::from([9]),
            leader: None,
            term: 1,
            role: "follower".to_owned(),
            last_log_index: 1,
            applied_index: 1,
            refusal: None,
            api: String::new(),
        }
    }

    #[test]
    fn only_a_member_with_an_empty_directory_was_wiped() {
        assert!(wiped(2, &peer(true, &[1, 2, 3])).is_some());
        assert!(wiped(2, &peer(false, &[1, 2, 3])).is_none());
        assert!(wiped(4, &peer(true, &[1, 2, 3])).is_none());
        assert!(
            wiped(9, &peer(true, &[1, 2, 3]))
                .unwrap()
                .contains("removed")
        );
    }
}
