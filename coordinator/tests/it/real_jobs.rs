//! Jobs on real workers in this process: exact output over checkpoints, takeovers and failures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regent_protocol::error::ErrorKind;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view;
use regent_worker::TaskManagerConfig;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, http, of, until};
use crate::puppet_jobs::registered;

struct Worker {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Worker {
    fn start(cluster: &Cluster, name: &str) -> Self {
        let json = serde_json::json!({
            "worker-id": name,
            "data-dir": cluster.dir.path().join(name),
            "listen": { "api": "127.0.0.1:0", "data": "127.0.0.1:0" },
            "jobmanagers": cluster.endpoints(),
            "storage": { "checkpoint-dir": cluster.checkpoints() },
        });
        let config: TaskManagerConfig = serde_json::from_value(json).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let running =
            tokio::spawn(async move { regent_worker::run(config, stopped).await.unwrap() });
        Self { stop, running }
    }

    async fn shutdown(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// Every number once, as fast as `rate`.
fn numbers(out: &Path, end: u32, rate: u32) -> String {
    format!(
        "
name: numbers
parallelism: 2
checkpointing: {{ interval: 200ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ end: {end}, rate: {rate} }} }}
  - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {}, format: csv }} }}
",
        out.display()
    )
}

/// Final files: no component below `out` begins with `.` or `_`.
fn parts(out: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(out) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.starts_with(['.', '_']) {
            true => {}
            false if path.is_dir() => parts.extend(self::parts(&path)),
            false => parts.push(path),
        }
    }
    parts
}

/// The first column of all rows, sorted.
fn values(out: &Path) -> Vec<u32> {
    let mut values = Vec::new();
    for part in parts(out) {
        let text = std::fs::read_to_string(part).unwrap();
        let rows = text.lines().skip(1);
        values.extend(rows.map(|row| row.split(',').next().unwrap().parse::<u32>().unwrap()));
    }
    values.sort_unstable();
    values
}

