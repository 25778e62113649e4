//! The user's code in the engine: a source with positions, an operator with state by key, a sink;
//! over checkpoints, restores at another parallelism, errors and panics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use regent_protocol::v1::{InspectPaths, OwnVertex};
use regent_worker::own::{
    ColumnType, Columns, ListState, Next, Operator, Output, Registry, Result, Rows, Setup, Sink,
    Source, ValueState,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::graph::Job;
use crate::kit::{Kit, PATIENCE};

#[derive(Serialize, Deserialize)]
struct Range {
    next: i64,
    end: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Until {
    end: i64,
}

/// Numbers from 0, in ranges that any subtask may take over; slowly.
struct Numbers {
    ranges: ListState<Range>,
}

impl Numbers {
    fn new(setup: &mut Setup) -> Result<Self> {
        let ranges: ListState<Range> = setup.list("ranges")?;
        if !setup.is_restored() {
            let end = setup.config::<Until>()?.end;
            let (subtask, count) = (i64::from(setup.subtask()), i64::from(setup.parallelism()));
            for part in (0..8).filter(|part| part % count == subtask) {
                let (next, end) = (part * end / 8, (part + 1) * end / 8);
                ranges.items().push(Range { next, end });
            }
        }
        Ok(Self { ranges })
    }
}

impl Source for Numbers {
    fn schema(setup: &Setup) -> Result<Columns> {
        setup.config::<Until>()?;
        Ok(Columns::of([
            ("n", ColumnType::Int64),
            ("k", ColumnType::Int64),
        ]))
    }

    fn bounded(_: &Setup) -> Result<bool> {
        Ok(true)
    }

    async fn next(&mut self) -> Result<Next> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut ranges = self.ranges.items();
        let Some(range) = ranges.iter_mut().find(|range| range.next < range.end) else {
            return Ok(Next::End);
        };
        let values = range.next..range.end.min(range.next + 10);
        range.next = values.end;
        let keys = Int64Array::from_iter_values(values.clone().map(|n| n % 17));
        let values = Int64Array::from_iter_values(values);
        Ok(Next::Rows(vec![Arc::new(values), Arc::new(keys)]))
    }
}

/// Numbers the rows of each key; fails or panics at a number that is configured.
struct Nth {
    seen: ValueState<i64>,
    fail_at: Option<i64>,
    panic_at: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Trouble {
    fail_at: Option<i64>,
    panic_at: Option<i64>,
}

impl Nth {
    fn new(setup: &mut Setup) -> Result<Self> {
        let Trouble { fail_at, panic_at } = setup.config()?;
        Ok(Self {
            seen: setup.value("seen")?,
            fail_at,
            panic_at,
        })
    }
}

impl Operator for Nth {
    const VERSION: u32 = 3;

    fn schema(setup: &Setup) -> Result<Columns> {
        setup.config::<Trouble>()?;
        Ok(setup.input().and("nth", ColumnType::Int64))
    }

    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut seen = self.seen.of(rows);
        let mut nth = Vec::new();
        for row in 0..rows.num_rows() {
            let count = seen.at(row).get_or_insert_default();
            *count += 1;
            nth.push(*count);
            let n = rows.column(0).as_primitive::<Int64Type>().value(row);
            if self.fail_at == Some(n) {
                let cause = "lost.txt".parse::<i64>().unwrap_err();
                return Err(format!("row {n} is not wanted: {cause}").into());
            }
            assert!(self.panic_at != Some(n), "row {n} is impossible");
        }
        out.emit(rows.and(Int64Array::from(nth)))
    }
}

/// Puts rows into a table by their number: again is no harm.
struct Table(Arc<Mutex<BTreeMap<i64, i64>>>);

impl Sink for Table {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let column = |at| rows.column(at).as_primitive::<Int64Type>().values();
        let mut table = self.0.lock().unwrap();
        table.extend(column(0).iter().copied().zip(column(2).iter().copied()));
        Ok(())
    }
}

type Shared = Arc<Mutex<BTreeMap<i64, i64>>>;

fn registry() -> (Registry, Shared) {
    let table = Shared::default();
    let mut registry = Registry::default();
    registry.source("numbers", Numbers::new);
    registry.operator("nth", Nth::new);
    let shared = table.clone();
    registry.sink("table", move |_: &mut Setup| Ok(Table(shared.clone())));
    assert!(registry.problems().is_empty());
    (registry, table)
}

const NUMBERS: [(&str, &str); 2] = [("n", "int64"), ("k", "int64")];
const NUMBERED: [(&str, &str); 3] = [("n", "int64"), ("k", "int64"), ("nth", "int64")];

