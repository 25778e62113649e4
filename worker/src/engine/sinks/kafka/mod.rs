//! `sink: kafka`: each row a message of a topic.
//!
//! | file | is |
//! | --- | --- |
//! | `rows`, `staged` | rows as messages; messages that wait in a file |
//! | `at_least_once`, `exactly_once` | the two deliveries |
//! | `transactions` | committing, repeatably and by whoever is asked |
//! | `target` | the place that a transaction names |

mod at_least_once;
mod exactly_once;
mod rows;
mod staged;
mod target;
mod transactions;

use std::time::Duration;

use regent_protocol::spec::{Delivery, KafkaSinkSpec};
use regent_protocol::v1::VertexPlan;

use self::at_least_once::AtLeastOnce;
use self::exactly_once::ExactlyOnce;
use self::rows::RowWriter;
use self::target::Target;
use super::{Sink, SinkStart};
use crate::engine::error::TaskError;
use crate::engine::kafka::{Cluster, blocking, look_at};

pub(crate) use transactions::commit_all;

/// Messages of one subtask that wait in memory to be sent.
const QUEUE_KIB_MAX: u32 = 32 * 1024;
const QUEUE_BYTES_MAX: u64 = QUEUE_KIB_MAX as u64 * 1024;

/// The sink, when the brokers have answered that it needs to begin.
pub(super) async fn build(
    spec: &KafkaSinkSpec,
    plan: &VertexPlan,
    start: SinkStart,
) -> Result<Box<dyn Sink>, TaskError> {
    let writer = RowWriter::new(spec, &plan.columns)?;
    let cluster = Cluster {
        brokers: spec.brokers.clone(),
        topic: spec.topic.clone(),
        within: Duration::from_millis(spec.broker_timeout_ms),
    };
    // Else a topic that is misspelt would be found out by the first message, or the first commit.
    let looked_at = cluster.clone();
    blocking(&cluster, move || look_at(&looked_at)).await?;
    match (spec.delivery, &spec.staging) {
        (Delivery::AtLeastOnce, _) => {
            let sink = AtLeastOnce::new(cluster, writer, start.effects)?;
            Ok(Box::new(sink))
        }
        (Delivery::ExactlyOnce, None) => Err(TaskError::task("exactly-once needs staging")),
        (Delivery::ExactlyOnce, Some(staging)) => {
            let target = Target::new(cluster, &start.attempt, &plan.id, start.subtask);
            let sink = ExactlyOnce::start(target, staging, writer, start).await?;
            Ok(Box::new(sink))
        }
    }
}

#[cfg(test)]
mod tests;
