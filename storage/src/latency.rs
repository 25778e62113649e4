//! How long things took, counted by size. Bounded: a fixed number of buckets.

use std::time::Duration;

/// Upper bounds of the buckets in microseconds; what is longer counts in one more.
pub const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// Counts by size, not added up, and the sum of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// One for each bound, and one for what is longer.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// Of everything that was counted.
    pub sum: Duration,
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut latencies = Latencies::default();
        for micros in [0, 50, 51, 5_000_000, 5_000_001] {
            latencies.record(Duration::from_micros(micros));
        }
        let counts = latencies.counts;
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(latencies.sum, Duration::from_micros(10_000_102));
    }
}
