//! `cleanup-strategy`: Flink's keys and defaults for trying failed deletions again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Flink's default for "for ever".
const ATTEMPTS_DEFAULT: u64 = 2_147_483_647;

/// How failed deletions are tried again. When the attempts are used up, the artefact is listed as
/// dirty until an operator retries or forgets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CleanupStrategy {
    /// Never tried again.
    #[serde(alias = "disable", alias = "off")]
    None {},
    /// Always after the same delay.
    #[serde(rename_all = "kebab-case")]
    FixedDelay {
        /// Retries before it is dirty.
        #[serde(default = "attempts_default")]
        attempts: u64,
        /// Between two tries.
        #[serde(default = "minute", with = "duration")]
        delay: Duration,
    },
    /// After a delay that doubles.
    #[serde(rename_all = "kebab-case")]
    ExponentialDelay {
        /// First delay.
        #[serde(default = "second", with = "duration")]
        initial_backoff: Duration,
        /// Longest delay.
        #[serde(default = "hour", with = "duration")]
        max_backoff: Duration,
        /// Retries before it is dirty.
        #[serde(default = "attempts_default")]
        attempts: u64,
    },
}

impl Default for CleanupStrategy {
    fn default() -> Self {
        Self::ExponentialDelay {
            initial_backoff: second(),
            max_backoff: hour(),
            attempts: ATTEMPTS_DEFAULT,
        }
    }
}

fn attempts_default() -> u64 {
    ATTEMPTS_DEFAULT
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn hour() -> Duration {
    Duration::from_secs(3_600)
}

impl CleanupStrategy {
    /// The delay before the next try after `failed` failures (at least 1); `None`: no more tries.
    #[must_use]
    pub fn delay_after(&self, failed: u64) -> Option<Duration> {
        match *self {
            Self::None {} => None,
            Self::FixedDelay { attempts, delay } => (failed <= attempts).then_some(delay),
            Self::ExponentialDelay {
                initial_backoff,
                max_backoff,
                attempts,
            } => {
                let doublings = u32::try_from(failed.saturating_sub(1))
                    .unwrap_or(u32::MAX)
                    .min(62);
                let factor = u32::try_from(1_u64 << doublings).unwrap_or(u32::MAX);
                let delay = initial_backoff.saturating_mul(factor).min(max_backoff);
                (failed <= attempts).then_some(delay)
            }
        }
    }
}
