//! openraft's own storage suite over log and state machine, and the same log closed and opened again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::StorageError;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use regent_storage::log::{LogConfig, LogStore};
use regent_storage::state_store::{StateStore, StateStoreConfig};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::entry;
use crate::hints::Effects;
use crate::log::{RaftLog, covers_everything};
use crate::machine::StateMachine;
use crate::snapshot::Snapshots;
use crate::types::{Entry, LeaderId, LogId, TypeConfig, Vote};
use crate::view::View;

struct Stores;

fn open_log(dir: &Path) -> RaftLog {
    let config = LogConfig {
        segment_bytes: 64 * 1024,
        ..LogConfig::default()
    };
    RaftLog::new(LogStore::open(dir, config).unwrap(), covers_everything()).unwrap()
}

impl StoreBuilder<TypeConfig, RaftLog, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, RaftLog, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = open_log(&dir.path().join("log"));
        let (store, _) =
            StateStore::open(dir.path().join("state"), StateStoreConfig::default()).unwrap();
        let machine = StateMachine {
            views: watch::Sender::new(Arc::new(View::empty())),
            effects: Effects::default(),
            store,
            snapshots: Snapshots::open(&dir.path().join("snapshots")).unwrap(),
            agreement: Arc::default(),
            shared: None,
        };
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Stores).await.unwrap();
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let data = Bytes::from(format!("entry {term}.{index}"));
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(entry::seal_command(&data).unwrap()),
    }
}

async fn append(log: &mut RaftLog, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = flushed_signal();
    log.append(entries, done).await?;
    flushed.await.map_err(io::Error::other)?
}

fn flushed_signal() -> (
    IOFlushed<TypeConfig>,
    tokio::sync::oneshot::Receiver<io::Result<()>>,
) {
    use openraft::type_config::TypeConfigExt;
    let (sender, receiver) = TypeConfig::oneshot();
    (IOFlushed::signal(sender), receiver)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote::new_committed(3, 1);
    {
        let mut log = open_log(dir.path());
        log.save_vote(&vote).await.unwrap();
        append(&mut log, (0..50).map(|i| entry(1, i)).collect())
            .await
            .unwrap();
        log.truncate_after(Some(log_id(1, 29))).await.unwrap();
        append(&mut log, (30..40).map(|i| entry(3, i)).collect())
            .await
            .unwrap();
        log.save_committed(Some(log_id(3, 35))).await.unwrap();
        log.purge(log_id(1, 9)).await.unwrap();
        append(&mut log, vec![entry(3, 40)]).await.unwrap();
        log.close();
    }
    let mut log = open_log(dir.path());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 9)));
    assert_eq!(state.last_log_id, Some(log_id(3, 40)));
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(3, 35)));
    let entries = log.try_get_log_entries(0..100).await.unwrap();
    let expected: Vec<Entry> = (10..30)
        .map(|i| entry(1, i))
        .chain((30..41).map(|i| entry(3, i)))
        .collect();
    assert_eq!(entries, expected);
    let reached = log.reached().unwrap();
    assert_eq!(reached.vote, Some(vote.leader_id));
    assert_eq!(reached.last, Some(log_id(3, 40)));
}

#[tokio::test]
async fn a_committed_position_beyond_the_log_is_lowered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_log(dir.path());
    append(&mut log, (0..5).map(|i| entry(2, i)).collect())
        .await
        .unwrap();
    log.save_committed(Some(log_id(2, 9))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(2, 4)));
    log.save_committed(Some(log_id(3, 9))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), None);
}

#[tokio::test]
async fn a_purge_beyond_the_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogConfig::default()).unwrap();
    let mut log = RaftLog::new(store, Arc::new(|| Some(2))).unwrap();
    append(&mut log, (0..5).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    assert!(log.purge(log_id(1, 3)).await.is_err());
    log.purge(log_id(1, 2)).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 2)));
}

#[tokio::test]
async fn nothing_is_purged_without_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogConfig::default()).unwrap();
    let mut log = RaftLog::new(store, Arc::new(|| None)).unwrap();
    append(&mut log, (0..5).map(|i| entry(1, i)).collect())
        .await
        .unwrap();
    assert!(log.purge(log_id(1, 0)).await.is_err());
}

#[tokio::test]
async fn a_refused_append_still_calls_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_log(dir.path());
    append(&mut log, vec![entry(1, 0)]).await.unwrap();
    let (done, flushed) = flushed_signal();
    // Not contiguous: the log refuses it.
    log.append(vec![entry(1, 5)], done).await.unwrap();
    assert!(flushed.await.unwrap().is_err());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// What a crash leaves is what the files hold at that moment: everything acknowledged by then.
#[tokio::test]
async fn the_files_as_a_crash_leaves_them_hold_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_log(&dir.path().join("log"));
    for round in 1..=5u64 {
        let vote = Vote::new_committed(round, 1);
        log.save_vote(&vote).await.unwrap();
        let last = round * 10 - 1;
        append(
            &mut log,
            (last - 9..=last).map(|i| entry(round, i)).collect(),
        )
        .await
        .unwrap();
        let crashed = dir.path().join(format!("crashed-{round}"));
        copy(&dir.path().join("log"), &crashed);
        let mut found = open_log(&crashed);
        assert_eq!(found.read_vote().await.unwrap(), Some(vote));
        let state = found.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, Some(log_id(round, last)));
        assert_eq!(
            found.try_get_log_entries(0..100).await.unwrap().len() as u64,
            last + 1
        );
    }
}
