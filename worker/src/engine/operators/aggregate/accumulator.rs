//! Aggregate functions over columns: one state for each slot (key), updated a batch at a time.
//! Nulls are skipped; a function that saw no value answers null, `count` answers 0.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveBuilder, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, Float64Type, Int64Type, Schema, TimestampMicrosecondType,
};
use regent_protocol::spec::{ColumnType, ComputeSpec, Function};

use super::fold::{AvgFloat, AvgInt, Extreme, Fold, SumFloat, SumInt};
use crate::engine::error::TaskError;
use crate::engine::schema::find_column;

/// The states of one computed column.
pub(crate) trait Accumulator: Send {
    /// Makes room for slots up to `slots`.
    fn grow(&mut self, slots: usize);

    /// Takes the rows of a batch; row r belongs to slot `slots[r]`. With `emit` it answers the value
    /// after each row.
    fn update(
        &mut self,
        columns: &[ArrayRef],
        slots: &[u32],
        emit: bool,
    ) -> Result<Option<ArrayRef>, TaskError>;

    /// The values of these slots.
    fn values(&self, slots: Range<usize>) -> ArrayRef;

    /// Appends the state of one slot.
    fn encode(&self, slot: usize, out: &mut Vec<u8>);

    /// Adds a slot with the state at the front of `bytes`. `None` if it isn't one.
    fn decode(&mut self, bytes: &mut &[u8]) -> Option<()>;

    /// Bytes in memory.
    fn bytes(&self) -> usize;

    /// Type of the values.
    fn output_type(&self) -> ColumnType;
}

/// The accumulator for a computed column.
pub(crate) fn build(
    spec: &ComputeSpec,
    schema: &Schema,
) -> Result<Box<dyn Accumulator>, TaskError> {
    let Some(name) = &spec.column else {
        return match spec.function {
            Function::Count => Ok(Box::new(Count::new(None))),
            _ => Err(TaskError::task(format!("{} needs a column", spec.name))),
        };
    };
    let (column, kind) = find_column(schema, name)?;
    let of = |max: bool| extreme(column, kind, max);
    match (spec.function, kind) {
        (Function::Count, _) => Ok(Box::new(Count::new(Some(column)))),
        (Function::Sum, ColumnType::Int64) => Ok(folding(column, kind, SumInt(name.clone()))),
        (Function::Sum, ColumnType::Float64) => Ok(folding(column, kind, SumFloat)),
        (Function::Avg, ColumnType::Int64) => Ok(folding(column, ColumnType::Float64, AvgInt)),
        (Function::Avg, ColumnType::Float64) => Ok(folding(column, ColumnType::Float64, AvgFloat)),
        (Function::Min, _) => of(false).ok_or_else(|| unfit(spec, kind)),
        (Function::Max, _) => of(true).ok_or_else(|| unfit(spec, kind)),
        _ => Err(unfit(spec, kind)),
    }
}

fn unfit(spec: &ComputeSpec, kind: ColumnType) -> TaskError {
    TaskError::task(format!(
        "{}: {:?} of {} is not possible",
        spec.name,
        spec.function,
        kind.name()
    ))
}

fn extreme(column: usize, kind: ColumnType, max: bool) -> Option<Box<dyn Accumulator>> {
    match kind {
        ColumnType::Int64 => Some(folding(column, kind, Extreme::<Int64Type>::new(max))),
        ColumnType::Float64 => Some(folding(column, kind, Extreme::<Float64Type>::new(max))),
        ColumnType::Timestamp => {
            let fold = Extreme::<TimestampMicrosecondType>::new(max);
            Some(folding(column, kind, fold))
        }
        ColumnType::Utf8 => Some(Box::new(TextExtreme {
            column,
            max,
            states: Vec::new(),
            text_bytes: 0,
        })),
        ColumnType::Boolean => None,
    }
}

fn folding<F: Fold>(column: usize, output: ColumnType, fold: F) -> Box<dyn Accumulator> {
    Box::new(Folding {
        column,
        output,
        fold,
        states: Vec::new(),
    })
}

/// Splits a fixed number of bytes off the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// `count`: rows, or values of a column that aren't null.
struct Count {
    column: Option<usize>,
    counts: Vec<i64>,
}

impl Count {
    fn new(column: Option<usize>) -> Self {
        Self {
            column,
            counts: Vec::new(),
        }
    }
}

impl Accumulator for Count {
    fn grow(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
    }

