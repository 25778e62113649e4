//! Micro-benchmarks of what every write passes through: encode, append, apply, snapshot; and of what every
//! row does: exchange, aggregate.
//!
//! `cargo bench -p regent-bench`; one of them: `cargo bench -p regent-bench -- append`. Figures are of one
//! thread on the machine at hand; compare two runs on the same machine, nothing else.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use divan::{Bencher, black_box};
use regent_state::command::{
    AnnounceLeader, AttemptRunning, BeginCheckpoint, CheckpointKind, CheckpointPointer,
    CleanupAttempted, CleanupOutcome, CleanupReport, CompleteCheckpoint, DeployAttempt,
    SlotPlacement, SubmitJob,
};
use regent_state::graph::{CheckpointConfig, RestartStrategy, Retention, Vertex, VertexKind};
use regent_state::ids::{AttemptToken, ClusterId, Epoch, JobId, LogIndex, NodeId, WorkerRef};
use regent_state::model::FailoverTally;
use regent_state::{Command, EntryId, Envelope, JobGraph, Machine, Response};
use regent_storage::log::{LogConfig, LogRecord, LogStore};
use regent_worker::engine::probe::{Counting, Exchange};

fn main() {
    divan::main();
}

const EPOCH: Epoch = Epoch {
    generation: 1,
    term: 1,
    node: NodeId(1),
};

fn graph() -> JobGraph {
    let source = Vertex {
        id: "in".to_owned(),
        kind: VertexKind::Source,
        operator: "sequence".to_owned(),
        parallelism: 1,
        inputs: Vec::new(),
        config_json: "{}".to_owned(),
        columns: Vec::new(),
        bounded: false,
        zombie_safe: true,
        sink: None,
    };
    JobGraph {
        name: "benchmark".to_owned(),
        parallelism: 1,
        checkpointing: Some(CheckpointConfig {
            interval_ms: Some(10_000),
            timeout_ms: 600_000,
            min_pause_ms: 0,
            num_retained: 1,
            tolerable_failed: 0,
            retention: Retention::NoExternalizedCheckpoints,
        }),
        restart_strategy: RestartStrategy::None,
        vertices: vec![source],
    }
}

/// A machine with running jobs, driven entry by entry.
#[derive(Clone)]
struct Driven {
    machine: Machine,
    index: u64,
    jobs: Vec<(JobId, AttemptToken)>,
    turn: usize,
}

impl Driven {
    fn with_jobs(count: usize) -> Self {
        let mut driven = Self {
            machine: Machine::new(),
            index: 0,
            jobs: Vec::new(),
            turn: 0,
        };
        driven.apply(Command::AnnounceLeader(AnnounceLeader {
            epoch: EPOCH,
            cluster_id: ClusterId([1; 16]),
            node_name: "jm-1".to_owned(),
            api: "127.0.0.1:7101".to_owned(),
            cause: "first election".to_owned(),
            leaderless_ms: 0,
            failover: FailoverTally::default(),
        }));
        for number in 0..count {
            driven.add_job(number);
        }
        driven
    }

