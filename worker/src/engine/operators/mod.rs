//! Operators: what happens to batches between sources and sinks. They compute; reading inputs,
//! sending outputs, alignment and where state is written belong to the task.

mod aggregate;
mod filter;
mod predicate;
mod select;

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use regent_protocol::v1::{KeyGroupState, VertexPlan};

use super::error::TaskError;

/// What an operator keeps for a checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OperatorState {
    /// One for each key group that holds anything.
    pub(crate) key_groups: Vec<KeyGroupState>,
    /// State that belongs to no key, in pieces that any subtask may take over.
    pub(crate) items: Vec<Bytes>,
}

/// One subtask of an operator.
pub(crate) trait Operator: Send {
    /// Takes one batch and appends what it emits.
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError>;

    /// The watermark of all inputs rose: no row with an earlier time follows. Appends what is due;
    /// the task passes the watermark on afterwards.
    fn watermark(&mut self, _micros: i64, _out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        Ok(())
    }

    /// When [`Operator::wake`] wants to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline is over. Appends what is due.
    fn wake(&mut self, _out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        Ok(())
    }

    /// All inputs have ended. Called until it answers false; each call appends a bounded amount.
    /// Afterwards the state is what a finished subtask keeps: nothing that could be emitted again.
    fn end(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError>;

    /// The state at this moment. An error fails the task: a checkpoint without it would lose rows.
    fn snapshot(&mut self) -> Result<OperatorState, TaskError>;
}

/// The operator that a vertex names, with the key groups that are this subtask's.
pub(crate) fn build(
    plan: &VertexPlan,
    input: &SchemaRef,
    groups: &[KeyGroupState],
) -> Result<Box<dyn Operator>, TaskError> {
    match plan.operator.as_str() {
        "filter" => Ok(Box::new(filter::Filter::new(&config(plan)?, input)?)),
        "select" => Ok(Box::new(select::Select::new(&config(plan)?, input)?)),
        "aggregate" => {
            let mut operator = aggregate::Aggregate::new(&config(plan)?, input)?;
            operator.restore(groups)?;
            Ok(Box::new(operator))
        }
        other => Err(TaskError::task(format!("unknown operator {other}"))),
    }
}

/// The typed configuration of a vertex.
pub(crate) fn config<T: serde::de::DeserializeOwned>(plan: &VertexPlan) -> Result<T, TaskError> {
    serde_json::from_str(&plan.config_json).map_err(|error| {
        TaskError::task(format!(
            "the configuration of {} {} can't be read: {error}",
            plan.kind, plan.operator
        ))
    })
}
