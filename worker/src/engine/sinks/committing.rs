//! Committing what a checkpoint lists, wherever it goes: each kind of sink does its own.

use regent_protocol::v1::Transaction;

use super::files;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;

/// Commits all of them. Blocking, and repeatable.
pub(crate) fn commit_all(effects: &Effects, transactions: &[Transaction]) -> Result<(), TaskError> {
    let in_kafka = |one: &&Transaction| one.final_path.starts_with("kafka://");
    let (kafka, rest): (Vec<_>, Vec<_>) = transactions.iter().partition(in_kafka);
    let owned = |some: Vec<&Transaction>| some.into_iter().cloned().collect::<Vec<_>>();
    if !kafka.is_empty() {
        commit_in_kafka(effects, &owned(kafka))?;
    }
    files::commit::commit_all(effects, &owned(rest))
}

#[cfg(feature = "kafka")]
use super::kafka::commit_all as commit_in_kafka;

#[cfg(not(feature = "kafka"))]
fn commit_in_kafka(_: &Effects, _: &[Transaction]) -> Result<(), TaskError> {
    Err(TaskError::task(regent_protocol::WITHOUT_KAFKA))
}