    fn add_job(&mut self, number: usize) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let job = JobId(id);
        self.apply(Command::SubmitJob(SubmitJob {
            job_id: job,
            graph: graph(),
            restore: None,
        }));
        let placement = vec![SlotPlacement {
            slot: 0,
            worker: WorkerRef {
                worker: "tm-1".to_owned(),
                incarnation: 1,
            },
            address: "127.0.0.1:1".to_owned(),
        }];
        let deploy = DeployAttempt {
            job,
            prior: None,
            placement,
        };
        let Response::Deployed(deployed) = self.apply(Command::DeployAttempt(deploy)) else {
            panic!("the attempt is not deployed");
        };
        let token = deployed.token;
        self.apply(Command::AttemptRunning(AttemptRunning { job, token }));
        self.jobs.push((job, token));
    }

    fn envelope(&self, command: Command) -> Envelope {
        let client = matches!(command, Command::SubmitJob(_));
        Envelope {
            epoch: (!client).then_some(EPOCH),
            request: None,
            proposed_at_ms: self.index,
            wall_ms: 1_790_000_000_000 + self.index,
            actor: "checkpoints".to_owned(),
            command,
        }
    }

    fn apply(&mut self, command: Command) -> Response {
        let envelope = self.envelope(command);
        self.index += 1;
        let entry = EntryId {
            index: LogIndex(self.index),
            term: 1,
            node: NodeId(1),
        };
        self.machine.apply(entry, &envelope).response
    }

    /// Begins and completes the next job's checkpoint, and reports the evicted one as deleted.
    fn checkpoint(&mut self) {
        let (job, token) = self.jobs[self.turn];
        self.turn = (self.turn + 1) % self.jobs.len();
        let begun = self.apply(Command::BeginCheckpoint(BeginCheckpoint {
            job,
            token,
            kind: CheckpointKind::Checkpoint,
            root: "/var/lib/regent/checkpoints".to_owned(),
        }));
        let Response::CheckpointBegun { id, path, .. } = begun else {
            panic!("{begun:?}");
        };
        let completed = self.apply(Command::CompleteCheckpoint(CompleteCheckpoint {
            job,
            token,
            id,
            pointer: pointer(path),
            sinks_committed_through: None,
        }));
        let Response::CheckpointCompleted { evicted, .. } = completed else {
            panic!("{completed:?}");
        };
        let report = |artefact| CleanupReport {
            artefact,
            outcome: CleanupOutcome::Gone,
        };
        if !evicted.is_empty() {
            let outcomes = evicted.into_iter().map(report).collect();
            self.apply(Command::CleanupAttempted(CleanupAttempted { outcomes }));
        }
    }
}

fn pointer(path: String) -> CheckpointPointer {
    CheckpointPointer {
        path,
        metadata_len: 4_711,
        metadata_crc: 7,
        size_bytes: 1 << 20,
        duration_ms: 42,
        files: 2,
        has_transactions: false,
    }
}

fn completion() -> Envelope {
    let driven = Driven::with_jobs(1);
    let (job, token) = driven.jobs[0];
    driven.envelope(Command::CompleteCheckpoint(CompleteCheckpoint {
        job,
        token,
        id: regent_state::ids::CheckpointId(7),
        pointer: pointer(format!("/var/lib/regent/checkpoints/{job}/1.2/chk-7")),
        sinks_committed_through: None,
    }))
}

#[divan::bench]
fn encode_completion(bencher: Bencher<'_, '_>) {
    let envelope = completion();
    bencher.bench_local(|| black_box(&envelope).encode());
}

#[divan::bench]
fn decode_completion(bencher: Bencher<'_, '_>) {
    let bytes = completion().encode();
    bencher.bench_local(|| Envelope::decode(black_box(&bytes)));
}

/// Begin, complete and clean: three entries.
#[divan::bench(args = [1, 100, 10_000])]
fn apply_checkpoint(bencher: Bencher<'_, '_>, jobs: usize) {
    let mut driven = Driven::with_jobs(jobs);
    bencher.bench_local(|| driven.checkpoint());
}

/// What readers and snapshots are given.
#[divan::bench(args = [100, 10_000])]
fn clone_state(bencher: Bencher<'_, '_>, jobs: usize) {
    let driven = Driven::with_jobs(jobs);
    bencher.bench_local(|| driven.machine.clone());
}

/// Everything that a snapshot writes.
#[divan::bench(args = [100, 10_000], sample_count = 10)]
fn snapshot_entities(bencher: Bencher<'_, '_>, jobs: usize) {
    let mut driven = Driven::with_jobs(jobs);
    (0..jobs).for_each(|_| driven.checkpoint());
    let bytes: usize = driven
        .machine
        .entities()
        .map(|(_, value)| value.len())
        .sum();
    bencher
        .counter(divan::counter::BytesCount::new(bytes))
        .bench_local(|| {
            driven
                .machine
                .entities()
                .map(|(_, value)| value.len())
                .sum::<usize>()
        });
}

