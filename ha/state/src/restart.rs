//! Restart strategies: given what failed and when, what follows. Pure; the dice come in.

use crate::command::FailureKind;
use crate::graph::RestartStrategy;
use crate::model::RestartState;
use crate::response::Verdict;

/// How long without a failure counts as stable, where the strategy doesn't say.
const STABLE_MS: u64 = 60 * 1_000;
/// Between attempts that only commit, where the strategy has no delay.
const COMMIT_DELAY_MS: u64 = 1_000;

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) kind: FailureKind,
    /// The last checkpoint is completed: what remains is to commit it, under any strategy.
    pub(crate) only_commits: bool,
    /// −1000 to 1000.
    pub(crate) jitter_permille: i32,
    pub(crate) now_ms: u64,
}

/// Decides what follows, and what the strategy remembers of it.
pub(crate) fn decide(
    strategy: &RestartStrategy,
    before: &RestartState,
    failed: Failed,
) -> (RestartState, Verdict) {
    let mut state = before.clone();
    if failed.kind == FailureKind::Drained {
        state.due_ms = failed.now_ms;
        let due_ms = failed.now_ms;
        return (state, Verdict::Restart { due_ms });
    }
    let delay = delay_ms(strategy, &mut state, failed);
    state.last_failure_ms = Some(failed.now_ms);
    match delay {
        Some(delay_ms) => {
            let due_ms = failed.now_ms.saturating_add(delay_ms);
            state.due_ms = due_ms;
            (state, Verdict::Restart { due_ms })
        }
        None => (state, Verdict::Fail),
    }
}

/// `None` fails the job.
fn delay_ms(strategy: &RestartStrategy, state: &mut RestartState, failed: Failed) -> Option<u64> {
    if failed.kind == FailureKind::Unrecoverable {
        return None;
    }
    let lenient = failed.only_commits || failed.kind.is_infrastructure();
    if !lenient {
        return after_job_failure(strategy, state, failed);
    }
    if matches!(strategy, RestartStrategy::None) && !failed.only_commits {
        return None;
    }
    if failed.kind.is_infrastructure() && is_stable(strategy, state, failed.now_ms) {
        state.backoff_ms = None;
        return Some(0);
    }
    Some(plain_delay_ms(strategy, state, failed))
}

/// A failure of the job's own: it uses up what the strategy allows.
fn after_job_failure(
    strategy: &RestartStrategy,
    state: &mut RestartState,
    failed: Failed,
) -> Option<u64> {
    match *strategy {
        RestartStrategy::None => return None,
        RestartStrategy::ExponentialDelay { .. } => {}
        RestartStrategy::FixedDelay { attempts, .. } => {
            if state.attempts_used >= attempts {
                return None;
            }
            state.attempts_used += 1;
        }
        RestartStrategy::FailureRate {
            max_failures,
            interval_ms,
            ..
        } => {
            let now_ms = failed.now_ms;
            state
                .recent_ms
                .retain(|at_ms| now_ms.saturating_sub(*at_ms) < interval_ms);
            if state.recent_ms.len() >= max_failures as usize {
                return None;
            }
            state.recent_ms.push(now_ms);
        }
    }
    Some(plain_delay_ms(strategy, state, failed))
}

/// The delay before the next attempt; the exponential one grows by it.
fn plain_delay_ms(strategy: &RestartStrategy, state: &mut RestartState, failed: Failed) -> u64 {
    match *strategy {
        RestartStrategy::None => COMMIT_DELAY_MS,
        RestartStrategy::FixedDelay { delay_ms, .. }
        | RestartStrategy::FailureRate { delay_ms, .. } => delay_ms,
        RestartStrategy::ExponentialDelay {
            initial_backoff_ms,
            max_backoff_ms,
            multiplier_permille,
            jitter_permille,
            ..
        } => {
            let backoff_ms = match state.backoff_ms {
                Some(last_ms) if !is_stable(strategy, state, failed.now_ms) => {
                    permille(last_ms, multiplier_permille).min(max_backoff_ms)
                }
                _ => initial_backoff_ms.min(max_backoff_ms),
            };
            state.backoff_ms = Some(backoff_ms);
            // The highest backoff is a promise: jitter goes below it, never above.
            jittered(backoff_ms, jitter_permille, failed.jitter_permille).min(max_backoff_ms)
        }
    }
}

/// Whether the time since the last failure earns a fresh start.
fn is_stable(strategy: &RestartStrategy, state: &RestartState, now_ms: u64) -> bool {
    let threshold_ms = match *strategy {
        RestartStrategy::ExponentialDelay {
            reset_threshold_ms, ..
        } => reset_threshold_ms,
        _ => STABLE_MS,
    };
    let since = state
        .last_failure_ms
        .map(|at_ms| now_ms.saturating_sub(at_ms));
    since.is_none_or(|since_ms| since_ms >= threshold_ms)
}

