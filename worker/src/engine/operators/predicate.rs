//! `where` of a filter, compiled against a schema and evaluated a batch at a time.
//!
//! A comparison with null is false, so every part has just two answers and `not` turns them over.
//! Floats compare as IEEE 754 does: NaN is unequal to everything, and -0.0 equals 0.0.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use regent_protocol::spec::{ColumnType, CompareOp, Literal, Predicate};

use crate::engine::error::TaskError;
use crate::engine::schema::find_column;
use crate::engine::timestamp;

/// A predicate whose columns and literals fit a schema.
#[derive(Debug, Clone)]
pub(crate) enum Compiled {
    Compare {
        column: usize,
        op: CompareOp,
        value: Value,
    },
    IsNull(usize),
    NotNull(usize),
    In {
        column: usize,
        values: Vec<Value>,
    },
    All(Vec<Compiled>),
    Any(Vec<Compiled>),
    Not(Box<Compiled>),
}

/// A literal in the type of its column; `Fraction` is a float beside an int64 column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int64(i64),
    Fraction(f64),
    Float64(f64),
    Utf8(String),
    Boolean(bool),
    Timestamp(i64),
}

impl Compiled {
    /// Resolves names and types.
    pub(crate) fn new(predicate: &Predicate, schema: &Schema) -> Result<Self, TaskError> {
        let parts = |parts: &[Predicate]| -> Result<Vec<Self>, TaskError> {
            parts.iter().map(|part| Self::new(part, schema)).collect()
        };
        Ok(match predicate {
            Predicate::Compare { column, op, value } => {
                let (at, kind) = find_column(schema, column)?;
                Self::Compare {
                    column: at,
                    op: *op,
                    value: value_of(column, kind, value)?,
                }
            }
            Predicate::IsNull { column } => Self::IsNull(find_column(schema, column)?.0),
            Predicate::NotNull { column } => Self::NotNull(find_column(schema, column)?.0),
            Predicate::In { column, values } => {
                let (at, kind) = find_column(schema, column)?;
                let values: Result<_, _> =
                    values.iter().map(|v| value_of(column, kind, v)).collect();
                Self::In {
                    column: at,
                    values: values?,
                }
            }
            Predicate::All(all) => Self::All(parts(all)?),
            Predicate::Any(any) => Self::Any(parts(any)?),
            Predicate::Not(part) => Self::Not(Box::new(Self::new(part, schema)?)),
        })
    }

    /// One bit for each row: true where the predicate holds.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> BooleanBuffer {
        let rows = batch.num_rows();
        match self {
            Self::Compare { column, op, value } => compare(batch.column(*column), *op, value),
            Self::IsNull(column) => !&valid(batch.column(*column)),
            Self::NotNull(column) => valid(batch.column(*column)),
            Self::In { column, values } => {
                let array = batch.column(*column);
                let none = BooleanBuffer::new_unset(rows);
                values.iter().fold(none, |any, value| {
                    &any | &compare(array, CompareOp::Eq, value)
                })
            }
            Self::All(parts) => {
                let all = BooleanBuffer::new_set(rows);
                parts.iter().fold(all, |all, p| &all & &p.evaluate(batch))
            }
            Self::Any(parts) => {
                let none = BooleanBuffer::new_unset(rows);
                parts.iter().fold(none, |any, p| &any | &p.evaluate(batch))
            }
            Self::Not(part) => !&part.evaluate(batch),
        }
    }
}

fn value_of(column: &str, kind: ColumnType, literal: &Literal) -> Result<Value, TaskError> {
    let misfit = || {
        TaskError::task(format!(
            "column {column} is {} and can't be compared with {literal:?}",
            kind.name()
        ))
    };
    match (kind, literal) {
        (ColumnType::Int64, Literal::Int(v)) => Ok(Value::Int64(*v)),
        (ColumnType::Int64, Literal::Float(v)) => Ok(Value::Fraction(*v)),
        (ColumnType::Float64, Literal::Int(v)) => Ok(Value::Float64(*v as f64)),
        (ColumnType::Float64, Literal::Float(v)) => Ok(Value::Float64(*v)),
        (ColumnType::Utf8, Literal::Text(v)) => Ok(Value::Utf8(v.clone())),
        (ColumnType::Boolean, Literal::Boolean(v)) => Ok(Value::Boolean(*v)),
        (ColumnType::Timestamp, Literal::Text(v)) => {
            timestamp::parse(v).map(Value::Timestamp).ok_or_else(misfit)
        }
        _ => Err(misfit()),
    }
}

