//! Checkpointing and restart strategies: defaults, every form, every refusal.

use regent_state::graph::{CheckpointConfig, RestartStrategy, Retention};

use super::{NUMBERS, drop_from, job, parsed, refused};

fn with(settings: &str) -> String {
    job(settings, &[NUMBERS, &drop_from("numbers")])
}

fn strategy(settings: &str) -> RestartStrategy {
    parsed(&with(settings)).unwrap().graph.restart_strategy
}

const EXPONENTIAL: RestartStrategy = RestartStrategy::ExponentialDelay {
    initial_backoff_ms: 1_000,
    max_backoff_ms: 60_000,
    multiplier_permille: 1_500,
    jitter_permille: 100,
    reset_threshold_ms: 3_600_000,
};

#[test]
fn checkpointing_defaults_are_flinks() {
    let job = parsed(&with("checkpointing: { interval: 1s }")).unwrap();
    let expected = CheckpointConfig {
        interval_ms: Some(1_000),
        timeout_ms: 600_000,
        min_pause_ms: 0,
        num_retained: 1,
        tolerable_failed: 0,
        retention: Retention::NoExternalizedCheckpoints,
    };
    assert_eq!(job.graph.checkpointing, Some(expected));
    assert_eq!(parsed(&with("")).unwrap().graph.checkpointing, None);
    assert!(job.warnings.is_empty());
}

#[test]
fn checkpointing_values_are_read() {
    let text = "checkpointing: { interval: 250ms, timeout: 5m, min-pause: 10s, num-retained: 3, \
        tolerable-failed-checkpoints: 2, externalized-checkpoint-retention: retain-on-cancellation }";
    let expected = CheckpointConfig {
        interval_ms: Some(250),
        timeout_ms: 300_000,
        min_pause_ms: 10_000,
        num_retained: 3,
        tolerable_failed: 2,
        retention: Retention::RetainOnCancellation,
    };
    assert_eq!(
        parsed(&with(text)).unwrap().graph.checkpointing,
        Some(expected)
    );
}

#[test]
fn checkpointing_refusals() {
    for (text, words) in [
        ("checkpointing: «1s", &["checkpointing must be a map"][..]),
        (
            "checkpointing: { «intervall: 1s }",
            &["did you mean `interval`?"],
        ),
        (
            "checkpointing: { interval: «9ms }",
            &["interval must be at least 10ms, found `9ms`"],
        ),
        (
            "checkpointing: { interval: «10 }",
            &["interval must be a duration such as 250ms", "found `10`"],
        ),
        (
            "checkpointing: { interval: «1.5s }",
            &["must be a duration"],
        ),
        ("checkpointing: { interval: «1w }", &["must be a duration"]),
        ("checkpointing: { interval: «-1s }", &["must be a duration"]),
        ("checkpointing: { interval: «9000h }", &["at most a year"]),
        (
            "checkpointing: { timeout: «soon }",
            &["timeout must be a duration"],
        ),
        (
            "checkpointing: { num-retained: «0 }",
            &["num-retained must be a whole number from 1 to 1000"],
        ),
        (
            "checkpointing: { tolerable-failed-checkpoints: «-1 }",
            &["tolerable-failed-checkpoints"],
        ),
        (
            "checkpointing: { externalized-checkpoint-retention: «delete-on-cancelation }",
            &["did you mean `delete-on-cancellation`?"],
        ),
    ] {
        refused(&with(text), words);
    }
}

#[test]
fn the_default_strategy_follows_checkpointing() {
    assert_eq!(strategy(""), RestartStrategy::None);
    assert_eq!(strategy("checkpointing: { interval: 1s }"), EXPONENTIAL);
    assert_eq!(
        strategy("checkpointing: { timeout: 1m }"),
        RestartStrategy::None
    );
}

