//! Between the machine's identifiers and their spelling on the wire to workers. Decides nothing.

use std::ops::RangeInclusive;

use regent_protocol::v1;
use regent_state::ids::{AttemptToken, Epoch, JobId, LogIndex, NodeId, Run};

/// One attempt of one run of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptRef {
    pub(crate) job: JobId,
    pub(crate) run: Run,
    pub(crate) token: AttemptToken,
}

impl AttemptRef {
    /// Every attempt that a job can have, for maps in this order.
    pub(crate) fn all_of(job: JobId) -> RangeInclusive<Self> {
        let end = |number: u64| Self {
            job,
            run: Run {
                generation: number,
                index: LogIndex(number),
            },
            token: AttemptToken {
                generation: number,
                index: LogIndex(number),
            },
        };
        end(0)..=end(u64::MAX)
    }
}

/// One subtask of one vertex of some attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId {
    pub(crate) vertex: String,
    pub(crate) subtask: u32,
}

impl TaskId {
    pub(crate) fn new(vertex: impl Into<String>, subtask: u32) -> Self {
        Self {
            vertex: vertex.into(),
            subtask,
        }
    }
}

pub(crate) fn epoch_to(epoch: Epoch) -> v1::Epoch {
    v1::Epoch {
        generation: epoch.generation,
        term: epoch.term,
        node: epoch.node.0,
    }
}

pub(crate) fn epoch_from(epoch: &v1::Epoch) -> Epoch {
    Epoch {
        generation: epoch.generation,
        term: epoch.term,
        node: NodeId(epoch.node),
    }
}

pub(crate) fn run_to(run: Run) -> v1::LogToken {
    v1::LogToken {
        generation: run.generation,
        index: run.index.0,
    }
}

pub(crate) fn run_from(run: &v1::LogToken) -> Run {
    Run {
        generation: run.generation,
        index: LogIndex(run.index),
    }
}

fn token_to(token: AttemptToken) -> v1::LogToken {
    v1::LogToken {
        generation: token.generation,
        index: token.index.0,
    }
}

pub(crate) fn attempt_to(attempt: AttemptRef) -> v1::AttemptKey {
    v1::AttemptKey {
        job_id: attempt.job.to_string(),
        run: Some(run_to(attempt.run)),
        token: Some(token_to(attempt.token)),
    }
}

/// `None`: the key names no attempt. Comes from outside, so it is never trusted to be whole.
pub(crate) fn attempt_from(key: Option<&v1::AttemptKey>) -> Option<AttemptRef> {
    let key = key?;
    let token = key.token.as_ref()?;
    Some(AttemptRef {
        job: key.job_id.parse().ok()?,
        run: run_from(key.run.as_ref()?),
        token: AttemptToken {
            generation: token.generation,
            index: LogIndex(token.index),
        },
    })
}

pub(crate) fn task_from(key: Option<&v1::TaskKey>) -> Option<TaskId> {
    key.map(|key| TaskId::new(key.vertex.clone(), key.subtask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_survive_the_round_trip_and_broken_keys_are_none() {
        let at = |index| LogIndex(index);
        let attempt = AttemptRef {
            job: JobId([7; 16]),
            run: Run {
                generation: 1,
                index: at(5),
            },
            token: AttemptToken {
                generation: 1,
                index: at(9),
            },
        };
        let key = attempt_to(attempt);
        assert_eq!(attempt_from(Some(&key)), Some(attempt));
        assert_eq!(attempt_from(None), None);
        assert_eq!(
            attempt_from(Some(&v1::AttemptKey {
                token: None,
                ..key.clone()
            })),
            None
        );
        assert_eq!(
            attempt_from(Some(&v1::AttemptKey {
                job_id: "x".into(),
                ..key
            })),
            None
        );
    }
}
