//! Whether the replicas' wall clocks agree. Nothing is decided by them, but people read them: in the timeline,
//! in histories, in logs. A difference of more than five seconds is an alarm.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::NodeId;

/// More than this is an alarm.
const SKEW_MAX_MS: u64 = 5_000;

/// What a peer's last two messages said: ahead of this clock (positive) or behind it.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    before_ms: i64,
    last_ms: i64,
    told: bool,
}

impl Ahead {
    /// The difference that both messages show. One that was long on its way, or read late, shows one alone.
    fn skew_ms(self) -> u64 {
        match self.before_ms.signum() == self.last_ms.signum() {
            true => self
                .before_ms
                .unsigned_abs()
                .min(self.last_ms.unsigned_abs()),
            false => 0,
        }
    }
}

/// Compares the peers' wall clocks with this one's.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    peers: Mutex<BTreeMap<NodeId, Ahead>>,
}

impl Clocks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Ahead>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer's clock says `theirs_ms` while this one says `ours_ms`. A peer that doesn't tell says 0.
    pub(crate) fn compare(&self, peer: NodeId, theirs_ms: u64, ours_ms: u64) {
        if theirs_ms == 0 {
            return;
        }
        let last_ms =
            i64::try_from(i128::from(theirs_ms) - i128::from(ours_ms)).unwrap_or(i64::MAX);
        let mut peers = self.lock();
        let ahead = peers.entry(peer).or_insert(Ahead {
            before_ms: 0,
            last_ms: 0,
            told: false,
        });
        (ahead.before_ms, ahead.last_ms) = (ahead.last_ms, last_ms);
        let skew_ms = ahead.skew_ms();
        if skew_ms > SKEW_MAX_MS && !ahead.told {
            tracing::error!(
                peer,
                skew_ms,
                "the wall clocks of two replicas differ; set them (NTP)"
            );
        }
        ahead.told = skew_ms > SKEW_MAX_MS;
    }

    /// The largest difference to a peer's clock.
    pub(crate) fn skew_ms(&self) -> u64 {
        let peers = self.lock();
        peers
            .values()
            .map(|ahead| ahead.skew_ms())
            .max()
            .unwrap_or(0)
    }

    /// A peer that isn't watched any more says nothing.
    pub(crate) fn forget(&self, peer: NodeId) {
        self.lock().remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_seen_in_either_direction() {
        for (theirs, ours) in [(20_000, 10_000), (10_000, 20_000)] {
            let clocks = Clocks::default();
            clocks.compare(2, theirs, ours);
            clocks.compare(2, theirs + 1_000, ours + 1_000);
            clocks.compare(3, ours, ours);
            assert_eq!(clocks.skew_ms(), 10_000);
            assert!(clocks.lock()[&2].told);
            clocks.compare(2, ours, ours);
            assert_eq!(clocks.skew_ms(), 0, "it was set");
            assert!(!clocks.lock()[&2].told);
        }
    }

    #[test]
    fn one_message_that_was_read_late_is_no_skew() {
        let clocks = Clocks::default();
        clocks.compare(2, 10_000, 60_000);
        assert_eq!(clocks.skew_ms(), 0);
        clocks.compare(2, 60_001, 60_000);
        assert_eq!(clocks.skew_ms(), 0);
        clocks.compare(3, 0, 60_000);
        clocks.compare(3, 0, 60_000);
        assert_eq!(clocks.skew_ms(), 0, "it doesn't tell");
    }
}
