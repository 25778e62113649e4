//! Operators of one's own through the harness: state, timers, watermarks, restores at another
//! parallelism, and what is said when something is wrong.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::testing::{Harness, Trial, column, lines, message, operator};
use super::*;

/// Emits each row with how many rows of its key came so far; after `idle` microseconds without a
/// row of a key it forgets the key and tells its count. At the end it tells all counts.
struct Count {
    seen: ValueState<Seen>,
    by_value: MapState<i64, u64>,
    idle: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    rows: i64,
    last: f64,
    timer: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    idle: i64,
}

impl Count {
    fn new(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            seen: setup.value("seen")?,
            by_value: setup.map("by-value")?,
            idle: setup.config::<Config>()?.idle,
        })
    }
}

impl Operator for Count {
    fn schema(setup: &Setup) -> Result<Columns> {
        setup.config::<Config>()?;
        setup.input().type_of("at")?;
        Ok(setup.input().only(&["k"])?.and("rows", ColumnType::Int64))
    }

    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let at = rows.column(1).as_primitive::<Int64Type>();
        let mut seen = self.seen.of(rows);
        let mut maps = self.by_value.of(rows);
        let mut counts = Vec::new();
        for row in 0..rows.num_rows() {
            *maps.at(row).entry(at.value(row)).or_default() += 1;
            let seen = seen.at(row).get_or_insert_default();
            seen.rows += 1;
            seen.last = f64::NAN;
            counts.push(seen.rows);
            if self.idle > 0 {
                out.cancel_timer(rows, row, Clock::Event, seen.timer);
                seen.timer = at.value(row) + self.idle;
                out.set_timer(rows, row, Clock::Event, seen.timer);
            }
        }
        let keys = rows.column(0).clone();
        out.emit(vec![keys, column_of(counts)])
    }

    fn on_timers(&mut self, due: &Due<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut seen = self.seen.of(due);
        let mut maps = self.by_value.of(due);
        let rows = 0..due.num_rows();
        let counts = rows.map(|row| {
            maps.at(row).clear();
            seen.at(row).take().map_or(0, |seen| -seen.rows)
        });
        out.emit(vec![due.column(0).clone(), column_of(counts.collect())])
    }
}

fn column_of(values: Vec<i64>) -> arrow::array::ArrayRef {
    std::sync::Arc::new(Int64Array::from(values))
}

fn trial() -> Trial {
    use ColumnType::{Int64, Utf8};
    operator(Count::new)
        .input([("k", Utf8), ("at", Int64)])
        .key(["k"])
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = lines(batches).unwrap();
    lines.sort();
    lines
}

fn push<const N: usize>(harness: &mut Harness, keys: [&str; N], at: [i64; N]) -> Vec<String> {
    sorted(&harness.push(vec![column(keys), column(at)]).unwrap())
}

#[test]
fn state_belongs_to_its_key() {
    let mut harness = trial().parallelism(3).start().unwrap();
    let out = push(&mut harness, ["a", "b", "a"], [1, 2, 3]);
    assert_eq!(out, ["a,1", "a,2", "b,1"]);
    assert_eq!(push(&mut harness, ["a", "c"], [1, 1]), ["a,3", "c,1"]);
}

#[test]
fn timers_fire_by_the_watermark_once_and_in_order() {
    let with = json!({ "idle": 10 });
    let mut harness = trial().config(with).start().unwrap();
    push(&mut harness, ["a", "b", "a"], [1, 2, 5]);
    assert!(harness.watermark(11).unwrap().is_empty());
    let out = harness.watermark(15).unwrap();
    assert_eq!(out.len(), 1, "what timers emit is put together");
    assert_eq!(lines(&out).unwrap(), ["b,-1", "a,-2"]);
    assert!(harness.watermark(100).unwrap().is_empty());
    push(&mut harness, ["a"], [1000]);
    assert_eq!(sorted(&harness.end().unwrap()), ["a,-1"]);
    assert_eq!(
        harness.snapshot().unwrap().bytes(),
        0,
        "nothing is emitted again"
    );
}