    fn update(
        &mut self,
        columns: &[ArrayRef],
        slots: &[u32],
        emit: bool,
    ) -> Result<Option<ArrayRef>, TaskError> {
        let nulls = self.column.and_then(|at| columns[at].nulls());
        let counts = &mut self.counts;
        let mut count = |row: usize, slot: u32| {
            let counted = nulls.is_none_or(|nulls| nulls.is_valid(row));
            counts[slot as usize] += i64::from(counted);
            counts[slot as usize]
        };
        if !emit {
            for (row, slot) in slots.iter().enumerate() {
                count(row, *slot);
            }
            return Ok(None);
        }
        let mut values = PrimitiveBuilder::<Int64Type>::with_capacity(slots.len());
        for (row, slot) in slots.iter().enumerate() {
            values.append_value(count(row, *slot));
        }
        Ok(Some(Arc::new(values.finish())))
    }

    fn values(&self, slots: Range<usize>) -> ArrayRef {
        let mut values = PrimitiveBuilder::<Int64Type>::with_capacity(slots.len());
        values.append_slice(&self.counts[slots]);
        Arc::new(values.finish())
    }

    fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.counts[slot].to_le_bytes());
    }

    fn decode(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.counts.push(i64::from_le_bytes(take(bytes)?));
        Some(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }

    fn output_type(&self) -> ColumnType {
        ColumnType::Int64
    }
}

/// Any function that folds one number after the other into a state of fixed size.
struct Folding<F: Fold> {
    column: usize,
    output: ColumnType,
    fold: F,
    states: Vec<F::State>,
}

impl<F: Fold> Accumulator for Folding<F> {
    fn grow(&mut self, slots: usize) {
        self.states.resize(slots, F::State::default());
    }

    fn update(
        &mut self,
        columns: &[ArrayRef],
        slots: &[u32],
        emit: bool,
    ) -> Result<Option<ArrayRef>, TaskError> {
        let array = columns[self.column].as_primitive::<F::Input>();
        let input = array.values();
        let nulls = array.nulls();
        let mut values = emit.then(|| PrimitiveBuilder::<F::Output>::with_capacity(slots.len()));
        for (row, slot) in slots.iter().enumerate() {
            let state = &mut self.states[*slot as usize];
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                self.fold.add(state, input[row])?;
            }
            if let Some(values) = &mut values {
                values.append_option(self.fold.value(state));
            }
        }
        Ok(values.map(|mut values| Arc::new(values.finish()) as ArrayRef))
    }

    fn values(&self, slots: Range<usize>) -> ArrayRef {
        let mut values = PrimitiveBuilder::<F::Output>::with_capacity(slots.len());
        for state in &self.states[slots] {
            values.append_option(self.fold.value(state));
        }
        Arc::new(values.finish())
    }

    fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        F::encode(&self.states[slot], out);
    }

    fn decode(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.states.push(F::decode(bytes)?);
        Some(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<F::State>()
    }

    fn output_type(&self) -> ColumnType {
        self.output
    }
}

/// `min` and `max` of utf8, in the order of the bytes.
struct TextExtreme {
    column: usize,
    max: bool,
    states: Vec<Option<Box<str>>>,
    text_bytes: usize,
}

impl TextExtreme {
    fn add(&mut self, slot: usize, text: &str) {
        let state = &mut self.states[slot];
        let better = state
            .as_deref()
            .is_none_or(|best| if self.max { text > best } else { text < best });
        if better {
            let before = state.replace(text.into());
            self.text_bytes -= before.map_or(0, |before| before.len());
            self.text_bytes += text.len();
        }
    }
}

impl Accumulator for TextExtreme {
    fn grow(&mut self, slots: usize) {
        self.states.resize(slots, None);
    }

    fn update(
        &mut self,
        columns: &[ArrayRef],
        slots: &[u32],
        emit: bool,
    ) -> Result<Option<ArrayRef>, TaskError> {
        let array = columns[self.column].as_string::<i32>();
        let mut values = emit.then(StringBuilder::new);
        for (row, slot) in slots.iter().enumerate() {
            if array.is_valid(row) {
                self.add(*slot as usize, array.value(row));
            }
            if let Some(values) = &mut values {
                values.append_option(self.states[*slot as usize].as_deref());
            }
        }
        Ok(values.map(|mut values| Arc::new(values.finish()) as ArrayRef))
    }

    fn values(&self, slots: Range<usize>) -> ArrayRef {
        let mut values = StringBuilder::new();
        for state in &self.states[slots] {
            values.append_option(state.as_deref());
        }
        Arc::new(values.finish())
    }

    fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        match &self.states[slot] {
            None => out.push(0),
            Some(text) => {
                out.push(1);
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn decode(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let [seen] = take(bytes)?;
        if seen == 0 {
            self.states.push(None);
            return Some(());
        }
        let length = u32::from_le_bytes(take(bytes)?) as usize;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        self.states
            .push(Some(std::str::from_utf8(text).ok()?.into()));
        self.text_bytes += length;
        Some(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<Option<Box<str>>>() + self.text_bytes
    }

    fn output_type(&self) -> ColumnType {
        ColumnType::Utf8
    }
}

/// Native type of an Arrow primitive.
pub(super) type Native<T> = <T as ArrowPrimitiveType>::Native;
