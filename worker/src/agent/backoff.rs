//! How long to wait before dialling again: doubling between bounds, with jitter, since all workers
//! lose a leader at the same moment. Pure; chance comes in from outside.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Counts failures since the last success.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `chance` is in 0..1.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let doubled = FIRST.saturating_mul(1_u32 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(LONGEST);
        wait.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_between_the_bounds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 25);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.next(1.0), LONGEST);
    }
}
