//! One sled database: keys, chunked values, the marker, and a sync that reaches the device.
//!
//! ```text
//! m                                      marker
//! d key                                  0 value | 1 chunks u32, length u64
//! c (key length u32) key (chunk u32)     a chunk's bytes
//! ```
//!
//! Values over 4 KiB are split. sled writes a leaf of up to 20 values as one record, and a record over
//! 128 KiB into a file of its own, which our sync of the database's file wouldn't reach. Every call into sled is guarded, since it panics on damage.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Marker, StateStoreError};
use crate::codec::{self, Kind};
use crate::files::sync_dir;

/// Values up to this are stored in one piece.
const CHUNK_LEN: usize = 4 << 10;
/// Bytes per batch while filling.
const FILL_BATCH: usize = 1 << 20;
/// A value may be this large at most; a length beyond is damage.
const VALUE_MAX: u64 = codec::PAYLOAD_MAX as u64;

const MARKER_KEY: &[u8] = b"m";
const DATA: u8 = b'd';
const CHUNK: u8 = b'c';
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// `None` only while dropping.
    tree: Option<sled::Db>,
    file: File,
    broken: AtomicBool,
    /// How many chunks each split value has; read once, before the first batch. Few values are split.
    split: Mutex<Option<BTreeMap<Vec<u8>, u32>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tree = self.tree.take();
        if self.broken.load(Ordering::Acquire) {
            // It panicked once, and closing may panic or hang again. It is rebuilt elsewhere.
            std::mem::forget(tree);
        } else if catch_unwind(AssertUnwindSafe(|| drop(tree))).is_err() {
            tracing::warn!(dir = %self.dir.display(), "sled panicked while closing");
        }
    }
}

/// How often, and after which pause, a store is tried whose lock is held.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

impl Database {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Database, StateStoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let tree = guarded(dir, || opened(&config))?;
        let path = dir.join("db");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StateStoreError::io("open", &path))?;
        sync_dir(dir).map_err(StateStoreError::io("sync", dir))?;
        let broken = AtomicBool::new(false);
        let inner = Inner {
            dir: dir.to_path_buf(),
            tree: Some(tree),
            file,
            broken,
            split: Mutex::new(None),
        };
        Ok(Database {
            inner: Arc::new(inner),
        })
    }

    pub(super) fn marker(&self) -> Result<Option<Marker>, StateStoreError> {
        let Some(bytes) = self.run(|tree| tree.get(MARKER_KEY))? else {
            return Ok(None);
        };
        codec::decode(Kind::STATE_MARKER, &[1], &bytes)
            .map(Some)
            .map_err(|e| self.damaged(format!("marker: {e}")))
    }

    /// All entries in key order.
    pub(super) fn entries(&self) -> Entries {
        Entries {
            database: self.clone(),
            from: vec![DATA],
            done: false,
        }
    }

    /// Writes changes and marker as one batch, and makes them durable.
    pub(super) fn write(
        &self,
        changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        marker: &Marker,
    ) -> Result<(), StateStoreError> {
        let mut batch = sled::Batch::default();
        let mut known = self.inner.split.lock().unwrap_or_else(|p| p.into_inner());
        let split = match &mut *known {
            Some(split) => split,
            none => none.insert(self.split_values()?),
        };
        for (key, value) in changes {
            let chunks = match value {
                Some(value) => put(&mut batch, key, value),
                None => {
                    batch.remove(data_key(key));
                    0
                }
            };
            let chunks_before = match chunks {
                0 => split.remove(key),
                chunks => split.insert(key.clone(), chunks),
            };
            for chunk in chunks..chunks_before.unwrap_or(0) {
                batch.remove(chunk_key(key, chunk));
            }
        }
        drop(known);
        batch.insert(MARKER_KEY, self.encode_marker(marker)?);
        self.run(|tree| tree.apply_batch(batch))?;
        self.sync()
    }

    /// Fills an empty database. The marker comes last: without it nothing counts.
    pub(super) fn fill(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        marker: &Marker,
    ) -> Result<(), StateStoreError> {
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        for (key, value) in entries {
            put(&mut batch, &key, &value);
            bytes += key.len() + value.len();
            if bytes >= FILL_BATCH {
                let full = std::mem::take(&mut batch);
                self.run(|tree| tree.apply_batch(full))?;
                bytes = 0;
            }
        }
        batch.insert(MARKER_KEY, self.encode_marker(marker)?);
        self.run(|tree| tree.apply_batch(batch))?;
        self.sync()
    }

    fn encode_marker(&self, marker: &Marker) -> Result<Vec<u8>, StateStoreError> {
        codec::encode(Kind::STATE_MARKER, 1, marker)
            .map_err(|e| self.damaged(format!("marker: {e}")))
    }

    /// sled's flush hands its buffers to the file; the sync brings them to the device.
    fn sync(&self) -> Result<(), StateStoreError> {
        self.run(|tree| tree.flush())?;
        let path = self.inner.dir.join("db");
        self.inner
            .file
            .sync_data()
            .map_err(StateStoreError::io("sync", &path))
    }

    /// The values that are stored in chunks, and how many each has.
    fn split_values(&self) -> Result<BTreeMap<Vec<u8>, u32>, StateStoreError> {
        let mut split = BTreeMap::new();
        self.run(|tree| {
            for stored in tree.scan_prefix([CHUNK]).keys() {
                if let Some(key) = key_of_chunk(&stored?) {
                    *split.entry(key.to_vec()).or_insert(0) += 1;
                }
            }
            Ok(())
        })?;
        Ok(split)
    }

    /// The value behind what is stored at a data key.
    fn resolve(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StateStoreError> {
        if let Some((&WHOLE, value)) = stored.split_first() {
            return Ok(value.to_vec());
        }
        let header = split_header(stored).filter(|(_, len)| *len <= VALUE_MAX);
        let Some((chunks, len)) = header else {
            return Err(self.damaged("a value's header is unknown".to_owned()));
        };
        let mut value = Vec::with_capacity(len as usize);
        for chunk in 0..chunks {
            let Some(piece) = self.run(|tree| tree.get(chunk_key(key, chunk)))? else {
                return Err(self.damaged(format!("chunk {chunk} of a value is missing")));
            };
            value.extend_from_slice(&piece);
        }
        match value.len() as u64 == len {
            true => Ok(value),
            false => Err(self.damaged("a value's chunks don't add up".to_owned())),
        }
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StateStoreError> {
        let Some(tree) = &self.inner.tree else {
            return Err(self.damaged("closed".to_owned()));
        };
        let result = guarded(&self.inner.dir, || work(tree));
        if result.is_err() {
            self.inner.broken.store(true, Ordering::Release);
        }
        result
    }

    fn damaged(&self, reason: String) -> StateStoreError {
        StateStoreError::damaged(&self.inner.dir, reason)
    }
}

/// Calls sled; its errors and panics become "damaged", except a lack of space or of permission.
fn guarded<T>(dir: &Path, work: impl FnOnce() -> sled::Result<T>) -> Result<T, StateStoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) if is_environment(&error) => {
            Err(StateStoreError::io("use", dir)(error))
        }
        Ok(Err(error)) => Err(StateStoreError::damaged(dir, error.to_string())),
        Err(panic) => Err(StateStoreError::damaged(dir, panic_text(panic.as_ref()))),
    }
}

