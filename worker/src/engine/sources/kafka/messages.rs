//! From a message's value to a row.

use regent_protocol::spec::{KafkaSourceSpec, MessageFormat};

use crate::engine::sources::files::columns::{Cell, parse};
use crate::engine::sources::files::csv::{Field, Scan, scan};
use crate::engine::sources::files::json::parse_line;

/// Parses values of one format.
#[derive(Debug, Default)]
pub(super) struct Parser {
    fields: Vec<Field>,
}

impl Parser {
    /// Parses a value into a cell for each column; the error says what doesn't fit.
    pub(super) fn parse(
        &mut self,
        spec: &KafkaSourceSpec,
        value: Option<&[u8]>,
        row: &mut Vec<Cell>,
    ) -> Result<(), String> {
        let value = value.ok_or("the message has no value")?;
        match spec.format {
            MessageFormat::JsonLines => parse_line(value, &spec.columns, row),
            MessageFormat::Csv => self.csv(spec, value, row),
            MessageFormat::Raw => {
                let text = std::str::from_utf8(value);
                let text = text.map_err(|error| format!("the value is not UTF-8: {error}"))?;
                row.clear();
                row.push(Cell::Utf8(text.into()));
                Ok(())
            }
        }
    }

    fn csv(
        &mut self,
        spec: &KafkaSourceSpec,
        value: &[u8],
        row: &mut Vec<Cell>,
    ) -> Result<(), String> {
        match scan(value, true, &mut self.fields) {
            Scan::Record {
                malformed: Some(reason),
                ..
            } => return Err(reason.to_owned()),
            Scan::Record { bytes, .. } if bytes == value.len() => {}
            Scan::Record { .. } => return Err("more than one CSV record".to_owned()),
            Scan::Blank { .. } | Scan::More | Scan::End => return Err("no CSV record".to_owned()),
        }
        let (found, wanted) = (self.fields.len(), spec.columns.len());
        if found != wanted {
            return Err(format!("{found} fields where there are {wanted} columns"));
        }
        row.clear();
        for (column, field) in spec.columns.iter().zip(&self.fields) {
            let content = field.content(value);
            let cell = parse(column.data_type, &content).ok_or_else(|| {
                let shown: String = String::from_utf8_lossy(&content).chars().take(40).collect();
                let kind = column.data_type.name();
                format!("column {}: {shown:?} is not {kind}", column.name)
            })?;
            row.push(cell);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use regent_protocol::spec::{ColumnSpec, ColumnType, KafkaStart, OnError};

    use super::*;

    fn parsed(format: MessageFormat, value: Option<&[u8]>) -> Result<Vec<Cell>, String> {
        let column = |name: &str, data_type| ColumnSpec {
            name: name.to_owned(),
            data_type,
        };
        let mut columns = vec![column("a", ColumnType::Utf8)];
        if format != MessageFormat::Raw {
            columns.push(column("n", ColumnType::Int64));
        }
        let spec = KafkaSourceSpec {
            brokers: "b:1".to_owned(),
            topic: "t".to_owned(),
            group: None,
            format,
            columns,
            start: KafkaStart::Earliest,
            bounded: false,
            on_error: OnError::Fail,
            rate: None,
            discovery_interval_ms: 1_000,
            broker_timeout_ms: 1_000,
        };
        let mut row = Vec::new();
        Parser::default().parse(&spec, value, &mut row)?;
        Ok(row)
    }

    #[test]
    fn each_format_gives_the_same_row() {
        let row = vec![Cell::Utf8("x,y".into()), Cell::Int64(7)];
        let json = parsed(MessageFormat::JsonLines, Some(br#"{"n":7,"a":"x,y"}"#));
        assert_eq!(json, Ok(row.clone()));
        for text in ["\"x,y\",7", "\"x,y\",7\n", "\"x,y\",7\r\n"] {
            assert_eq!(
                parsed(MessageFormat::Csv, Some(text.as_bytes())),
                Ok(row.clone())
            );
        }
        let raw = parsed(MessageFormat::Raw, Some(b"{"));
        assert_eq!(raw, Ok(vec![Cell::Utf8("{".into())]));
    }

    #[test]
    fn what_is_no_row_is_told() {
        use MessageFormat::{Csv, JsonLines, Raw};
        for (format, value, words) in [
            (JsonLines, Some(&b"[]"[..]), "not a JSON object"),
            (JsonLines, None, "no value"),
            (Csv, Some(b"a"), "1 fields where there are 2 columns"),
            (Csv, Some(b"a,1\nb,2"), "more than one CSV record"),
            (Csv, Some(b""), "no CSV record"),
            (Csv, Some(b"a,b"), "column n: \"b\" is not int64"),
            (Csv, Some(b"\"a,1"), "never closed"),
            (Raw, Some(b"\xff"), "not UTF-8"),
        ] {
            let error = parsed(format, value).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
