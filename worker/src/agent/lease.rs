//! The worker's right to act: a span of time that a leader's quorum granted, counted from when the
//! answered heartbeat was *sent*, on a clock that also runs while the machine is suspended.
//!
//! A lease that ran out once is latched: it can't be granted again before everything that ran under
//! it has ended, for the leader may have replaced those tasks in between. Who stops them, and who
//! asks for renewal, is decided elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since boot, suspended time included.
pub(crate) fn boottime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// The pure part: until when, and whether it ran out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Term {
    until: Option<Duration>,
    lapsed: bool,
    closed: bool,
}

impl Term {
    /// Whether an effect may happen at `now`.
    pub(crate) fn holds(&self, now: Duration) -> bool {
        !self.lapsed && !self.closed && self.until.is_some_and(|until| now < until)
    }

    /// Notices that the lease ran out; true only the first time.
    pub(crate) fn check(&mut self, now: Duration) -> bool {
        let over = self.until.is_some_and(|until| now >= until);
        let first = over && !self.lapsed;
        self.lapsed |= over;
        first
    }

    /// Extends the lease by an answered heartbeat. Refused (false) once it ran out or was given up.
    pub(crate) fn grant(&mut self, sent_at: Duration, length: Duration, now: Duration) -> bool {
        self.check(now);
        if self.lapsed || self.closed {
            return false;
        }
        let until = sent_at.saturating_add(length);
        self.until = Some(self.until.map_or(until, |held| held.max(until)));
        true
    }

    /// Nothing runs any more: what ran out no longer matters.
    pub(crate) fn clear(&mut self) {
        self.until = None;
        self.lapsed = false;
    }
}

/// The lease as tasks see it: one atomic read and one clock read for each check.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    term: Mutex<Term>,
    /// Nanoseconds of boot time; 0: no right to act. Written under `term`'s lock only.
    until_ns: AtomicU64,
}

impl Lease {
    /// Whether an effect may happen now.
    pub(crate) fn holds(&self) -> bool {
        nanos(boottime()) < self.until_ns.load(Ordering::Acquire)
    }

    /// How much is left; zero when it is over.
    pub(crate) fn remaining(&self) -> Duration {
        let until = Duration::from_nanos(self.until_ns.load(Ordering::Acquire));
        until.saturating_sub(boottime())
    }

    /// Whether it ran out while something may have been running.
    pub(crate) fn lapsed(&self) -> bool {
        self.term().lapsed
    }

    /// Notices that it ran out; true only the first time.
    pub(crate) fn check(&self) -> bool {
        self.change(|term, now| term.check(now))
    }

    /// Extends it by a heartbeat sent at `sent_at` and answered now.
    pub(crate) fn grant(&self, sent_at: Duration, length: Duration) -> bool {
        self.change(|term, now| term.grant(sent_at, length, now))
    }

    /// Starts anew, since nothing runs.
    pub(crate) fn clear(&self) {
        self.change(|term, _| term.clear());
    }

    /// Gives it up for good: nothing may act any more in this process.
    pub(crate) fn give_up(&self) {
        self.change(|term, _| term.closed = true);
    }

    fn change<T>(&self, step: impl FnOnce(&mut Term, Duration) -> T) -> T {
        let mut term = self.term();
        let now = boottime();
        let answer = step(&mut term, now);
        let until = if term.holds(now) {
            term.until.map_or(0, nanos)
        } else {
            0
        };
        self.until_ns.store(until, Ordering::Release);
        answer
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_counts_from_when_the_heartbeat_was_sent() {
        let mut term = Term::default();
        assert!(!term.holds(at(0)), "nothing was granted yet");
        assert!(term.grant(at(100), LENGTH, at(104)));
        assert!(term.holds(at(109)));
        assert!(!term.holds(at(110)));
    }

    #[test]
    fn an_older_answer_never_shortens_it() {
        let mut term = Term::default();
        assert!(term.grant(at(105), LENGTH, at(106)));
        assert!(term.grant(at(101), LENGTH, at(107)));
        assert!(term.holds(at(114)));
    }

    #[test]
    fn once_over_it_stays_over_until_nothing_runs() {
        let mut term = Term::default();
        assert!(term.grant(at(100), LENGTH, at(100)));
        assert!(!term.check(at(109)));
        assert!(term.check(at(110)), "noticed");
        assert!(!term.check(at(111)), "noticed once");
        assert!(!term.grant(at(111), LENGTH, at(111)));
        assert!(!term.holds(at(112)));
        term.clear();
        assert!(term.grant(at(113), LENGTH, at(113)));
        assert!(term.holds(at(120)));
    }

    #[test]
    fn an_answer_that_comes_too_late_does_not_revive_it() {
        let mut term = Term::default();
        assert!(term.grant(at(100), LENGTH, at(100)));
        assert!(
            !term.grant(at(109), LENGTH, at(111)),
            "it ran out at 110, unnoticed"
        );
        assert!(!term.holds(at(112)));
    }

    #[test]
    fn a_first_answer_older_than_the_lease_grants_nothing() {
        let mut term = Term::default();
        term.grant(at(100), LENGTH, at(111));
        assert!(!term.holds(at(111)));
        assert!(
            term.check(at(111)),
            "so that it can be cleared and asked for again"
        );
    }

    #[test]
    fn given_up_it_is_gone() {
        let lease = Lease::default();
        assert!(!lease.holds());
        assert!(lease.grant(boottime(), LENGTH));
        assert!(lease.holds());
        assert!(lease.remaining() > Duration::from_secs(5));
        lease.give_up();
        assert!(!lease.holds());
        assert!(!lease.grant(boottime(), LENGTH));
    }

    #[test]
    fn the_shared_lease_ends_by_itself() {
        let lease = Lease::default();
        let before = boottime().saturating_sub(Duration::from_millis(1));
        lease.grant(before, Duration::from_millis(1));
        assert!(!lease.holds());
        assert!(lease.check());
        assert!(lease.lapsed());
    }
}
