//! Key groups: where a key's state lies. **Frozen**: state on disk and the partitioning of every
//! running job follow from these bytes; a change would misplace state without an error.
//!
//! group = xxh3_64(canonical bytes, seed 0) mod 128; subtask = group × parallelism / 128. The
//! canonical bytes of a key are those of its columns one after the other: a type tag, then the
//! value little-endian; utf8 has its length first (u32); null is its own tag without a value; a NaN
//! is the one quiet NaN and -0.0 is 0.0.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::array::{BooleanArray, PrimitiveArray, StringArray};
use arrow::array::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use regent_protocol::MAX_PARALLELISM;
use regent_protocol::spec::ColumnType;
use xxhash_rust::xxh3::xxh3_64;

use super::error::TaskError;
use super::schema::column_type;

const TAG_NULL: u8 = 0;
const TAG_BOOLEAN: u8 = 1;
const TAG_INT64: u8 = 2;
const TAG_FLOAT64: u8 = 3;
const TAG_UTF8: u8 = 4;
const TAG_TIMESTAMP: u8 = 5;

/// Key group of a hash of canonical bytes.
pub(crate) fn group_of(hash: u64) -> u32 {
    (hash % u64::from(MAX_PARALLELISM)) as u32
}

/// Subtask that holds a key group.
pub(crate) fn subtask_of(group: u32, parallelism: u32) -> u32 {
    group * parallelism / MAX_PARALLELISM
}

/// Key groups that a subtask holds.
pub(crate) fn groups_of(subtask: u32, parallelism: u32) -> Range<u32> {
    let first = |subtask: u32| (subtask * MAX_PARALLELISM).div_ceil(parallelism);
    first(subtask)..first(subtask + 1)
}

fn canonical_float(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// A key column with its type known, so that rows are read without a cast each.
enum KeyColumn<'a> {
    Boolean(&'a BooleanArray),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Utf8(&'a StringArray),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
}

impl<'a> KeyColumn<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, TaskError> {
        match column_type(array.data_type()) {
            Some(ColumnType::Boolean) => Ok(Self::Boolean(array.as_boolean())),
            Some(ColumnType::Int64) => Ok(Self::Int64(array.as_primitive())),
            Some(ColumnType::Float64) => Ok(Self::Float64(array.as_primitive())),
            Some(ColumnType::Utf8) => Ok(Self::Utf8(array.as_string())),
            Some(ColumnType::Timestamp) => Ok(Self::Timestamp(array.as_primitive())),
            None => Err(TaskError::task(format!(
                "{} can't be a key",
                array.data_type()
            ))),
        }
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Boolean(a) if a.is_valid(row) => {
                out.extend_from_slice(&[TAG_BOOLEAN, u8::from(a.value(row))]);
            }
            Self::Int64(a) if a.is_valid(row) => {
                append_word(TAG_INT64, a.value(row).to_le_bytes(), out);
            }
            Self::Float64(a) if a.is_valid(row) => {
                append_word(
                    TAG_FLOAT64,
                    canonical_float(a.value(row)).to_le_bytes(),
                    out,
                );
            }
            Self::Timestamp(a) if a.is_valid(row) => {
                append_word(TAG_TIMESTAMP, a.value(row).to_le_bytes(), out);
            }
            Self::Utf8(a) if a.is_valid(row) => {
                let text = a.value(row).as_bytes();
                out.push(TAG_UTF8);
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text);
            }
            _ => out.push(TAG_NULL),
        }
    }
}

fn append_word(tag: u8, value: [u8; 8], out: &mut Vec<u8>) {
    let mut word = [tag; 9];
    word[1..].copy_from_slice(&value);
    out.extend_from_slice(&word);
}

/// Canonical bytes and hashes of the keys of one batch after another; the buffers are kept.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
}

impl Keys {
    /// Replaces the content by the keys of a batch: the columns at these positions.
    pub(crate) fn encode(
        &mut self,
        batch: &RecordBatch,
        columns: &[usize],
    ) -> Result<(), TaskError> {
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
        let arrays: Result<Vec<_>, _> = columns
            .iter()
            .map(|at| KeyColumn::of(batch.column(*at)))
            .collect();
        match arrays?.as_slice() {
            [KeyColumn::Int64(values)] if values.null_count() == 0 => self.encode_int64(values),
            arrays => self.encode_rows(batch.num_rows(), arrays),
        }
        Ok(())
    }

