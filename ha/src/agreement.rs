//! Whether replicas that applied the same entries hold the same state.
//!
//! Each replica tells the others its applied index and hash now and then. Equal index and different hash
//! means that applying wasn't deterministic, or that memory or disk lied: an alarm, never repaired here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::NodeId;

/// Own positions remembered for comparing.
const REMEMBERED: usize = 4_096;

#[derive(Debug, Default)]
struct Inner {
    own: VecDeque<(u64, u128)>,
    divergence: Option<String>,
}

/// Remembers own hashes and compares others with them.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    inner: Mutex<Inner>,
}

impl Agreement {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes this replica's own hash after applying up to `index`.
    pub(crate) fn note(&self, index: u64, hash: u128) {
        let mut inner = self.lock();
        if inner.own.len() >= REMEMBERED {
            inner.own.pop_front();
        }
        inner.own.push_back((index, hash));
    }

    /// Compares another replica's hash, if this one has been at the same index. False: they differ.
    pub(crate) fn compare(&self, peer: NodeId, index: u64, hash: u128) -> bool {
        let mut inner = self.lock();
        let own = inner.own.iter().rev().find(|(at, _)| *at == index);
        let Some((_, own)) = own.filter(|(_, own)| *own != hash) else {
            return true;
        };
        let text = format!(
            "after entry {index} the state hash is {own:032x} here and {hash:032x} at node {peer}"
        );
        if inner.divergence.is_none() {
            tracing::error!(peer, index, "replicas disagree: {text}");
            inner.divergence = Some(text);
        }
        false
    }

    /// The first disagreement seen.
    pub(crate) fn divergence(&self) -> Option<String> {
        self.lock().divergence.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_positions_are_compared_and_the_first_difference_stays() {
        let agreement = Agreement::default();
        agreement.note(5, 50);
        agreement.note(7, 70);
        assert!(agreement.compare(2, 5, 50));
        assert!(agreement.compare(2, 6, 1));
        assert!(agreement.compare(2, 7, 70));
        assert_eq!(agreement.divergence(), None);
        assert!(!agreement.compare(3, 7, 71));
        let first = agreement.divergence().unwrap();
        assert!(first.contains("node 3"), "{first}");
        assert!(!agreement.compare(2, 5, 51));
        assert_eq!(agreement.divergence(), Some(first));
    }

    #[test]
    fn memory_is_bounded() {
        let agreement = Agreement::default();
        (0..10_000).for_each(|index| agreement.note(index, 1));
        assert_eq!(agreement.lock().own.len(), REMEMBERED);
        assert!(agreement.compare(2, 1, 2), "long forgotten");
        assert!(!agreement.compare(2, 9_999, 2));
    }
}
