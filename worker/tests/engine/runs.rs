//! Jobs that run to their end, with and without restores: the output equals a plain computation.

use regent_protocol::v1::TaskPhase;
use serde_json::json;

use crate::jobs::{
    CARRIER_HEADER, COPY_HEADER, by_carrier, copy, expected_by_carrier, expected_copy,
    expected_numbers, files_sink, numbers,
};
use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn flights_on_two_engines_with_checkpoints() {
    let kit = Kit::start(2).await;
    let job = by_carrier(&kit.path("out"), 4, Some(40_000.0));
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    for id in 1..=5 {
        kit.checkpoint(&job, &attempt, id).await;
    }
    kit.finish(&job, &attempt, 6).await;
    assert_eq!(kit.output("out", CARRIER_HEADER), expected_by_carrier());
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_on_one_engine_appear_only_with_the_last_checkpoint() {
    let kit = Kit::start(1).await;
    let job = by_carrier(&kit.path("out"), 2, None);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    assert!(kit.output("out", CARRIER_HEADER).is_empty());
    kit.checkpoint(&job, &attempt, 1).await;
    assert_eq!(kit.output("out", CARRIER_HEADER), expected_by_carrier());
}

/// Rows appear exactly once over any chain of attempts: each is cut down in the middle, after
/// checkpoints that were announced, and that were complete but never announced.
#[tokio::test(flavor = "multi_thread")]
async fn every_row_once_over_restores_at_other_parallelisms() {
    let kit = Kit::start(2).await;
    let out = kit.path("out");
    let mut restore = None;
    let mut id = 0;
    for (token, parallelism) in [(10, 2), (20, 4), (30, 3), (40, 1)] {
        // So slow that all of it would take half a minute.
        let job = copy(&out, parallelism, Some(1_000.0));
        let attempt = kit.deploy(&job, token, restore.clone());
        kit.until_running(&attempt).await;
        kit.until_rows("out", 100).await;
        id += 1;
        kit.checkpoint(&job, &attempt, id).await;
        kit.until_rows("out", kit.records_in("out") + 50).await;
        id += 1;
        kit.trigger(&attempt, id, "checkpoint");
        // Complete, but the leader dies before it tells the sinks.
        restore = Some(kit.collect(&job, &attempt, id).await.restore);
        kit.until_rows("out", kit.records_in("out") + 50).await;
        kit.cancel(&attempt).await;
    }
    let job = copy(&out, 2, None);
    let attempt = kit.deploy(&job, 50, restore);
    kit.finish(&job, &attempt, id + 1).await;
    assert_eq!(kit.output("out", COPY_HEADER), expected_copy());
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_state_moves_to_another_parallelism() {
    let kit = Kit::start(2).await;
    let out = kit.path("out");
    let mut restore = None;
    for (token, parallelism) in [(10, 3), (20, 1), (30, 4)] {
        let job = by_carrier(&out, parallelism, Some(40_000.0));
        let attempt = kit.deploy(&job, token, restore);
        kit.until_rows("by-carrier", 2000).await;
        restore = Some(kit.checkpoint(&job, &attempt, token).await.restore);
        kit.cancel(&attempt).await;
    }
    let job = by_carrier(&out, 2, None);
    let attempt = kit.deploy(&job, 50, restore);
    kit.finish(&job, &attempt, 60).await;
    assert_eq!(kit.output("out", CARRIER_HEADER), expected_by_carrier());
}

/// Many channels over few connections, blocked by alignments and by room downstream at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_with_checkpoints_does_not_deadlock() {
    let kit = Kit::start(2).await;
    let end = 2_000_000;
    let sink = ("files", files_sink(&kit.path("out")));
    let job = numbers(sink, Some(end), 8);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    for id in 1..=3 {
        kit.checkpoint(&job, &attempt, id).await;
    }
    kit.finish(&job, &attempt, 4).await;
    assert_eq!(kit.output("out", "key,rows,total"), expected_numbers(end));
}

/// One source is done long before the other: later checkpoints include it as finished, and a
/// restore from one doesn't read it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_ends_early_stays_ended() {
    let kit = Kit::start(2).await;
    let data = kit.path("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("a.csv"), "n\n1\n2\n").unwrap();
    let long: Vec<String> = (3..2000).map(|n| n.to_string()).collect();
    std::fs::write(data.join("b.csv"), format!("n\n{}\n", long.join("\n"))).unwrap();
    let job = |rate: Option<f64>| {
        let columns = [("n", "int64")];
        let config = json!({
            "path": data, "format": "csv", "on-error": "fail", "rate": rate,
            "columns": [{ "name": "n", "data_type": "int64" }],
        });
        crate::graph::Job::new()
            .vertex("source", ("src", "files"), 2, config, &columns)
            .vertex(
                "sink",
                ("out", "files"),
                2,
                files_sink(&kit.path("out")),
                &columns,
            )
            .input("src", "rebalance", &[])
    };
    let slow = job(Some(2000.0));
    let attempt = kit.deploy(&slow, 5, None);
    kit.until("the first source finished", |_| {
        let mut held = kit.engines().flat_map(|e| e.held_tasks());
        let ended = held.find(|r| r.phase() == TaskPhase::Finished)?;
        assert_eq!(ended.task.unwrap().to_string(), "src/0");
        Some(())
    })
    .await;
    let first = kit.checkpoint(&slow, &attempt, 1).await;
    let finished = |vertex: usize| -> Vec<bool> {
        let subtasks = &first.metadata.vertices[vertex].subtasks;
        subtasks.iter().map(|handle| handle.finished).collect()
    };
    assert_eq!(finished(0), [true, false]);
    assert_eq!(finished(1), [false, false]);
    kit.cancel(&attempt).await;
    let fast = job(None);
    let attempt = kit.deploy(&fast, 9, Some(first.restore));
    kit.finish(&fast, &attempt, 2).await;
    let mut expected: Vec<String> = (1..2000).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(kit.output("out", "n"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_rows_writes_headers() {
    let kit = Kit::start(1).await;
    let job = numbers(("files", files_sink(&kit.path("out"))), Some(0), 2);
    let attempt = kit.deploy(&job, 5, None);
    kit.finish(&job, &attempt, 1).await;
    assert!(kit.output("out", "key,rows,total").is_empty());
    let files = std::fs::read_dir(kit.path("out")).unwrap();
    let parts = files.filter(|f| {
        let name = f.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("part-1.1-1.5-")
    });
    assert_eq!(parts.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_rows() {
    let kit = Kit::start(2).await;
    let job = numbers(("blackhole", json!({})), Some(100_000), 2);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    assert_eq!(kit.records_in("count"), 100_000);
    assert_eq!(kit.records_in("out"), 1000);
    let metrics: Vec<_> = kit.engines().flat_map(|e| e.metrics()).collect();
    assert_eq!(metrics.len(), 6);
    assert!(metrics.iter().all(|m| m.has_watermark));
    let of = |vertex: &str| -> (u64, u64) {
        let of = metrics
            .iter()
            .filter(|m| m.task.as_ref().unwrap().vertex == vertex);
        of.fold((0, 0), |(rows, bytes), m| {
            (rows + m.records_out, bytes + m.bytes_out)
        })
    };
    assert_eq!(of("seq"), (100_000, 2_400_000));
    assert_eq!(of("count"), (1000, 24_000));
}
