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

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        })
    }

    /// Begins a snapshot. Nothing is visible before [`SnapshotWriter::finish`].
    pub fn create(&self) -> Result<SnapshotWriter, SnapshotError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("writing-{number:010}{TEMP_SUFFIX}"));
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(SnapshotError::io("create", &path))?;
        let mut header = [0u8; HEADER_LEN as usize];
        header[..8].copy_from_slice(&FILE_MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let written = file.write_all(&header);
        // The writer exists from here on, so that an error removes the file.
        let writer = SnapshotWriter {
            store: self.clone(),
            number,
            path: path.clone(),
            file,
            buffer: Vec::with_capacity(CHUNK_LEN),
            body_len: 0,
            chunks: 0,
            crc: 0,
            unsynced: HEADER_LEN,
            finished: false,
        };
        written.map_err(SnapshotError::io("write", &path))?;
        Ok(writer)
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

/// A snapshot being written: a [`Write`], then [`SnapshotWriter::finish`]. Dropped unfinished, it
/// leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: SnapshotStore,
    number: u64,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    body_len: u64,
    chunks: u64,
    crc: u32,
    unsynced: u64,
    finished: bool,
}

impl SnapshotWriter {
    /// Makes the snapshot durable and visible. `index`: the last log index it covers; `meta`:
    /// whatever the owner wants to find beside the body.
    pub fn finish(mut self, index: u64, meta: &[u8]) -> Result<SnapshotFile, SnapshotError> {
        if meta.len() > META_MAX {
            return Err(SnapshotError::MetaTooLong(meta.len()));
        }
        let path = self.path.clone();
        self.write_chunk()
            .map_err(SnapshotError::io("write", &path))?;
        let trailer = Trailer {
            index,
            body_len: self.body_len,
            chunks: self.chunks,
            chunk_crc: self.crc,
            meta_len: meta.len() as u32,
            meta_crc: crc32c::crc32c(meta),
        };
        self.file
            .write_all(meta)
            .and_then(|()| self.file.write_all(&trailer.encode()))
            .and_then(|()| self.file.sync_all())
            .map_err(SnapshotError::io("write", &path))?;
        let name = format!("snapshot-{index:020}-{:010}.snap", self.number);
        let target = self.store.dir.join(name);
        std::fs::rename(&path, &target).map_err(SnapshotError::io("rename", &path))?;
        self.finished = true;
        sync_dir(&self.store.dir).map_err(SnapshotError::io("sync", &self.store.dir))?;
        self.store.remove_old()?;
        SnapshotFile::open(&target)
    }