fn valid(array: &dyn Array) -> BooleanBuffer {
    match array.nulls() {
        Some(nulls) => nulls.inner().clone(),
        None => BooleanBuffer::new_set(array.len()),
    }
}

fn compare(array: &dyn Array, op: CompareOp, value: &Value) -> BooleanBuffer {
    let holds = match value {
        Value::Int64(v) => bits(array.as_primitive::<Int64Type>().values(), op, v),
        Value::Timestamp(v) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            bits(values, op, v)
        }
        Value::Float64(v) => bits(array.as_primitive::<Float64Type>().values(), op, v),
        Value::Fraction(v) => {
            let values = array.as_primitive::<Int64Type>().values();
            BooleanBuffer::collect_bool(values.len(), |row| with_fraction(values[row], op, *v))
        }
        Value::Utf8(v) => {
            let values = array.as_string::<i32>();
            BooleanBuffer::collect_bool(values.len(), |row| test(op, values.value(row), v.as_str()))
        }
        Value::Boolean(v) => {
            let values = array.as_boolean().values();
            BooleanBuffer::collect_bool(values.len(), |row| test(op, &values.value(row), v))
        }
    };
    match array.nulls() {
        Some(nulls) => &holds & nulls.inner(),
        None => holds,
    }
}

/// The operator is chosen outside of the loop, so that each loop is one the compiler vectorises.
fn bits<T: PartialOrd>(values: &[T], op: CompareOp, right: &T) -> BooleanBuffer {
    let len = values.len();
    match op {
        CompareOp::Eq => BooleanBuffer::collect_bool(len, |row| values[row] == *right),
        CompareOp::Ne => BooleanBuffer::collect_bool(len, |row| values[row] != *right),
        CompareOp::Lt => BooleanBuffer::collect_bool(len, |row| values[row] < *right),
        CompareOp::Le => BooleanBuffer::collect_bool(len, |row| values[row] <= *right),
        CompareOp::Gt => BooleanBuffer::collect_bool(len, |row| values[row] > *right),
        CompareOp::Ge => BooleanBuffer::collect_bool(len, |row| values[row] >= *right),
    }
}

fn test<T: PartialOrd + ?Sized>(op: CompareOp, left: &T, right: &T) -> bool {
    match op {
        CompareOp::Eq => left == right,
        CompareOp::Ne => left != right,
        CompareOp::Lt => left < right,
        CompareOp::Le => left <= right,
        CompareOp::Gt => left > right,
        CompareOp::Ge => left >= right,
    }
}