/// Nothing but final files is left behind.
fn assert_tidy(cluster: &Cluster, job: &str, out: &Path) {
    assert!(
        !cluster.checkpoints().join(job).exists(),
        "checkpoints are left"
    );
    assert!(!out.join("_staging").exists(), "staging is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_exact_and_everything_is_cleaned() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let workers = [
        Worker::start(&cluster, "tm-1"),
        Worker::start(&cluster, "tm-2"),
    ];
    registered(&cluster, 0, 2).await;
    let out = cluster.dir.path().join("out");
    let job_file = format!(
        "
name: by-key
parallelism: 2
vertices:
  - {{ id: numbers, source: sequence, with: {{ end: 7000, keys: 7 }} }}
  - {{ id: even, operator: filter, inputs: [ numbers ],
      with: {{ where: {{ column: value, op: \"<\", value: 3500 }} }} }}
  - id: by-key
    operator: aggregate
    inputs: [ {{ from: even, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: final, compute: {{ rows: {{ count: \"*\" }}, total: {{ sum: value }} }} }}
  - {{ id: out, sink: files, inputs: [ by-key ], with: {{ path: {}, format: csv }} }}
",
        out.display()
    );
    let job = client.submit(&job_file).await.unwrap().job_id;
    client.reaches(&job, "FINISHED").await;
    let result = client.is_clean(&job).await;
    assert!(result.output_complete);
    let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for value in 0..3500_u64 {
        let of_key = expected.entry(value % 7).or_default();
        *of_key = (of_key.0 + 1, of_key.1 + value);
    }
    let mut rows: Vec<String> = Vec::new();
    for part in parts(&out) {
        let text = std::fs::read_to_string(part).unwrap();
        assert_eq!(text.lines().next(), Some("key,rows,total"));
        rows.extend(text.lines().skip(1).map(str::to_owned));
    }
    rows.sort();
    let line = |(key, (count, sum)): (&u64, &(u64, u64))| format!("{key},{count},{sum}");
    assert_eq!(rows, expected.iter().map(line).collect::<Vec<_>>());
    assert_tidy(&cluster, &job, &out);

    // The same path again is refused: there is output.
    let error = client.submit(&job_file).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    for worker in workers {
        worker.shutdown().await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_keeps_the_attempt_and_the_output_stays_exact() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let workers = [
        Worker::start(&cluster, "tm-1"),
        Worker::start(&cluster, "tm-2"),
    ];
    registered(&cluster, first, 2).await;
    let out = cluster.dir.path().join("out");
    let job_file = numbers(&out, 8_000, 2_000);
    let job = cluster
        .client(first)
        .submit(&job_file)
        .await
        .unwrap()
        .job_id;
    let before = until("a checkpoint is complete", async || {
        cluster.client(first).show(&job).await.checkpoints.latest
    })
    .await;
    cluster.stop(first).await;
    let second = cluster.leader().await;
    let client = cluster.client(second);
    let adopted = client.reaches(&job, "RUNNING").await;
    assert_eq!(
        (adopted.attempt, adopted.adoptions, adopted.restarts),
        (1, 1, 0)
    );
    let done = client.reaches(&job, "FINISHED").await;
    assert_eq!((done.attempt, done.adoptions), (1, 1));
    assert!(done.checkpoints.latest.unwrap().id > before.id);
    assert!(client.is_clean(&job).await.output_complete);
    assert_eq!(values(&out), (0..8_000).collect::<Vec<_>>());
    assert_tidy(&cluster, &job, &out);
    for worker in workers {
        worker.shutdown().await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_is_replaced_and_the_output_stays_exact() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let stays = Worker::start(&cluster, "tm-1");
    let leaves = Worker::start(&cluster, "tm-2");
    registered(&cluster, 0, 2).await;
    let out = cluster.dir.path().join("out");
    let job = client
        .submit(&numbers(&out, 6_000, 2_000))
        .await
        .unwrap()
        .job_id;
    until("two checkpoints are complete", async || {
        (client.show(&job).await.checkpoints.completed >= 2).then_some(())
    })
    .await;
    leaves.shutdown().await;
    let done = client.reaches(&job, "FINISHED").await;
    assert_eq!((done.attempt, done.restarts), (2, 1), "{:?}", done.failures);
    assert!(client.is_clean(&job).await.output_complete);
    assert_eq!(values(&out), (0..6_000).collect::<Vec<_>>());
    assert_tidy(&cluster, &job, &out);
    stays.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_what_was_committed_and_no_more() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let worker = Worker::start(&cluster, "tm-1");
    registered(&cluster, 0, 1).await;
    let out = cluster.dir.path().join("out");
    let job = client
        .submit(&numbers(&out, 1_000_000, 2_000))
        .await
        .unwrap()
        .job_id;
    until("output is visible", async || {
        (!values(&out).is_empty()).then_some(())
    })
    .await;
    let changed: view::JobChanged = client.change(Change::CancelJob(of(&job))).await.unwrap();
    assert_eq!(changed.state, "CANCELED");
    assert!(client.is_clean(&job).await.output_complete);
    let left = values(&out);
    let mut once = left.clone();
    once.dedup();
    assert_eq!(left, once, "no duplicates");
    assert_tidy(&cluster, &job, &out);
    worker.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_parse_fails_the_job_after_its_restarts() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let worker = Worker::start(&cluster, "tm-1");
    registered(&cluster, 0, 1).await;
    let input = cluster.dir.path().join("in.csv");
    std::fs::write(&input, "value\n1\ntwo\n3\n").unwrap();
    let job_file = format!(
        "
name: broken
restart-strategy: {{ type: fixed-delay, attempts: 2, delay: 100ms }}
vertices:
  - {{ id: rows, source: files, with: {{ path: {}, format: csv, columns: {{ value: int64 }} }} }}
  - {{ id: out, sink: blackhole, inputs: [ rows ], with: {{}} }}
",
        input.display()
    );
    let job = client.submit(&job_file).await.unwrap().job_id;
    let failed = client.reaches(&job, "FAILED").await;
    assert_eq!((failed.attempt, failed.failures.len()), (3, 3));
    let cause = client.is_clean(&job).await.cause.unwrap();
    assert!(
        cause.contains("in.csv") && cause.contains('3'),
        "file and line: {cause}"
    );
    let missing = job_file.replace("in.csv", "nowhere.csv");
    let error = client.submit(&missing).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let jobs: Vec<view::JobSummary> = client
        .read(Query::JobList(regent_protocol::v1::Nothing {}))
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1);
    worker.shutdown().await;
    cluster.shutdown().await;
}

/// A cluster that was restored elsewhere takes the storage over while this one works: looked at only when a reign begins,
/// that would go unnoticed, and the older checkpoints, which are the other one's by now, would be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_was_taken_over_is_noticed_before_more_is_deleted() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let worker = Worker::start(&cluster, "tm-1");
    registered(&cluster, 0, 1).await;
    let out = cluster.dir.path().join("out");
    // Each completed checkpoint evicts an older one, which is then deleted.
    let job_file = numbers(&out, 1_000_000, 100);
    let job = client.submit(&job_file).await.unwrap().job_id;
    client.reaches(&job, "RUNNING").await;
    let api = client.status().await.api;
    let foreign = async || {
        let (_, page) = http(&api, "/metrics").await;
        page.lines()
            .find_map(|line| line.strip_prefix("regent_storage_foreign ")?.parse().ok())
    };
    until("the storage to be ours", async || {
        foreign().await.filter(|foreign| *foreign == 0.0)
    })
    .await;
    let marker = cluster.checkpoints().join("owner/9-ffffffff");
    std::fs::write(marker, "9-ffffffff\n").unwrap();
    until("the other one to be noticed", async || {
        foreign().await.filter(|foreign: &f64| *foreign == 1.0)
    })
    .await;
    let error = client.submit(&job_file).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("another prefix"), "{error}");
    worker.shutdown().await;
    cluster.shutdown().await;
}

/// Everything in a directory, directories before what is in them.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.push(path.clone());
        found.extend(below(&path));
    }
    found
}

/// A cancel aborts the checkpoint that is under way, and its directory is removed at once: also when the leader was just
/// writing the file that completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_of_a_checkpoint_leaves_no_file() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let worker = Worker::start(&cluster, "tm-1");
    registered(&cluster, 0, 1).await;
    for round in 1..=40 {
        // Every other one has state that goes into files.
        let keys = if round % 2 == 0 { 20_000 } else { 10 };
        let job_file = format!(
            "
name: round-{round}
checkpointing: {{ interval: 10ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 100000, keys: {keys} }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ rows: {{ count: \"*\" }} }} }}
  - {{ id: out, sink: blackhole, inputs: [ counts ], with: {{}} }}
"
        );
        let job = client.submit(&job_file).await.unwrap().job_id;
        until("checkpoints are complete", async || {
            (client.show(&job).await.checkpoints.completed >= 2).then_some(())
        })
        .await;
        let changed: view::JobChanged = client.change(Change::CancelJob(of(&job))).await.unwrap();
        assert_eq!(changed.state, "CANCELED");
        client.is_clean(&job).await;
    }
    // What came late would be there until it is swept, half a minute after the abort.
    let left: Vec<_> = below(&cluster.checkpoints())
        .into_iter()
        .filter(|path| !path.starts_with(cluster.checkpoints().join("owner")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    worker.shutdown().await;
    cluster.shutdown().await;
}
