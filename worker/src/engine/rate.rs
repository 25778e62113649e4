//! How many rows a source may emit now: smooth, exact over time, and without a burst after a pause.
//! Pure: the caller brings the time and does the waiting.

use std::time::{Duration, Instant};

/// A batch holds at most this much time's worth of rows.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// A waiting source wakes for this much time's worth of rows (or one row).
const WAKE_TIME: Duration = Duration::from_millis(10);
/// A source that is later than this (backpressure, a paused process) doesn't catch up.
const LAG_MAX: Duration = Duration::from_millis(200);

/// What the limiter allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Up to this many rows now, at least one.
    Rows(usize),
    /// Nothing before that instant.
    Wait(Instant),
}

/// Rows per second of one subtask.
#[derive(Debug, Clone)]
pub(crate) struct RateLimiter {
    per_second: f64,
    start: Instant,
    emitted: u64,
}

impl RateLimiter {
    /// `per_second` is of this subtask and positive.
    pub(crate) fn new(per_second: f64, now: Instant) -> Self {
        Self {
            per_second,
            start: now,
            emitted: 0,
        }
    }

    /// How many rows may be emitted at `now`.
    pub(crate) fn allow(&mut self, now: Instant) -> Allowance {
        let due = self.due(self.emitted);
        if now > due + LAG_MAX {
            self.start = now;
            self.emitted = 0;
        }
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        // The row number n is due at n / rate, so that the first is due at once.
        let due_rows = (elapsed * self.per_second) as u64 + 1;
        let rows = due_rows.saturating_sub(self.emitted);
        if rows == 0 {
            let wake = self.rows_of(WAKE_TIME);
            return Allowance::Wait(self.due(self.emitted + wake - 1));
        }
        Allowance::Rows(rows.min(self.rows_of(BATCH_TIME)) as usize)
    }

    /// Counts rows that were emitted.
    pub(crate) fn emitted(&mut self, rows: usize) {
        self.emitted += rows as u64;
    }

    fn rows_of(&self, time: Duration) -> u64 {
        ((self.per_second * time.as_secs_f64()) as u64).max(1)
    }

    fn due(&self, row: u64) -> Instant {
        // A nanosecond late, so that rounding never wakes the source just before the row is due.
        let after = row as f64 / self.per_second + 1e-9;
        let bounded = after.min(1e9);
        self.start + Duration::from_secs_f64(bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for `span` with wake-ups late by `late(n)`; answers (rows, largest batch).
    fn run(rate: f64, span: Duration, late: impl Fn(u64) -> Duration) -> (u64, usize) {
        let begin = Instant::now();
        let mut now = begin;
        let mut limiter = RateLimiter::new(rate, now);
        let (mut rows, mut largest, mut turn) = (0, 0, 0);
        while now < begin + span {
            match limiter.allow(now) {
                Allowance::Rows(n) => {
                    limiter.emitted(n);
                    rows += n as u64;
                    largest = largest.max(n);
                }
                Allowance::Wait(until) => {
                    assert!(until > now, "waits for the past");
                    now = until + late(turn);
                    turn += 1;
                }
            }
        }
        (rows, largest)
    }

    #[test]
    fn exact_over_time_whatever_the_rate() {
        for rate in [0.5, 1.0, 7.0, 33.3, 800.0, 12_345.0, 1_000_000.0] {
            let (rows, largest) = run(rate, Duration::from_secs(100), |_| Duration::ZERO);
            let expected = rate * 100.0;
            assert!(
                (rows as f64 - expected).abs() <= 1.0 + rate * 0.011,
                "{rate}: {rows}"
            );
            assert!(
                largest as f64 <= (rate * 0.02).max(1.0),
                "{rate}: {largest}"
            );
        }
    }

    #[test]
    fn late_wake_ups_are_made_up_for() {
        let late = |turn| Duration::from_micros(turn * 7919 % 3000);
        let (rows, _) = run(800.0, Duration::from_secs(100), late);
        assert!((rows as i64 - 80_000).abs() <= 10, "{rows}");
    }

    #[test]
    fn no_burst_after_a_pause() {
        let mut now = Instant::now();
        let mut limiter = RateLimiter::new(1000.0, now);
        limiter.emitted(1);
        now += Duration::from_secs(5);
        let mut burst = 0;
        while let Allowance::Rows(rows) = limiter.allow(now) {
            limiter.emitted(rows);
            burst += rows;
        }
        assert!(burst <= 20, "{burst}");
    }

    #[test]
    fn one_row_in_a_thousand_seconds() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(0.001, now);
        assert_eq!(limiter.allow(now), Allowance::Rows(1));
        limiter.emitted(1);
        let Allowance::Wait(until) = limiter.allow(now) else {
            panic!("second row at once");
        };
        assert!(until - now >= Duration::from_secs(999));
    }
}
