//! Snapshot files: written aside, synced, renamed, and checked on reading. Bodies are streamed in
//! chunks, so a snapshot is never in memory as a whole. What is inside is the owner's affair: a body
//! and a small opaque `meta`.
//!
//! ```text
//! file     header (16) | chunk | chunk | ... | meta | trailer (64)
//! header   magic 8 | version u16 | 0..
//! chunk    length u32 | crc32c u32 | bytes      (the checksum goes on from chunk to chunk)
//! trailer  magic 8 | index u64 | body bytes u64 | chunks u64 | chunk crc u32 | meta length u32
//!          | meta crc u32 | 0.. | crc32c u32
//! ```
//!
//! A file `snapshot-<index>-<n>.snap` is complete and durable; anything ending in `.tmp` is a
//! leftover. The newest [`RETAINED`] are kept. The log may be purged up to `index` once
//! [`SnapshotWriter::finish`] has returned.

mod outstanding;
mod reader;
mod writer;

pub use reader::{SnapshotFile, SnapshotReader};
pub use writer::SnapshotWriter;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::outstanding::Outstanding;
use crate::files::{TEMP_SUFFIX, create_dir_durably, sync_dir};

/// How many snapshots are kept.
pub const RETAINED: usize = 2;
/// Largest `meta`.
pub const META_MAX: usize = 1 << 20;

const VERSION: u16 = 1;
const FILE_MAGIC: [u8; 8] = *b"RGNTSNP\x01";
const TRAILER_MAGIC: [u8; 8] = *b"RGNTEND\x01";
const HEADER_LEN: u64 = 16;
const TRAILER_LEN: u64 = 64;
const CHUNK_LEN: usize = 256 << 10;
/// Unsynced bytes at which a writer syncs, so that a large snapshot doesn't stall the log's syncs.
const SYNC_EVERY: u64 = 8 << 20;

/// What went wrong with a snapshot.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// The file isn't what was written.
    #[error(
        "snapshot {} is damaged at offset {offset}: {reason}; move it away: an older snapshot \
         serves if the log still reaches back to it, else let the replica fetch the leader's \
         (remove and add it)", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Bytes from its start.
        offset: u64,
        /// What was expected there.
        reason: String,
    },
    /// No space. The unfinished snapshot was removed; older ones are untouched.
    #[error("no space left for a snapshot in {}", dir.display())]
    DiskFull {
        /// The directory.
        dir: PathBuf,
    },
    /// The caller's `meta` is larger than [`META_MAX`].
    #[error("{0} bytes of snapshot meta are more than {META_MAX}")]
    MetaTooLong(usize),
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}

impl SnapshotError {
    fn io(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
        let file = file.to_path_buf();
        move |source| {
            if crate::log::is_disk_full(&source) {
                let dir = crate::files::parent_of(&file);
                return SnapshotError::DiskFull { dir };
            }
            SnapshotError::Io {
                action,
                file,
                source: Arc::new(source),
            }
        }
    }

    fn damaged(file: &Path, offset: u64, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged {
            file: file.to_path_buf(),
            offset,
            reason: reason.into(),
        }
    }
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> io::Error {
        let kind = match &error {
            SnapshotError::Damaged { .. } => io::ErrorKind::InvalidData,
            SnapshotError::DiskFull { .. } => io::ErrorKind::StorageFull,
            SnapshotError::MetaTooLong(_) => io::ErrorKind::InvalidInput,
            SnapshotError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// A directory of snapshots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    dir: PathBuf,
    /// Distinguishes files of the same index, and temporary ones.
    next_number: Arc<AtomicU64>,
    outstanding: Outstanding,
}

impl SnapshotStore {
    /// Opens the directory, or makes it, and removes what unfinished writers left there.
    pub fn open(dir: impl AsRef<Path>) -> Result<SnapshotStore, SnapshotError> {
        let dir = dir.as_ref().to_path_buf();
        create_dir_durably(&dir).map_err(SnapshotError::io("create", &dir))?;
        let mut highest = 0;
        for name in file_names(&dir)? {
            if name.ends_with(TEMP_SUFFIX) {
                let path = dir.join(&name);
                std::fs::remove_file(&path).map_err(SnapshotError::io("remove", &path))?;
            } else if let Some((_, number)) = parse_name(&name) {
                highest = highest.max(number);
            }
        }
        sync_dir(&dir).map_err(SnapshotError::io("sync", &dir))?;
        Ok(SnapshotStore {
            dir,
            next_number: Arc::new(AtomicU64::new(highest + 1)),
            outstanding: Outstanding::default(),
        })
    }

    /// Begins a snapshot. Nothing is visible before [`SnapshotWriter::finish`].
    pub fn create(&self) -> Result<SnapshotWriter, SnapshotError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        SnapshotWriter::create(self.clone(), number)
    }

    /// Since when the disk has been busy with one operation of writing a snapshot; `None` if it isn't.
    pub fn outstanding_since(&self) -> Option<Instant> {
        self.outstanding.since()
    }

    /// All snapshots, newest first: a whole one, or what is wrong with it. Bodies aren't read.
    pub fn list(&self) -> Result<Vec<Result<SnapshotFile, SnapshotError>>, SnapshotError> {
        let found = self.files()?;
        Ok(found
            .into_iter()
            .map(|(_, path)| SnapshotFile::open(&path))
            .collect())
    }

    /// The newest snapshot; an error if that one is damaged (an older one may only be used if the
    /// log reaches back to it: see [`SnapshotStore::list`]).
    pub fn latest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        match self.files()?.first() {
            Some((_, path)) => SnapshotFile::open(path).map(Some),
            None => Ok(None),
        }
    }

