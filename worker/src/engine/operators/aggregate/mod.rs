//! `operator: aggregate`: keyed, running; with `window` by time as well. State lies in memory by key;
//! snapshots are cut by key group, so that any parallelism can take them over.
//!
//! | file | does |
//! | --- | --- |
//! | `shape` | what is computed, and what the state means |
//! | `groups`, `table` | keys and their values |
//! | `accumulator`, `fold` | the functions |
//! | `window`, `closed` | tumbling windows; which of them are over |

mod accumulator;
mod closed;
mod fold;
mod groups;
mod shape;
mod table;
mod window;

use std::fmt;
use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use regent_protocol::spec::{AggregateSpec, Emit};
use regent_protocol::v1::KeyGroupState;

use self::groups::Groups;
use self::shape::{Gathered, Shape, damaged};
use self::window::WindowedAggregate;
use super::{Operator, OperatorStart, OperatorState};
use crate::engine::error::TaskError;
use crate::engine::keys::Keys;

/// Rows of one emitted batch.
const EMITTED_ROWS: usize = 8192;

/// The operator that a configuration asks for, with its state.
pub(crate) fn build(
    spec: &AggregateSpec,
    schema: &Schema,
    start: &OperatorStart,
) -> Result<Box<dyn Operator>, TaskError> {
    if spec.window.is_some() {
        return Ok(Box::new(WindowedAggregate::new(spec, schema, start)?));
    }
    let mut aggregate = Aggregate::new(spec, schema)?;
    aggregate.restore(&start.groups)?;
    Ok(Box::new(aggregate))
}

/// One subtask's keys and their running values.
pub(crate) struct Aggregate {
    emit: Emit,
    shape: Shape,
    groups: Groups,
    /// Slots that were already emitted at the end of input.
    emitted: usize,
    ended: bool,
    keys: Keys,
    slots: Vec<u32>,
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("layout", &self.shape.layout())
            .field("keys", &self.groups.len())
            .finish_non_exhaustive()
    }
}

impl Aggregate {
    pub(crate) fn new(spec: &AggregateSpec, schema: &Schema) -> Result<Self, TaskError> {
        Ok(Self {
            emit: spec.emit,
            shape: Shape::new(spec, schema)?,
            groups: Groups::new(spec, schema)?,
            emitted: 0,
            ended: false,
            keys: Keys::default(),
            slots: Vec::new(),
        })
    }

    /// Takes over key groups of an earlier attempt.
    pub(crate) fn restore(&mut self, groups: &[KeyGroupState]) -> Result<(), TaskError> {
        for group in groups {
            let mut bytes = self.shape.entries(group)?;
            while !bytes.is_empty() {
                let entry = self.groups.decode(&mut bytes);
                entry.ok_or_else(|| damaged(group))?;
            }
        }
        Ok(())
    }

    fn final_rows(&self, slots: Range<usize>) -> Result<RecordBatch, TaskError> {
        let columns = self.groups.rows(slots, &self.shape.key_types)?;
        Ok(RecordBatch::try_new(self.shape.output.clone(), columns)?)
    }
}

impl Operator for Aggregate {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        let emit = self.emit == Emit::Changes;
        self.keys.encode(&batch, &self.shape.key_columns)?;
        let rows = (&self.keys, 0..batch.num_rows());
        let values = self
            .groups
            .update(rows, batch.columns(), &mut self.slots, emit)?;
        if emit {
            let keys = self.shape.key_columns.iter();
            let keys = keys.map(|at| batch.column(*at).clone());
            let columns: Vec<ArrayRef> = keys.chain(values).collect();
            out.push(RecordBatch::try_new(self.shape.output.clone(), columns)?);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        let last = self.groups.len();
        if self.emit == Emit::Final && self.emitted < last {
            let until = last.min(self.emitted + EMITTED_ROWS);
            out.push(self.final_rows(self.emitted..until)?);
            self.emitted = until;
        }
        self.ended = self.emit == Emit::Changes || self.emitted == last;
        Ok(!self.ended)
    }

    fn state_bytes(&self) -> u64 {
        self.groups.bytes()
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        if self.ended {
            return Ok(OperatorState::default());
        }
        let mut gathered = Gathered::new(&self.shape);
        for slot in 0..self.groups.len() {
            let entries = gathered.of(self.groups.group(slot));
            self.groups.encode(slot, entries);
        }
        Ok(OperatorState {
            key_groups: gathered.finish(),
            items: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;
