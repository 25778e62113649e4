//! Latencies into percentiles, and rows into text. Pure.

use std::fmt;

/// Latencies of one load, and how long it took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    micros: Vec<u32>,
    seconds: f64,
    errors: u64,
}

impl Samples {
    /// Of all clients together.
    pub(crate) fn new(mut micros: Vec<u32>, seconds: f64, errors: u64) -> Self {
        micros.sort_unstable();
        Self {
            micros,
            seconds,
            errors,
        }
    }

    /// Two runs of the same load as one.
    pub(crate) fn merge(&self, other: &Self) -> Self {
        let both = self.micros.iter().chain(&other.micros).copied();
        Self::new(
            both.collect(),
            self.seconds + other.seconds,
            self.errors + other.errors,
        )
    }

    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        match self.seconds > 0.0 {
            true => self.micros.len() as f64 / self.seconds,
            false => 0.0,
        }
    }

    /// How many succeeded.
    pub(crate) fn count(&self) -> usize {
        self.micros.len()
    }

    /// How many failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// The latency that a share of all operations doesn't exceed, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        if self.micros.is_empty() {
            return f64::NAN;
        }
        let rank = (share * (self.micros.len() - 1) as f64).round() as usize;
        f64::from(self.micros[rank.min(self.micros.len() - 1)]) / 1_000.0
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
            self.rate(),
            self.quantile_ms(0.5),
            self.quantile_ms(0.99)
        )?;
        match self.errors {
            0 => Ok(()),
            errors => write!(f, ", {errors} errors"),
        }
    }
}

/// Whole numbers with a comma between thousands.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A Markdown table.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    let mut out = line(&head) + &line(&rule);
    rows.iter().for_each(|row| out.push_str(&line(row)));
    out
}

/// The middle of several measurements.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len => sorted[len / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_rates_are_of_all_samples() {
        let samples = Samples::new((1..=100).rev().map(|n| n * 1_000).collect(), 2.0, 0);
        assert_eq!(samples.rate(), 50.0);
        assert_eq!(samples.quantile_ms(0.0), 1.0);
        assert_eq!(samples.quantile_ms(1.0), 100.0);
        let both = samples.merge(&Samples::new(vec![500_000], 1.0, 2));
        assert_eq!((both.count(), both.errors()), (101, 2));
        assert_eq!(both.quantile_ms(1.0), 500.0);
        assert!(Samples::default().quantile_ms(0.5).is_nan());
    }

    #[test]
    fn numbers_and_tables_read_well() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
        let rows = [vec!["1".to_owned(), "2".to_owned()]];
        assert_eq!(
            table(&["a", "b"], &rows),
            "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
        );
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
