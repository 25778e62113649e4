//! Waiting for a condition with a bound, and saying how long each phase took.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Lets time pass; the only place where this crate does so without looking at something.
#[expect(clippy::disallowed_methods, reason = "this is the harness's own wait")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until there is something, at most for `limit`.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(EVERY);
    }
}

/// Looks until there is something.
///
/// # Panics
/// If there is nothing within `limit`; `what` says what was waited for.
pub fn wait_until<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    poll(limit, look).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Prints how long each part of a test took.
#[derive(Debug)]
pub struct Phases {
    test: &'static str,
    began: Instant,
    last: Instant,
}

impl Phases {
    /// Starts the clock.
    #[must_use]
    pub fn of(test: &'static str) -> Self {
        let now = Instant::now();
        Self {
            test,
            began: now,
            last: now,
        }
    }

    /// A part has ended.
    pub fn done(&mut self, phase: &str) -> Duration {
        let now = Instant::now();
        let took = now - self.last;
        let total = now - self.began;
        println!("{}: {phase}: {took:.2?} ({total:.2?} in all)", self.test);
        self.last = now;
        took
    }
}