/// One batch, written and synced.
#[divan::bench(args = [1, 16, 256], sample_count = 200)]
fn append_and_sync(bencher: Bencher<'_, '_>, entries: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let log = LogStore::open(dir.path(), LogConfig::default()).expect("a log");
    let payload = Bytes::from(vec![7u8; 256]);
    let mut next = 0;
    bencher
        .counter(divan::counter::ItemsCount::new(entries))
        .bench_local(|| {
            let records: Vec<LogRecord> = (next..next + entries)
                .map(|index| LogRecord {
                    index,
                    log_id: Bytes::from_static(b"log id"),
                    payload: payload.clone(),
                })
                .collect();
            next += entries;
            log.append_receipt(records).wait().expect("written");
        });
}

/// Rows of one batch, as sources make them.
const ROWS: i64 = 8_192;

/// Batches of a number and one of so many keys, in turn.
fn batches(keys: i64) -> Vec<RecordBatch> {
    let batch = |first: i64| {
        let numbers: Int64Array = (first..first + ROWS).collect::<Vec<_>>().into();
        // A stride without a factor in common visits every key.
        let keys: Int64Array = (first..first + ROWS)
            .map(|n| n * 7_919 % keys)
            .collect::<Vec<_>>()
            .into();
        RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as ArrayRef),
            ("k", Arc::new(keys) as ArrayRef),
        ])
        .expect("a batch")
    };
    (0..128).map(|at| batch(at * ROWS)).collect()
}

/// Rows spread by key to so many tasks, as each hash edge does.
#[divan::bench(args = [2, 8])]
fn exchange_spread(bencher: Bencher<'_, '_>, targets: u32) {
    let batches = batches(1_000_000);
    let mut exchange = Exchange::hashed(&batches[0].schema(), "k", targets).expect("an edge");
    let mut turn = batches.iter().cycle();
    bencher
        .counter(divan::counter::ItemsCount::new(ROWS.cast_unsigned()))
        .bench_local(|| exchange.spread(turn.next().expect("endless")));
}

/// The same to other machines: spread, written as frames, read again.
#[divan::bench(args = [2, 8])]
fn exchange_send(bencher: Bencher<'_, '_>, targets: u32) {
    let batches = batches(1_000_000);
    let mut exchange = Exchange::hashed(&batches[0].schema(), "k", targets).expect("an edge");
    let mut turn = batches.iter().cycle();
    bencher
        .counter(divan::counter::ItemsCount::new(ROWS.cast_unsigned()))
        .bench_local(|| exchange.send(turn.next().expect("endless")));
}

/// Rows counted by key, every change emitted.
#[divan::bench(args = [1_000, 1_000_000])]
fn aggregate_count(bencher: Bencher<'_, '_>, keys: i64) {
    let batches = batches(keys);
    let mut counting = Counting::by(&batches[0].schema(), "k").expect("an operator");
    let mut turn = batches.iter().cycle();
    bencher
        .counter(divan::counter::ItemsCount::new(ROWS.cast_unsigned()))
        .bench_local(|| counting.process(turn.next().expect("endless")));
}

/// The state of a checkpoint cut out of it.
#[divan::bench(args = [1_000, 1_000_000], sample_count = 10)]
fn aggregate_snapshot(bencher: Bencher<'_, '_>, keys: i64) {
    let batches = batches(keys);
    let mut counting = Counting::by(&batches[0].schema(), "k").expect("an operator");
    for batch in &batches {
        counting.process(batch).expect("counted");
    }
    let bytes = counting.snapshot().expect("a snapshot");
    bencher
        .counter(divan::counter::BytesCount::new(bytes))
        .bench_local(|| counting.snapshot());
}
