//! A cluster of engines in one process, with a real data plane on loopback, and a leader of a few
//! lines: it deploys, triggers checkpoints, writes `_metadata`, announces, and looks at the output.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::metadata::{MetadataPointer, encode_metadata};
use regent_protocol::v1::*;
use regent_worker::engine::{
    Authority, CheckpointFiles, Engine, EngineConfig, EngineEvent, StoreError,
};
use regent_worker::own::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;

use crate::graph::{Job, attempt};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Files of the local file system, written as simply as a test can.
pub(crate) struct PlainFiles;

impl CheckpointFiles for PlainFiles {
    fn put_create(
        &self,
        path: String,
        bytes: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        async move {
            let failed = |e: std::io::Error| StoreError::Failed(format!("{path}: {e}"));
            fs::create_dir_all(Path::new(&path).parent().unwrap()).map_err(failed)?;
            fs::write(&path, &bytes).map_err(failed)
        }
        .boxed()
    }

    fn get(&self, path: String) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        async move {
            let read = fs::read(&path).map(Bytes::from);
            read.map_err(|e| StoreError::Failed(format!("{path}: {e}")))
        }
        .boxed()
    }
}

/// A lease that the test ends.
pub(crate) struct Lease(pub(crate) AtomicBool);

impl Authority for Lease {
    fn may_act(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) lease: Arc<Lease>,
    pub(crate) name: String,
    pub(crate) address: String,
    server: tokio::task::JoinHandle<()>,
}

/// Everything the engines reported, in the order of arrival.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<(String, EngineEvent)>>,
    changed: watch::Sender<usize>,
}

pub(crate) struct Kit {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) nodes: Vec<Option<Node>>,
    own: Arc<Registry>,
    slot_memory: u64,
    cancel_within: Duration,
    log: Arc<Log>,
}

/// A completed checkpoint, as the leader's log would point at it.
#[derive(Clone)]
pub(crate) struct Completed {
    pub(crate) restore: Restore,
    pub(crate) metadata: CheckpointMetadata,
}

impl Kit {
    /// Engines with 4 slots each.
    pub(crate) async fn start(engines: usize) -> Self {
        Self::with(engines, Registry::default()).await
    }

    /// The same with code of one's own.
    pub(crate) async fn with(engines: usize, own: Registry) -> Self {
        Self::limited(engines, own, (256 << 20, PATIENCE)).await
    }

    /// The same with so much memory for a slot, and so much time for a task to end.
    pub(crate) async fn limited(
        engines: usize,
        own: Registry,
        (slot_memory, cancel_within): (u64, Duration),
    ) -> Self {
        let mut kit = Self {
            slot_memory,
            cancel_within,
            dir: tempfile::tempdir().unwrap(),
            nodes: Vec::new(),
            own: Arc::new(own),
            log: Arc::default(),
        };
        for number in 0..engines {
            let node = kit.node(format!("tm-{number}")).await;
            kit.nodes.push(Some(node));
        }
        kit
    }