#[test]
fn all_four_strategies() {
    assert_eq!(
        strategy("restart-strategy: { type: none }"),
        RestartStrategy::None
    );
    let fixed = |attempts, delay_ms| RestartStrategy::FixedDelay { attempts, delay_ms };
    assert_eq!(
        strategy("restart-strategy: { type: fixed-delay }"),
        fixed(1, 1_000)
    );
    let text = "restart-strategy: { type: fixed-delay, attempts: 7, delay: 250ms }";
    assert_eq!(strategy(text), fixed(7, 250));
    assert_eq!(
        strategy("restart-strategy: { type: exponential-delay }"),
        EXPONENTIAL
    );
    let text = "restart-strategy: { type: exponential-delay, initial-backoff: 2s, max-backoff: 3m, \
        backoff-multiplier: 2, jitter-factor: 0.25, reset-backoff-threshold: 2h }";
    let expected = RestartStrategy::ExponentialDelay {
        initial_backoff_ms: 2_000,
        max_backoff_ms: 180_000,
        multiplier_permille: 2_000,
        jitter_permille: 250,
        reset_threshold_ms: 7_200_000,
    };
    assert_eq!(strategy(text), expected);
    let rate = |max_failures, interval_ms, delay_ms| RestartStrategy::FailureRate {
        max_failures,
        interval_ms,
        delay_ms,
    };
    assert_eq!(
        strategy("restart-strategy: { type: failure-rate }"),
        rate(1, 60_000, 1_000)
    );
    let text = "restart-strategy: { type: failure-rate, max-failures-per-interval: 3, \
        failure-rate-interval: 5m, delay: 10s }";
    assert_eq!(strategy(text), rate(3, 300_000, 10_000));
}

#[test]
fn restart_strategy_refusals() {
    for (text, words) in [
        (
            "restart-strategy: «none",
            &["must be a map with the key `type`: `none`, `fixed-delay`"][..],
        ),
        (
            "restart-strategy: «{ attempts: 3 }",
            &["with the key `type`"],
        ),
        (
            "restart-strategy: { type: «fixed }",
            &["restart-strategy.type can't be `fixed`", "`fixed-delay`"],
        ),
        (
            "restart-strategy: { type: none, «delay: 1s }",
            &["unknown key `delay`"],
        ),
        (
            "restart-strategy: { type: fixed-delay, «attempt: 3 }",
            &["did you mean `attempts`?"],
        ),
        (
            "restart-strategy: { type: fixed-delay, attempts: «0 }",
            &["attempts must be a whole number from 1"],
        ),
        (
            "restart-strategy: { type: fixed-delay, delay: «5 }",
            &["delay must be a duration"],
        ),
        (
            "restart-strategy: { type: exponential-delay, backoff-multiplier: «0.9 }",
            &["from 1 to 1000, found `0.9`"],
        ),
        (
            "restart-strategy: { type: exponential-delay, backoff-multiplier: «x }",
            &["must be a number"],
        ),
        (
            "restart-strategy: { type: exponential-delay, jitter-factor: «1.1 }",
            &["from 0 to 1, found `1.1`"],
        ),
        (
            "restart-strategy: { type: exponential-delay, initial-backoff: 5s, max-backoff: «1s }",
            &["max-backoff is shorter than initial-backoff"],
        ),
        (
            "restart-strategy: «{ type: exponential-delay, initial-backoff: 2m }",
            &["max-backoff is shorter"],
        ),
        (
            "restart-strategy: { type: failure-rate, max-failures-per-interval: «101 }",
            &["from 1 to 100"],
        ),
    ] {
        refused(&with(text), words);
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let job = parsed(&with("checkpointing: { timeout: 1m }")).unwrap();
    assert_eq!(
        job.warnings,
        ["checkpointing has no interval: no periodic checkpoints are taken"]
    );
    let job = parsed(&with("restart-strategy: { type: fixed-delay }")).unwrap();
    assert_eq!(job.warnings.len(), 1);
    assert!(job.warnings[0].contains("start of the input"));
}
