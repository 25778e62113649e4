//! Batches as text: CSV (RFC 4180 with LF) and JSON lines. Null is an empty field or a missing key;
//! JSON has no NaN and no infinities, so they are missing there as well.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use regent_protocol::spec::{ColumnType, FileFormat};
use regent_protocol::v1::Column;

use crate::engine::error::TaskError;
use crate::engine::schema::{column_type, parse_type};
use crate::engine::timestamp;

/// Writes rows of one schema.
#[derive(Debug)]
pub(crate) struct TextWriter {
    format: FileFormat,
    names: Vec<String>,
    types: Vec<ColumnType>,
    cell: Vec<u8>,
}

impl TextWriter {
    pub(crate) fn new(format: FileFormat, columns: &[Column]) -> Result<Self, TaskError> {
        let types: Result<Vec<ColumnType>, _> = columns.iter().map(parse_type).collect();
        Ok(Self {
            format,
            names: columns.iter().map(|c| c.name.clone()).collect(),
            types: types?,
            cell: Vec::new(),
        })
    }

    /// Ending of file names.
    pub(crate) fn extension(&self) -> &'static str {
        match self.format {
            FileFormat::Csv => "csv",
            FileFormat::JsonLines => "jsonl",
        }
    }

    /// What a file begins with.
    pub(crate) fn header(&self, out: &mut Vec<u8>) {
        if self.format == FileFormat::Csv {
            for (at, name) in self.names.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                quote_csv(name.as_bytes(), out);
            }
            out.push(b'\n');
        }
    }

    /// Appends the rows of a batch.
    pub(crate) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), TaskError> {
        let types = batch.columns().iter().map(|c| column_type(c.data_type()));
        if !types.eq(self.types.iter().copied().map(Some)) {
            return Err(TaskError::task(format!(
                "rows of {} don't fit the columns {:?}",
                batch.schema(),
                self.names
            )));
        }
        for row in 0..batch.num_rows() {
            match self.format {
                FileFormat::Csv => self.csv_row(batch.columns(), row, out),
                FileFormat::JsonLines => self.json_row(batch.columns(), row, out),
            }
        }
        Ok(())
    }

    fn csv_row(&mut self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
        for (at, (column, kind)) in columns.iter().zip(&self.types).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if column.is_null(row) {
                // A lone empty field would be an empty line, which readers skip.
                if columns.len() == 1 {
                    out.extend_from_slice(b"\"\"");
                }
            } else if *kind == ColumnType::Utf8 {
                quote_csv(column.as_string::<i32>().value(row).as_bytes(), out);
            } else {
                plain(*kind, column, row, out);
            }
        }
        out.push(b'\n');
    }

    fn json_row(&mut self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
        let mut separator = b'{';
        for (at, (column, kind)) in columns.iter().zip(&self.types).enumerate() {
            if column.is_null(row) || !fits_json(*kind, column, row) {
                continue;
            }
            out.push(separator);
            separator = b',';
            quote_json(&self.names[at], out);
            out.push(b':');
            match kind {
                ColumnType::Utf8 => quote_json(column.as_string::<i32>().value(row), out),
                ColumnType::Timestamp => {
                    self.cell.clear();
                    plain(*kind, column, row, &mut self.cell);
                    quote_json(&String::from_utf8_lossy(&self.cell), out);
                }
                _ => plain(*kind, column, row, out),
            }
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.extend_from_slice(b"}\n");
    }
}

fn fits_json(kind: ColumnType, column: &ArrayRef, row: usize) -> bool {
    kind != ColumnType::Float64 || column.as_primitive::<Float64Type>().value(row).is_finite()
}

/// A value that needs no quotes.
pub(super) fn plain(kind: ColumnType, column: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    // Writing into a Vec can't fail.
    let _ = match kind {
        ColumnType::Int64 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        ColumnType::Float64 => write!(out, "{:?}", column.as_primitive::<Float64Type>().value(row)),
        ColumnType::Boolean => write!(out, "{}", column.as_boolean().value(row)),
        ColumnType::Timestamp => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            timestamp::format(micros, out);
            Ok(())
        }
        ColumnType::Utf8 => Ok(()),
    };
}

/// Quotes what would be read differently without quotes; empty text too, since empty is null.
fn quote_csv(text: &[u8], out: &mut Vec<u8>) {
    let special = |b: &u8| matches!(b, b',' | b'"' | b'\n' | b'\r');
    if !text.is_empty() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn quote_json(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            other => out.push(other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn columns(names: &[(&str, &str)]) -> Vec<Column> {
        let column = |(name, kind): &(&str, &str)| Column {
            name: (*name).to_owned(),
            data_type: (*kind).to_owned(),
        };
        names.iter().map(column).collect()
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "s",
                Arc::new(StringArray::from(vec![Some("a\"b,"), Some(""), None])) as ArrayRef,
                true,
            ),
            (
                "i",
                Arc::new(Int64Array::from(vec![Some(-7), Some(0), None])) as ArrayRef,
                true,
            ),
            (
                "f",
                Arc::new(Float64Array::from(vec![Some(2.0), Some(0.1), None])) as ArrayRef,
                true,
            ),
            (
                "b",
                Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])) as ArrayRef,
                true,
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(0),
                    Some(1_500_000),
                    None,
                ])) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    const COLUMNS: [(&str, &str); 5] = [
        ("s", "utf8"),
        ("i", "int64"),
        ("f", "float64"),
        ("b", "boolean"),
        ("t", "timestamp"),
    ];

    fn text(format: FileFormat, names: &[(&str, &str)], batch: &RecordBatch) -> String {
        let mut writer = TextWriter::new(format, &columns(names)).unwrap();
        let mut out = Vec::new();
        writer.header(&mut out);
        writer.rows(batch, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv() {
        assert_eq!(
            text(FileFormat::Csv, &COLUMNS, &batch()),
            "s,i,f,b,t\n\
             \"a\"\"b,\",-7,2.0,true,1970-01-01T00:00:00Z\n\
             \"\",0,0.1,false,1970-01-01T00:00:01.500000Z\n\
             ,,,,\n"
        );
        let one = batch().project(&[1]).unwrap();
        let written = text(FileFormat::Csv, &[("odd\"name", "int64")], &one);
        assert_eq!(written, "\"odd\"\"name\"\n-7\n0\n\"\"\n");
    }

    #[test]
    fn json_lines() {
        let written = text(FileFormat::JsonLines, &COLUMNS, &batch());
        let lines: Vec<serde_json::Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["s"], "a\"b,");
        assert_eq!(lines[1]["t"], "1970-01-01T00:00:01.500000Z");
        assert_eq!(lines[2], serde_json::json!({}));
    }

    #[test]
    fn numbers_that_json_does_not_know_are_missing() {
        let floats = Float64Array::from(vec![f64::NAN, f64::INFINITY, 0.5]);
        let batch = RecordBatch::try_from_iter([("f", Arc::new(floats) as ArrayRef)]).unwrap();
        let written = text(FileFormat::JsonLines, &[("f", "float64")], &batch);
        assert_eq!(written, "{}\n{}\n{\"f\":0.5}\n");
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let mut writer = TextWriter::new(FileFormat::Csv, &columns(&COLUMNS[..2])).unwrap();
        assert!(writer.rows(&batch(), &mut Vec::new()).is_err());
    }
}