    async fn node(&self, name: String) -> Node {
        let lease = Arc::new(Lease(AtomicBool::new(true)));
        let (engine, events) = Engine::start(EngineConfig {
            worker_id: name.clone(),
            incarnation: 1,
            slots: 4,
            slot_memory: self.slot_memory,
            cancel_within: self.cancel_within,
            files: Arc::new(PlainFiles),
            authority: lease.clone(),
            threads: 2,
            own: self.own.clone(),
            dialer: regent_security::Dialer::plain(),
        });
        tokio::spawn(record(name.clone(), events, self.log.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = engine.data_plane();
        let server = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Node {
            engine,
            lease,
            name,
            address,
            server,
        }
    }

    pub(crate) fn engine(&self, node: usize) -> &Engine {
        &self.nodes[node].as_ref().unwrap().engine
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.nodes.iter().flatten().map(|node| &node.engine)
    }

    /// As a crash: the engine's threads stop and its connections break.
    pub(crate) fn crash(&mut self, node: usize) {
        let node = self.nodes[node].take().unwrap();
        node.server.abort();
        drop(node.engine);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A deployment of the job over all engines that live, slots dealt out in turn.
    pub(crate) fn order(&self, job: &Job, token: u64, restore: Option<Restore>) -> Deploy {
        let slots = job.vertices.iter().map(|v| v.parallelism).max().unwrap();
        let living: Vec<&Node> = self.nodes.iter().flatten().collect();
        let slot = |index: u32| {
            let node = living[index as usize % living.len()];
            SlotAssignment {
                index,
                worker_id: node.name.clone(),
                incarnation: 1,
                data_address: node.address.clone(),
            }
        };
        Deploy {
            attempt: Some(attempt(job, token)),
            attempt_number: 1,
            job_name: "job".into(),
            vertices: job.vertices.clone(),
            slots: (0..slots).map(slot).collect(),
            restore,
            commit_only: false,
            max_parallelism: 128,
        }
    }

    pub(crate) fn deploy(&self, job: &Job, token: u64, restore: Option<Restore>) -> AttemptKey {
        let order = self.order(job, token, restore);
        for engine in self.engines() {
            engine.deploy(order.clone()).unwrap();
        }
        order.attempt.unwrap()
    }

    pub(crate) fn events(&self) -> Vec<EngineEvent> {
        let events = self.log.events.lock().unwrap();
        events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// Waits until the recorded events satisfy `condition`.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut condition: impl FnMut(&[EngineEvent]) -> Option<T>,
    ) -> T {
        let mut changed = self.log.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = condition(&self.events()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{what}: not within {PATIENCE:?}; {:#?}", self.phases()),
        }
    }

    /// The phases of all tasks held, for messages.
    fn phases(&self) -> Vec<String> {
        let held = self.engines().flat_map(Engine::held_tasks);
        held.map(|r| format!("{} {:?} {}", r.task.clone().unwrap(), r.phase(), r.cause))
            .collect()
    }

    /// Waits until every task of the attempt on the engines that live is in that phase.
    pub(crate) async fn until_all(&self, attempt: &AttemptKey, phase: TaskPhase) {
        let what = format!("all tasks {phase:?}");
        self.until_each(attempt, &what, |one| one == phase).await;
    }

    /// Waits until every task of the attempt runs. Those with little to do may have finished by then.
    pub(crate) async fn until_running(&self, attempt: &AttemptKey) {
        let begun = |phase| matches!(phase, TaskPhase::Running | TaskPhase::Finished);
        self.until_each(attempt, "all tasks run", begun).await;
    }

    async fn until_each(
        &self,
        attempt: &AttemptKey,
        what: &str,
        there: impl Fn(TaskPhase) -> bool,
    ) {
        self.until(what, |_| {
            let held = self.engines().flat_map(Engine::held_tasks);
            let mut held = held
                .filter(|r| r.attempt.as_ref() == Some(attempt))
                .peekable();
            held.peek()?;
            held.all(|r| there(r.phase())).then_some(())
        })
        .await;
    }

    /// The first failure of the attempt that is reported.
    pub(crate) async fn failure(&self, attempt: &AttemptKey) -> TaskReport {
        self.until("a failure", |events| {
            events.iter().find_map(|event| match event {
                EngineEvent::Task(report)
                    if report.phase() == TaskPhase::Failed
                        && report.attempt.as_ref() == Some(attempt) =>
                {
                    Some(report.clone())
                }
                _ => None,
            })
        })
        .await
    }

    pub(crate) fn trigger_order(
        &self,
        attempt: &AttemptKey,
        id: u64,
        kind: &str,
    ) -> TriggerCheckpoint {
        TriggerCheckpoint {
            attempt: Some(attempt.clone()),
            checkpoint_id: id,
            path: self.path(&format!("chk-{id}")).to_str().unwrap().to_owned(),
            kind: kind.into(),
            write_deadline_ms: 10_000,
            stop: false,
            drain: false,
        }
    }

    pub(crate) fn trigger(&self, attempt: &AttemptKey, id: u64, kind: &str) {
        for engine in self.engines() {
            engine.trigger(self.trigger_order(attempt, id, kind));
        }
    }

    /// Waits for every acknowledgement and writes `_metadata`; nothing is announced.
    pub(crate) async fn collect(&self, job: &Job, attempt: &AttemptKey, id: u64) -> Completed {
        let wanted: u32 = job.vertices.iter().map(|v| v.parallelism).sum();
        let acks = self
            .until(&format!("all acknowledgements of {id}"), |events| {
                let acks: BTreeMap<TaskKeyOrd, CheckpointAck> = events
                    .iter()
                    .filter_map(|event| match event {
                        EngineEvent::Ack(ack)
                            if ack.checkpoint_id == id && ack.attempt.as_ref() == Some(attempt) =>
                        {
                            let task = ack.task.clone().unwrap();
                            Some(((task.vertex, task.subtask), ack.clone()))
                        }
                        _ => None,
                    })
                    .collect();
                (acks.len() == wanted as usize).then_some(acks)
            })
            .await;
        let vertex = |plan: &VertexPlan| VertexState {
            vertex: plan.id.clone(),
            operator: plan.operator.clone(),
            operator_version: 1,
            parallelism: plan.parallelism,
            columns: plan.columns.clone(),
            subtasks: acks
                .iter()
                .filter(|((vertex, _), _)| *vertex == plan.id)
                .map(|(_, ack)| ack.handle.clone().unwrap())
                .collect(),
        };
        let metadata = CheckpointMetadata {
            format_version: 1,
            cluster_id: "c".into(),
            attempt: Some(attempt.clone()),
            checkpoint_id: id,
            kind: "checkpoint".into(),
            vertices: job.vertices.iter().map(vertex).collect(),
            job_name: "job".into(),
        };
        let file = encode_metadata(&metadata).unwrap();
        let dir = self.path(&format!("chk-{id}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("_metadata"), &file).unwrap();
        let pointer = MetadataPointer::of(&file);
        Completed {
            restore: Restore {
                checkpoint_id: id,
                path: dir.to_str().unwrap().to_owned(),
                metadata_length: pointer.length,
                metadata_crc32c: pointer.crc32c,
                allow_unclaimed_state: false,
                foreign: false,
            },
            metadata,
        }
    }

    /// Announces a completed checkpoint and waits until every sink committed it.
    pub(crate) async fn announce(&self, job: &Job, attempt: &AttemptKey, id: u64) {
        for engine in self.engines() {
            engine.completed(CheckpointCompleted {
                attempt: Some(attempt.clone()),
                checkpoint_id: id,
                path: String::new(),
            });
        }
        let sinks = job.vertices.iter().filter(|v| v.kind == "sink");
        let wanted: u32 = sinks.map(|v| v.parallelism).sum();
        self.until(&format!("sinks committed {id}"), |events| {
            let done = events.iter().filter(|event| {
                matches!(event, EngineEvent::SinkCommitted(c)
                    if c.checkpoint_id == id && c.attempt.as_ref() == Some(attempt))
            });
            (done.count() >= wanted as usize).then_some(())
        })
        .await;
    }

    /// A whole checkpoint: triggered, acknowledged, announced, committed.
    pub(crate) async fn checkpoint(&self, job: &Job, attempt: &AttemptKey, id: u64) -> Completed {
        self.trigger(attempt, id, "checkpoint");
        let completed = self.collect(job, attempt, id).await;
        self.announce(job, attempt, id).await;
        completed
    }

    /// Waits for the end of input and takes the last checkpoint.
    pub(crate) async fn finish(&self, job: &Job, attempt: &AttemptKey, id: u64) -> Completed {
        self.until_all(attempt, TaskPhase::Finished).await;
        self.checkpoint(job, attempt, id).await
    }

    /// Cancels the attempt and waits for it; answers how long that took.
    pub(crate) async fn cancel(&self, attempt: &AttemptKey) -> Duration {
        let begin = Instant::now();
        for engine in self.engines() {
            engine.cancel(attempt);
        }
        self.until("all tasks over", |_| {
            let held = self.engines().flat_map(Engine::held_tasks);
            let mut held = held.filter(|r| r.attempt.as_ref() == Some(attempt));
            let over = |r: TaskReport| matches!(r.phase(), TaskPhase::Canceled | TaskPhase::Failed);
            held.all(over).then_some(())
        })
        .await;
        begin.elapsed()
    }

    /// Rows taken in by a vertex so far.
    pub(crate) fn records_in(&self, vertex: &str) -> u64 {
        let all = self.engines().flat_map(Engine::metrics);
        let of = all.filter(|m| m.task.as_ref().is_some_and(|t| t.vertex == vertex));
        of.map(|m| m.records_in).sum()
    }

    /// Waits until a vertex has taken that many rows.
    pub(crate) async fn until_rows(&self, vertex: &str, rows: u64) {
        let begin = Instant::now();
        while self.records_in(vertex) < rows {
            assert!(
                begin.elapsed() < PATIENCE,
                "{vertex} never takes {rows} rows"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Rows of all committed files below `out`, sorted; every file must have that header.
    pub(crate) fn output(&self, out: &str, header: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for text in self.committed(out) {
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some(header));
            rows.extend(lines.map(str::to_owned));
        }
        rows.sort();
        rows
    }

    /// Lines of all committed files below `out`, for formats without a header.
    pub(crate) fn output_lines(&self, out: &str) -> Vec<String> {
        let committed = self.committed(out);
        let lines = committed.iter().flat_map(|text| text.lines());
        lines.map(str::to_owned).collect()
    }

    fn committed(&self, out: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(out)).unwrap().map(Result::unwrap);
        let shown = entries.filter(|e| !e.file_name().to_str().unwrap().starts_with('_'));
        shown
            .map(|e| fs::read_to_string(e.path()).unwrap())
            .collect()
    }
}

type TaskKeyOrd = (String, u32);

async fn record(name: String, mut events: mpsc::Receiver<EngineEvent>, log: Arc<Log>) {
    while let Some(event) = events.recv().await {
        log.events.lock().unwrap().push((name.clone(), event));
        log.changed.send_modify(|count| *count += 1);
    }
}