#[test]
fn keys_without_state_are_let_go_of() {
    let with = json!({ "idle": 1 });
    let mut harness = trial().config(with).start().unwrap();
    let keys: Vec<String> = (0..20_000).map(|n| format!("key-{n}")).collect();
    for some in keys.chunks(1000) {
        let names = arrow::array::StringArray::from_iter_values(some);
        let at = column_of(vec![1; some.len()]);
        harness.push(vec![std::sync::Arc::new(names), at]).unwrap();
        harness.watermark(i64::MAX - 1).unwrap();
    }
    assert_eq!(harness.snapshot().unwrap().bytes(), 0);
}

/// A timer that sets itself again in `every` microseconds, by the clock that is configured.
struct Beat {
    clock: Clock,
    every: i64,
}

impl Operator for Beat {
    fn schema(_: &Setup) -> Result<Columns> {
        Ok(Columns::of([("at", ColumnType::Int64)]))
    }

    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        (0..rows.num_rows()).for_each(|row| out.set_timer(rows, row, self.clock, 10));
        Ok(())
    }

    fn on_timers(&mut self, due: &Due<'_>, out: &mut Output<'_>) -> Result<()> {
        assert_eq!(due.clock(), self.clock);
        for row in 0..due.num_rows() {
            out.set_timer(due, row, self.clock, due.at() + self.every);
        }
        out.emit(vec![column_of(vec![due.at(); due.num_rows()])])
    }
}

fn beat(clock: Clock, every: i64) -> Harness {
    let trial = operator(move |_| Ok(Beat { clock, every }));
    let trial = trial.input([("k", ColumnType::Utf8)]).key(["k"]);
    let mut harness = trial.start().unwrap();
    assert!(harness.push(vec![column(["a", "b"])]).unwrap().is_empty());
    harness
}

#[test]
fn a_timer_that_repeats_catches_up_and_does_not_hold_up_the_end() {
    let mut harness = beat(Clock::Event, 10);
    let out = sorted(&harness.watermark(35).unwrap());
    assert_eq!(out, ["10", "10", "20", "20", "30", "30"]);
    assert_eq!(sorted(&harness.end().unwrap()), ["40", "40"]);
    // One that would be due at once is due with the next watermark.
    let mut harness = beat(Clock::Event, 0);
    for watermark in [10, 11] {
        assert_eq!(sorted(&harness.watermark(watermark).unwrap()), ["10", "10"]);
    }
}

#[test]
fn processing_timers_follow_the_clock_and_survive_a_restore() {
    let mut harness = beat(Clock::Processing, 10);
    assert!(harness.watermark(1000).unwrap().is_empty());
    assert_eq!(sorted(&harness.clock(10).unwrap()), ["10", "10"]);
    let snapshot = harness.snapshot().unwrap();
    let trial = operator(|_| {
        Ok(Beat {
            clock: Clock::Processing,
            every: 1000,
        })
    });
    let trial = trial.input([("k", ColumnType::Utf8)]).key(["k"]);
    let mut later = trial.parallelism(2).restore(&snapshot).start().unwrap();
    assert_eq!(sorted(&later.clock(500).unwrap()), ["20", "20"]);
}

/// Keeps what comes in a list, and emits it at the end.
struct Hold {
    held: ListState<i64>,
}

impl Operator for Hold {
    const VERSION: u32 = 2;

    fn process(&mut self, rows: &Rows<'_>, _: &mut Output<'_>) -> Result<()> {
        let values = rows.column(0).as_primitive::<Int64Type>().values();
        self.held.items().extend(values);
        Ok(())
    }

    fn end(&mut self, out: &mut Output<'_>) -> Result<()> {
        let held = self.held.items().clone();
        out.emit(vec![column_of(held)])
    }
}

fn hold(name: &'static str) -> Trial {
    let new = move |setup: &mut Setup| {
        Ok(Hold {
            held: setup.list(name)?,
        })
    };
    operator(new).input([("n", ColumnType::Int64)])
}

#[test]
fn lists_are_dealt_out_to_whatever_number_of_subtasks() {
    let mut values: Vec<String> = (0..7).map(|n| n.to_string()).collect();
    let mut first = hold("held").start().unwrap();
    first.push(vec![column_of((0..7).collect())]).unwrap();
    let mut snapshot = first.snapshot().unwrap();
    for parallelism in [3, 2, 5, 1] {
        let trial = hold("held").parallelism(parallelism).restore(&snapshot);
        snapshot = trial.start().unwrap().snapshot().unwrap();
    }
    let mut last = hold("held")
        .parallelism(2)
        .restore(&snapshot)
        .start()
        .unwrap();
    values.sort();
    assert_eq!(sorted(&last.end().unwrap()), values);
    assert_eq!(last.snapshot().unwrap().bytes(), 0);
}

