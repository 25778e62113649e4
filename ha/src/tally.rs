//! What fast failover came to: since this process started, for the metrics; and after one leader's death, for the
//! timeline's line of the reign that followed it.
//!
//! The second is what the new leader knows when it announces itself: its own deeds, and those of the voters that
//! confirmed the death to it. Of a death that another reign followed nothing is kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use regent_state::model::FailoverTally;

use crate::types::{LeaderId, NodeId};

/// How often fast failover was tried, and what came of it, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailoverCounts {
    /// Hard signs of the leader's death that this replica acted on.
    pub tried: u64,
    /// Times it stood for election because of one.
    pub fired: u64,
    /// Deaths after which it stood and somebody else, or nobody yet, won.
    pub lost: u64,
    /// Deaths after which it didn't have to stand.
    pub not_needed: u64,
}

/// Something that this replica did because of a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Tried,
    Fired,
    Lost,
    NotNeeded,
}

/// One leader's death.
#[derive(Debug)]
struct Death {
    of: LeaderId,
    own: FailoverTally,
    /// Voters that confirmed it, and how often each had stood by then.
    others: BTreeMap<NodeId, u64>,
}

impl Death {
    fn tally(&self) -> FailoverTally {
        let stood = self.others.values().filter(|stood| **stood > 0).count() as u64;
        FailoverTally {
            fired: self.own.fired + self.others.values().sum::<u64>(),
            lost: self.own.lost + stood,
            not_needed: self.own.not_needed + self.others.len() as u64 - stood,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    total: FailoverCounts,
    latest: Option<Death>,
}

impl Inner {
    /// The record of that death; none of one that is followed by another already.
    fn death(&mut self, of: LeaderId) -> Option<&mut Death> {
        if self.latest.as_ref().is_none_or(|latest| latest.of < of) {
            let (own, others) = Default::default();
            self.latest = Some(Death { of, own, others });
        }
        self.latest.as_mut().filter(|latest| latest.of == of)
    }
}

/// Counts while it happens. Shared by whoever acts and whoever announces.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Inner>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since this process started.
    pub(crate) fn total(&self) -> FailoverCounts {
        self.lock().total
    }

    /// This replica did that because `dead` is.
    pub(crate) fn note(&self, dead: LeaderId, deed: Deed) {
        let mut inner = self.lock();
        let total = match deed {
            Deed::Tried => &mut inner.total.tried,
            Deed::Fired => &mut inner.total.fired,
            Deed::Lost => &mut inner.total.lost,
            Deed::NotNeeded => &mut inner.total.not_needed,
        };
        *total += 1;
        let Some(death) = inner.death(dead) else {
            return;
        };
        match deed {
            Deed::Tried => {}
            Deed::Fired => death.own.fired += 1,
            Deed::Lost => death.own.lost += 1,
            Deed::NotNeeded => death.own.not_needed += 1,
        }
    }

    /// A voter confirmed that `dead` is, and said how often it had stood because of that.
    pub(crate) fn confirmed(&self, dead: LeaderId, by: NodeId, stood: u64) {
        if let Some(death) = self.lock().death(dead) {
            death.others.insert(by, stood);
        }
    }

    /// How often this replica has stood because `dead` is.
    pub(crate) fn stood(&self, dead: LeaderId) -> u64 {
        let inner = self.lock();
        let death = inner.latest.as_ref().filter(|latest| latest.of == dead);
        death.map_or(0, |death| death.own.fired)
    }

    /// Another replica leads: what came before it is no longer told by this one.
    pub(crate) fn led_by(&self, leader: LeaderId) {
        let mut inner = self.lock();
        if inner.latest.as_ref().is_some_and(|death| death.of < leader) {
            inner.latest = None;
        }
    }

    /// For the reign that follows the one of `last` (term and node, as announced last): what came of that
    /// leader's death, or of one's that was elected since and died before it could announce itself.
    pub(crate) fn of_reign_after(&self, last: Option<(u64, NodeId)>) -> FailoverTally {
        let inner = self.lock();
        let death = inner.latest.as_ref();
        let follows = |death: &&Death| Some((death.of.term, death.of.node_id)) >= last;
        death.filter(follows).map(Death::tally).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;

    fn leader(term: u64, node_id: NodeId) -> LeaderId {
        LeaderId::new(term, node_id)
    }

    fn tally(fired: u64, lost: u64, not_needed: u64) -> FailoverTally {
        FailoverTally {
            fired,
            lost,
            not_needed,
        }
    }

    #[test]
    fn a_reign_is_told_what_followed_its_predecessors_death() {
        let counters = Counters::default();
        counters.note(leader(3, 1), Deed::Tried);
        counters.confirmed(leader(3, 1), 3, 0);
        counters.note(leader(3, 1), Deed::Fired);
        let told = counters.of_reign_after(Some((3, 1)));
        assert_eq!(told, tally(1, 0, 1), "node 3 left it to this one");
        assert_eq!(counters.of_reign_after(Some((3, 1))), told, "told again");
        // The next death is another matter.
        counters.note(leader(4, 3), Deed::NotNeeded);
        assert_eq!(counters.of_reign_after(Some((4, 3))), tally(0, 0, 1));
        let total = counters.total();
        let counted = (total.tried, total.fired, total.lost, total.not_needed);
        assert_eq!(counted, (1, 1, 0, 1));
    }

    #[test]
    fn who_stood_and_did_not_win_is_known_from_its_word() {
        let loser = Counters::default();
        loser.note(leader(3, 1), Deed::Fired);
        assert_eq!(loser.stood(leader(3, 1)), 1);
        assert_eq!(loser.stood(leader(4, 1)), 0);
        let winner = Counters::default();
        winner.confirmed(leader(3, 1), 2, 0);
        winner.confirmed(leader(3, 1), 2, loser.stood(leader(3, 1)));
        winner.note(leader(3, 1), Deed::Fired);
        assert_eq!(winner.of_reign_after(Some((3, 1))), tally(2, 1, 0));
    }

    #[test]
    fn a_reign_is_told_nothing_of_an_earlier_election() {
        let counters = Counters::default();
        counters.note(leader(3, 1), Deed::NotNeeded);
        // Another one led since, as the state has it; or as was heard, and the state doesn't have it yet.
        assert_eq!(counters.of_reign_after(Some((4, 2))), tally(0, 0, 0));
        counters.led_by(leader(4, 2));
        assert_eq!(counters.of_reign_after(Some((3, 1))), tally(0, 0, 0));
        // Late news of the old death change nothing.
        counters.note(leader(5, 2), Deed::Fired);
        counters.note(leader(3, 1), Deed::Lost);
        assert_eq!(counters.of_reign_after(Some((5, 2))), tally(1, 0, 0));
    }

    #[test]
    fn a_leader_that_died_before_its_announcement_counts_too() {
        let counters = Counters::default();
        counters.note(leader(4, 2), Deed::Fired);
        assert_eq!(counters.of_reign_after(Some((3, 1))), tally(1, 0, 0));
        assert_eq!(counters.of_reign_after(None), tally(1, 0, 0));
    }
}
