use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type, SchemaRef};
use proptest::prelude::*;
use regent_protocol::spec::{ComputeSpec, Function};

use super::*;
use crate::engine::keys::{group_of, groups_of, subtask_of};

fn compute(name: &str, function: Function, column: Option<&str>) -> ComputeSpec {
    ComputeSpec {
        name: name.into(),
        function,
        column: column.map(Into::into),
    }
}

fn spec(emit: Emit) -> AggregateSpec {
    AggregateSpec {
        group_by: vec!["k".into()],
        emit,
        compute: vec![
            compute("rows", Function::Count, None),
            compute("values", Function::Count, Some("v")),
            compute("sum", Function::Sum, Some("v")),
            compute("least", Function::Min, Some("v")),
            compute("most", Function::Max, Some("v")),
            compute("mean", Function::Avg, Some("v")),
        ],
        window: None,
    }
}

fn batch(rows: &[(Option<&str>, Option<i64>)]) -> RecordBatch {
    let keys: StringArray = rows.iter().map(|(k, _)| *k).collect();
    let values: Int64Array = rows.iter().map(|(_, v)| *v).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(keys) as ArrayRef, true),
        ("v", Arc::new(values) as ArrayRef, true),
    ])
    .unwrap()
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| {
                let value = arrow::util::display::array_value_to_string(column, row).unwrap();
                if value.is_empty() {
                    "-".to_owned()
                } else {
                    value
                }
            });
            lines.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

fn finals(aggregate: &mut Aggregate) -> Vec<String> {
    let mut out = Vec::new();
    while aggregate.end(&mut out).unwrap() {}
    let mut lines = text(&out);
    lines.sort();
    lines
}

fn schema() -> SchemaRef {
    batch(&[]).schema()
}

#[test]
fn final_rows_skip_nulls_but_count_rows() {
    let mut aggregate = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
    let mut out = Vec::new();
    let (a, b) = (Some("a"), Some("b"));
    let rows = [
        (a, Some(3)),
        (b, None),
        (None, Some(7)),
        (a, None),
        (a, Some(-1)),
    ];
    aggregate.process(batch(&rows), &mut out).unwrap();
    assert!(out.is_empty());
    assert_eq!(
        finals(&mut aggregate),
        ["- 1 1 7 7 7 7.0", "a 3 2 2 -1 3 1.0", "b 1 0 - - - -"]
    );
}

#[test]
fn changes_are_the_new_row_after_each_row() {
    let mut aggregate = Aggregate::new(&spec(Emit::Changes), &schema()).unwrap();
    let mut out = Vec::new();
    let rows = [
        (Some("a"), Some(3)),
        (Some("b"), Some(1)),
        (Some("a"), Some(5)),
    ];
    aggregate.process(batch(&rows), &mut out).unwrap();
    assert_eq!(
        text(&out),
        ["a 1 1 3 3 3 3.0", "b 1 1 1 1 1 1.0", "a 2 2 8 3 5 4.0"]
    );
    out.clear();
    assert!(!aggregate.end(&mut out).unwrap());
    assert!(out.is_empty());
}

#[test]
fn overflow_names_the_column() {
    let mut aggregate = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
    let rows = [(Some("a"), Some(i64::MAX)), (Some("a"), Some(1))];
    let error = aggregate
        .process(batch(&rows), &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sum(v) went beyond the range of int64 while adding 1"
    );
}

