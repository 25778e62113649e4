//! From a row to a message: the key's text, and the value in the sink's format.

use arrow::array::{Array, AsArray, RecordBatch};
use regent_protocol::spec::{ColumnType, FileFormat, KafkaSinkSpec, MessageFormat};
use regent_protocol::v1::Column;

use crate::engine::error::TaskError;
use crate::engine::schema::parse_type;
use crate::engine::sinks::text::{TextWriter, plain};

/// What brokers take by default, less room for a batch's own bytes.
const MESSAGE_BYTES_MAX: usize = 1_000_000 - 1024;

/// A key and a value, each if there is one.
pub(super) type Message<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Writes rows of one schema.
#[derive(Debug)]
pub(super) struct RowWriter {
    key: Option<(usize, ColumnType)>,
    value: Value,
    key_text: Vec<u8>,
    text: Vec<u8>,
}

#[derive(Debug)]
enum Value {
    Text(TextWriter),
    /// The place of the one column.
    Raw(usize),
}

impl RowWriter {
    pub(super) fn new(spec: &KafkaSinkSpec, columns: &[Column]) -> Result<Self, TaskError> {
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let key = match &spec.key {
            None => None,
            Some(name) => {
                let at = place(name);
                let at = at.ok_or_else(|| TaskError::task(format!("there is no column {name}")))?;
                Some((at, parse_type(&columns[at])?))
            }
        };
        let value = match spec.format {
            MessageFormat::JsonLines => {
                Value::Text(TextWriter::new(FileFormat::JsonLines, columns)?)
            }
            MessageFormat::Csv => Value::Text(TextWriter::new(FileFormat::Csv, columns)?),
            MessageFormat::Raw => {
                let mut others = (0..columns.len()).filter(|at| Some(*at) != key.map(|key| key.0));
                let one = others.next();
                Value::Raw(one.ok_or_else(|| TaskError::task("raw needs a column for the value"))?)
            }
        };
        Ok(Self {
            key,
            value,
            key_text: Vec::new(),
            text: Vec::new(),
        })
    }

    /// Hands each row's message on, in order.
    pub(super) fn rows(
        &mut self,
        batch: &RecordBatch,
        mut each: impl FnMut(Message<'_>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        for row in 0..batch.num_rows() {
            let keyed = self.take_key(batch, row);
            let valued = self.take_value(batch, row)?;
            let bytes = self.key_text.len() + self.text.len();
            if bytes > MESSAGE_BYTES_MAX {
                return Err(TaskError::task(format!(
                    "a row makes a message of {bytes} bytes; at most {MESSAGE_BYTES_MAX} are sent"
                )));
            }
            each((
                keyed.then_some(self.key_text.as_slice()),
                valued.then_some(self.text.as_slice()),
            ))?;
        }
        Ok(())
    }

    /// False: the message has no key.
    fn take_key(&mut self, batch: &RecordBatch, row: usize) -> bool {
        self.key_text.clear();
        let Some((at, kind)) = self.key else {
            return false;
        };
        let column = batch.column(at);
        if column.is_null(row) {
            return false;
        }
        match kind {
            ColumnType::Utf8 => {
                let text = column.as_string::<i32>().value(row);
                self.key_text.extend_from_slice(text.as_bytes());
            }
            other => plain(other, column, row, &mut self.key_text),
        }
        true
    }

    /// False: the message has no value.
    fn take_value(&mut self, batch: &RecordBatch, row: usize) -> Result<bool, TaskError> {
        self.text.clear();
        match &mut self.value {
            Value::Text(writer) => {
                writer.rows(&batch.slice(row, 1), &mut self.text)?;
                if self.text.last() == Some(&b'\n') {
                    self.text.pop();
                }
                Ok(true)
            }
            Value::Raw(at) => {
                let column = batch.column(*at).as_string_opt::<i32>();
                let column = column.ok_or_else(|| TaskError::task("raw needs a utf8 column"))?;
                if column.is_null(row) {
                    return Ok(false);
                }
                self.text.extend_from_slice(column.value(row).as_bytes());
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use regent_protocol::spec::Delivery;

    use super::*;

    fn messages(format: MessageFormat, key: Option<&str>) -> Vec<(Option<String>, Option<String>)> {
        let spec = KafkaSinkSpec {
            brokers: "b:1".to_owned(),
            topic: "t".to_owned(),
            format,
            key: key.map(str::to_owned),
            delivery: Delivery::AtLeastOnce,
            staging: None,
            broker_timeout_ms: 1_000,
        };
        let column = |name: &str, data_type: &str| Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
        };
        let columns = [column("n", "int64"), column("s", "utf8")];
        let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let s: ArrayRef = Arc::new(StringArray::from(vec![Some("a,b"), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", n, true), ("s", s, true)]);
        let mut found = Vec::new();
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8(b.to_vec()).unwrap());
        let mut writer = RowWriter::new(&spec, &columns).unwrap();
        let each = |(key, value): Message<'_>| {
            found.push((text(key), text(value)));
            Ok(())
        };
        writer.rows(&batch.unwrap(), each).unwrap();
        found
    }

    #[test]
    fn a_row_is_a_message_in_each_format() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            messages(MessageFormat::JsonLines, Some("n")),
            [
                (some("7"), some(r#"{"n":7,"s":"a,b"}"#)),
                (None, some("{}"))
            ]
        );
        assert_eq!(
            messages(MessageFormat::Csv, Some("s")),
            [(some("a,b"), some("7,\"a,b\"")), (None, some(","))]
        );
        assert_eq!(
            messages(MessageFormat::Raw, Some("n")),
            [(some("7"), some("a,b")), (None, None)]
        );
        assert_eq!(messages(MessageFormat::JsonLines, None)[0].0, None);
    }

    #[test]
    fn a_row_that_no_broker_takes_is_refused_when_it_is_written() {
        let mut writer = RowWriter {
            key: None,
            value: Value::Raw(0),
            key_text: Vec::new(),
            text: Vec::new(),
        };
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_000_000)]));
        let batch = RecordBatch::try_from_iter([("s", long)]).unwrap();
        let error = writer.rows(&batch, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("1000000 bytes"), "{error}");
    }
}
