//! Stands in for the crate of this name that openraft counts batch sizes with.
//!
//! The published one (0.2.3) builds tables for all sixteen of its scales at the first use, 27 MiB that stay in
//! memory for the life of the process; openraft uses one scale, and, without its feature `runtime-stats`, never
//! reads what it counted. That was a third of a JobManager's memory (`docs/decisions/0001-histograms.md`).
//! Here a histogram is 64 counters, one for each power of two. It has what openraft calls and nothing else; what
//! Regent itself measures is `regent_storage::latency`'s.

use std::fmt;
use std::marker::PhantomData;

/// Counts of values by their number of binary digits. The parameter is openraft's, and means nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// `counts[n]`: values of `n` binary digits, so those below 2^n that are not below 2^(n-1).
    counts: [u64; 65],
    marker: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: [0; 65],
            marker: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `times` times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let digits = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(count) = self.counts.get_mut(digits) {
            *count = count.saturating_add(times);
        }
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The greatest value that is not above a share of the values (in thousandths), to a factor of two.
    fn at(&self, thousandths: u64) -> u64 {
        let wanted = u128::from(self.total()) * u128::from(thousandths);
        let mut seen: u128 = 0;
        for (digits, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count) * 1000;
            if *count > 0 && seen >= wanted {
                return least(digits);
            }
        }
        0
    }

    /// The shares that openraft prints.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.at(1),
            p1: self.at(10),
            p5: self.at(50),
            p10: self.at(100),
            p50: self.at(500),
            p90: self.at(900),
            p99: self.at(990),
            p99_9: self.at(999),
        }
    }
}

/// The least value of so many binary digits.
fn least(digits: usize) -> u64 {
    digits.checked_sub(1).map_or(0, |shift| 1 << shift)
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Values that a share of all are not above, each to a factor of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many there were.
    pub samples: u64,
    /// One in a thousand is not above.
    pub p0_1: u64,
    /// One in a hundred.
    pub p1: u64,
    /// One in twenty.
    pub p5: u64,
    /// One in ten.
    pub p10: u64,
    /// Half of them.
    pub p50: u64,
    /// Nine in ten.
    pub p90: u64,
    /// All but one in a hundred.
    pub p99: u64,
    /// All but one in a thousand.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "n {}, p50 {}, p90 {}, p99 {}, p99.9 {}",
            self.samples, self.p50, self.p90, self.p99, self.p99_9
        )
    }
}

/// Several histograms under each other, a line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(String, PercentileStats)>);

impl AsciiChart {
    /// Without a line yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one line more.
    #[must_use]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.0.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.0 {
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_right_to_a_factor_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        (1..=1000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        assert_eq!((stats.p0_1, stats.p50, stats.p99), (1, 256, 512));
    }

    #[test]
    fn the_least_and_the_greatest_value_have_a_place() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(0);
        histogram.record_n(u64::MAX, 3);
        assert_eq!(histogram.total(), 4);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.p0_1, stats.p99), (0, 1 << 63));
    }
}
