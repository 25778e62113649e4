//! Columns and their types: looking names up, and fitting literals to a type.

use regent_protocol::spec::{ColumnType, Literal};
use regent_state::graph::{Column, DataType};

use super::error::{Place, Problems, quoted};
use super::scalar::{self, Scalar};
use super::suggest;
use super::tree::{Node, Value};

/// Names of types, for choosing and suggesting.
pub(super) const TYPES: [(&str, DataType); 5] = [
    ("int64", DataType::Int64),
    ("float64", DataType::Float64),
    ("utf8", DataType::Utf8),
    ("boolean", DataType::Boolean),
    ("timestamp", DataType::Timestamp),
];

/// The job file's name of a type.
pub(super) fn type_name(data_type: DataType) -> &'static str {
    spec_type(data_type).name()
}

/// The same type in the workers' language.
pub(super) fn spec_type(data_type: DataType) -> ColumnType {
    match data_type {
        DataType::Int64 => ColumnType::Int64,
        DataType::Float64 => ColumnType::Float64,
        DataType::Utf8 => ColumnType::Utf8,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Timestamp => ColumnType::Timestamp,
    }
}

/// The column of that name among the input's.
pub(super) fn find<'c>(
    name: &str,
    at: Place,
    columns: &'c [Column],
    problems: &mut Problems,
) -> Option<&'c Column> {
    let found = columns.iter().find(|column| column.name == name);
    found.or_else(|| {
        problems.none(at, || {
            suggest::unknown(
                "column",
                name,
                columns.iter().map(|column| column.name.as_str()),
            )
        })
    })
}

/// Columns and their types in words; many are cut.
pub(super) fn listed(columns: &[Column]) -> String {
    const SHOWN_MAX: usize = 8;
    let shown: Vec<String> = columns
        .iter()
        .take(SHOWN_MAX)
        .map(|column| format!("{} {}", quoted(&column.name), type_name(column.data_type)))
        .collect();
    let cut = if columns.len() > SHOWN_MAX {
        ", .."
    } else {
        ""
    };
    format!("({}{cut})", shown.join(", "))
}

/// A literal that is compared with the column, in the column's type.
pub(super) fn literal(node: &Node, column: &Column, problems: &mut Problems) -> Option<Literal> {
    let Value::Scalar { text, scalar } = &node.value else {
        return problems.none(node.at, || {
            format!("value must be a literal, found {}", node.describe())
        });
    };
    let fitted = match (column.data_type, *scalar) {
        (DataType::Int64, Scalar::Int(value)) => Some(Literal::Int(value)),
        // An int64 column compares with 1.5 exactly; there is nothing to refuse.
        (DataType::Int64, Scalar::Float(value)) if value.is_finite() => Some(Literal::Float(value)),
        (DataType::Float64, Scalar::Int(value)) => Some(Literal::Float(value as f64)),
        (DataType::Float64, Scalar::Float(value)) if value.is_finite() => {
            Some(Literal::Float(value))
        }
        (DataType::Utf8, Scalar::Text) => Some(Literal::Text(text.clone())),
        (DataType::Boolean, Scalar::Bool(value)) => Some(Literal::Boolean(value)),
        (DataType::Timestamp, Scalar::Text) => scalar::utc_timestamp(text).map(Literal::Text),
        _ => None,
    };
    fitted.or_else(|| problems.none(node.at, || misfit(node, *scalar, column)))
}

fn misfit(node: &Node, scalar: Scalar, column: &Column) -> String {
    let expected = match column.data_type {
        DataType::Int64 => "a number within 64 bits".to_owned(),
        DataType::Float64 => "a number".to_owned(),
        DataType::Boolean => "true or false".to_owned(),
        DataType::Timestamp => "a timestamp such as \"2013-01-31T10:00:00Z\"".to_owned(),
        DataType::Utf8 if matches!(scalar, Scalar::Null) => "text".to_owned(),
        DataType::Utf8 => "text; put it in quotes".to_owned(),
    };
    format!(
        "value {} doesn't fit column {} ({}): expected {expected}",
        node.describe(),
        quoted(&column.name),
        type_name(column.data_type),
    )
}
