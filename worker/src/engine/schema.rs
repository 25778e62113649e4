//! Column lists of the wire as Arrow schemas, and how big a batch is.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use regent_protocol::spec::ColumnType;
use regent_protocol::v1::Column;

use super::error::TaskError;

/// The Arrow type that carries a column type. Timestamps are microseconds in UTC.
pub(crate) fn arrow_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Utf8 => DataType::Utf8,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The column type of an Arrow type, if batches of this engine carry it.
pub(crate) fn column_type(arrow: &DataType) -> Option<ColumnType> {
    match arrow {
        DataType::Int64 => Some(ColumnType::Int64),
        DataType::Float64 => Some(ColumnType::Float64),
        DataType::Utf8 => Some(ColumnType::Utf8),
        DataType::Boolean => Some(ColumnType::Boolean),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Some(ColumnType::Timestamp),
        _ => None,
    }
}

/// The type that an order names.
pub(crate) fn parse_type(column: &Column) -> Result<ColumnType, TaskError> {
    ColumnType::parse(&column.data_type).ok_or_else(|| {
        TaskError::task(format!(
            "column {} has the unknown type {:?}",
            column.name, column.data_type
        ))
    })
}

/// The schema of a vertex's output.
pub(crate) fn schema_of(columns: &[Column]) -> Result<SchemaRef, TaskError> {
    let field = |c: &Column| Ok(Field::new(&c.name, arrow_type(parse_type(c)?), true));
    let fields: Result<Vec<Field>, TaskError> = columns.iter().map(field).collect();
    Ok(Arc::new(Schema::new(fields?)))
}

/// Position and type of a column by name.
pub(crate) fn find_column(schema: &Schema, name: &str) -> Result<(usize, ColumnType), TaskError> {
    let index = schema
        .index_of(name)
        .map_err(|_| TaskError::task(format!("there is no column {name}")))?;
    let kind = column_type(schema.field(index).data_type())
        .ok_or_else(|| TaskError::task(format!("column {name} has an unsupported type")))?;
    Ok((index, kind))
}

/// Bytes of the rows themselves, without what buffers have in reserve or share with others.
pub(crate) fn row_bytes(batch: &RecordBatch) -> u64 {
    let of = |column: &arrow::array::ArrayRef| match column.data_type() {
        DataType::Utf8 => {
            let offsets = arrow::array::AsArray::as_string::<i32>(column).value_offsets();
            let text = offsets[offsets.len() - 1] - offsets[0];
            text as u64 + 4 * column.len() as u64
        }
        DataType::Boolean => column.len().div_ceil(8) as u64,
        _ => 8 * column.len() as u64,
    };
    batch.columns().iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, StringArray};

    use super::*;

    #[test]
    fn every_type_of_the_job_file_is_carried() {
        for kind in ["int64", "float64", "utf8", "boolean", "timestamp"] {
            let kind = ColumnType::parse(kind).unwrap();
            assert_eq!(column_type(&arrow_type(kind)), Some(kind));
        }
        let unknown = Column {
            name: "a".into(),
            data_type: "int32".into(),
        };
        let message = schema_of(&[unknown]).unwrap_err().to_string();
        assert_eq!(message, "column a has the unknown type \"int32\"");
    }

    #[test]
    fn a_slice_counts_only_its_rows() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
            (
                "b",
                Arc::new(StringArray::from(vec!["x", "yy", "zzz"])) as _,
            ),
            (
                "c",
                Arc::new(BooleanArray::from(vec![true, false, true])) as _,
            ),
        ])
        .unwrap();
        assert_eq!(row_bytes(&batch), 24 + (6 + 12) + 1);
        assert_eq!(row_bytes(&batch.slice(1, 1)), 8 + (2 + 4) + 1);
    }
}