#[test]
fn many_keys_are_emitted_in_bounded_batches() {
    let keys: Vec<String> = (0..20_000).map(|n| format!("k{n}")).collect();
    let rows: Vec<_> = keys.iter().map(|k| (Some(k.as_str()), Some(1))).collect();
    let mut aggregate = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
    aggregate.process(batch(&rows), &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    while aggregate.end(&mut out).unwrap() {}
    assert_eq!(out.len(), 3);
    assert_eq!(text(&out).len(), 20_000);
    assert_eq!(aggregate.snapshot().unwrap(), OperatorState::default());
}

#[test]
fn text_float_and_timestamp_extremes() {
    let spec = AggregateSpec {
        group_by: vec!["f".into(), "t".into()],
        emit: Emit::Final,
        compute: vec![
            compute("a", Function::Min, Some("s")),
            compute("b", Function::Max, Some("s")),
            compute("c", Function::Max, Some("f")),
            compute("d", Function::Min, Some("t")),
            compute("e", Function::Avg, Some("f")),
            compute("g", Function::Sum, Some("f")),
        ],
        window: None,
    };
    let batch = RecordBatch::try_from_iter([
        (
            "s",
            Arc::new(StringArray::from(vec!["b", "a", "c"])) as ArrayRef,
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![1.5, 1.5, 1.5])) as ArrayRef,
        ),
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from(vec![7, 7, 7])) as ArrayRef,
        ),
    ])
    .unwrap();
    let mut aggregate = Aggregate::new(&spec, &batch.schema()).unwrap();
    aggregate.process(batch.clone(), &mut Vec::new()).unwrap();
    let state = aggregate.snapshot().unwrap();
    let mut restored = Aggregate::new(&spec, &batch.schema()).unwrap();
    restored.restore(&state.key_groups).unwrap();
    let mut out = Vec::new();
    while restored.end(&mut out).unwrap() {}
    assert_eq!(out[0].column(2).as_string::<i32>().value(0), "a");
    assert_eq!(out[0].column(3).as_string::<i32>().value(0), "c");
    assert_eq!(out[0].column(4).as_primitive::<Float64Type>().value(0), 1.5);
    assert_eq!(out[0].column(7).as_primitive::<Float64Type>().value(0), 4.5);
    assert_eq!(out[0].num_columns(), 8);
}

#[test]
fn no_group_by_is_one_key() {
    let spec = AggregateSpec {
        group_by: vec![],
        emit: Emit::Final,
        compute: vec![compute("rows", Function::Count, None)],
        window: None,
    };
    let mut aggregate = Aggregate::new(&spec, &schema()).unwrap();
    let rows = [(Some("a"), None), (None, None)];
    aggregate.process(batch(&rows), &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    aggregate.end(&mut out).unwrap();
    assert_eq!(out[0].column(0).as_primitive::<Int64Type>().values(), &[2]);
}

#[test]
fn state_of_another_meaning_is_refused() {
    let mut aggregate = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
    aggregate
        .process(batch(&[(Some("a"), Some(1))]), &mut Vec::new())
        .unwrap();
    let state = aggregate.snapshot().unwrap().key_groups;
    let mut other = spec(Emit::Final);
    other.compute.truncate(1);
    let error = Aggregate::new(&other, &schema())
        .unwrap()
        .restore(&state)
        .unwrap_err();
    assert_eq!(error.kind(), "restore");
    assert!(
        error
            .to_string()
            .contains("this job computes [by k:utf8 count(*)]")
    );
    let damaged = KeyGroupState {
        group: state[0].group,
        entries: state[0].entries.slice(..state[0].entries.len() - 1),
    };
    let mut again = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
    assert!(again.restore(&[damaged]).is_err());
}

proptest! {
    /// Rows cut anywhere by a snapshot, restored at any parallelism: the same finals.
    #[test]
    fn rescaling_keeps_every_key(
        rows in proptest::collection::vec(
            (proptest::option::of("[a-e]{0,2}"), proptest::option::of(-100i64..100)), 0..80),
        cut in any::<prop::sample::Index>(),
        parallelism in 1u32..10,
    ) {
        let rows: Vec<_> = rows.iter().map(|(k, v)| (k.as_deref(), *v)).collect();
        let mut whole = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
        whole.process(batch(&rows), &mut Vec::new()).unwrap();

        let cut = cut.index(rows.len() + 1);
        let mut first = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
        first.process(batch(&rows[..cut]), &mut Vec::new()).unwrap();
        let state = first.snapshot().unwrap().key_groups;
        let mut lines = Vec::new();
        for subtask in 0..parallelism {
            let mine: Vec<_> = state.iter()
                .filter(|g| groups_of(subtask, parallelism).contains(&g.group))
                .cloned().collect();
            let mut part = Aggregate::new(&spec(Emit::Final), &schema()).unwrap();
            part.restore(&mine).unwrap();
            let mut keys = Keys::default();
            let rest = batch(&rows[cut..]);
            keys.encode(&rest, &[0]).unwrap();
            let of_part: Vec<_> = rows[cut..].iter().zip(keys.hashes())
                .filter(|(_, h)| subtask_of(group_of(**h), parallelism) == subtask)
                .map(|(row, _)| *row).collect();
            part.process(batch(&of_part), &mut Vec::new()).unwrap();
            lines.extend(finals(&mut part));
        }
        lines.sort();
        prop_assert_eq!(lines, finals(&mut whole));
    }
}
