//! What a job says of itself beside its vertices: name, parallelism, checkpoints, restarts.

use regent_state::graph::{CheckpointConfig, PARALLELISM_MAX, RestartStrategy, Retention};

use super::error::Problems;
use super::fields::{self, Fields};
use super::scalar::DURATION_MS_MAX;
use super::tree::Node;

/// Checkpoints more often than this would do nothing but checkpoints.
const INTERVAL_MS_MIN: u64 = 10;
/// Kept checkpoints are directories on a disk and entries in the state.
const RETAINED_MAX: i64 = 1_000;
const NAME_CHARS_MAX: usize = 128;

pub(super) const CHECKPOINTING_KEYS: [&str; 6] = [
    "interval",
    "timeout",
    "min-pause",
    "num-retained",
    "tolerable-failed-checkpoints",
    "externalized-checkpoint-retention",
];

const RETENTIONS: [(&str, Retention); 3] = [
    (
        "no-externalized-checkpoints",
        Retention::NoExternalizedCheckpoints,
    ),
    ("delete-on-cancellation", Retention::DeleteOnCancellation),
    ("retain-on-cancellation", Retention::RetainOnCancellation),
];

/// 1-128 letters, digits, `.`, `_`, `-` and spaces.
pub(super) fn name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = fields::text(node, "name", problems)?;
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ');
    let length = name.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&length) && name.chars().all(allowed) {
        return Some(name.to_owned());
    }
    problems.none(node.at, || {
        format!(
            "name must be 1 to {NAME_CHARS_MAX} letters, digits, `.`, `_`, `-` and spaces, \
             found {}",
            node.describe()
        )
    })
}

/// 1-128.
pub(super) fn parallelism(node: &Node, problems: &mut Problems) -> Option<u32> {
    let bounds = (1, i64::from(PARALLELISM_MAX));
    fields::integer(node, "parallelism", bounds, problems).and_then(|n| u32::try_from(n).ok())
}

/// The `checkpointing` section with Flink's defaults filled in.
pub(super) fn checkpointing(node: &Node, problems: &mut Problems) -> Option<CheckpointConfig> {
    let section = Fields::open(node, "checkpointing", &CHECKPOINTING_KEYS, problems)?;
    let mut ms = |key: &str, low: u64, default: Option<u64>| match section.get(key) {
        Some(node) => fields::duration_ms(node, key, low, problems),
        None => default,
    };
    let interval_ms = ms("interval", INTERVAL_MS_MIN, None);
    let timeout_ms = ms("timeout", INTERVAL_MS_MIN, Some(600_000));
    let min_pause_ms = ms("min-pause", 0, Some(0));
    let num_retained = count(&section, "num-retained", (1, RETAINED_MAX), 1, problems);
    let tolerable_failed = count(
        &section,
        "tolerable-failed-checkpoints",
        (0, i64::from(i32::MAX)),
        0,
        problems,
    );
    let retention = match section.get("externalized-checkpoint-retention") {
        Some(node) => fields::choice(
            node,
            "externalized-checkpoint-retention",
            &RETENTIONS,
            problems,
        )?,
        None => Retention::default(),
    };
    Some(CheckpointConfig {
        interval_ms,
        timeout_ms: timeout_ms?,
        min_pause_ms: min_pause_ms?,
        num_retained: num_retained?,
        tolerable_failed: tolerable_failed?,
        retention,
    })
}

/// With checkpoints a job survives failures unless told otherwise; without them it doesn't.
pub(super) fn default_restart_strategy(has_interval: bool) -> RestartStrategy {
    if !has_interval {
        return RestartStrategy::None;
    }
    RestartStrategy::ExponentialDelay {
        initial_backoff_ms: 1_000,
        max_backoff_ms: 60_000,
        multiplier_permille: 1_500,
        jitter_permille: 100,
        reset_threshold_ms: 3_600_000,
    }
}

