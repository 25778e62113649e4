//! The keys of one subtask, or of one of its windows, and their running values: found, updated,
//! emitted, and written for a checkpoint.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use regent_protocol::spec::{AggregateSpec, ColumnType};

use super::accumulator::{self, Accumulator, take};
use super::table::KeyTable;
use crate::engine::error::TaskError;
use crate::engine::keys::{KeyDecoder, Keys, group_of};

/// Keys and values by slot.
pub(super) struct Groups {
    table: KeyTable,
    accumulators: Vec<Box<dyn Accumulator>>,
}

impl Groups {
    pub(super) fn new(spec: &AggregateSpec, schema: &Schema) -> Result<Self, TaskError> {
        let accumulators: Result<Vec<_>, _> = spec
            .compute
            .iter()
            .map(|compute| accumulator::build(compute, schema))
            .collect();
        Ok(Self {
            table: KeyTable::default(),
            accumulators: accumulators?,
        })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let values: usize = self.accumulators.iter().map(|a| a.bytes()).sum();
        (size_of::<Self>() + self.table.bytes() + values) as u64
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Types of the values.
    pub(super) fn output_types(&self) -> impl Iterator<Item = ColumnType> {
        self.accumulators.iter().map(|a| a.output_type())
    }

    /// Takes rows: `columns` holds just those, and `rows` is where their keys lie in `keys`. With
    /// `emit` it answers the values after each row. `slots` is only kept for its capacity.
    pub(super) fn update(
        &mut self,
        (keys, rows): (&Keys, Range<usize>),
        columns: &[ArrayRef],
        slots: &mut Vec<u32>,
        emit: bool,
    ) -> Result<Vec<ArrayRef>, TaskError> {
        slots.clear();
        for row in rows {
            slots.push(self.table.slot(keys.hashes()[row], keys.key(row))?);
        }
        let mut values = Vec::new();
        for accumulator in &mut self.accumulators {
            accumulator.grow(self.table.len());
            values.extend(accumulator.update(columns, slots, emit)?);
        }
        Ok(values)
    }

    /// The keys of these slots as columns, then their values.
    pub(super) fn rows(
        &self,
        slots: Range<usize>,
        key_types: &[ColumnType],
    ) -> Result<Vec<ArrayRef>, TaskError> {
        let mut decoder = KeyDecoder::new(key_types);
        for slot in slots.clone() {
            if !decoder.append(self.table.key(slot)) {
                return Err(TaskError::Restore(
                    "the state holds a key of other types".to_owned(),
                ));
            }
        }
        let mut columns = decoder.finish();
        columns.extend(self.accumulators.iter().map(|a| a.values(slots.clone())));
        Ok(columns)
    }

    /// The key group of a slot.
    pub(super) fn group(&self, slot: usize) -> u32 {
        group_of(self.table.hash(slot))
    }

    /// Appends the key and the values of a slot.
    pub(super) fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        let key = self.table.key(slot);
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        for accumulator in &self.accumulators {
            accumulator.encode(slot, out);
        }
    }

    /// Adds the slot at the front of `bytes`. `None` if it isn't one, or the key is there already.
    pub(super) fn decode(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let length = u32::from_le_bytes(take(bytes)?) as usize;
        let (key, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let slot = self.table.slot(hash, key).ok()? as usize;
        if slot + 1 != self.table.len() {
            return None;
        }
        // Every slot has a state in every accumulator already: nothing to grow until a new key.
        for accumulator in &mut self.accumulators {
            accumulator.decode(bytes)?;
        }
        Some(())
    }
}
