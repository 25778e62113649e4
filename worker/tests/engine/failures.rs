//! What fails, how it is told, and that nothing hangs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use regent_protocol::v1::TaskPhase;
use regent_worker::engine::{Engine, EngineEvent};
use serde_json::json;

use crate::jobs::{COPY_HEADER, by_carrier, copy, expected_copy, files_sink, numbers};
use crate::kit::{Kit, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_engine_fails_the_tasks_at_the_other_end_at_once() {
    let mut kit = Kit::start(2).await;
    // So slow that nothing is on its way when the break comes.
    let job = by_carrier(&kit.path("out"), 2, Some(2.0));
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    let begin = Instant::now();
    kit.crash(1);
    let failure = kit.failure(&attempt).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(failure.failure_kind, "channel");
    // Both that send to and that receive from the lost engine.
    kit.until("both ends failed", |_| {
        let held = kit.engines().flat_map(Engine::held_tasks);
        let failed = held.filter(|r| r.phase() == TaskPhase::Failed);
        let mut failed: Vec<String> = failed.map(|r| r.task.unwrap().to_string()).collect();
        failed.sort();
        (failed == ["by-carrier/0", "long-haul/0"]).then_some(())
    })
    .await;
    // The rest waits for the leader, and a new attempt takes over.
    kit.cancel(&attempt).await;
    let job = copy(&kit.path("out2"), 1, None);
    let next = kit.deploy(&job, 6, None);
    kit.finish(&job, &next, 1).await;
    assert_eq!(kit.output("out2", COPY_HEADER), expected_copy());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_under_backpressure_is_prompt() {
    let kit = Kit::start(2).await;
    let columns = [("value", "int64"), ("at", "timestamp")];
    let config = json!({ "start": 0, "end": null, "rate": null, "keys": null });
    let job = crate::graph::Job::new()
        .vertex("source", ("seq", "sequence"), 4, config, &columns)
        .vertex(
            "sink",
            ("out", "files"),
            1,
            files_sink(&kit.path("out")),
            &columns,
        )
        .input("seq", "rebalance", &[]);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_rows("out", 100_000).await;
    let begin = Instant::now();
    let full = |kit: &Kit| {
        let mut all = kit.engines().flat_map(Engine::metrics);
        all.any(|m| m.backpressured_ratio > 0.5)
    };
    while !full(&kit) {
        assert!(begin.elapsed() < PATIENCE, "no backpressure is seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = kit.cancel(&attempt).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    for report in kit.engines().flat_map(Engine::held_tasks) {
        let by_break = report.failure_kind == "channel";
        assert!(
            report.phase() == TaskPhase::Canceled || by_break,
            "{report:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_fails_its_task_only_and_says_where() {
    let kit = Kit::start(1).await;
    let data = kit.path("data.csv");
    std::fs::write(&data, "n\n1\nx\n").unwrap();
    let columns = [("n", "int64")];
    let config = json!({
        "path": data, "format": "csv", "on-error": "fail", "rate": null,
        "columns": [{ "name": "n", "data_type": "int64" }],
    });
    let job = crate::graph::Job::new()
        .vertex("source", ("src", "files"), 1, config, &columns)
        .vertex("sink", ("out", "blackhole"), 1, json!({}), &columns)
        .input("src", "forward", &[]);
    let attempt = kit.deploy(&job, 5, None);
    let failure = kit.failure(&attempt).await;
    assert_eq!(failure.failure_kind, "task");
    assert!(
        failure
            .cause
            .ends_with("data.csv:3: column n: \"x\" is not int64")
    );
    // The sink on the same engine reports nothing of its own.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sink = kit
        .engine(0)
        .held_tasks()
        .into_iter()
        .find(|r| r.task.as_ref().is_some_and(|t| t.vertex == "out"));
    assert_eq!(sink.unwrap().phase(), TaskPhase::Running);
    kit.cancel(&attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_with_its_message() {
    let kit = Kit::start(1).await;
    let mut job = numbers(("blackhole", json!({})), Some(10), 1);
    // Rows of another type than the plan says: the kind of mistake that only a bug makes.
    job.vertices[0].columns[0].data_type = "utf8".into();
    job.vertices[1].config_json = json!({
        "group-by": ["key"], "emit": "final",
        "compute": [{ "name": "least", "function": "min", "column": "value" }],
    })
    .to_string();
    let attempt = kit.deploy(&job, 5, None);
    let failure = kit.failure(&attempt).await;
    assert_eq!(failure.task.unwrap().vertex, "count");
    assert!(failure.cause.starts_with("panic: "), "{}", failure.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn overflow_fails_the_job_with_its_column() {
    let kit = Kit::start(1).await;
    let mut job = numbers(("blackhole", json!({})), Some(i64::MAX), 1);
    let config = &mut job.vertices[0].config_json;
    *config = config.replace("\"start\":0", &format!("\"start\":{}", i64::MAX - 5000));
    let attempt = kit.deploy(&job, 5, None);
    let failure = kit.failure(&attempt).await;
    assert!(failure.cause.contains("sum(value)"), "{}", failure.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_after_the_lease() {
    let kit = Kit::start(1).await;
    let job = copy(&kit.path("out"), 1, Some(20_000.0));
    let attempt = kit.deploy(&job, 5, None);
    kit.until_rows("out", 500).await;
    kit.trigger(&attempt, 1, "checkpoint");
    kit.collect(&job, &attempt, 1).await;
    let lease = &kit.nodes[0].as_ref().unwrap().lease;
    lease.0.store(false, Ordering::SeqCst);
    kit.engine(0)
        .completed(regent_protocol::v1::CheckpointCompleted {
            attempt: Some(attempt.clone()),
            checkpoint_id: 1,
            path: String::new(),
        });
    let failure = kit.failure(&attempt).await;
    assert_eq!(failure.failure_kind, "lease");
    assert!(kit.output("out", COPY_HEADER).is_empty());
    let committed = |event: &EngineEvent| matches!(event, EngineEvent::SinkCommitted(_));
    assert!(!kit.events().iter().any(committed));
    kit.engine(0).stop_all();
    tokio::time::timeout(Duration::from_secs(5), kit.engine(0).stopped())
        .await
        .unwrap();
}
