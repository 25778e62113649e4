//! The user's own two-phase sinks in the engine: every row once, over aborted checkpoints, restores and
//! orders to commit without running.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use regent_protocol::v1::{CheckpointAborted, CommitOnly};
use regent_worker::engine::EngineEvent;
use regent_worker::own::{Abandoned, Registry, Result, Setup, TransactionId, TwoPhaseSink};
use serde_json::json;

use crate::graph::Job;
use crate::kit::Kit;

/// A store that outlives its clients, as a database would.
#[derive(Default)]
struct Store {
    /// Rows of open transactions; lost with the client.
    open: BTreeMap<String, Vec<i64>>,
    /// Durable and invisible.
    prepared: BTreeMap<String, Vec<i64>>,
    /// Visible, with how often it was asked for.
    committed: BTreeMap<String, (Vec<i64>, u32)>,
}

type Shared = Arc<Mutex<Store>>;

struct Transactional(Shared);

impl TwoPhaseSink for Transactional {
    const VERSION: u32 = 2;
    const ZOMBIE_SAFE: bool = true;

    async fn write(&mut self, id: &TransactionId, rows: RecordBatch) -> Result<()> {
        let values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut store = self.0.lock().unwrap();
        store.open.entry(id.to_string()).or_default().extend(values);
        Ok(())
    }

    async fn pre_commit(&mut self, id: &TransactionId) -> Result<Vec<u8>> {
        let mut store = self.0.lock().unwrap();
        let rows = store.open.remove(&id.to_string()).ok_or("it isn't open")?;
        let handle = rows.len().to_string();
        store.prepared.insert(id.to_string(), rows);
        Ok(handle.into())
    }

    async fn commit(&mut self, id: &TransactionId, handle: &[u8]) -> Result<()> {
        let mut store = self.0.lock().unwrap();
        if let Some((_, asked)) = store.committed.get_mut(&id.to_string()) {
            *asked += 1;
            return Ok(());
        }
        let rows = store.prepared.remove(&id.to_string());
        let rows = rows.ok_or("it isn't prepared")?;
        assert_eq!(handle, rows.len().to_string().as_bytes());
        store.committed.insert(id.to_string(), (rows, 1));
        Ok(())
    }

    async fn abort(&mut self, abandoned: &Abandoned) -> Result<()> {
        let mut store = self.0.lock().unwrap();
        let gone = |id: &str| abandoned.contains(&id.parse().unwrap());
        store.open.retain(|id, _| !gone(id));
        store.prepared.retain(|id, _| !gone(id));
        Ok(())
    }
}

fn registry() -> (Registry, Shared) {
    let store = Shared::default();
    let shared = store.clone();
    let mut registry = Registry::default();
    let new = move |_: &mut Setup| Ok(Transactional(shared.clone()));
    registry.two_phase_sink("store", new);
    assert!(registry.problems().is_empty());
    (registry, store)
}

const END: i64 = 6_000;

fn job(parallelism: u32) -> Job {
    let columns = [("value", "int64"), ("at", "timestamp")];
    let numbers = json!({ "start": 0, "end": END, "rate": 3_000.0 });
    Job::new()
        .vertex("source", ("numbers", "sequence"), 2, numbers, &columns)
        .vertex(
            "sink",
            ("out", "store"),
            parallelism,
            json!({ "version": 2, "with": {} }),
            &columns,
        )
        .input("numbers", "rebalance", &[])
}

fn visible(store: &Shared) -> Vec<i64> {
    let store = store.lock().unwrap();
    let rows = store.committed.values();
    let mut rows: Vec<i64> = rows.flat_map(|(rows, _)| rows.iter().copied()).collect();
    rows.sort_unstable();
    rows
}

