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
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
            .unwrap()
    }

    fn samples() -> RecordBatch {
        batch(vec![
            (
                "i",
                Arc::new(Int64Array::from(vec![
                    Some(0),
                    Some(-1),
                    Some(i64::MAX),
                    None,
                ])),
            ),
            (
                "f",
                Arc::new(Float64Array::from(vec![
                    Some(0.0),
                    Some(-2.5),
                    Some(f64::NAN),
                    None,
                ])),
            ),
            (
                "s",
                Arc::new(StringArray::from(vec![
                    Some(""),
                    Some("UA"),
                    Some("Zürich"),
                    None,
                ])),
            ),
            (
                "b",
                Arc::new(BooleanArray::from(vec![
                    Some(false),
                    Some(true),
                    None,
                    None,
                ])),
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(0),
                    Some(1_357_034_400_000_000),
                    Some(-1),
                    None,
                ])),
            ),
        ])
    }

    fn hashes(batch: &RecordBatch, columns: &[usize]) -> Vec<u64> {
        let mut keys = Keys::default();
        keys.encode(batch, columns).unwrap();
        keys.hashes().to_vec()
    }

    #[test]
    fn golden_bytes() {
        let mut keys = Keys::default();
        keys.encode(&samples(), &[0, 1, 2, 3, 4]).unwrap();
        let hex = |row| {
            keys.key(row)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            hex(0),
            "020000000000000000030000000000000000040000000001000500000000000000000"[..68]
                .to_owned()
        );
        assert_eq!(
            hex(1),
            "02ffffffffffffffff0300000000000004c00402000000554101010500285c3137d20400"
        );
        assert_eq!(
            hex(2),
            "02ffffffffffffff7f03000000000000f87f04070000005ac3bc726963680005ffffffffffffffff"
        );
        assert_eq!(hex(3), "0000000000");
    }

    const NULL: u64 = 14144645293874801883;

    /// Files of state name them: another division would give keys to tasks that don't have their state.
    #[test]
    fn golden_groups() {
        let groups = [
            10205921652976312551,
            5878741525932698725,
            16159872105594725339,
            u64::MAX,
            0,
        ]
        .map(group_of);
        assert_eq!(groups, [103, 101, 91, 127, 0]);
    }

    #[test]
    fn golden_hashes() {
        let batch = samples();
        // Computed with another implementation of the hash as well.
        let golden: [(usize, [u64; 4]); 5] = [
            (
                0,
                [
                    10205921652976312551,
                    5878741525932698725,
                    16159872105594725339,
                    NULL,
                ],
            ),
            (
                1,
                [
                    15119441974047193501,
                    13896346772764374377,
                    12126372437782907232,
                    NULL,
                ],
            ),
            (
                2,
                [
                    9905874499770833998,
                    2287639047918618524,
                    11725553396484668920,
                    NULL,
                ],
            ),
            (3, [12363696039452112576, 508203992382727667, NULL, NULL]),
            (
                4,
                [
                    12260652176833672929,
                    11574803898131265360,
                    6439498240696989326,
                    NULL,
                ],
            ),
        ];
        for (column, expected) in golden {
            assert_eq!(hashes(&batch, &[column]), expected, "column {column}");
        }
    }

    #[test]
    fn nan_and_zero_have_one_form() {
        let odd = f64::from_bits(0xfff8_0000_0000_0001);
        let batch = batch(vec![(
            "f",
            Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, odd])),
        )]);
        let hashes = hashes(&batch, &[0]);
        assert_eq!(hashes[0], hashes[1]);
        assert_eq!(hashes[2], hashes[3]);
        assert_ne!(hashes[0], hashes[2]);
    }

    #[test]
    fn text_can_not_run_into_its_neighbour() {
        let batch = batch(vec![
            ("a", Arc::new(StringArray::from(vec!["ab", "a"]))),
            ("b", Arc::new(StringArray::from(vec!["c", "bc"]))),
        ]);
        let mut keys = Keys::default();
        keys.encode(&batch, &[0, 1]).unwrap();
        assert_ne!(keys.key(0), keys.key(1));
    }

    #[test]
    fn every_group_has_one_subtask_at_every_parallelism() {
        for parallelism in 1..=MAX_PARALLELISM {
            let mut next = 0;
            for subtask in 0..parallelism {
                let groups = groups_of(subtask, parallelism);
                assert_eq!(groups.start, next);
                assert!(
                    groups
                        .clone()
                        .all(|g| subtask_of(g, parallelism) == subtask)
                );
                assert!(!groups.is_empty());
                next = groups.end;
            }
            assert_eq!(next, MAX_PARALLELISM);
        }
    }

    #[test]
    fn keys_decode_to_the_same_columns() {
        let batch = samples();
        let mut keys = Keys::default();
        keys.encode(&batch, &[0, 1, 2, 3, 4]).unwrap();
        use ColumnType::{Boolean, Float64, Int64, Timestamp, Utf8};
        let mut decoder = KeyDecoder::new(&[Int64, Float64, Utf8, Boolean, Timestamp]);
        for row in 0..4 {
            assert!(decoder.append(keys.key(row)));
        }
        for (at, array) in decoder.finish().iter().enumerate() {
            assert_eq!(format!("{array:?}"), format!("{:?}", batch.column(at)));
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_gives_the_same(values in proptest::collection::vec(any::<i64>(), 0..50)) {
            let plain = batch(vec![("i", Arc::new(Int64Array::from(values.clone())))]);
            let mut with_null: Vec<Option<i64>> = values.into_iter().map(Some).collect();
            with_null.push(None);
            let nullable = batch(vec![("i", Arc::new(Int64Array::from(with_null)))]);
            let rows = plain.num_rows();
            prop_assert_eq!(hashes(&plain, &[0]), hashes(&nullable, &[0])[..rows].to_vec());
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            use ColumnType::{Boolean, Int64, Utf8};
            let _ = KeyDecoder::new(&[Utf8, Int64, Boolean]).append(&bytes);
        }
    }
}
