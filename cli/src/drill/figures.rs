//! Numbers of a drill: distributions, the objective, and whether it was met. Pure.

use std::time::Duration;

use regent_coordinator::config::parse_duration;
use serde::Serialize;

/// How one figure is spread over the rounds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    pub(super) n: u64,
    pub(super) p50_ms: u64,
    pub(super) p99_ms: u64,
    pub(super) max_ms: u64,
}

impl Spread {
    /// Of these; `None` if there are none.
    pub(super) fn of(values: impl Iterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = values.collect();
        sorted.sort_unstable();
        let max_ms = *sorted.last()?;
        Some(Self {
            n: sorted.len() as u64,
            p50_ms: rank(&sorted, 50),
            p99_ms: rank(&sorted, 99),
            max_ms,
        })
    }
}

/// The smallest value that at least this share of all is not above.
fn rank(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[at.min(sorted.len() - 1)]
}

/// What the drill is held to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Objective {
    /// Longest recovery of any round.
    pub(super) rto_ms: Option<u64>,
    /// Records that may be lost.
    pub(super) rpo: Option<u64>,
}

/// Reads `rto=1s,rpo=0`.
pub(super) fn parse(text: &str) -> Result<Objective, String> {
    let mut objective = Objective::default();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not key=value; write rto=1s,rpo=0"))?;
        match key {
            "rto" => {
                let rto: Duration = parse_duration(value).map_err(|e| e.to_string())?;
                objective.rto_ms = u64::try_from(rto.as_millis()).ok();
            }
            "rpo" => {
                let lost = value
                    .parse()
                    .map_err(|_| format!("rpo: `{value}` is not a number of records"))?;
                objective.rpo = Some(lost);
            }
            _ => return Err(format!("`{key}` is unknown; there are rto and rpo")),
        }
    }
    if objective == Objective::default() {
        return Err("nothing is demanded; write rto=1s,rpo=0".to_owned());
    }
    Ok(objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let spread = Spread::of((1..=20).rev()).unwrap();
        assert_eq!(
            (spread.n, spread.p50_ms, spread.p99_ms, spread.max_ms),
            (20, 10, 20, 20)
        );
        let one = Spread::of([7].into_iter()).unwrap();
        assert_eq!((one.p50_ms, one.p99_ms, one.max_ms), (7, 7, 7));
        assert_eq!(Spread::of(std::iter::empty()), None);
        let hundred = Spread::of(1..=200).unwrap();
        assert_eq!((hundred.p50_ms, hundred.p99_ms), (100, 198));
    }

    #[test]
    fn objectives_are_read_and_mistakes_named() {
        let read = parse("rto=1s,rpo=0").unwrap();
        assert_eq!((read.rto_ms, read.rpo), (Some(1_000), Some(0)));
        assert_eq!(parse("rto=250ms").unwrap().rpo, None);
        for wrong in ["", "rto", "rto=soon", "rpo=-1", "mttr=1s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
