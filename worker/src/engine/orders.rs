//! The checkpoints of one attempt as this worker was told of them. A barrier may arrive before the
//! order that says where the state goes, and an abort before either; whoever writes state waits
//! here for what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use regent_protocol::v1::TriggerCheckpoint;
use tokio::sync::watch;

/// Ids rise strictly, so older ones than the newest so many can be forgotten.
const REMEMBERED: usize = 64;

/// A checkpoint that was ordered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered {
    pub(crate) order: TriggerCheckpoint,
    pub(crate) received: Instant,
}

/// What is known of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    Nothing,
    Ordered(Ordered),
    Aborted,
}

#[derive(Debug, Default)]
struct State {
    ordered: BTreeMap<u64, Ordered>,
    aborted: BTreeSet<u64>,
    /// Checkpoints up to this one are over; orders for them come too late.
    completed: u64,
}

/// The checkpoint orders of one attempt.
#[derive(Debug)]
pub(crate) struct Orders {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Orders {
    /// Remembers an order. False if it is known already, or over.
    pub(crate) fn trigger(&self, order: TriggerCheckpoint) -> bool {
        let mut state = self.lock();
        let id = order.checkpoint_id;
        if id <= state.completed || state.aborted.contains(&id) || state.ordered.contains_key(&id) {
            return false;
        }
        let received = Instant::now();
        state.ordered.insert(id, Ordered { order, received });
        while state.ordered.len() > REMEMBERED {
            state.ordered.pop_first();
        }
        drop(state);
        self.tell();
        true
    }

    /// The checkpoint will never be complete.
    pub(crate) fn abort(&self, id: u64) {
        let mut state = self.lock();
        state.ordered.remove(&id);
        state.aborted.insert(id);
        while state.aborted.len() > REMEMBERED {
            state.aborted.pop_first();
        }
        drop(state);
        self.tell();
    }

    /// The checkpoint is complete, and all before it are over.
    pub(crate) fn complete(&self, id: u64) {
        let mut state = self.lock();
        state.completed = state.completed.max(id);
        state.ordered = state.ordered.split_off(&(id + 1));
    }

    /// What is known now.
    pub(crate) fn known(&self, id: u64) -> Known {
        let state = self.lock();
        if state.aborted.contains(&id) {
            return Known::Aborted;
        }
        match state.ordered.get(&id) {
            Some(ordered) => Known::Ordered(ordered.clone()),
            None => Known::Nothing,
        }
    }

    /// Ids that are ordered and not over, above `floor`.
    pub(crate) fn pending_above(&self, floor: u64) -> Vec<u64> {
        let state = self.lock();
        state
            .ordered
            .range(floor + 1..)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Waits until something is known of the checkpoint.
    pub(crate) async fn wait(&self, id: u64) -> Known {
        let mut changed = self.changed.subscribe();
        loop {
            let known = self.known(id);
            if known != Known::Nothing {
                return known;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Waits until the checkpoint is aborted.
    pub(crate) async fn aborted(&self, id: u64) {
        let mut changed = self.changed.subscribe();
        while self.known(id) != Known::Aborted {
            let _ = changed.changed().await;
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(checkpoint_id: u64) -> TriggerCheckpoint {
        TriggerCheckpoint {
            checkpoint_id,
            ..Default::default()
        }
    }

    #[test]
    fn an_order_counts_once_and_not_after_its_end() {
        let orders = Orders::default();
        assert!(orders.trigger(order(1)));
        assert!(!orders.trigger(order(1)));
        assert!(orders.trigger(order(2)));
        assert!(orders.trigger(order(3)));
        orders.complete(2);
        assert!(!orders.trigger(order(1)));
        assert_eq!(orders.pending_above(0), [3]);
        orders.abort(3);
        assert!(!orders.trigger(order(3)));
        assert_eq!(orders.known(3), Known::Aborted);
        assert!(orders.pending_above(0).is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_order_and_abort() {
        let orders = Orders::default();
        let mut waiting = Box::pin(orders.wait(1));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        orders.trigger(order(1));
        assert!(matches!(waiting.await, Known::Ordered(o) if o.order.checkpoint_id == 1));
        let mut aborted = Box::pin(orders.aborted(1));
        assert!(futures::poll!(aborted.as_mut()).is_pending());
        orders.abort(1);
        aborted.await;
        orders.abort(2);
        assert_eq!(orders.wait(2).await, Known::Aborted);
    }

    #[test]
    fn memory_is_bounded() {
        let orders = Orders::default();
        for id in 1..1000 {
            orders.trigger(order(id));
            orders.abort(1000 + id);
        }
        let state = orders.lock();
        assert_eq!((state.ordered.len(), state.aborted.len()), (64, 64));
    }
}
