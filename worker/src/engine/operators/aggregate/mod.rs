//! `operator: aggregate`: keyed, running. State lies in memory by key; snapshots are cut by key
//! group, so that any parallelism can take them over.

mod accumulator;
mod fold;
mod table;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use regent_protocol::MAX_PARALLELISM;
use regent_protocol::spec::{AggregateSpec, ColumnType, Emit, Function};
use regent_protocol::v1::KeyGroupState;

use self::accumulator::{Accumulator, take};
use self::table::KeyTable;
use super::{Operator, OperatorState};
use crate::engine::error::TaskError;
use crate::engine::keys::{KeyDecoder, Keys, group_of};
use crate::engine::schema::{arrow_type, find_column};

/// Rows of one emitted batch at the end of input.
const FINAL_ROWS: usize = 8192;

/// One subtask's keys and their running values.
pub(crate) struct Aggregate {
    emit: Emit,
    key_columns: Vec<usize>,
    key_types: Vec<ColumnType>,
    accumulators: Vec<Box<dyn Accumulator>>,
    output: SchemaRef,
    layout: String,
    table: KeyTable,
    /// Slots that were already emitted at the end of input.
    emitted: usize,
    ended: bool,
    keys: Keys,
    slots: Vec<u32>,
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("layout", &self.layout)
            .field("keys", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Aggregate {
    pub(crate) fn new(spec: &AggregateSpec, schema: &Schema) -> Result<Self, TaskError> {
        let keys: Result<Vec<_>, _> = spec
            .group_by
            .iter()
            .map(|name| find_column(schema, name))
            .collect();
        let (key_columns, key_types): (Vec<_>, Vec<_>) = keys?.into_iter().unzip();
        let accumulators: Result<Vec<_>, _> = spec
            .compute
            .iter()
            .map(|compute| accumulator::build(compute, schema))
            .collect();
        let accumulators = accumulators?;
        let output = output_schema(spec, &key_types, &accumulators);
        Ok(Self {
            emit: spec.emit,
            layout: layout(spec, schema)?,
            key_columns,
            key_types,
            accumulators,
            output,
            table: KeyTable::default(),
            emitted: 0,
            ended: false,
            keys: Keys::default(),
            slots: Vec::new(),
        })
    }

    /// Takes over key groups of an earlier attempt.
    pub(crate) fn restore(&mut self, groups: &[KeyGroupState]) -> Result<(), TaskError> {
        for group in groups {
            self.restore_group(group)?;
        }
        Ok(())
    }

    fn restore_group(&mut self, group: &KeyGroupState) -> Result<(), TaskError> {
        let damaged = || TaskError::Restore(format!("key group {} is damaged", group.group));
        let mut bytes: &[u8] = &group.entries;
        let layout = take_text(&mut bytes).ok_or_else(damaged)?;
        if layout != self.layout {
            return Err(TaskError::Restore(format!(
                "the state is of [{layout}], this job computes [{}]",
                self.layout
            )));
        }
        while !bytes.is_empty() {
            self.restore_entry(&mut bytes).ok_or_else(damaged)?;
        }
        Ok(())
    }

    /// `None` if the bytes aren't an entry, or the key is there already.
    fn restore_entry(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let length = u32::from_le_bytes(take(bytes)?) as usize;
        let (key, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let slot = self.table.slot(hash, key).ok()? as usize;
        if slot + 1 != self.table.len() {
            return None;
        }
        for accumulator in &mut self.accumulators {
            accumulator.decode(bytes)?;
        }
        // Every slot has a state in every accumulator already: nothing to grow until a new key.
        Some(())
    }

    /// Finds the slot of each row.
    fn locate(&mut self, batch: &RecordBatch) -> Result<(), TaskError> {
        self.keys.encode(batch, &self.key_columns)?;
        self.slots.clear();
        for (row, hash) in self.keys.hashes().iter().enumerate() {
            self.slots.push(self.table.slot(*hash, self.keys.key(row))?);
        }
        for accumulator in &mut self.accumulators {
            accumulator.grow(self.table.len());
        }
        Ok(())
    }

    fn final_rows(&self, slots: Range<usize>) -> Result<RecordBatch, TaskError> {
        let mut decoder = KeyDecoder::new(&self.key_types);
        for slot in slots.clone() {
            if !decoder.append(self.table.key(slot)) {
                return Err(TaskError::Restore(
                    "the state holds a key of other types".to_owned(),
                ));
            }
        }
        let mut columns = decoder.finish();
        columns.extend(self.accumulators.iter().map(|a| a.values(slots.clone())));
        Ok(RecordBatch::try_new(self.output.clone(), columns)?)
    }
}

impl Operator for Aggregate {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        self.locate(&batch)?;
        let emit = self.emit == Emit::Changes;
        let mut columns: Vec<ArrayRef> = Vec::new();
        if emit {
            columns.extend(self.key_columns.iter().map(|at| batch.column(*at).clone()));
        }
        for accumulator in &mut self.accumulators {
            let values = accumulator.update(batch.columns(), &self.slots, emit)?;
            columns.extend(values);
        }
        if emit {
            out.push(RecordBatch::try_new(self.output.clone(), columns)?);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        let last = self.table.len();
        if self.emit == Emit::Final && self.emitted < last {
            let until = last.min(self.emitted + FINAL_ROWS);
            out.push(self.final_rows(self.emitted..until)?);
            self.emitted = until;
        }
        self.ended = self.emit == Emit::Changes || self.emitted == last;
        Ok(!self.ended)
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        if self.ended {
            return Ok(OperatorState::default());
        }
        let mut groups: Vec<Vec<u8>> = vec![Vec::new(); MAX_PARALLELISM as usize];
        for slot in 0..self.table.len() {
            let entries = &mut groups[group_of(self.table.hash(slot)) as usize];
            if entries.is_empty() {
                put_text(&self.layout, entries);
            }
            let key = self.table.key(slot);
            entries.extend_from_slice(&(key.len() as u32).to_le_bytes());
            entries.extend_from_slice(key);
            for accumulator in &self.accumulators {
                accumulator.encode(slot, entries);
            }
        }
        let filled = groups
            .into_iter()
            .enumerate()
            .filter(|(_, e)| !e.is_empty());
        let state = |(group, entries): (usize, Vec<u8>)| KeyGroupState {
            group: group as u32,
            entries: Bytes::from(entries),
        };
        Ok(OperatorState {
            key_groups: filled.map(state).collect(),
            items: Vec::new(),
        })
    }
}

fn output_schema(
    spec: &AggregateSpec,
    key_types: &[ColumnType],
    accumulators: &[Box<dyn Accumulator>],
) -> SchemaRef {
    let keys = spec.group_by.iter().zip(key_types.iter().copied());
    let computed = spec.compute.iter().zip(accumulators);
    let computed = computed.map(|(compute, a)| (&compute.name, a.output_type()));
    let field = |(name, kind): (&String, ColumnType)| Field::new(name, arrow_type(kind), true);
    let fields: Vec<Field> = keys.chain(computed).map(field).collect();
    Arc::new(Schema::new(fields))
}

/// What the state's bytes mean, in words: state of another meaning is refused by comparing them.
fn layout(spec: &AggregateSpec, schema: &Schema) -> Result<String, TaskError> {
    let typed = |name: &String| -> Result<String, TaskError> {
        let (_, kind) = find_column(schema, name)?;
        Ok(format!("{name}:{}", kind.name()))
    };
    let keys: Result<Vec<String>, _> = spec.group_by.iter().map(typed).collect();
    let mut words = format!("by {}", keys?.join(","));
    for compute in &spec.compute {
        let column = match &compute.column {
            Some(name) => typed(name)?,
            None => "*".to_owned(),
        };
        let function = match compute.function {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Min => "min",
            Function::Max => "max",
            Function::Avg => "avg",
        };
        words.push_str(&format!(" {function}({column})"));
    }
    Ok(words)
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests;
