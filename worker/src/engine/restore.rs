//! Restoring: reads a checkpoint's `_metadata` and states, checks every byte, and cuts the state
//! for the subtasks of this attempt, whatever their number was before.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use prost::Message;
use regent_protocol::metadata::{
    METADATA_NAME, MetadataPointer, decode_metadata, mismatch, verify_metadata,
};
use regent_protocol::v1::subtask_handle::State;
use regent_protocol::v1::{
    CheckpointMetadata, KeyGroupState, LogToken, Restore, SubtaskHandle, TaskState, Transaction,
    VertexPlan, VertexState,
};
use tokio::sync::OnceCell;

use super::error::TaskError;
use super::keys::groups_of;
use super::store::CheckpointFiles;

/// State files that are read at the same time.
const READS_MAX: usize = 8;

/// What one subtask takes over.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Share {
    /// Pieces of all subtasks: sources and sinks know which are theirs.
    pub(crate) items: Vec<Bytes>,
    pub(crate) key_groups: Vec<KeyGroupState>,
    /// To be committed before rows flow.
    pub(crate) transactions: Vec<Transaction>,
    /// All that are listed for the vertex.
    pub(crate) listed: Vec<Transaction>,
    /// Version of the code that wrote the state; 0 if that isn't known.
    pub(crate) version: u32,
}

/// A checkpoint that an attempt starts from, read once for all tasks on this worker.
pub(crate) struct Checkpoint {
    files: Arc<dyn CheckpointFiles>,
    restore: Restore,
    run: Option<LogToken>,
    metadata: OnceCell<Arc<CheckpointMetadata>>,
    states: HashMap<String, tokio::sync::Mutex<Shared>>,
    graph: Vec<VertexPlan>,
}

/// The states of one vertex: read by the first task that asks, dropped with the last, so that they
/// don't lie beside what was restored from them.
#[derive(Default)]
struct Shared {
    takers: usize,
    states: Option<Arc<Vec<TaskState>>>,
}

impl Checkpoint {
    /// Nothing is read before the first question. `tasks` names the vertex of each task that will
    /// ask, by its place in the graph.
    pub(crate) fn new(
        files: Arc<dyn CheckpointFiles>,
        restore: Restore,
        run: Option<LogToken>,
        graph: &[VertexPlan],
        tasks: impl Iterator<Item = usize>,
    ) -> Self {
        let mut takers = vec![0; graph.len()];
        for vertex in tasks {
            takers[vertex] += 1;
        }
        let shared = |(vertex, takers): (&VertexPlan, usize)| {
            let shared = Shared {
                takers,
                states: None,
            };
            (vertex.id.clone(), tokio::sync::Mutex::new(shared))
        };
        Self {
            files,
            restore,
            run,
            metadata: OnceCell::new(),
            states: graph.iter().zip(takers).map(shared).collect(),
            graph: graph.to_vec(),
        }
    }

    /// The highest checkpoint id of this run that is in the past; 0 after a savepoint of another.
    pub(crate) fn floor(&self) -> u64 {
        if self.restore.foreign {
            0
        } else {
            self.restore.checkpoint_id
        }
    }

    /// What a subtask takes over; `None` if the checkpoint doesn't know its vertex.
    pub(crate) async fn share(
        &self,
        vertex: &VertexPlan,
        subtask: u32,
    ) -> Result<Option<Share>, TaskError> {
        let metadata = self.metadata().await?;
        let Some(state) = metadata.vertices.iter().find(|v| v.vertex == vertex.id) else {
            return Ok(None);
        };
        let Some(shared) = self.states.get(&vertex.id) else {
            return Ok(None);
        };
        let states = self.take(shared, state).await?;
        let mut share = cut(&states, subtask, vertex.parallelism);
        share.version = state.operator_version;
        if self.restore.foreign {
            // What another run wrote is committed, and doesn't count as this run's output.
            share.transactions.clear();
            share.listed.clear();
            if vertex.kind == "sink" {
                share.items.clear();
            }
        }
        Ok(Some(share))
    }

    /// The states of a vertex for one more task.
    async fn take(
        &self,
        shared: &tokio::sync::Mutex<Shared>,
        vertex: &VertexState,
    ) -> Result<Arc<Vec<TaskState>>, TaskError> {
        let mut shared = shared.lock().await;
        let states = match &shared.states {
            Some(states) => states.clone(),
            None => self.read_states(vertex).await?,
        };
        shared.takers = shared.takers.saturating_sub(1);
        shared.states = (shared.takers > 0).then(|| states.clone());
        Ok(states)
    }