#[test]
fn state_that_nobody_declares_is_not_lost_silently() {
    let mut first = hold("held").start().unwrap();
    first.push(vec![column([1])]).unwrap();
    let snapshot = first.snapshot().unwrap();
    let refused = hold("helt").restore(&snapshot).start().unwrap_err();
    assert_eq!(
        message(&refused),
        "state held was restored but isn't declared; to drop it raise VERSION"
    );
}

#[test]
fn mistakes_are_told_in_words() {
    let refused = |trial: Trial| message(&trial.start().unwrap_err());
    use ColumnType::{Int64, Utf8};
    let unkeyed = operator(Count::new).input([("k", Utf8), ("at", Int64)]);
    assert_eq!(
        refused(unkeyed),
        "operator tested keeps state by key: its input needs `partition: hash, by: [..]`"
    );
    let misspelt = refused(trial().config(json!({ "idel": 1 })));
    assert!(
        misspelt.starts_with("`with`: unknown field `idel`"),
        "{misspelt}"
    );
    let missing = operator(Count::new).input([("k", Utf8)]).key(["k"]);
    assert_eq!(
        refused(missing),
        "there is no column at; the columns are k: utf8"
    );
    let twice = operator(|setup: &mut Setup| {
        let _: ValueState<i64> = setup.value("seen")?;
        Count::new(setup)
    });
    let twice = twice.input([("k", Utf8), ("at", Int64)]).key(["k"]);
    assert_eq!(refused(twice), "state seen is declared twice");
}

/// Emits what its schema doesn't say.
struct Wrong;

impl Operator for Wrong {
    fn process(&mut self, _: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        out.emit(vec![column(["text"])])
    }
}

#[test]
fn what_is_emitted_must_be_of_the_schema() {
    let trial = operator(|_| Ok(Wrong)).input([("n", ColumnType::Int64)]);
    let error = trial.start().unwrap().push(vec![column([1])]).unwrap_err();
    let text = message(&error);
    assert!(
        text.starts_with("what is emitted isn't [n: int64], as its schema says: "),
        "{text}"
    );
}

#[test]
fn names_are_checked() {
    let mut registry = Registry::default();
    registry.operator("count", Count::new);
    registry.operator("count", Count::new);
    registry.operator("Count", Count::new);
    registry.operator("filter", Count::new);
    assert_eq!(
        registry.problems(),
        [
            "operator \"count\": the name is registered twice",
            "operator \"Count\": a name is 1 to 64 of a-z, 0-9 and `-`",
            "operator \"filter\": this name is built in; take another",
        ]
    );
}

proptest! {
    /// Wherever it is cut and however many subtasks there are, no key's state is lost or doubled.
    #[test]
    fn rescaling_is_exact(
        keys in proptest::collection::vec(0u8..30, 1..200),
        cut in 0usize..200,
        before in 1u32..9,
        after in 1u32..9,
    ) {
        let cut = cut.min(keys.len());
        let names: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
        let feed = |harness: &mut Harness, names: &[String]| -> Vec<String> {
            let at = column_of(vec![7; names.len()]);
            let names = arrow::array::StringArray::from_iter_values(names);
            lines(&harness.push(vec![std::sync::Arc::new(names), at]).unwrap()).unwrap()
        };
        let mut first = trial().parallelism(before).start().unwrap();
        let mut out = feed(&mut first, &names[..cut]);
        let snapshot = first.snapshot().unwrap();
        let mut second = trial().parallelism(after).restore(&snapshot).start().unwrap();
        out.extend(feed(&mut second, &names[cut..]));
        out.sort();
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let number = |name| {
            let count = counts.entry(name).or_default();
            *count += 1;
            format!("{name},{count}")
        };
        let mut expected: Vec<String> = names.iter().map(String::as_str).map(number).collect();
        expected.sort();
        prop_assert_eq!(out, expected);
    }
}