    /// Bytes of body so far.
    pub fn body_len(&self) -> u64 {
        self.body_len + self.buffer.len() as u64
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let len = self.buffer.len();
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        let mut head = [0u8; 8];
        head[..4].copy_from_slice(&(len as u32).to_le_bytes());
        head[4..].copy_from_slice(&self.crc.to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.body_len += len as u64;
        self.chunks += 1;
        self.unsynced += len as u64;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK_LEN - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == CHUNK_LEN {
            self.write_chunk()?;
        }
        Ok(take)
    }

    /// Does nothing: `finish` makes the snapshot durable, as a whole.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Opening the directory removes what stays.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trailer {
    index: u64,
    body_len: u64,
    chunks: u64,
    chunk_crc: u32,
    meta_len: u32,
    meta_crc: u32,
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_LEN as usize] {
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

    fn decode(bytes: &[u8; TRAILER_LEN as usize]) -> Option<Trailer> {
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
    fn file_len(&self) -> Option<u64> {
        HEADER_LEN
            .checked_add(self.body_len)?
            .checked_add(self.chunks.checked_mul(8)?)?
            .checked_add(u64::from(self.meta_len))?
            .checked_add(TRAILER_LEN)
    }
}

/// A finished snapshot. Its body is checked while it is read.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    meta: Arc<[u8]>,
    trailer: Trailer,
    file_len: u64,
}

impl SnapshotFile {
    /// Reads header, meta and trailer of a snapshot anywhere.
    pub fn open(path: &Path) -> Result<SnapshotFile, SnapshotError> {
        let mut file = File::open(path).map_err(SnapshotError::io("open", path))?;
        let read = SnapshotError::io("read", path);
        match read_ends(&mut file) {
            Err(error) => Err(read(error)),
            Ok(Err((offset, reason))) => Err(SnapshotError::damaged(path, offset, reason)),
            Ok(Ok((trailer, meta, file_len))) => Ok(SnapshotFile {
                path: path.to_path_buf(),
                meta: meta.into(),
                trailer,
                file_len,
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last log index it covers.
    pub fn index(&self) -> u64 {
        self.trailer.index
    }

    /// What the owner put beside the body.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> u64 {
        self.trailer.body_len
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Reads the body, checking it: damage is an `InvalidData` error that holds a
    /// [`SnapshotError::Damaged`]. Only when the reader has answered 0 was all of it whole.
    pub fn open_reader(&self) -> Result<SnapshotReader, SnapshotError> {
        let mut file = File::open(&self.path).map_err(SnapshotError::io("open", &self.path))?;
        file.seek(SeekFrom::Start(HEADER_LEN))
            .map_err(SnapshotError::io("read", &self.path))?;
        Ok(SnapshotReader {
            path: self.path.clone(),
            file: BufReader::with_capacity(CHUNK_LEN, file),
            trailer: self.trailer,
            chunk: Vec::new(),
            at: 0,
            offset: HEADER_LEN,
            body_read: 0,
            chunks_read: 0,
            crc: 0,
        })
    }

    /// Reads all of the body once, only to check it.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let mut reader = self.open_reader()?;
        while reader.next_chunk()? {}
        Ok(())
    }
}

/// Trailer, meta and file length, or where and what the damage is.
type Ends = Result<(Trailer, Vec<u8>, u64), (u64, &'static str)>;

fn read_ends(file: &mut File) -> io::Result<Ends> {
    let len = file.metadata()?.len();
    if len < HEADER_LEN + TRAILER_LEN {
        return Ok(Err((0, "the file is too short")));
    }
    let mut header = [0u8; HEADER_LEN as usize];
    file.read_exact(&mut header)?;
    let mut expected = [0u8; HEADER_LEN as usize];
    expected[..8].copy_from_slice(&FILE_MAGIC);
    expected[8..10].copy_from_slice(&VERSION.to_le_bytes());
    if header != expected {
        return Ok(Err((0, "the header is unknown to this version")));
    }
    let mut bytes = [0u8; TRAILER_LEN as usize];
    file.seek(SeekFrom::Start(len - TRAILER_LEN))?;
    file.read_exact(&mut bytes)?;
    let Some(trailer) = Trailer::decode(&bytes) else {
        return Ok(Err((len - TRAILER_LEN, "the trailer fails its checksum")));
    };
    let meta_len = u64::from(trailer.meta_len);
    if trailer.file_len() != Some(len) || meta_len > META_MAX as u64 {
        return Ok(Err((
            len - TRAILER_LEN,
            "the file's length isn't what its trailer says",
        )));
    }
    let mut meta = vec![0u8; trailer.meta_len as usize];
    let meta_at = len - TRAILER_LEN - meta_len;
    file.seek(SeekFrom::Start(meta_at))?;
    file.read_exact(&mut meta)?;
    if crc32c::crc32c(&meta) != trailer.meta_crc {
        return Ok(Err((meta_at, "the meta data fail their checksum")));
    }
    Ok(Ok((trailer, meta, len)))
}

/// Reads a snapshot's body.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    trailer: Trailer,
    chunk: Vec<u8>,
    at: usize,
    offset: u64,
    body_read: u64,
    chunks_read: u64,
    crc: u32,
}

impl SnapshotReader {
    /// Loads the next chunk; false at the end of a body that was whole.
    fn next_chunk(&mut self) -> Result<bool, SnapshotError> {
        let damaged = |reason| Err(SnapshotError::damaged(&self.path, self.offset, reason));
        if self.chunks_read == self.trailer.chunks {
            if self.body_read != self.trailer.body_len || self.crc != self.trailer.chunk_crc {
                return damaged("the body isn't the one the trailer speaks of");
            }
            return Ok(false);
        }
        let mut head = [0u8; 8];
        self.file
            .read_exact(&mut head)
            .map_err(SnapshotError::io("read", &self.path))?;
        let len = crate::log::u32_at(&head, 0) as usize;
        let left = self.trailer.body_len - self.body_read;
        if len == 0 || len > CHUNK_LEN || len as u64 > left {
            return damaged("a chunk's length is impossible");
        }
        self.chunk.resize(len, 0);
        self.file
            .read_exact(&mut self.chunk)
            .map_err(SnapshotError::io("read", &self.path))?;
        let crc = crc32c::crc32c_append(self.crc, &self.chunk);
        if crc != crate::log::u32_at(&head, 4) {
            return damaged("a chunk fails its checksum");
        }
        self.crc = crc;
        self.at = 0;
        self.offset += 8 + len as u64;
        self.body_read += len as u64;
        self.chunks_read += 1;
        Ok(true)
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.next_chunk()? {
            return Ok(0);
        }
        let take = out.len().min(self.chunk.len() - self.at);
        out[..take].copy_from_slice(&self.chunk[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}
