//! Fast failover: acting on hard signs of the leader's death instead of waiting for the timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Vote;
use crate::wire::proto;

/// How often fast failover was tried, and what came of it, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailoverCounts {
    /// Hard signs of the leader's death that this replica acted on.
    pub tried: u64,
    /// Times it stood for election because of one.
    pub fired: u64,
    /// Times it stood and somebody else, or nobody, won.
    pub lost: u64,
    /// Times somebody else led before it had to stand.
    pub not_needed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    tried: AtomicU64,
    fired: AtomicU64,
    lost: AtomicU64,
    not_needed: AtomicU64,
}

/// Watches the other voters for hard signs of death.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vigil {
    counters: Arc<Counters>,
}

impl Vigil {
    /// How often it acted.
    pub(crate) fn counts(&self) -> FailoverCounts {
        FailoverCounts {
            tried: self.counters.tried.load(Ordering::Relaxed),
            fired: self.counters.fired.load(Ordering::Relaxed),
            lost: self.counters.lost.load(Ordering::Relaxed),
            not_needed: self.counters.not_needed.load(Ordering::Relaxed),
        }
    }

    /// Answers another voter's question whether the leader of `vote` is gone.
    pub(crate) async fn asked(&self, _vote: Vote) -> proto::LeaderGoneReply {
        proto::LeaderGoneReply {
            gone: false,
            last_log_id: None,
        }
    }
}
