//! Tests of the log on a simulated disk, by what is done to it.

mod basics;
mod damage;
mod failures;
mod power;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::disk::Disk;
use super::sim::SimDisk;
use super::{Callback, LogConfig, LogError, LogRecord, LogState, LogStore};

pub(super) const DIR: &str = "/log";

/// Segments so small that a few entries fill one.
pub(super) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1024,
        cache_bytes: 256,
        group_bytes: 512,
        ..LogConfig::default()
    }
}

pub(super) fn open(disk: &SimDisk) -> Result<LogStore, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    LogStore::open_on(disk, DIR, small())
}

/// Each operation is a group of its own, and nothing written stays in the cache.
pub(super) fn open_one_by_one(disk: &SimDisk) -> LogStore {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = LogConfig {
        group_bytes: 1,
        cache_bytes: 0,
        ..small()
    };
    LogStore::open_on(disk, DIR, config).unwrap()
}

/// Appends an entry and holds the writer in its callback until the answer is dropped.
pub(super) fn hold_writer(log: &LogStore, index: u64) -> std::sync::mpsc::Sender<()> {
    let (release, held) = channel::<()>();
    let (entered, writer_holds) = channel::<()>();
    let hold = Box::new(move |_| {
        entered.send(()).unwrap();
        held.recv().ok();
    });
    log.append(vec![record(index)], hold);
    writer_holds.recv().unwrap();
    release
}

pub(super) fn record(index: u64) -> LogRecord {
    entry(index, 1)
}

/// An entry whose bytes say index and term.
pub(super) fn entry(index: u64, term: u64) -> LogRecord {
    LogRecord {
        index,
        log_id: log_id(index, term),
        payload: Bytes::from(format!("payload of {index} in {term}").repeat(2)),
    }
}

pub(super) fn log_id(index: u64, term: u64) -> Bytes {
    Bytes::from(format!("{term}-{index}"))
}

pub(super) fn append(log: &LogStore, range: std::ops::Range<u64>) -> Result<(), LogError> {
    log.append_receipt(range.map(record).collect()).wait()
}

/// A callback and where its answer arrives.
pub(super) fn callback() -> (Callback, Receiver<Result<(), LogError>>) {
    let (sender, receiver) = channel();
    (
        Box::new(move |result| sender.send(result).unwrap()),
        receiver,
    )
}

pub(super) fn indexes(log: &LogStore) -> Vec<u64> {
    log.read(0, u64::MAX, usize::MAX)
        .unwrap()
        .iter()
        .map(|r| r.index)
        .collect()
}

/// Everything that a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) state: LogState,
    pub(super) records: Vec<LogRecord>,
}

pub(super) fn whole(log: &LogStore) -> Whole {
    Whole {
        state: log.state(),
        records: log.read(0, u64::MAX, usize::MAX).unwrap(),
    }
}

pub(super) fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "log");
    disk.paths().into_iter().filter(is_segment).collect()
}

pub(super) fn in_dir(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}
