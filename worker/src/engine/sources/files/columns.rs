//! Text to typed columns: what a field of each type looks like, and rows that appear whole or not
//! at all.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use regent_protocol::spec::{ColumnSpec, ColumnType};

use crate::engine::error::TaskError;
use crate::engine::schema::arrow_type;
use crate::engine::timestamp;

/// One parsed value, not yet part of a column.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::sources) enum Cell {
    Null,
    Int64(i64),
    Float64(f64),
    Boolean(bool),
    Timestamp(i64),
    Utf8(Box<str>),
}

/// Parses the text of a field. Empty and `NA` are null. `None` if it isn't of that type.
pub(in crate::engine::sources) fn parse(kind: ColumnType, text: &[u8]) -> Option<Cell> {
    if text.is_empty() || text == b"NA" {
        return Some(Cell::Null);
    }
    if kind == ColumnType::Int64 {
        return int64(text).map(Cell::Int64);
    }
    let text = std::str::from_utf8(text).ok()?;
    match kind {
        ColumnType::Int64 => None,
        ColumnType::Float64 => text.parse().ok().map(Cell::Float64),
        ColumnType::Boolean => boolean(text).map(Cell::Boolean),
        ColumnType::Timestamp => timestamp::parse(text).map(Cell::Timestamp),
        ColumnType::Utf8 => Some(Cell::Utf8(text.into())),
    }
}

fn int64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Counted downwards, since int64 has one more negative number.
    let below = digits.iter().try_fold(0i64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_sub(i64::from(digit))
    })?;
    if negative {
        Some(below)
    } else {
        below.checked_neg()
    }
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

enum Builder {
    Int64(Int64Builder),
    Float64(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Utf8(StringBuilder),
}

impl Builder {
    fn new(kind: ColumnType, rows: usize) -> Self {
        match kind {
            ColumnType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            ColumnType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows))
            }
            ColumnType::Utf8 => Self::Utf8(StringBuilder::with_capacity(rows, rows * 8)),
        }
    }

    /// A value of another type counts as null; parsing made sure that there is none.
    fn append(&mut self, cell: &Cell) {
        match (self, cell) {
            (Self::Int64(b), Cell::Int64(v)) => b.append_value(*v),
            (Self::Int64(b), _) => b.append_null(),
            (Self::Float64(b), Cell::Float64(v)) => b.append_value(*v),
            (Self::Float64(b), _) => b.append_null(),
            (Self::Boolean(b), Cell::Boolean(v)) => b.append_value(*v),
            (Self::Boolean(b), _) => b.append_null(),
            (Self::Timestamp(b), Cell::Timestamp(v)) => b.append_value(*v),
            (Self::Timestamp(b), _) => b.append_null(),
            (Self::Utf8(b), Cell::Utf8(v)) => b.append_value(v),
            (Self::Utf8(b), _) => b.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Int64(mut b) => Arc::new(b.finish()),
            Self::Float64(mut b) => Arc::new(b.finish()),
            Self::Boolean(mut b) => Arc::new(b.finish()),
            Self::Timestamp(mut b) => Arc::new(b.finish()),
            Self::Utf8(mut b) => Arc::new(b.finish()),
        }
    }
}

/// Columns of a batch that is being read.
pub(in crate::engine::sources) struct Columns {
    builders: Vec<Builder>,
    rows: usize,
}

impl Columns {
    pub(in crate::engine::sources) fn new(specs: &[ColumnSpec], rows: usize) -> Self {
        let builder = |spec: &ColumnSpec| Builder::new(spec.data_type, rows);
        Self {
            builders: specs.iter().map(builder).collect(),
            rows: 0,
        }
    }

    /// Appends a row with a value for each column.
    pub(in crate::engine::sources) fn append(&mut self, row: &[Cell]) {
        debug_assert_eq!(row.len(), self.builders.len());
        for (builder, cell) in self.builders.iter_mut().zip(row) {
            builder.append(cell);
        }
        self.rows += 1;
    }

    pub(in crate::engine::sources) fn rows(&self) -> usize {
        self.rows
    }

    pub(in crate::engine::sources) fn finish(
        self,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, TaskError> {
        let arrays = self.builders.into_iter().map(Builder::finish).collect();
        Ok(RecordBatch::try_new(schema.clone(), arrays)?)
    }
}

/// The schema of the columns in job-file order.
pub(in crate::engine::sources) fn schema(specs: &[ColumnSpec]) -> SchemaRef {
    let field = |spec: &ColumnSpec| Field::new(&spec.name, arrow_type(spec.data_type), true);
    Arc::new(Schema::new(specs.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_type() {
        use ColumnType::{Boolean, Float64, Int64, Timestamp, Utf8};
        let cases: &[(ColumnType, &str, Option<Cell>)] = &[
            (Int64, "", Some(Cell::Null)),
            (Utf8, "NA", Some(Cell::Null)),
            (Int64, "-9223372036854775808", Some(Cell::Int64(i64::MIN))),
            (Int64, "9223372036854775807", Some(Cell::Int64(i64::MAX))),
            (Int64, "9223372036854775808", None),
            (Int64, "+7", Some(Cell::Int64(7))),
            (Int64, "-", None),
            (Int64, "1.0", None),
            (Int64, " 1", None),
            (Float64, "-2", Some(Cell::Float64(-2.0))),
            (Float64, "1e3", Some(Cell::Float64(1000.0))),
            (Float64, "1,5", None),
            (Boolean, "True", Some(Cell::Boolean(true))),
            (Boolean, "1", None),
            (
                Timestamp,
                "1970-01-01T00:00:01Z",
                Some(Cell::Timestamp(1_000_000)),
            ),
            (Timestamp, "yesterday", None),
            (Utf8, " na ", Some(Cell::Utf8(" na ".into()))),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(parse(*kind, text.as_bytes()), *expected, "{text:?}");
        }
        assert_eq!(parse(Utf8, b"\xff"), None);
    }
}
