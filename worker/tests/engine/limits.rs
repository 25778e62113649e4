//! What one slot may take: memory, and time to end.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use regent_protocol::v1::{TaskMetrics, TaskPhase};
use regent_worker::engine::{Engine, EngineEvent};
use regent_worker::own::{MapState, Operator, Output, Registry, Result, Rows, Setup};
use serde_json::json;

use crate::graph::Job;
use crate::kit::{Kit, PATIENCE};

const NUMBERS: [(&str, &str); 2] = [("value", "int64"), ("at", "timestamp")];

/// Numbers without end into an operator that keeps something for each of them.
fn keyed(operator: &str, config: serde_json::Value, columns: &[(&str, &str)]) -> Job {
    Job::new()
        .vertex(
            "source",
            ("numbers", "sequence"),
            1,
            json!({ "start": 0 }),
            &NUMBERS,
        )
        .vertex("operator", ("by-value", operator), 1, config, columns)
        .input("numbers", "hash", &["value"])
        .vertex("sink", ("out", "blackhole"), 1, json!({}), columns)
        .input("by-value", "forward", &[])
}

fn counts() -> Job {
    let compute = json!([{ "name": "rows", "function": "count", "column": null }]);
    let config = json!({ "group-by": ["value"], "compute": compute, "emit": "changes" });
    keyed(
        "aggregate",
        config,
        &[("value", "int64"), ("rows", "int64")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn state_beyond_the_slots_memory_fails_its_task_alone() {
    let kit = Kit::limited(1, Registry::default(), (4 << 20, PATIENCE)).await;
    let attempt = kit.deploy(&counts(), 5, None);
    let failure = kit.failure(&attempt).await;
    assert_eq!(failure.task.unwrap().to_string(), "by-value/0");
    assert_eq!(failure.failure_kind, "task");
    let cause = failure.cause;
    assert!(cause.starts_with("slot memory exceeded: state "), "{cause}");
    assert!(cause.contains("MiB of by-value"), "{cause}");
    assert!(cause.contains("slot-memory allows 4MiB"), "{cause}");
    kit.cancel(&attempt).await;
    // Others have their own slots: the same again, and a job that keeps nothing goes on.
    let small = Job::new()
        .vertex(
            "source",
            ("numbers", "sequence"),
            2,
            json!({ "start": 0, "end": 1_000_000 }),
            &NUMBERS,
        )
        .vertex("sink", ("out", "blackhole"), 2, json!({}), &NUMBERS)
        .input("numbers", "rebalance", &[]);
    let attempt = kit.deploy(&small, 6, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
}

/// A map for each key: what it holds lies beside the value.
struct Hoard {
    texts: MapState<i64, String>,
}

impl Operator for Hoard {
    fn process(&mut self, rows: &Rows<'_>, _: &mut Output<'_>) -> Result<()> {
        let mut texts = self.texts.of(rows);
        for row in 0..rows.num_rows() {
            texts.at(row).insert(0, "x".repeat(100));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_state_counts_as_well() {
    let mut registry = Registry::default();
    registry.operator("hoard", |setup: &mut Setup| {
        Ok(Hoard {
            texts: setup.map("texts")?,
        })
    });
    let kit = Kit::limited(1, registry, (16 << 20, PATIENCE)).await;
    let own = json!({ "version": 1, "with": {} });
    let attempt = kit.deploy(&keyed("hoard", own, &NUMBERS), 5, None);
    let cause = kit.failure(&attempt).await.cause;
    assert!(cause.starts_with("slot memory exceeded"), "{cause}");
    assert!(cause.contains("MiB of by-value"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_are_held_back_near_the_limit() {
    let kit = Kit::limited(1, Registry::default(), (1 << 20, PATIENCE)).await;
    // Wide fan-out: without a limit each of the channels would hold eight batches.
    let job = Job::new()
        .vertex(
            "source",
            ("numbers", "sequence"),
            4,
            json!({ "start": 0, "end": 3_000_000 }),
            &NUMBERS,
        )
        .vertex("sink", ("out", "blackhole"), 4, json!({}), &NUMBERS)
        .input("numbers", "broadcast", &[]);
    let attempt = kit.deploy(&job, 5, None);
    let most = Arc::new(Mutex::new(0));
    let seen = most.clone();
    kit.until("the end of all rows", |_| {
        let of_source = |m: &TaskMetrics| m.task.as_ref().is_some_and(|t| t.vertex == "numbers");
        let metrics = kit.engines().flat_map(Engine::metrics);
        let waiting = metrics.filter(of_source).map(|m| m.buffer_bytes).max();
        let mut most = seen.lock().unwrap();
        *most = waiting.unwrap_or(0).max(*most);
        let held: Vec<_> = kit.engines().flat_map(Engine::held_tasks).collect();
        let all = held.iter().all(|r| r.phase() == TaskPhase::Finished);
        (all && !held.is_empty()).then_some(())
    })
    .await;
    assert_eq!(kit.records_in("out"), 4 * 3_000_000);
    // The limit, and a batch of 8,192 rows of 16 bytes for each of the four channels.
    let bound = (1 << 20) + 5 * 8192 * 16;
    let most = *most.lock().unwrap();
    assert!(most <= bound, "{most} bytes waited, at most {bound} may");
    drop(attempt);
}

/// Holds its thread until the test lets go of it.
struct Stubborn(Gate);

type Gate = Arc<(Mutex<bool>, Condvar)>;

fn pass(gate: &Gate) {
    let (open, changed) = &**gate;
    let open = open.lock().unwrap();
    let _open = changed
        .wait_timeout_while(open, 2 * PATIENCE, |open| !*open)
        .unwrap();
}

fn let_pass(gate: &Gate) {
    let (open, changed) = &**gate;
    *open.lock().unwrap() = true;
    changed.notify_all();
}

impl Operator for Stubborn {
    fn process(&mut self, _: &Rows<'_>, _: &mut Output<'_>) -> Result<()> {
        pass(&self.0);
        Ok(())
    }
}

fn stubborn(parallelism: u32) -> Job {
    let (start, own) = (json!({ "start": 0 }), json!({ "version": 1, "with": {} }));
    let names = ("stubborn", "stubborn");
    Job::new()
        .vertex(
            "source",
            ("numbers", "sequence"),
            parallelism,
            start,
            &NUMBERS,
        )
        .vertex("operator", names, parallelism, own, &NUMBERS)
        .input("numbers", "forward", &[])
        .vertex(
            "sink",
            ("out", "blackhole"),
            parallelism,
            json!({}),
            &NUMBERS,
        )
        .input("stubborn", "forward", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_does_not_end_is_told_and_its_place_is_not_taken() {
    const WITHIN: Duration = Duration::from_millis(300);
    let gate = Gate::default();
    let mut registry = Registry::default();
    let shared = gate.clone();
    registry.operator("stubborn", move |_: &mut Setup| {
        Ok(Stubborn(shared.clone()))
    });
    let kit = Kit::limited(1, registry, (64 << 20, WITHIN)).await;
    // As many as the engine has threads: they hold up nobody else.
    let job = stubborn(2);
    let attempt = kit.deploy(&job, 5, None);
    let engine = kit.engine(0);
    let both_hold_rows = || {
        let metrics = engine.metrics().into_iter().filter(|m| m.records_in > 0);
        let of_stubborn = |m: &TaskMetrics| m.task.as_ref().is_some_and(|t| t.vertex == "stubborn");
        metrics.filter(of_stubborn).count() == 2
    };
    let begin = std::time::Instant::now();
    while !both_hold_rows() {
        assert!(begin.elapsed() < PATIENCE, "no rows in the hands of both");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(engine.newly_stuck().is_empty(), "nobody told it to end");
    engine.cancel(&attempt);
    let early = kit.deploy(&job, 6, None);

    let mut told = Vec::new();
    let begin = std::time::Instant::now();
    while told.len() < 2 {
        assert!(begin.elapsed() < PATIENCE, "never told: {told:?}");
        told.extend(engine.newly_stuck());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for report in &told {
        assert_eq!(report.task.as_ref().unwrap().vertex, "stubborn");
        assert!(report.stuck && report.phase() == TaskPhase::Running);
        assert!(report.cause.contains("it was cancelled and doesn't end"));
        assert!(report.cause.contains("300ms"), "{}", report.cause);
    }
    assert_eq!((engine.stuck(), engine.newly_stuck().len()), (2, 0));
    let held = engine.held_tasks();
    assert_eq!(held.iter().filter(|report| report.stuck).count(), 2);

    // An attempt that the leader ordered before it knew gives up; one that it ordered since runs.
    let failure = kit.failure(&early).await;
    assert_eq!(failure.failure_kind, "stuck");
    assert!(failure.cause.starts_with("stubborn/"), "{}", failure.cause);
    let late = kit.deploy(&job, 7, None);
    kit.until_running(&late).await;

    let_pass(&gate);
    kit.until("the end of the stubborn", |events| {
        let over = events.iter().filter(|event| {
            matches!(event, EngineEvent::Task(r) if r.attempt.as_ref() == Some(&attempt)
                && r.phase() == TaskPhase::Canceled)
        });
        (over.count() == 6).then_some(())
    })
    .await;
    // What is said of an end comes just before the end.
    let begin = std::time::Instant::now();
    while engine.stuck() > 0 {
        assert!(begin.elapsed() < PATIENCE, "{} still stuck", engine.stuck());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_starts_slowly_says_so_once() {
    let gate = Gate::default();
    let mut registry = Registry::default();
    let shared = gate.clone();
    registry.operator("stubborn", move |_: &mut Setup| {
        pass(&shared);
        Ok(Stubborn(shared.clone()))
    });
    let kit = Kit::limited(1, registry, (64 << 20, PATIENCE)).await;
    let attempt = kit.deploy(&stubborn(1), 5, None);
    let engine = kit.engine(0);
    assert!(engine.newly_slow().is_empty(), "it has only begun");
    let begin = std::time::Instant::now();
    let told = loop {
        let told = engine.newly_slow();
        if !told.is_empty() {
            break told;
        }
        assert!(begin.elapsed() < PATIENCE, "never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let [report] = told.as_slice() else {
        panic!("the others run: {told:?}")
    };
    assert_eq!(report.task.as_ref().unwrap().vertex, "stubborn");
    assert_eq!(report.phase(), TaskPhase::Deploying);
    assert!(engine.newly_slow().is_empty(), "told once");
    let_pass(&gate);
    kit.until_running(&attempt).await;
    engine.cancel(&attempt);
}
