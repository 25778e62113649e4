//! What readers see: an immutable picture of the applied state, replaced after every batch.
//!
//! Publishing happens before the proposers of the batch are answered, so whoever has an answer also
//! reads its own write here.

use std::collections::BTreeSet;
use std::sync::Arc;

use regent_state::Machine;
use tokio::sync::watch;

use crate::types::{LogId, Member, NodeId, StoredMembership};

/// The applied state up to one entry. Cheap to hold; never changes.
#[derive(Clone, Debug)]
pub struct View {
    /// The state machine.
    pub machine: Machine,
    /// What was applied and who the members are.
    pub standing: Standing,
}

/// Where a state stands in the log. Stored with the state and with snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last applied entry, blank and membership entries included.
    pub applied: Option<LogId>,
    /// The last applied membership.
    pub membership: StoredMembership,
    /// Numbers that were members once; they are never used again.
    pub removed: BTreeSet<NodeId>,
}

/// What a stored state is: where it stands, and the hash that its entities must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Where it stands in the log.
    pub standing: Standing,
    /// The state hash.
    pub hash: u128,
}

impl Cover {
    /// Index of the last applied entry, 0 also before the first.
    pub(crate) fn index(&self) -> u64 {
        self.standing.applied.map_or(0, |id| id.index)
    }
}

impl Standing {
    /// Takes over an applied membership; whoever is no longer in it is removed for good.
    pub(crate) fn set_membership(&mut self, membership: StoredMembership) {
        let before: BTreeSet<NodeId> = self.membership.nodes().map(|(id, _)| *id).collect();
        let now: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
        self.removed.extend(before.difference(&now));
        self.membership = membership;
    }
}

impl View {
    /// Nothing applied yet.
    pub(crate) fn empty() -> Self {
        Self {
            machine: Machine::default(),
            standing: Standing::default(),
        }
    }

    /// Index of the last applied entry, 0 before the first. (Entry 0 is the first membership.)
    pub fn applied_index(&self) -> u64 {
        self.standing.applied.map_or(0, |id| id.index)
    }

    /// The state's hash; equal on all replicas that applied the same entries.
    pub fn hash(&self) -> u128 {
        self.machine.hash()
    }

    /// What this state is when stored.
    pub(crate) fn cover(&self) -> Cover {
        Cover {
            standing: self.standing.clone(),
            hash: self.hash(),
        }
    }

    /// All members with their addresses, voters and learners.
    pub fn members(&self) -> Vec<Member> {
        self.standing
            .membership
            .nodes()
            .map(|(node_id, node)| Member {
                node_id: *node_id,
                node: node.clone(),
            })
            .collect()
    }
}

/// Receives each new view.
pub type Views = watch::Receiver<Arc<View>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Membership, Node};
    use std::collections::BTreeMap;

    fn members(ids: &[u64]) -> StoredMembership {
        let voters: BTreeSet<u64> = ids.iter().copied().collect();
        let nodes: BTreeMap<u64, Node> = ids.iter().map(|id| (*id, Node::default())).collect();
        StoredMembership::new(None, Membership::new(vec![voters], nodes).unwrap())
    }

    #[test]
    fn a_removed_number_stays_removed() {
        let mut standing = Standing::default();
        standing.set_membership(members(&[1, 2, 3]));
        assert!(standing.removed.is_empty());
        standing.set_membership(members(&[1, 3]));
        standing.set_membership(members(&[1, 3, 4]));
        assert_eq!(standing.removed, BTreeSet::from([2]));
    }
}