type ReadStrategy = fn(&Fields<'_>, &mut Problems) -> Option<RestartStrategy>;

/// The four strategies: name, keys beside `type`, reader.
pub(super) const STRATEGIES: [(&str, &[&str], ReadStrategy); 4] = [
    ("none", &["type"], |_, _| Some(RestartStrategy::None)),
    ("fixed-delay", &["type", "attempts", "delay"], fixed_delay),
    (
        "exponential-delay",
        &[
            "type",
            "initial-backoff",
            "max-backoff",
            "backoff-multiplier",
            "jitter-factor",
            "reset-backoff-threshold",
        ],
        exponential_delay,
    ),
    (
        "failure-rate",
        &[
            "type",
            "max-failures-per-interval",
            "failure-rate-interval",
            "delay",
        ],
        failure_rate,
    ),
];

/// The `restart-strategy` section with Flink's defaults filled in.
pub(super) fn restart_strategy(node: &Node, problems: &mut Problems) -> Option<RestartStrategy> {
    let kind = fields::map_entry(node, "type");
    let Some(kind) = kind else {
        return problems.none(node.at, || {
            let valid = STRATEGIES.map(|(name, ..)| format!("`{name}`")).join(", ");
            format!("restart-strategy must be a map with the key `type`: {valid}")
        });
    };
    let names = STRATEGIES.map(|strategy| (strategy.0, strategy));
    let (_, keys, read) = fields::choice(kind, "restart-strategy.type", &names, problems)?;
    let section = Fields::open(node, "restart-strategy", keys, problems)?;
    read(&section, problems)
}

fn fixed_delay(section: &Fields<'_>, problems: &mut Problems) -> Option<RestartStrategy> {
    let attempts = count(section, "attempts", (1, i64::from(i32::MAX)), 1, problems);
    let delay_ms = duration(section, "delay", (0, 1_000), problems);
    Some(RestartStrategy::FixedDelay {
        attempts: attempts?,
        delay_ms: delay_ms?,
    })
}

fn failure_rate(section: &Fields<'_>, problems: &mut Problems) -> Option<RestartStrategy> {
    let bounds = (1, i64::from(regent_state::graph::FAILURE_RATE_MAX));
    let max_failures = count(section, "max-failures-per-interval", bounds, 1, problems);
    let interval_ms = duration(section, "failure-rate-interval", (1, 60_000), problems);
    let delay_ms = duration(section, "delay", (0, 1_000), problems);
    Some(RestartStrategy::FailureRate {
        max_failures: max_failures?,
        interval_ms: interval_ms?,
        delay_ms: delay_ms?,
    })
}

fn exponential_delay(section: &Fields<'_>, problems: &mut Problems) -> Option<RestartStrategy> {
    let initial = duration(section, "initial-backoff", (1, 1_000), problems);
    let max = duration(section, "max-backoff", (1, 60_000), problems);
    let multiplier = permille(
        section,
        "backoff-multiplier",
        (1.0, 1_000.0),
        1_500,
        problems,
    );
    let jitter = permille(section, "jitter-factor", (0.0, 1.0), 100, problems);
    let reset = duration(section, "reset-backoff-threshold", (1, 3_600_000), problems);
    let (initial_backoff_ms, max_backoff_ms) = (initial?, max?);
    if initial_backoff_ms > max_backoff_ms {
        let at = section
            .get("max-backoff")
            .map_or(section.at, |node| node.at);
        return problems.none(at, || {
            "max-backoff is shorter than initial-backoff".to_owned()
        });
    }
    Some(RestartStrategy::ExponentialDelay {
        initial_backoff_ms,
        max_backoff_ms,
        multiplier_permille: multiplier?,
        jitter_permille: jitter?,
        reset_threshold_ms: reset?,
    })
}

fn count(
    section: &Fields<'_>,
    key: &str,
    bounds: (i64, i64),
    default: u32,
    problems: &mut Problems,
) -> Option<u32> {
    match section.get(key) {
        Some(node) => {
            fields::integer(node, key, bounds, problems).and_then(|n| u32::try_from(n).ok())
        }
        None => Some(default),
    }
}

fn duration(
    section: &Fields<'_>,
    key: &str,
    (low_ms, default_ms): (u64, u64),
    problems: &mut Problems,
) -> Option<u64> {
    debug_assert!((low_ms..=DURATION_MS_MAX).contains(&default_ms));
    match section.get(key) {
        Some(node) => fields::duration_ms(node, key, low_ms, problems),
        None => Some(default_ms),
    }
}

/// A factor in thousandths; finer digits are rounded.
fn permille(
    section: &Fields<'_>,
    key: &str,
    (low, high): (f64, f64),
    default: u32,
    problems: &mut Problems,
) -> Option<u32> {
    let Some(node) = section.get(key) else {
        return Some(default);
    };
    let value = fields::number(node, key, problems)?;
    if !(low..=high).contains(&value) {
        return problems.none(node.at, || {
            format!(
                "{key} must be from {low} to {high}, found {}",
                node.describe()
            )
        });
    }
    // In range of u32 by the bounds just checked.
    Some((value * 1_000.0).round() as u32)
}