/// All of what was left is gone, and restores have committed again.
fn assert_settled(store: &Shared) {
    let store = store.lock().unwrap();
    assert!(
        store.open.is_empty() && store.prepared.is_empty(),
        "all of what was left is gone"
    );
    let asked = store.committed.values().map(|(_, asked)| *asked).max();
    assert!(
        asked >= Some(2),
        "restores commit again what may be committed: {asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_visible_once_over_restores_at_other_parallelisms() {
    let (registry, store) = registry();
    let kit = Kit::with(2, registry).await;
    let mut restore = None;
    for (token, parallelism) in [(5, 2), (6, 1), (7, 3)] {
        let job = job(parallelism);
        let attempt = kit.deploy(&job, token, restore.take());
        kit.until_running(&attempt).await;
        let id = token * 10;
        kit.until_rows("out", 300).await;
        // An aborted checkpoint leaves its transactions to the next.
        kit.trigger(&attempt, id, "checkpoint");
        kit.collect(&job, &attempt, id).await;
        for engine in kit.engines() {
            engine.aborted(CheckpointAborted {
                attempt: Some(attempt.clone()),
                checkpoint_id: id,
            });
        }
        kit.until_rows("out", 600).await;
        let before = visible(&store).len();
        kit.trigger(&attempt, id + 1, "checkpoint");
        let completed = kit.collect(&job, &attempt, id + 1).await;
        assert_eq!(visible(&store).len(), before, "nothing is announced yet");
        // The first attempt dies before its sinks are told, the others after.
        if token != 5 {
            kit.announce(&job, &attempt, id + 1).await;
            assert!(visible(&store).len() > before);
        }
        kit.until_rows("out", 900).await;
        kit.cancel(&attempt).await;
        for engine in kit.engines() {
            engine.forget(std::slice::from_ref(&attempt));
        }
        restore = Some(completed.restore);
    }
    let job = job(2);
    let attempt = kit.deploy(&job, 8, restore);
    let last = kit.finish(&job, &attempt, 90).await;
    assert_eq!(visible(&store), (0..END).collect::<Vec<_>>());
    assert_settled(&store);
    kit.cancel(&attempt).await;

    // And once more without running: nothing happens.
    let restore = last.restore;
    kit.engine(0).commit_only(CommitOnly {
        job_id: job.id.clone(),
        run: attempt.run,
        checkpoint_id: restore.checkpoint_id,
        restore: Some(restore),
        vertices: job.vertices.clone(),
    });
    let error = kit.until("the answer", |events| {
        events.iter().find_map(|event| match event {
            EngineEvent::CommitOnlyDone(done) => Some(done.error.clone()),
            _ => None,
        })
    });
    assert_eq!(error.await, "");
    assert_eq!(visible(&store).len(), END as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_committed_without_running_and_the_rest_goes() {
    let (registry, store) = registry();
    let kit = Kit::with(1, registry).await;
    let job = job(2);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_rows("out", 300).await;
    kit.trigger(&attempt, 1, "checkpoint");
    let completed = kit.collect(&job, &attempt, 1).await;
    kit.until_rows("out", 600).await;
    kit.trigger(&attempt, 2, "checkpoint");
    kit.collect(&job, &attempt, 2).await;
    kit.cancel(&attempt).await;
    let listed: usize = {
        let store = store.lock().unwrap();
        assert!(store.committed.is_empty() && store.prepared.len() >= 3);
        completed.metadata.vertices[1]
            .subtasks
            .iter()
            .map(|s| s.transactions as usize)
            .sum()
    };
    for _ in 0..2 {
        kit.engine(0).commit_only(CommitOnly {
            job_id: job.id.clone(),
            run: attempt.run,
            checkpoint_id: 1,
            restore: Some(completed.restore.clone()),
            vertices: job.vertices.clone(),
        });
    }
    kit.until("both answers", |events| {
        let errors: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                EngineEvent::CommitOnlyDone(done) => Some(done.error.as_str()),
                _ => None,
            })
            .collect();
        assert!(errors.iter().all(|error| error.is_empty()), "{errors:?}");
        (errors.len() == 2).then_some(())
    })
    .await;
    let store = store.lock().unwrap();
    assert_eq!(store.committed.len(), listed);
    assert!(store.prepared.is_empty() && store.open.is_empty());
}