/// Opens it, and waits a moment for its lock: whatever this process forks holds a copy of the lock of a store that
/// was closed meanwhile, until it has become another program.
fn opened(config: &sled::Config) -> sled::Result<sled::Db> {
    for _ in 0..LOCK_TRIES {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::park_timeout(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
    config.open()
}

/// Errors that rebuilding doesn't cure.
fn is_environment(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, WouldBlock};
    crate::log::is_disk_full(error)
        || matches!(
            error.kind(),
            PermissionDenied | ReadOnlyFilesystem | WouldBlock
        )
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "sled panicked: {}",
        text.unwrap_or_else(|| "no message".to_owned())
    )
}

fn data_key(key: &[u8]) -> Vec<u8> {
    [&[DATA], key].concat()
}

fn chunk_key(key: &[u8], chunk: u32) -> Vec<u8> {
    let len = (key.len() as u32).to_be_bytes();
    [&[CHUNK][..], &len, key, &chunk.to_be_bytes()].concat()
}

/// The key whose value a stored chunk is a piece of.
fn key_of_chunk(stored: &[u8]) -> Option<&[u8]> {
    let (len, rest) = stored.strip_prefix(&[CHUNK])?.split_first_chunk()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

/// Adds a value to a batch; answers its number of chunks.
fn put(batch: &mut sled::Batch, key: &[u8], value: &[u8]) -> u32 {
    if value.len() <= CHUNK_LEN {
        batch.insert(data_key(key), [&[WHOLE], value].concat());
        return 0;
    }
    let mut chunks = 0;
    for piece in value.chunks(CHUNK_LEN) {
        batch.insert(chunk_key(key, chunks), piece);
        chunks += 1;
    }
    let len = (value.len() as u64).to_le_bytes();
    batch.insert(
        data_key(key),
        [&[SPLIT][..], &chunks.to_le_bytes(), &len].concat(),
    );
    chunks
}

/// Chunks and length of a split value.
fn split_header(stored: &[u8]) -> Option<(u32, u64)> {
    let [SPLIT, c0, c1, c2, c3, len @ ..] = stored else {
        return None;
    };
    let len: [u8; 8] = len.try_into().ok()?;
    Some((
        u32::from_le_bytes([*c0, *c1, *c2, *c3]),
        u64::from_le_bytes(len),
    ))
}

/// An entity's key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// All entries of a state store, in key order. Ends after an error.
#[derive(Debug)]
pub struct Entries {
    database: Database,
    /// The next key to look at, or after.
    from: Vec<u8>,
    done: bool,
}

impl Entries {
    fn step(&mut self) -> Result<Option<Entry>, StateStoreError> {
        let from = std::mem::take(&mut self.from);
        let next = self
            .database
            .run(|tree| tree.range(from..vec![DATA + 1]).next().transpose())?;
        let Some((stored_key, stored)) = next else {
            return Ok(None);
        };
        let Some((_, key)) = stored_key.split_first() else {
            return Ok(None);
        };
        let value = self.database.resolve(key, &stored)?;
        let key = key.to_vec();
        self.from = [&stored_key[..], &[0]].concat();
        Ok(Some((key, value)))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StateStoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