    /// Every transaction that the checkpoint lists, by vertex.
    pub(crate) async fn transactions(&self) -> Result<Vec<(String, Vec<Transaction>)>, TaskError> {
        let metadata = self.metadata().await?;
        let mut all = Vec::new();
        for vertex in &metadata.vertices {
            if vertex.subtasks.iter().any(|s| s.transactions > 0) {
                let states = self.read_states(vertex).await?;
                let listed = states.iter().flat_map(|s| s.transactions.iter().cloned());
                all.push((vertex.vertex.clone(), listed.collect()));
            }
        }
        Ok(all)
    }

    async fn metadata(&self) -> Result<Arc<CheckpointMetadata>, TaskError> {
        let read = || async {
            let metadata = self.read_metadata().await?;
            check(&metadata, &self.restore, self.run, &self.graph).map_err(TaskError::Restore)?;
            Ok(Arc::new(metadata))
        };
        self.metadata.get_or_try_init(read).await.cloned()
    }

    async fn read_metadata(&self) -> Result<CheckpointMetadata, TaskError> {
        let path = self.path(METADATA_NAME);
        let bytes = self.get(&path).await?;
        let pointer = MetadataPointer {
            length: self.restore.metadata_length,
            crc32c: self.restore.metadata_crc32c,
        };
        // Of a savepoint that the log doesn't know only the file's own checksum can be checked.
        let decoded = if self.restore.foreign && pointer.length == 0 {
            decode_metadata(&bytes)
        } else {
            verify_metadata(&bytes, pointer)
        };
        decoded.map_err(|e| TaskError::Restore(format!("{path}: {e}")))
    }

    async fn read_states(&self, vertex: &VertexState) -> Result<Arc<Vec<TaskState>>, TaskError> {
        let mut reads = Vec::new();
        for handle in &vertex.subtasks {
            reads.push(self.read_state(vertex, handle).boxed());
        }
        let states: Vec<TaskState> = futures::stream::iter(reads)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        Ok(Arc::new(states))
    }

    async fn read_state(
        &self,
        vertex: &VertexState,
        handle: &SubtaskHandle,
    ) -> Result<TaskState, TaskError> {
        let place = format!("the state of {}/{}", vertex.vertex, handle.subtask);
        let bytes = match &handle.state {
            None => Bytes::new(),
            Some(State::Inline(bytes)) => bytes.clone(),
            Some(State::File(file)) => {
                let path = self.path(&file.name);
                let bytes = self.get(&path).await?;
                if bytes.len() as u64 != file.length || crc32c::crc32c(&bytes) != file.crc32c {
                    return Err(TaskError::Restore(format!(
                        "{path} ({place}) has {} bytes with checksum {:08x}, written were {} with \
                         {:08x}",
                        bytes.len(),
                        crc32c::crc32c(&bytes),
                        file.length,
                        file.crc32c
                    )));
                }
                bytes
            }
        };
        TaskState::decode(bytes).map_err(|e| TaskError::Restore(format!("{place}: {e}")))
    }

    async fn get(&self, path: &str) -> Result<Bytes, TaskError> {
        let read = self.files.get(path.to_owned()).await;
        read.map_err(|e| TaskError::Restore(e.to_string()))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.restore.path.trim_end_matches('/'))
    }
}

/// Refuses state that isn't of this run or that the graph has no use for.
fn check(
    metadata: &CheckpointMetadata,
    restore: &Restore,
    run: Option<LogToken>,
    graph: &[VertexPlan],
) -> Result<(), String> {
    let path = &restore.path;
    if !restore.foreign {
        let of = metadata.attempt.as_ref().and_then(|a| a.run);
        if of.is_some() && of != run {
            return Err(format!("{path} is a checkpoint of another run"));
        }
        if metadata.checkpoint_id != restore.checkpoint_id {
            return Err(format!("{path} is checkpoint {}", metadata.checkpoint_id));
        }
    }
    let operator_of = |id: &str| {
        let vertex = graph.iter().find(|v| v.id == id);
        vertex.map(|v| v.operator.as_str())
    };
    match mismatch(metadata, operator_of, restore.allow_unclaimed_state) {
        Some(cause) => Err(format!("{path} doesn't fit this job: {cause}")),
        None => Ok(()),
    }
}

