//! Names of attempts, tasks and channels as map keys, and their forms on the wire.

use std::fmt;
use std::sync::Arc;

use regent_protocol::v1::{AttemptKey, LogToken, TaskKey};

/// An attempt of a run of a job. Within one job the order is the order of deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AttemptId {
    pub(crate) job: Arc<str>,
    pub(crate) run: (u64, u64),
    pub(crate) token: (u64, u64),
}

impl AttemptId {
    /// `None` if the key lacks its run or token: no real attempt does.
    pub(crate) fn of(key: &AttemptKey) -> Option<Self> {
        Some(Self {
            job: Arc::from(key.job_id.as_str()),
            run: key.run.as_ref()?.rank(),
            token: key.token.as_ref()?.rank(),
        })
    }

    pub(crate) fn key(&self) -> AttemptKey {
        AttemptKey {
            job_id: self.job.to_string(),
            run: Some(log_token(self.run)),
            token: Some(log_token(self.token)),
        }
    }

    /// True if `self` was deployed for the same job before `other`.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        self.job == other.job && (self.token, self.run) < (other.token, other.run)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (run, token) = (log_token(self.run), log_token(self.token));
        write!(f, "job {} run {run} token {token}", self.job)
    }
}

pub(crate) fn log_token((generation, index): (u64, u64)) -> LogToken {
    LogToken { generation, index }
}

/// One subtask of one vertex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TaskId {
    pub(crate) vertex: Arc<str>,
    pub(crate) subtask: u32,
}

impl TaskId {
    pub(crate) fn new(vertex: &str, subtask: u32) -> Self {
        Self {
            vertex: Arc::from(vertex),
            subtask,
        }
    }

    pub(crate) fn of(key: &TaskKey) -> Self {
        Self::new(&key.vertex, key.subtask)
    }

    pub(crate) fn key(&self) -> TaskKey {
        TaskKey {
            vertex: self.vertex.to_string(),
            subtask: self.subtask,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.subtask)
    }
}

/// A data channel of an attempt. `input` tells two edges between the same vertices apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId {
    pub(crate) upstream: TaskId,
    pub(crate) downstream: TaskId,
    pub(crate) input: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.upstream, self.downstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_tokens_follow_earlier_ones_of_the_same_job() {
        let id = |job: &str, generation, index| AttemptId {
            job: Arc::from(job),
            run: (1, 5),
            token: (generation, index),
        };
        assert!(id("a", 1, 9).precedes(&id("a", 1, 10)));
        assert!(id("a", 1, 90).precedes(&id("a", 2, 10)));
        assert!(!id("a", 1, 10).precedes(&id("a", 1, 10)));
        assert!(!id("b", 1, 9).precedes(&id("a", 1, 10)));
    }

    #[test]
    fn keys_survive_the_wire() {
        let id = AttemptId {
            job: Arc::from("a"),
            run: (1, 5),
            token: (2, 7),
        };
        assert_eq!(AttemptId::of(&id.key()), Some(id.clone()));
        assert_eq!(id.to_string(), "job a run 1.5 token 2.7");
        assert_eq!(AttemptId::of(&AttemptKey::default()), None);
    }
}
