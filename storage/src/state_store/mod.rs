//! The applied state on disk, in sled, written behind by its own thread. Nothing here is needed to
//! be correct: whatever can't be opened, or doesn't fit the log, is discarded and rebuilt from
//! snapshot and log. So `enqueue` never waits and never fails.
//!
//! - Changes are coalesced per key and written at the latest after [`StateStoreConfig::delay_max`] or
//!   [`StateStoreConfig::behind_bytes_max`]; together with their marker they are one atomic batch.
//! - sled's own flush doesn't reach the device, so the database's file is synced by us
//!   (`database.rs`).
//! - A damaged database makes sled panic; that is caught and becomes [`StateStoreError::Damaged`].
//! - Installing a snapshot fills a new directory, then switches the pointer file `CURRENT`.
//!
//! The owner compares the [`Marker`] (index ≤ what log and snapshot reach, hash of the entries) after
//! `load`, and calls [`StateStore::discard`] if it doesn't fit.

mod database;
mod pending;
mod pointer;
mod writer;

pub use database::{Entries, Entry};

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use database::Database;
use pending::Shared;

/// One key's new value, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The entity's key.
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// How far the state store has come. Frozen as version 1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marker {
    /// Index of the last applied entry; `None` before the first.
    pub last_applied_index: Option<u64>,
    /// Its log id, opaque.
    pub log_id: Vec<u8>,
    /// The last applied membership, opaque.
    pub membership: Vec<u8>,
    /// The state hash at that index.
    pub state_hash: u128,
}

/// Why the state store can't be used. The remedy is always the same: [`StateStore::discard`], then
/// rebuild from snapshot and log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateStoreError {
    /// The database is damaged.
    #[error("the state store in {} is damaged and is to be rebuilt: {reason}", dir.display())]
    Damaged {
        /// Where.
        dir: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// Another process, or another handle in this one, has the store open.
    #[error("the state store in {} is already open", dir.display())]
    InUse {
        /// Where.
        dir: PathBuf,
    },
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's answer.
        source: Arc<std::io::Error>,
    },
    /// The store was closed, or stopped writing after an earlier error.
    #[error("the state store no longer writes: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

impl StateStoreError {
    fn damaged(dir: &Path, reason: impl Into<String>) -> StateStoreError {
        StateStoreError::Damaged {
            dir: dir.to_path_buf(),
            reason: reason.into(),
        }
    }

    fn io(action: &'static str, file: &Path) -> impl FnOnce(std::io::Error) -> StateStoreError {
        let file = file.to_path_buf();
        move |source| StateStoreError::Io {
            action,
            file,
            source: Arc::new(source),
        }
    }
}

/// Sizes and delays.
#[derive(Debug, Clone)]
pub struct StateStoreConfig {
    /// Memory for sled's cache. Small: what is stored is in memory anyway, and read only at the start.
    pub cache_bytes: u64,
    /// Changes are written at the latest this long after they were enqueued.
    pub delay_max: Duration,
    /// ... or when this much waits.
    pub behind_bytes_max: usize,
}

impl Default for StateStoreConfig {
    fn default() -> StateStoreConfig {
        StateStoreConfig {
            cache_bytes: 4 << 20,
            delay_max: Duration::from_millis(750),
            behind_bytes_max: 4 << 20,
        }
    }
}

/// Numbers for metrics.
#[derive(Debug, Clone, Default)]
pub struct StateStoreMetrics {
    /// Bytes waiting to be written.
    pub behind_bytes: usize,
    /// When the oldest waiting change was enqueued.
    pub behind_since: Option<Instant>,
    /// Index of the last durable marker.
    pub durable_index: Option<u64>,
    /// Batches written.
    pub batches: u64,
    /// Why nothing is written any more, if so: the store is rebuilt at the next start.
    pub stopped: Option<String>,
}

/// An open state store. Clones are handles of the same store.
#[derive(Debug, Clone)]
pub struct StateStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    dir: PathBuf,
    config: StateStoreConfig,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: Flock<File>,
}