fn permille(value: u64, factor: u32) -> u64 {
    let product = u128::from(value) * u128::from(factor) / 1_000;
    u64::try_from(product).unwrap_or(u64::MAX)
}

fn jittered(delay_ms: u64, factor_permille: u32, dice_permille: i32) -> u64 {
    let span_ms = permille(delay_ms, factor_permille);
    let shift_ms = permille(span_ms, dice_permille.unsigned_abs().min(1_000));
    if dice_permille < 0 {
        delay_ms.saturating_sub(shift_ms)
    } else {
        delay_ms.saturating_add(shift_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPONENTIAL: RestartStrategy = RestartStrategy::ExponentialDelay {
        initial_backoff_ms: 1_000,
        max_backoff_ms: 3_000,
        multiplier_permille: 1_500,
        jitter_permille: 100,
        reset_threshold_ms: 60_000,
    };

    fn at(now_ms: u64, kind: FailureKind) -> Failed {
        Failed {
            kind,
            only_commits: false,
            jitter_permille: 0,
            now_ms,
        }
    }

    /// Plays failures at these times and returns the delays; `None` once the job fails.
    fn delays(strategy: &RestartStrategy, failures: &[(u64, FailureKind)]) -> Vec<Option<u64>> {
        let mut state = RestartState::default();
        let play = |(now_ms, kind): &(u64, FailureKind)| {
            let (after, verdict) = decide(strategy, &state, at(*now_ms, *kind));
            state = after;
            match verdict {
                Verdict::Restart { due_ms } => Some(due_ms - now_ms),
                Verdict::Fail => None,
            }
        };
        failures.iter().map(play).collect()
    }

    use FailureKind::{ChannelBroken, IncompleteAfterTakeover, TaskFailure, WorkerLost};

    #[test]
    fn none_fails_at_the_first() {
        for kind in [
            TaskFailure,
            WorkerLost,
            IncompleteAfterTakeover,
            ChannelBroken,
        ] {
            assert_eq!(delays(&RestartStrategy::None, &[(5, kind)]), [None]);
        }
    }

    #[test]
    fn fixed_delay_counts_only_the_jobs_own_failures() {
        let strategy = RestartStrategy::FixedDelay {
            attempts: 2,
            delay_ms: 700,
        };
        let failures = [
            (0, WorkerLost),
            (1, WorkerLost),
            (2, TaskFailure),
            (3, IncompleteAfterTakeover),
            (4, TaskFailure),
            (5, TaskFailure),
        ];
        let expected = [Some(0), Some(700), Some(700), Some(700), Some(700), None];
        assert_eq!(delays(&strategy, &failures), expected);
    }

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_resets_when_stable() {
        let failures = [0, 1, 2, 3, 4, 60_004].map(|at_ms| (at_ms, TaskFailure));
        let expected = [1_000, 1_500, 2_250, 3_000, 3_000, 1_000].map(Some);
        assert_eq!(delays(&EXPONENTIAL, &failures), expected);
    }

    #[test]
    fn a_lost_worker_restarts_at_once_only_after_a_stable_time() {
        let failures = [(0, WorkerLost), (59_999, WorkerLost), (119_999, WorkerLost)];
        assert_eq!(
            delays(&EXPONENTIAL, &failures),
            [Some(0), Some(1_000), Some(0)]
        );
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let strategy = RestartStrategy::FailureRate {
            max_failures: 2,
            interval_ms: 100,
            delay_ms: 10,
        };
        let failures = [0, 50, 100, 149].map(|at_ms| (at_ms, TaskFailure));
        assert_eq!(
            delays(&strategy, &failures),
            [Some(10), Some(10), Some(10), None]
        );
    }

    #[test]
    fn jitter_moves_a_delay_by_its_factor_at_most() {
        for (dice, expected) in [(-1_000, 900), (0, 1_000), (500, 1_050), (i32::MAX, 1_100)] {
            assert_eq!(jittered(1_000, 100, dice), expected);
        }
    }

    #[test]
    fn jitter_never_goes_beyond_the_highest_backoff() {
        let mut state = RestartState::default();
        let mut delays = Vec::new();
        for now_ms in 0..5 {
            let failed = Failed {
                jitter_permille: 1_000,
                ..at(now_ms, TaskFailure)
            };
            let (after, verdict) = decide(&EXPONENTIAL, &state, failed);
            state = after;
            if let Verdict::Restart { due_ms } = verdict {
                delays.push(due_ms - now_ms);
            }
        }
        assert_eq!(delays, [1_100, 1_650, 2_475, 3_000, 3_000]);
    }

    #[test]
    fn an_unrecoverable_failure_fails_even_what_only_commits() {
        let failed = Failed {
            only_commits: true,
            ..at(0, FailureKind::Unrecoverable)
        };
        let (_, verdict) = decide(&EXPONENTIAL, &RestartState::default(), failed);
        assert_eq!(verdict, Verdict::Fail);
    }

    #[test]
    fn what_only_commits_is_tried_again_under_none() {
        let failed = Failed {
            only_commits: true,
            ..at(7, TaskFailure)
        };
        let (_, verdict) = decide(&RestartStrategy::None, &RestartState::default(), failed);
        assert_eq!(
            verdict,
            Verdict::Restart {
                due_ms: 7 + COMMIT_DELAY_MS
            }
        );
    }

    fn kinds() -> impl Strategy<Value = FailureKind> {
        prop_oneof![
            Just(TaskFailure),
            Just(WorkerLost),
            Just(IncompleteAfterTakeover),
            Just(ChannelBroken),
        ]
    }

    /// Failures as they may come: at times that don't fall.
    fn failures(gap_ms: u64) -> impl Strategy<Value = Vec<(u64, FailureKind)>> {
        proptest::collection::vec((0..gap_ms, kinds()), 0..40).prop_map(|steps| {
            let mut now_ms = 0;
            let at = |(gap_ms, kind)| {
                now_ms += gap_ms;
                (now_ms, kind)
            };
            steps.into_iter().map(at).collect()
        })
    }

    /// The first failure of the job's own that ends it.
    fn end(strategy: &RestartStrategy, failures: &[(u64, FailureKind)]) -> Option<usize> {
        let own = |delay: &(Option<u64>, &(u64, FailureKind))| !delay.1.1.is_infrastructure();
        let delays = delays(strategy, failures);
        let mut own = delays.into_iter().zip(failures).filter(own);
        own.position(|(delay, _)| delay.is_none())
    }

    proptest! {
        /// Exactly the first `attempts` failures of the job's own are followed by a restart, whatever
        /// workers and leaders do in between.
        #[test]
        fn fixed_delay_grants_its_attempts(
            attempts in 0u32..6, failures in failures(100_000),
        ) {
            let strategy = RestartStrategy::FixedDelay { attempts, delay_ms: 7 };
            let own = failures.iter().filter(|(_, kind)| !kind.is_infrastructure()).count();
            let expected = (own > attempts as usize).then_some(attempts as usize);
            prop_assert_eq!(end(&strategy, &failures), expected);
        }

        /// The job fails at the first failure of its own before which as many as are tolerated lie
        /// within the interval.
        #[test]
        fn failure_rate_counts_within_its_interval(
            max_failures in 1u32..5, interval_ms in 1u64..300, failures in failures(100),
        ) {
            let strategy = RestartStrategy::FailureRate { max_failures, interval_ms, delay_ms: 7 };
            let own: Vec<u64> = failures
                .iter()
                .filter(|(_, kind)| !kind.is_infrastructure())
                .map(|(at_ms, _)| *at_ms)
                .collect();
            let too_many = |nth: &usize| {
                let recent = own[..*nth].iter().filter(|at| own[*nth] - **at < interval_ms);
                recent.count() >= max_failures as usize
            };
            prop_assert_eq!(end(&strategy, &failures), (0..own.len()).find(too_many));
        }

        /// A backoff lies between its first value and its highest, give or take the jitter, which never
        /// goes beyond the highest; it grows
        /// by its factor while failures follow each other, and starts afresh after a stable time.
        #[test]
        fn exponential_delay_stays_within_its_bounds(
            steps in proptest::collection::vec((0u64..120_000, -1_000i32..=1_000), 1..40),
        ) {
            let mut state = RestartState::default();
            let (mut now_ms, mut plain_ms) = (0, 0);
            for (nth, (gap_ms, jitter_permille)) in steps.into_iter().enumerate() {
                now_ms += gap_ms;
                plain_ms = match nth > 0 && gap_ms < 60_000 {
                    true => (plain_ms * 3 / 2).min(3_000),
                    false => 1_000,
                };
                let failed = Failed { jitter_permille, ..at(now_ms, TaskFailure) };
                let (after, verdict) = decide(&EXPONENTIAL, &state, failed);
                state = after;
                let Verdict::Restart { due_ms } = verdict else {
                    return Err(TestCaseError::fail("it restarts without end"));
                };
                let delay_ms = due_ms - now_ms;
                prop_assert!(delay_ms.abs_diff(plain_ms) <= plain_ms / 10, "{delay_ms} {plain_ms}");
                prop_assert!(delay_ms <= 3_000, "{delay_ms} is beyond the highest");
                // The same entry decides the same on every replica.
                prop_assert_eq!(decide(&EXPONENTIAL, &state, failed), decide(&EXPONENTIAL, &state, failed));
            }
        }
    }
}
