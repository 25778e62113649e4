//! What a metric is, how it is written for Prometheus, and how the list of all metrics becomes a page.
//! Each process has one table; only what stands in it is written.

use std::fmt::{Display, Write};
use std::time::Duration;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises and falls.
    Gauge,
    /// Only rises; 0 when the process starts.
    Counter,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Names of its labels, with commas.
    pub labels: &'static str,
    /// Where it is told: on `all` replicas, on the `leader` only, or by each `worker`.
    pub at: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// One row of a table.
#[must_use]
pub const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static str,
    at: &'static str,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        at,
        help,
    }
}

/// Upper bounds of the buckets of latencies, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// Prometheus text in the making, over one table.
#[derive(Debug)]
pub struct Page {
    table: &'static [Metric],
    text: String,
    current: &'static str,
}

impl Page {
    /// An empty page over a table.
    #[must_use]
    pub fn new(table: &'static [Metric]) -> Self {
        Self {
            table,
            text: String::with_capacity(8 * 1024),
            current: "",
        }
    }

    /// Begins a family. False: the table doesn't have it, and nothing is written.
    pub fn family(&mut self, name: &str) -> bool {
        let Some(metric) = self.table.iter().find(|metric| metric.name == name) else {
            debug_assert!(false, "{name} is in no table of metrics");
            self.current = "";
            return false;
        };
        self.current = metric.name;
        let kind = metric.kind.word();
        // Writing to a string can't fail.
        let _infallible = writeln!(
            self.text,
            "# HELP {name} {}\n# TYPE {name} {kind}",
            metric.help
        );
        true
    }

    /// A sample of the present family. `labels` is empty or `a="b",c="d"`.
    pub fn sample(&mut self, labels: &str, value: impl Display) {
        self.suffixed("", labels, value);
    }

    fn suffixed(&mut self, suffix: &str, labels: &str, value: impl Display) {
        if self.current.is_empty() {
            return;
        }
        let name = self.current;
        let _infallible = match labels.is_empty() {
            true => writeln!(self.text, "{name}{suffix} {value}"),
            false => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, value: impl Display) {
        if self.family(name) {
            self.sample("", value);
        }
    }

    /// A histogram of latencies: counts of each bucket (not added up), the rest last, and the sum.
    pub fn latencies(&mut self, name: &str, counts: &[u64], sum: Duration) {
        if !self.family(name) {
            return;
        }
        let mut total = 0;
        for (bound_us, count) in LATENCY_BOUNDS_US.iter().zip(counts) {
            total += count;
            let bound = Duration::from_micros(*bound_us).as_secs_f64();
            self.suffixed("_bucket", &format!("le=\"{bound}\""), total);
        }
        let all: u64 = counts.iter().sum();
        self.suffixed("_bucket", "le=\"+Inf\"", all);
        self.suffixed("_sum", "", sum.as_secs_f64());
        self.suffixed("_count", "", all);
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// A label's value with what must be escaped escaped.
#[must_use]
pub fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A table as Markdown.
#[must_use]
pub fn markdown(table: &[Metric]) -> String {
    let mut text =
        "| metric | kind | labels | told by | what it says |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for metric in table {
        let labels: Vec<String> = metric
            .labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, at, help) = (metric.name, metric.kind.word(), metric.at, metric.help);
        let _infallible = writeln!(
            text,
            "| `{name}` | {kind} | {} | {at} | {help} |",
            labels.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Metric; 2] = [
        metric("x_total", Kind::Counter, "job,state", "all", "Things."),
        metric("x_seconds", Kind::Histogram, "", "leader", "Times."),
    ];

    #[test]
    fn families_come_from_the_table_and_buckets_add_up() {
        let mut page = Page::new(&TABLE);
        assert!(page.family("x_total"));
        page.sample("job=\"a\"", 3);
        let mut counts = [0; 17];
        (counts[1], counts[16]) = (2, 1);
        page.latencies("x_seconds", &counts, Duration::from_millis(1_500));
        let text = page.finish();
        for line in [
            "# TYPE x_total counter\nx_total{job=\"a\"} 3\n",
            "x_seconds_bucket{le=\"0.00005\"} 0\nx_seconds_bucket{le=\"0.0001\"} 2\n",
            "x_seconds_bucket{le=\"5\"} 2\nx_seconds_bucket{le=\"+Inf\"} 3\nx_seconds_sum 1.5\nx_seconds_count 3\n",
        ] {
            assert!(text.contains(line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn the_page_of_a_table_names_its_labels() {
        let page = markdown(&TABLE);
        assert!(
            page.contains("| `x_total` | counter | `job` `state` | all | Things. |\n"),
            "{page}"
        );
        assert_eq!(escaped("a\"b\\c"), "a\\\"b\\\\c");
    }
}
