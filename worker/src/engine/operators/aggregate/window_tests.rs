use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use proptest::prelude::*;
use regent_protocol::spec::{AggregateSpec, ComputeSpec, Emit, Function, WindowSpec};
use regent_protocol::v1::KeyGroupState;

use super::window::WindowedAggregate;
use crate::engine::keys::{Keys, group_of, groups_of, subtask_of};
use crate::engine::operators::{Operator, OperatorStart};

/// Windows of 10 ms; times in the tests are milliseconds.
const LENGTH_MS: i64 = 10;

fn spec(lateness_ms: u64, emit: Emit) -> AggregateSpec {
    AggregateSpec {
        group_by: vec!["k".into()],
        emit,
        compute: vec![ComputeSpec {
            name: "rows".into(),
            function: Function::Count,
            column: None,
        }],
        window: Some(WindowSpec {
            tumbling_ms: LENGTH_MS as u64,
            time: "at".into(),
            lateness_ms,
        }),
    }
}

type Row = (i64, Option<i64>);

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|(k, _)| *k).collect::<Int64Array>());
    let times = rows.iter().map(|(_, at)| at.map(|at| at * 1_000));
    let times: ArrayRef = Arc::new(times.collect::<TimestampMicrosecondArray>());
    RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("at", times, true)]).unwrap()
}

fn start(subtask: u32, parallelism: u32, states: &[super::OperatorState]) -> OperatorStart {
    let mine = groups_of(subtask, parallelism);
    let groups = states.iter().flat_map(|s| s.key_groups.clone());
    OperatorStart {
        subtask,
        parallelism,
        groups: groups
            .filter(|g: &KeyGroupState| mine.contains(&g.group))
            .collect(),
        items: states
            .iter()
            .flat_map(|s| s.items.clone())
            .collect::<Vec<Bytes>>(),
    }
}

fn windowed(spec: &AggregateSpec, start: &OperatorStart) -> WindowedAggregate {
    WindowedAggregate::new(spec, &batch(&[]).schema(), start).unwrap()
}

fn alone(spec: &AggregateSpec) -> WindowedAggregate {
    windowed(spec, &start(0, 1, &[]))
}

/// Emitted rows as (window's begin in ms, key, count), sorted.
fn rows(batches: &[RecordBatch]) -> Vec<(i64, i64, i64)> {
    let mut rows = Vec::new();
    for batch in batches {
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let time = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let (begin, end) = (time(2).value(row) / 1_000, time(3).value(row) / 1_000);
            assert_eq!(end - begin, LENGTH_MS);
            rows.push((begin, number(0).value(row), number(1).value(row)));
        }
    }
    rows.sort_unstable();
    rows
}

fn advance(operator: &mut WindowedAggregate, millis: i64) -> Vec<(i64, i64, i64)> {
    let mut out = Vec::new();
    while operator.watermark(millis * 1_000, &mut out).unwrap() {}
    rows(&out)
}

fn end(operator: &mut WindowedAggregate) -> Vec<(i64, i64, i64)> {
    let mut out = Vec::new();
    while operator.end(&mut out).unwrap() {}
    rows(&out)
}

fn process(operator: &mut WindowedAggregate, rows: &[Row]) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    operator.process(batch(rows), &mut out).unwrap();
    out
}

#[test]
fn a_window_is_emitted_when_its_lateness_is_over_and_never_again() {
    let mut operator = alone(&spec(5, Emit::Final));
    let out = process(
        &mut operator,
        &[(1, Some(9)), (2, Some(12)), (1, Some(-1)), (1, Some(0))],
    );
    assert!(out.is_empty());
    assert_eq!(advance(&mut operator, 4), []);
    assert_eq!(advance(&mut operator, 5), [(-10, 1, 1)]);
    process(&mut operator, &[(1, Some(3)), (1, Some(-3)), (3, None)]);
    assert_eq!(operator.late(), 2, "one too late, one without a time");
    assert_eq!(advance(&mut operator, 14), []);
    assert_eq!(advance(&mut operator, 15), [(0, 1, 3)]);
    assert_eq!(end(&mut operator), [(10, 2, 1)]);
    assert!(operator.snapshot().unwrap().key_groups.is_empty());
}

