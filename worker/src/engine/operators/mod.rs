//! Operators: what happens to batches between sources and sinks. They compute; reading inputs,
//! sending outputs, alignment and where state is written belong to the task.

pub(super) mod aggregate;
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
    /// State that belongs to no key, in pieces that any subtask may take over: a restore hands all
    /// subtasks' items to each of them.
    pub(crate) items: Vec<Bytes>,
}

/// What a subtask of an operator starts from.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperatorStart {
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    /// The key groups of the restored state that are this subtask's.
    pub(crate) groups: Vec<KeyGroupState>,
    /// Items of all subtasks of the restored state.
    pub(crate) items: Vec<Bytes>,
}

/// One subtask of an operator.
pub(crate) trait Operator: Send {
    /// Takes one batch and appends what it emits.
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError>;

    /// The watermark of all inputs rose: rows of an earlier time are late from now on. Appends what is
    /// due; the task passes the watermark on afterwards. Called until it answers false; each call
    /// appends a bounded amount.
    fn watermark(&mut self, _micros: i64, _out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        Ok(false)
    }

    /// Rows dropped since the start because their time was over, or because they had none.
    fn late(&self) -> u64 {
        0
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

    /// Bytes of state in memory. Asked after every batch, so it is kept, not counted.
    fn state_bytes(&self) -> u64 {
        0
    }

    /// The state at this moment. An error fails the task: a checkpoint without it would lose rows.
    fn snapshot(&mut self) -> Result<OperatorState, TaskError>;
}

/// The operator that a vertex names, with its state.
pub(crate) fn build(
    plan: &VertexPlan,
    input: &SchemaRef,
    start: &OperatorStart,
) -> Result<Box<dyn Operator>, TaskError> {
    match plan.operator.as_str() {
        "filter" => Ok(Box::new(filter::Filter::new(&config(plan)?, input)?)),
        "select" => Ok(Box::new(select::Select::new(&config(plan)?, input)?)),
        "aggregate" => aggregate::build(&config(plan)?, input, start),
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
