//! Who may give orders: the highest epoch, and the cluster, that this worker has met. Pure; keeping
//! it over a restart is [`super::memory`]'s.

use regent_protocol::v1::Epoch;
use serde::{Deserialize, Serialize};

/// What a worker remembers of its cluster. The derived order isn't used; see [`Fence::meet`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Fence {
    /// Empty before the first registration and after leaving a cluster.
    pub(crate) cluster_id: String,
    /// Highest generation met.
    pub(crate) generation: u64,
    /// Term of the highest epoch met in this cluster and generation.
    pub(crate) term: u64,
    /// Node of that epoch.
    pub(crate) node: u64,
}

/// How somebody who claims to lead relates to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// The leader already known.
    SameReign,
    /// A later leader of the same cluster, or the first one ever met.
    NewReign,
    /// The cluster was restored: nothing that runs may be carried over.
    NewGeneration,
    /// Another cluster of the same generation.
    Foreign,
    /// A deposed leader, or a cluster that has been superseded.
    Stale,
}

impl Fence {
    /// Compares a claim with what is known. An empty `cluster_id` claims the known cluster.
    pub(crate) fn meet(&self, cluster_id: &str, epoch: &Epoch) -> Meeting {
        if epoch.generation < self.generation {
            return Meeting::Stale;
        }
        if self.cluster_id.is_empty() {
            return Meeting::NewReign;
        }
        if epoch.generation > self.generation {
            return Meeting::NewGeneration;
        }
        if !cluster_id.is_empty() && cluster_id != self.cluster_id {
            return Meeting::Foreign;
        }
        match (epoch.term, epoch.node).cmp(&(self.term, self.node)) {
            std::cmp::Ordering::Less => Meeting::Stale,
            std::cmp::Ordering::Equal => Meeting::SameReign,
            std::cmp::Ordering::Greater => Meeting::NewReign,
        }
    }

    /// Raises the fence to a leader that registered this worker. True if it must be recorded.
    pub(crate) fn raise(&mut self, cluster_id: &str, epoch: &Epoch) -> bool {
        let raised = Self {
            cluster_id: cluster_id.to_owned(),
            generation: epoch.generation,
            term: epoch.term,
            node: epoch.node,
        };
        let changed = raised != *self;
        *self = raised;
        changed
    }

    /// Forgets the cluster, but never that a generation has passed.
    pub(crate) fn leave(&mut self, generation: u64) {
        *self = Self {
            generation: generation.max(self.generation),
            ..Self::default()
        };
    }

    /// The highest epoch as it travels; absent before the first registration.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        (!self.cluster_id.is_empty()).then_some(Epoch {
            generation: self.generation,
            term: self.term,
            node: self.node,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(generation: u64, term: u64, node: u64) -> Epoch {
        Epoch {
            generation,
            term,
            node,
        }
    }

    fn known() -> Fence {
        let mut fence = Fence::default();
        assert!(fence.raise("a", &epoch(2, 5, 1)));
        fence
    }

    #[test]
    fn claims_are_ranked_by_generation_then_cluster_then_term_then_node() {
        let table = [
            ("a", epoch(2, 5, 1), Meeting::SameReign),
            ("", epoch(2, 5, 1), Meeting::SameReign),
            ("a", epoch(2, 5, 2), Meeting::NewReign),
            ("a", epoch(2, 6, 1), Meeting::NewReign),
            ("a", epoch(2, 4, 9), Meeting::Stale),
            ("a", epoch(2, 5, 0), Meeting::Stale),
            ("a", epoch(1, 9, 9), Meeting::Stale),
            ("b", epoch(1, 9, 9), Meeting::Stale),
            ("b", epoch(2, 1, 1), Meeting::Foreign),
            ("a", epoch(3, 1, 1), Meeting::NewGeneration),
            ("b", epoch(3, 1, 1), Meeting::NewGeneration),
        ];
        for (cluster, claim, wanted) in table {
            assert_eq!(known().meet(cluster, &claim), wanted, "{cluster} {claim:?}");
        }
    }

    #[test]
    fn a_worker_that_never_registered_follows_anyone() {
        assert_eq!(
            Fence::default().meet("b", &epoch(1, 1, 1)),
            Meeting::NewReign
        );
        assert_eq!(Fence::default().epoch(), None);
    }

    #[test]
    fn having_left_a_cluster_older_generations_stay_refused() {
        let mut fence = known();
        fence.leave(3);
        assert_eq!(fence.meet("a", &epoch(2, 9, 9)), Meeting::Stale);
        assert_eq!(fence.meet("b", &epoch(3, 1, 1)), Meeting::NewReign);
        fence.leave(1);
        assert_eq!(fence.generation, 3, "a generation never falls");
    }

    #[test]
    fn raising_to_the_same_leader_needs_no_record() {
        let mut fence = known();
        assert!(!fence.raise("a", &epoch(2, 5, 1)));
        assert!(fence.raise("a", &epoch(2, 6, 1)));
        assert_eq!(fence.epoch(), Some(epoch(2, 6, 1)));
    }
}