/// Compares exactly: beyond 2^53 a float can't stand for every int64.
fn with_fraction(left: i64, op: CompareOp, right: f64) -> bool {
    if right.is_nan() {
        return op == CompareOp::Ne;
    }
    let whole = right.floor();
    // 2^63 is a float; every int64 is below it.
    let order = if whole >= 9_223_372_036_854_775_808.0 {
        std::cmp::Ordering::Less
    } else if whole < -9_223_372_036_854_775_808.0 {
        std::cmp::Ordering::Greater
    } else if left == whole as i64 && right > whole {
        std::cmp::Ordering::Less
    } else {
        left.cmp(&(whole as i64))
    };
    match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::Ne => order.is_ne(),
        CompareOp::Lt => order.is_lt(),
        CompareOp::Le => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::Ge => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use serde_json::json;

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "i",
                Arc::new(Int64Array::from(vec![Some(1), Some(5), None, Some(9)])),
            ),
            (
                "f",
                Arc::new(Float64Array::from(vec![
                    Some(-0.0),
                    Some(f64::NAN),
                    None,
                    Some(2.5),
                ])),
            ),
            (
                "s",
                Arc::new(StringArray::from(vec![
                    Some("a"),
                    Some("b"),
                    None,
                    Some(""),
                ])),
            ),
            (
                "b",
                Arc::new(BooleanArray::from(vec![
                    Some(true),
                    Some(false),
                    None,
                    Some(true),
                ])),
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(0),
                    Some(1),
                    None,
                    Some(2_000_000),
                ])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
            .unwrap()
    }

    fn rows(predicate: serde_json::Value) -> Vec<usize> {
        let predicate: Predicate = serde_json::from_value(predicate).unwrap();
        let batch = batch();
        let compiled = Compiled::new(&predicate, &batch.schema()).unwrap();
        let bits = compiled.evaluate(&batch);
        assert_eq!(bits.len(), batch.num_rows());
        bits.set_indices().collect()
    }

    fn cmp(column: &str, op: &str, value: serde_json::Value) -> serde_json::Value {
        json!({ "compare": { "column": column, "op": op, "value": value } })
    }

    #[test]
    fn every_operator_on_every_type() {
        type Case = (
            &'static str,
            &'static str,
            serde_json::Value,
            &'static [usize],
        );
        let cases: Vec<Case> = vec![
            ("i", "=", json!(5), &[1]),
            ("i", "!=", json!(5), &[0, 3]),
            ("i", "<", json!(5), &[0]),
            ("i", "<=", json!(5), &[0, 1]),
            ("i", ">", json!(5), &[3]),
            ("i", ">=", json!(5), &[1, 3]),
            ("i", ">", json!(4.5), &[1, 3]),
            ("i", "<=", json!(5.5), &[0, 1]),
            ("i", "=", json!(5.5), &[]),
            ("i", "=", json!(5.0), &[1]),
            ("i", "<", json!(1e300), &[0, 1, 3]),
            ("i", ">", json!(-1e300), &[0, 1, 3]),
            ("f", "=", json!(0), &[0]),
            ("f", "!=", json!(0.0), &[1, 3]),
            ("f", "<", json!(100), &[0, 3]),
            ("s", "=", json!("a"), &[0]),
            ("s", "<", json!("b"), &[0, 3]),
            ("s", ">=", json!("b"), &[1]),
            ("b", "=", json!(true), &[0, 3]),
            ("b", "!=", json!(true), &[1]),
            ("t", ">", json!("1970-01-01T00:00:00Z"), &[1, 3]),
            ("t", "=", json!("1970-01-01T00:00:02Z"), &[3]),
        ];
        for (column, op, value, expected) in cases {
            let name = format!("{column} {op} {value}");
            assert_eq!(rows(cmp(column, op, value)), expected, "{name}");
        }
    }

    #[test]
    fn null_is_false_before_not() {
        let five = cmp("i", "=", json!(5));
        assert_eq!(rows(json!({ "not": five })), [0, 2, 3]);
        assert_eq!(rows(json!({ "is-null": { "column": "s" } })), [2]);
        assert_eq!(rows(json!({ "not-null": { "column": "s" } })), [0, 1, 3]);
        assert_eq!(
            rows(json!({ "in": { "column": "i", "values": [1, 9, 7] } })),
            [0, 3]
        );
        let not_in = json!({ "not": { "in": { "column": "i", "values": [1, 9] } } });
        assert_eq!(rows(not_in), [1, 2]);
    }

    #[test]
    fn parts_combine() {
        let (low, high) = (cmp("i", "<", json!(5)), cmp("i", ">", json!(5)));
        assert_eq!(rows(json!({ "any": [low, high] })), [0, 3]);
        assert_eq!(
            rows(json!({ "all": [low, cmp("b", "=", json!(true))] })),
            [0]
        );
        assert_eq!(rows(json!({ "all": [low, high] })), [] as [usize; 0]);
        assert_eq!(rows(json!({ "all": [] })), [0, 1, 2, 3]);
        assert_eq!(rows(json!({ "any": [] })), [] as [usize; 0]);
    }

    #[test]
    fn fractions_compare_exactly_at_the_limits() {
        let limit = 9_223_372_036_854_775_808.0;
        assert!(with_fraction(i64::MAX, CompareOp::Lt, limit));
        assert!(!with_fraction(i64::MAX, CompareOp::Eq, limit));
        assert!(with_fraction(i64::MIN, CompareOp::Eq, -limit));
        let odd = (1i64 << 53) + 1;
        assert!(with_fraction(odd, CompareOp::Gt, (1i64 << 53) as f64));
        assert!(with_fraction(0, CompareOp::Ne, f64::NAN));
    }

    #[test]
    fn misfits_are_named() {
        let schema = batch().schema();
        for (predicate, message) in [
            (cmp("x", "=", json!(1)), "there is no column x"),
            (
                cmp("s", "=", json!(1)),
                "column s is utf8 and can't be compared with Int(1)",
            ),
            (
                cmp("t", "=", json!("soon")),
                "column t is timestamp and can't be compared with Text(\"soon\")",
            ),
        ] {
            let predicate: Predicate = serde_json::from_value(predicate).unwrap();
            let error = Compiled::new(&predicate, &schema).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
