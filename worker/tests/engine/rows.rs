//! Rows that part and meet: select, several inputs of one vertex, broadcast; what sinks make of them.

use regent_protocol::v1::TaskPhase;
use serde_json::json;

use crate::graph::Job;
use crate::kit::Kit;

const NUMBERS: [(&str, &str); 2] = [("value", "int64"), ("at", "timestamp")];
const RENAMED: [(&str, &str); 1] = [("n", "int64")];

/// Two ranges that are brought to one shape, united, and sent to every subtask of the sink.
fn united(sink: serde_json::Value) -> Job {
    let range = |start: i64, end: i64| json!({ "start": start, "end": end, "rate": 20_000.0 });
    let columns = json!({ "columns": [{ "column": "value", "name": "n" }] });
    let mut job = Job::new()
        .vertex("source", ("low", "sequence"), 2, range(0, 10_000), &NUMBERS)
        .vertex(
            "source",
            ("high", "sequence"),
            1,
            range(10_000, 20_000),
            &NUMBERS,
        );
    for (id, from) in [("a", "low"), ("b", "high")] {
        job = job
            .vertex("operator", (id, "select"), 2, columns.clone(), &RENAMED)
            .input(from, "rebalance", &[]);
    }
    job.vertex("sink", ("out", "files"), 2, sink, &RENAMED)
        .input("a", "broadcast", &[])
        .input("b", "broadcast", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn united_rows_reach_every_subtask_once_over_a_restore() {
    let kit = Kit::start(2).await;
    let out = kit.path("out");
    let sink = json!({ "path": out, "format": "csv", "delivery": "exactly-once",
        "if-exists": "refuse" });
    let job = united(sink);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_rows("out", 5_000).await;
    let restore = kit.checkpoint(&job, &attempt, 1).await.restore;
    kit.until_rows("out", 10_000).await;
    kit.cancel(&attempt).await;
    let attempt = kit.deploy(&job, 6, Some(restore));
    kit.finish(&job, &attempt, 2).await;
    let mut rows: Vec<i64> = kit
        .output("out", "n")
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    rows.sort_unstable();
    let twice: Vec<i64> = (0..20_000).flat_map(|n| [n, n]).collect();
    assert_eq!(rows, twice);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_appear_at_least_once_without_a_checkpoint() {
    let kit = Kit::start(1).await;
    let sink = json!({ "path": kit.path("out"), "format": "json-lines",
        "delivery": "at-least-once", "if-exists": "refuse" });
    let job = united(sink);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    let rows = kit.output_lines("out");
    assert_eq!(rows.len(), 40_000);
    assert!(
        rows.contains(&"{\"n\":19999}".to_owned()),
        "{:?}",
        rows.first()
    );
}