    fn encode_rows(&mut self, rows: usize, columns: &[KeyColumn<'_>]) {
        for row in 0..rows {
            let begin = self.bytes.len();
            for column in columns {
                column.append(row, &mut self.bytes);
            }
            self.hashes.push(xxh3_64(&self.bytes[begin..]));
            self.ends.push(self.bytes.len());
        }
    }

    /// The same bytes for the commonest key, all of one width.
    fn encode_int64(&mut self, values: &PrimitiveArray<Int64Type>) {
        const WIDTH: usize = 9;
        self.bytes.resize(values.len() * WIDTH, TAG_INT64);
        for (value, key) in values
            .values()
            .iter()
            .zip(self.bytes.chunks_exact_mut(WIDTH))
        {
            key[0] = TAG_INT64;
            key[1..].copy_from_slice(&value.to_le_bytes());
            self.hashes.push(xxh3_64(key));
        }
        self.ends.extend((1..=values.len()).map(|row| row * WIDTH));
    }

    /// The hashes, one for each row.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// The canonical bytes of a row's key.
    pub(crate) fn key(&self, row: usize) -> &[u8] {
        let begin = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[begin..self.ends[row]]
    }
}

enum KeyBuilder {
    Boolean(BooleanBuilder),
    Int64(PrimitiveBuilder<Int64Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Utf8(StringBuilder),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
}

/// Turns canonical bytes back into columns.
pub(crate) struct KeyDecoder {
    columns: Vec<KeyBuilder>,
}

impl KeyDecoder {
    pub(crate) fn new(types: &[ColumnType]) -> Self {
        let builder = |kind: &ColumnType| match kind {
            ColumnType::Boolean => KeyBuilder::Boolean(BooleanBuilder::new()),
            ColumnType::Int64 => KeyBuilder::Int64(PrimitiveBuilder::new()),
            ColumnType::Float64 => KeyBuilder::Float64(PrimitiveBuilder::new()),
            ColumnType::Utf8 => KeyBuilder::Utf8(StringBuilder::new()),
            ColumnType::Timestamp => KeyBuilder::Timestamp(PrimitiveBuilder::new()),
        };
        Self {
            columns: types.iter().map(builder).collect(),
        }
    }

    /// Appends one key to the columns. False if the bytes aren't a key of these types.
    #[must_use]
    pub(crate) fn append(&mut self, mut key: &[u8]) -> bool {
        for column in &mut self.columns {
            match append_value(column, key) {
                Some(rest) => key = rest,
                None => return false,
            }
        }
        key.is_empty()
    }

    pub(crate) fn finish(self) -> Vec<ArrayRef> {
        let array = |builder: KeyBuilder| -> ArrayRef {
            match builder {
                KeyBuilder::Boolean(mut b) => std::sync::Arc::new(b.finish()),
                KeyBuilder::Int64(mut b) => std::sync::Arc::new(b.finish()),
                KeyBuilder::Float64(mut b) => std::sync::Arc::new(b.finish()),
                KeyBuilder::Utf8(mut b) => std::sync::Arc::new(b.finish()),
                KeyBuilder::Timestamp(mut b) => std::sync::Arc::new(b.finish()),
            }
        };
        self.columns.into_iter().map(array).collect()
    }
}

/// Appends the first value of `key` and answers the rest; `None` if it doesn't fit the column.
fn append_value<'a>(column: &mut KeyBuilder, key: &'a [u8]) -> Option<&'a [u8]> {
    let (tag, rest) = key.split_first()?;
    match (column, *tag) {
        (KeyBuilder::Boolean(b), TAG_NULL) => b.append_null(),
        (KeyBuilder::Int64(b), TAG_NULL) => b.append_null(),
        (KeyBuilder::Float64(b), TAG_NULL) => b.append_null(),
        (KeyBuilder::Utf8(b), TAG_NULL) => b.append_null(),
        (KeyBuilder::Timestamp(b), TAG_NULL) => b.append_null(),
        (KeyBuilder::Boolean(b), TAG_BOOLEAN) => {
            let (value, rest) = rest.split_first()?;
            b.append_value(*value == 1);
            return Some(rest);
        }
        (KeyBuilder::Utf8(b), TAG_UTF8) => {
            let (length, rest) = rest.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            b.append_value(std::str::from_utf8(text).ok()?);
            return Some(rest);
        }
        (KeyBuilder::Int64(b), TAG_INT64) => {
            let (value, rest) = rest.split_first_chunk()?;
            b.append_value(i64::from_le_bytes(*value));
            return Some(rest);
        }
        (KeyBuilder::Float64(b), TAG_FLOAT64) => {
            let (value, rest) = rest.split_first_chunk()?;
            b.append_value(f64::from_le_bytes(*value));
            return Some(rest);
        }
        (KeyBuilder::Timestamp(b), TAG_TIMESTAMP) => {
            let (value, rest) = rest.split_first_chunk()?;
            b.append_value(i64::from_le_bytes(*value));
            return Some(rest);
        }
        _ => return None,
    }
    Some(rest)
}

#[cfg(test)]
#[path = "keys_test.rs"]
mod tests;