#[test]
fn changes_are_emitted_at_once_and_nothing_at_the_end() {
    let mut operator = alone(&spec(0, Emit::Changes));
    let out = process(&mut operator, &[(1, Some(12)), (1, Some(3)), (1, Some(4))]);
    assert_eq!(rows(&out), [(0, 1, 1), (0, 1, 2), (10, 1, 1)]);
    assert_eq!(advance(&mut operator, 10), []);
    assert!(process(&mut operator, &[(1, Some(9))]).is_empty());
    assert_eq!(operator.late(), 1);
    assert_eq!(end(&mut operator), []);
}

#[test]
fn a_closed_window_stays_closed_over_a_restore() {
    let spec = spec(0, Emit::Final);
    let mut before = alone(&spec);
    process(&mut before, &[(1, Some(5)), (1, Some(15))]);
    assert_eq!(advance(&mut before, 10), [(0, 1, 1)]);
    let state = before.snapshot().unwrap();
    let mut after = windowed(&spec, &start(0, 1, &[state]));
    process(&mut after, &[(1, Some(6)), (1, Some(16))]);
    assert_eq!(after.late(), 1);
    assert_eq!(end(&mut after), [(10, 1, 2)]);
}

#[test]
fn state_of_other_windows_is_refused() {
    let mut before = alone(&spec(0, Emit::Final));
    process(&mut before, &[(1, Some(5))]);
    let state = before.snapshot().unwrap();
    let mut other = spec(0, Emit::Final);
    other.window.as_mut().unwrap().tumbling_ms = 20;
    let schema = batch(&[]).schema();
    let error = WindowedAggregate::new(&other, &schema, &start(0, 1, &[state]))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("in windows of 20 ms by at"),
        "{error}"
    );
}

#[test]
fn many_windows_come_in_bounded_batches() {
    let mut operator = alone(&spec(0, Emit::Final));
    for chunk in 0..10 {
        let rows: Vec<Row> = (0..3_000)
            .map(|n| (n, Some((chunk * 3_000 + n) % 500)))
            .collect();
        process(&mut operator, &rows);
    }
    let mut out = Vec::new();
    while operator.end(&mut out).unwrap() {}
    assert!(out.iter().all(|batch| batch.num_rows() <= 8192));
    assert!(out.len() <= 5, "small windows share batches: {}", out.len());
    let total: i64 = rows(&out).iter().map(|(_, _, count)| count).sum();
    assert_eq!(total, 30_000);
}

fn subtask(key: i64, parallelism: u32) -> usize {
    let mut keys = Keys::default();
    keys.encode(&batch(&[(key, Some(0))]), &[0]).unwrap();
    subtask_of(group_of(keys.hashes()[0]), parallelism) as usize
}

proptest! {
    /// Rows within the lateness, in any order, over any parallelisms and restores: each window once,
    /// with all its rows.
    #[test]
    fn equals_a_plain_computation(
        steps in proptest::collection::vec(
            (proptest::collection::vec((0i64..6, 0i64..30), 0..20), 1u32..9, any::<bool>()), 1..8),
    ) {
        let spec = spec(30, Emit::Final);
        let mut expected: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        let mut found = Vec::new();
        let mut parallelism = 1;
        let mut operators = vec![alone(&spec)];
        for (number, (step, next, restore)) in steps.into_iter().enumerate() {
            // Times lie at most 30 ms behind the watermark.
            let now = number as i64 * 17;
            let step = step.iter().map(|(k, back)| (*k, now - back));
            for (key, at) in step {
                *expected.entry((at.div_euclid(LENGTH_MS) * LENGTH_MS, key)).or_default() += 1;
                process(&mut operators[subtask(key, parallelism)], &[(key, Some(at))]);
            }
            for operator in &mut operators {
                found.extend(advance(operator, now));
            }
            if restore {
                let states: Vec<_> = operators.iter_mut().map(|o| o.snapshot().unwrap()).collect();
                parallelism = next;
                operators = (0..next).map(|s| windowed(&spec, &start(s, next, &states))).collect();
            }
        }
        for operator in &mut operators {
            prop_assert_eq!(operator.late(), 0);
            found.extend(end(operator));
        }
        found.sort_unstable();
        let expected: Vec<(i64, i64, i64)> =
            expected.into_iter().map(|((begin, key), count)| (begin, key, count)).collect();
        prop_assert_eq!(found, expected);
    }
}