impl StateStore {
    /// Opens the store in `dir`, or makes an empty one, whose marker is the default.
    pub fn open(
        dir: impl AsRef<Path>,
        config: StateStoreConfig,
    ) -> Result<(StateStore, Marker), StateStoreError> {
        let dir = dir.as_ref().to_path_buf();
        let lock = pointer::lock(&dir)?;
        let current = pointer::open_current(&dir)?;
        let database = Database::open(&current, config.cache_bytes)?;
        let marker = database.marker()?.unwrap_or_default();
        pointer::remove_others(&dir, &current);
        let shared = Arc::new(Shared::new(database, marker.last_applied_index));
        let (writer_shared, limits) = (Arc::clone(&shared), config.clone());
        let thread = std::thread::Builder::new()
            .name("regent-state".to_owned())
            .spawn(move || writer::run(&writer_shared, &limits))
            .map_err(StateStoreError::io("start the writer of", &dir))?;
        let handle = Handle {
            dir,
            config,
            shared,
            thread: Mutex::new(Some(thread)),
            _lock: lock,
        };
        Ok((
            StateStore {
                handle: Arc::new(handle),
            },
            marker,
        ))
    }

    /// Opens the store; one that is damaged is discarded, and the third answer says why.
    pub fn open_or_discard(
        dir: impl AsRef<Path>,
        config: StateStoreConfig,
    ) -> Result<(StateStore, Marker, Option<StateStoreError>), StateStoreError> {
        match StateStore::open(&dir, config.clone()) {
            Ok((store, marker)) => Ok((store, marker, None)),
            Err(damage @ StateStoreError::Damaged { .. }) => {
                StateStore::discard(&dir)?;
                let (store, marker) = StateStore::open(&dir, config)?;
                Ok((store, marker, Some(damage)))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes everything in `dir`, durably. Refused while the store is open. Not there is success.
    pub fn discard(dir: impl AsRef<Path>) -> Result<(), StateStoreError> {
        pointer::discard(dir.as_ref())
    }

    /// Takes changes to be written later, with the marker that holds after them. Never waits.
    pub fn enqueue(&self, changes: Vec<Change>, marker: Marker) {
        self.handle
            .shared
            .enqueue(changes, marker, self.handle.config.behind_bytes_max);
    }

    /// The marker and all entries as they are on disk, in key order. For opening: what is enqueued
    /// meanwhile may or may not be in it.
    pub fn load(&self) -> Result<(Marker, Entries), StateStoreError> {
        let database = self.handle.shared.database();
        let marker = database.marker()?.unwrap_or_default();
        Ok((marker, database.entries()))
    }

    /// Replaces the whole content, in a new directory and then by one switch; what was enqueued
    /// before is dropped. Blocks. If it fails, the old content stays.
    pub fn install(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        marker: &Marker,
    ) -> Result<(), StateStoreError> {
        let Handle {
            dir,
            config,
            shared,
            ..
        } = &*self.handle;
        let target = pointer::next_dir(dir)?;
        let database = Database::open(&target, config.cache_bytes)?;
        database.fill(entries, marker)?;
        let mut slot = shared.lock_database();
        pointer::switch(dir, &target)?;
        shared.drop_pending(marker.last_applied_index);
        *slot = database;
        drop(slot);
        pointer::remove_others(dir, &target);
        Ok(())
    }

    /// Waits until everything enqueued before is durable.
    pub fn flush(&self) -> Result<(), StateStoreError> {
        self.handle.shared.flush()
    }

    /// Numbers for metrics. Does no IO.
    pub fn metrics(&self) -> StateStoreMetrics {
        self.handle.shared.metrics()
    }

    /// Writes what waits and ends the thread. Later changes are dropped.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        let mut thread = self
            .thread
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        if let Some(running) = thread.take()
            && running.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the state store's writer panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