    /// Newest first.
    fn files(&self) -> Result<Vec<(FileKey, PathBuf)>, SnapshotError> {
        let mut found: Vec<(FileKey, PathBuf)> = file_names(&self.dir)?
            .into_iter()
            .filter_map(|name| Some((parse_name(&name)?, self.dir.join(name))))
            .collect();
        found.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        Ok(found)
    }

    fn remove_old(&self) -> Result<(), SnapshotError> {
        let old: Vec<PathBuf> = self
            .files()?
            .into_iter()
            .skip(RETAINED)
            .map(|f| f.1)
            .collect();
        for path in &old {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    // Costs space only: the next snapshot tries again.
                    tracing::warn!(path = %path.display(), error = %e, "can't remove a snapshot");
                }
                _ => {}
            }
        }
        if old.is_empty() {
            return Ok(());
        }
        sync_dir(&self.dir).map_err(SnapshotError::io("sync", &self.dir))
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>, SnapshotError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(SnapshotError::io("list", dir))? {
        let entry = entry.map_err(SnapshotError::io("list", dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Index and number, as in the file's name: newer is higher.
type FileKey = (u64, u64);

fn parse_name(name: &str) -> Option<FileKey> {
    let (index, number) = name
        .strip_prefix("snapshot-")?
        .strip_suffix(".snap")?
        .split_once('-')?;
    Some((index.parse().ok()?, number.parse().ok()?))
}

/// A file's first bytes.
fn header() -> [u8; HEADER_LEN as usize] {
    let mut out = [0u8; HEADER_LEN as usize];
    out[..8].copy_from_slice(&FILE_MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out
}

/// What stands at a snapshot's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) index: u64,
    pub(super) body_len: u64,
    pub(super) chunks: u64,
    pub(super) chunk_crc: u32,
    pub(super) meta_len: u32,
    pub(super) meta_crc: u32,
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_LEN as usize] {
        let mut out = [0u8; TRAILER_LEN as usize];
        out[..8].copy_from_slice(&TRAILER_MAGIC);
        out[8..16].copy_from_slice(&self.index.to_le_bytes());
        out[16..24].copy_from_slice(&self.body_len.to_le_bytes());
        out[24..32].copy_from_slice(&self.chunks.to_le_bytes());
        out[32..36].copy_from_slice(&self.chunk_crc.to_le_bytes());
        out[36..40].copy_from_slice(&self.meta_len.to_le_bytes());
        out[40..44].copy_from_slice(&self.meta_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; TRAILER_LEN as usize]) -> Option<Trailer> {
        let u32_at = |at| crate::log::u32_at(bytes, at);
        let u64_at = |at| crate::log::u64_at(bytes, at);
        if bytes[..8] != TRAILER_MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(60) {
            return None;
        }
        Some(Trailer {
            index: u64_at(8),
            body_len: u64_at(16),
            chunks: u64_at(24),
            chunk_crc: u32_at(32),
            meta_len: u32_at(36),
            meta_crc: u32_at(40),
        })
    }

    /// The length a whole file has.
    pub(super) fn file_len(&self) -> Option<u64> {
        HEADER_LEN
            .checked_add(self.body_len)?
            .checked_add(self.chunks.checked_mul(8)?)?
            .checked_add(u64::from(self.meta_len))?
            .checked_add(TRAILER_LEN)
    }
}
