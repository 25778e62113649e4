//! JSON lines: one object a line. A missing key and `null` are null, other keys are ignored.

use regent_protocol::spec::{ColumnSpec, ColumnType};
use serde_json::{Map, Value};

use super::columns::Cell;
use super::csv::Scan;
use crate::engine::timestamp;

/// Scans the first line. `last` tells that nothing follows the window.
pub(in crate::engine::sources) fn scan(window: &[u8], last: bool) -> Scan {
    let (line, bytes) = match window.iter().position(|b| *b == b'\n') {
        Some(end) => (&window[..end], end + 1),
        None if !last => return Scan::More,
        None if window.is_empty() => return Scan::End,
        None => (window, window.len()),
    };
    if line.iter().all(u8::is_ascii_whitespace) {
        return Scan::Blank { bytes };
    }
    Scan::Record {
        bytes,
        lines: 1,
        malformed: None,
    }
}

/// Parses a line into a value for each column; the error says what doesn't fit.
pub(in crate::engine::sources) fn parse_line(
    line: &[u8],
    columns: &[ColumnSpec],
    row: &mut Vec<Cell>,
) -> Result<(), String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    row.clear();
    for column in columns {
        let value = object.get(&column.name).unwrap_or(&Value::Null);
        let cell = cell(column.data_type, value).ok_or_else(|| {
            let kind = column.data_type.name();
            let shown: String = value.to_string().chars().take(40).collect();
            format!("column {}: {shown} is not {kind}", column.name)
        })?;
        row.push(cell);
    }
    Ok(())
}

fn cell(kind: ColumnType, value: &Value) -> Option<Cell> {
    match (kind, value) {
        (_, Value::Null) => Some(Cell::Null),
        (ColumnType::Int64, Value::Number(n)) => n.as_i64().map(Cell::Int64),
        (ColumnType::Float64, Value::Number(n)) => n.as_f64().map(Cell::Float64),
        (ColumnType::Boolean, Value::Bool(b)) => Some(Cell::Boolean(*b)),
        (ColumnType::Timestamp, Value::String(s)) => timestamp::parse(s).map(Cell::Timestamp),
        (ColumnType::Utf8, Value::String(s)) => Some(Cell::Utf8(s.as_str().into())),
        _ => None,
    }
}