/// Cuts the states of all former subtasks for one subtask of now.
pub(crate) fn cut(states: &[TaskState], subtask: u32, parallelism: u32) -> Share {
    let mine = groups_of(subtask, parallelism);
    let groups = states.iter().flat_map(|s| &s.key_groups);
    let transactions = || states.iter().flat_map(|s| &s.transactions);
    // Those of one former subtask stay together: some sinks commit them in order.
    let turn = |former: u32| former % parallelism == subtask;
    Share {
        items: states
            .iter()
            .flat_map(|s| s.operator_items.clone())
            .collect(),
        key_groups: groups
            .filter(|g| mine.contains(&g.group))
            .cloned()
            .collect(),
        transactions: transactions()
            .filter(|one| turn(one.subtask))
            .cloned()
            .collect(),
        listed: transactions().cloned().collect(),
        version: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(items: &[&'static str], groups: &[u32], sequences: &[u64]) -> TaskState {
        let group = |group: &u32| KeyGroupState {
            group: *group,
            entries: Bytes::from_static(b"x"),
        };
        let transaction = |sequence: &u64| Transaction {
            sequence: *sequence,
            subtask: u32::from(!groups.contains(&0)),
            ..Default::default()
        };
        TaskState {
            operator_items: items
                .iter()
                .map(|i| Bytes::from_static(i.as_bytes()))
                .collect(),
            key_groups: groups.iter().map(group).collect(),
            transactions: sequences.iter().map(transaction).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn groups_go_by_range_and_transactions_by_their_subtask() {
        let states = [
            state(&["a", "b"], &[0, 63], &[0, 1]),
            state(&["c"], &[64, 127], &[0]),
        ];
        for parallelism in [1, 2, 3, 7] {
            let shares: Vec<Share> = (0..parallelism)
                .map(|s| cut(&states, s, parallelism))
                .collect();
            let groups: Vec<u32> = shares
                .iter()
                .flat_map(|s| s.key_groups.iter().map(|g| g.group))
                .collect();
            assert_eq!(groups, [0, 63, 64, 127], "each once, in order");
            let transactions: usize = shares.iter().map(|s| s.transactions.len()).sum();
            assert_eq!(transactions, 3);
            assert!(shares.iter().all(|s| s.items.len() == 3));
        }
        assert_eq!(cut(&states, 1, 2).transactions.len(), 1);
    }

    fn metadata(vertex: &str, operator: &str, state: &TaskState) -> CheckpointMetadata {
        CheckpointMetadata {
            checkpoint_id: 7,
            vertices: vec![VertexState {
                vertex: vertex.into(),
                operator: operator.into(),
                subtasks: vec![SubtaskHandle {
                    state: Some(State::Inline(state.encode_to_vec().into())),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn state_that_nothing_claims_is_refused_unless_allowed() {
        let graph = [VertexPlan {
            id: "a".into(),
            operator: "aggregate".into(),
            ..Default::default()
        }];
        let restore = Restore {
            checkpoint_id: 7,
            path: "/c".into(),
            ..Default::default()
        };
        let full = state(&["x"], &[], &[]);
        let run = |metadata: &CheckpointMetadata, restore: &Restore| {
            check(metadata, restore, None, &graph)
        };
        assert_eq!(run(&metadata("a", "aggregate", &full), &restore), Ok(()));
        let gone = run(&metadata("b", "aggregate", &full), &restore).unwrap_err();
        assert!(gone.contains("state of b"), "{gone}");
        let allowed = Restore {
            allow_unclaimed_state: true,
            ..restore.clone()
        };
        assert_eq!(run(&metadata("b", "aggregate", &full), &allowed), Ok(()));
        let nothing = TaskState {
            finished: true,
            ..Default::default()
        };
        assert_eq!(run(&metadata("b", "filter", &nothing), &restore), Ok(()));
        assert!(run(&metadata("a", "filter", &full), &restore).is_err());
        let other = Restore {
            checkpoint_id: 8,
            ..restore
        };
        assert!(run(&metadata("a", "aggregate", &full), &other).is_err());
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused_unless_foreign() {
        let mut metadata = metadata("a", "aggregate", &TaskState::default());
        metadata.attempt = Some(regent_protocol::v1::AttemptKey {
            run: Some(LogToken {
                generation: 1,
                index: 4,
            }),
            ..Default::default()
        });
        let mine = Some(LogToken {
            generation: 1,
            index: 9,
        });
        let restore = Restore {
            checkpoint_id: 7,
            ..Default::default()
        };
        assert!(check(&metadata, &restore, mine, &[]).is_err());
        let foreign = Restore {
            foreign: true,
            ..restore
        };
        assert_eq!(check(&metadata, &foreign, mine, &[]), Ok(()));
    }
}
