//! Where a transaction goes, as its `final_path` carries it through checkpoints: whoever commits it
//! needs nothing else, also when the job's graph is gone.
//!
//! `kafka://host:port,host:port/topic?id=<transactional id>&within-ms=<patience>`

use std::time::Duration;

use crate::engine::ids::{AttemptId, log_token};
use crate::engine::kafka::Cluster;

const SCHEME: &str = "kafka://";

/// A topic, and the producer that writes there for one subtask of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) cluster: Cluster,
    /// The transactional id: whoever takes it up fences those who had it before. It is the name of
    /// the consumer group as well whose offset counts the transactions.
    pub(super) id: String,
}

impl Target {
    /// All attempts of a run share it: they are each other's successors.
    pub(super) fn new(cluster: Cluster, attempt: &AttemptId, vertex: &str, subtask: u32) -> Self {
        let (job, run) = (&attempt.job, log_token(attempt.run));
        Self {
            cluster,
            id: format!("regent-{job}-{run}-{vertex}-{subtask}"),
        }
    }

    pub(super) fn to_path(&self) -> String {
        let Cluster {
            brokers,
            topic,
            within,
        } = &self.cluster;
        let (id, within) = (&self.id, within.as_millis());
        format!("{SCHEME}{brokers}/{topic}?id={id}&within-ms={within}")
    }

    /// `None`: it isn't one.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let (brokers, rest) = path.strip_prefix(SCHEME)?.split_once('/')?;
        let (topic, rest) = rest.split_once("?id=")?;
        let (id, within) = rest.split_once("&within-ms=")?;
        Some(Self {
            cluster: Cluster {
                brokers: brokers.to_owned(),
                topic: topic.to_owned(),
                within: Duration::from_millis(within.parse().ok()?),
            },
            id: id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_back_from_its_path() {
        let cluster = Cluster {
            brokers: "b1:9092,[::1]:9093".to_owned(),
            topic: "orders.v1".to_owned(),
            within: Duration::from_secs(60),
        };
        let attempt = AttemptId {
            job: "ab12".into(),
            run: (1, 5),
            token: (1, 7),
        };
        let target = Target::new(cluster, &attempt, "out", 3);
        assert_eq!(target.id, "regent-ab12-1.5-out-3");
        assert_eq!(Target::parse(&target.to_path()), Some(target));
        for path in ["/out/part", "kafka://b:1", "kafka://b:1/t?id=x"] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