fn job(parallelism: u32, end: i64, trouble: serde_json::Value) -> Job {
    let own = |version: u32, with: serde_json::Value| json!({ "version": version, "with": with });
    Job::new()
        .vertex(
            "source",
            ("numbers", "numbers"),
            parallelism,
            own(1, json!({ "end": end })),
            &NUMBERS,
        )
        .vertex(
            "operator",
            ("nth", "nth"),
            parallelism,
            own(3, trouble),
            &NUMBERED,
        )
        .input("numbers", "hash", &["k"])
        .vertex("sink", ("out", "table"), 1, own(1, json!({})), &NUMBERED)
        .input("nth", "rebalance", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn state_survives_restores_at_other_parallelisms() {
    let (registry, table) = registry();
    let kit = Kit::with(2, registry).await;
    let mut restore = None;
    for (token, parallelism) in [(5, 2), (6, 3), (7, 1)] {
        let job = job(parallelism, 4000, json!({}));
        let attempt = kit.deploy(&job, token, restore.take());
        kit.until_running(&attempt).await;
        kit.until_rows("nth", 200).await;
        let completed = kit.checkpoint(&job, &attempt, token).await;
        kit.until_rows("nth", 300).await;
        kit.cancel(&attempt).await;
        for engine in kit.engines() {
            engine.forget(std::slice::from_ref(&attempt));
        }
        restore = Some(completed.restore);
    }
    let job = job(4, 4000, json!({}));
    let attempt = kit.deploy(&job, 8, restore);
    kit.finish(&job, &attempt, 9).await;
    let table = table.lock().unwrap();
    assert!(table.keys().copied().eq(0..4000), "{} rows", table.len());
    let mut numbers: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (n, nth) in table.iter() {
        numbers.entry(n % 17).or_default().push(*nth);
    }
    for (key, mut nth) in numbers {
        nth.sort_unstable();
        let expected: Vec<i64> = (1..=nth.len() as i64).collect();
        assert_eq!(nth, expected, "key {key}: every row is numbered once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_panics_fail_the_task_and_not_the_worker() {
    let (registry, _) = registry();
    let kit = Kit::with(1, registry).await;
    for (token, trouble, cause) in [
        (
            5,
            json!({ "fail_at": 57 }),
            "row 57 is not wanted: invalid digit found in string",
        ),
        (6, json!({ "panic_at": 57 }), "panic: row 57 is impossible"),
    ] {
        let job = job(1, 100, trouble);
        let attempt = kit.deploy(&job, token, None);
        let failure = kit.failure(&attempt).await;
        assert_eq!(failure.cause, cause);
        assert_eq!(failure.failure_kind, "task");
        assert_eq!(failure.task.unwrap().to_string(), "nth/0");
        kit.cancel(&attempt).await;
    }
    let job = job(1, 100, json!({}));
    let attempt = kit.deploy(&job, 7, None);
    kit.finish(&job, &attempt, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_refused() {
    let (registry, _) = registry();
    let kit = Kit::with(1, registry).await;
    let mut job = job(1, 100, json!({}));
    job.vertices[1].config_json = json!({ "version": 2, "with": {} }).to_string();
    let attempt = kit.deploy(&job, 5, None);
    let failure = kit.failure(&attempt).await;
    let expected = "the job runs operator nth 2, and this worker has 3";
    assert_eq!(failure.cause, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_asked_for_its_schema() {
    let (registry, _) = registry();
    let kit = Kit::with(1, registry).await;
    let input = job(1, 1, json!({})).vertices[0].columns.clone();
    let vertex = |kind: &str, name: &str, version, with: serde_json::Value| OwnVertex {
        id: format!("the-{name}"),
        kind: kind.into(),
        name: name.into(),
        version,
        parallelism: 2,
        with_json: with.to_string(),
        input: input.clone(),
        key: vec!["k".into()],
    };
    let order = InspectPaths {
        request: 7,
        vertices: vec![],
        describe: vec![
            vertex("source", "numbers", 1, json!({ "end": 5 })),
            vertex("operator", "nth", 3, json!({})),
            vertex("operator", "nth", 3, json!({ "fail": 5 })),
            vertex("operator", "nth", 2, json!({})),
            vertex("sink", "table", 1, json!({})),
        ],
    };
    let asked = kit.engine(0).inspect(order);
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap();
    let [source, nth, wrong, older, sink] = answer.descriptions.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!((source.error.as_str(), source.bounded), ("", true));
    assert_eq!(source.columns, input);
    assert_eq!(nth.columns.len(), 3);
    assert_eq!(nth.columns[2].name, "nth");
    assert!(
        wrong.error.starts_with("`with`: unknown field `fail`"),
        "{wrong:?}"
    );
    assert_eq!(older.error, "this worker has no operator nth 2");
    assert_eq!((sink.error.as_str(), sink.zombie_safe), ("", false));
    assert_eq!(sink.columns, input);
}
