//! Writing a snapshot: chunks as they come, the trailer, and then the rename that makes it count.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::{
    CHUNK_LEN, HEADER_LEN, META_MAX, SYNC_EVERY, SnapshotError, SnapshotFile, SnapshotStore,
    Trailer, header,
};
use crate::files::{TEMP_SUFFIX, sync_dir};

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
    pub(super) fn create(
        store: SnapshotStore,
        number: u64,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let path = store.dir.join(format!("writing-{number:010}{TEMP_SUFFIX}"));
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(SnapshotError::io("create", &path))?;
        // The writer exists from here on, so that an error removes the file.
        let mut writer = SnapshotWriter {
            store,
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
        writer
            .file
            .write_all(&header())
            .map_err(SnapshotError::io("write", &path))?;
        Ok(writer)
    }

    /// Makes the snapshot durable and visible. `index`: the last log index it covers; `meta`:
    /// whatever the owner wants to find beside the body.
    pub fn finish(mut self, index: u64, meta: &[u8]) -> Result<SnapshotFile, SnapshotError> {
        if meta.len() > META_MAX {
            return Err(SnapshotError::MetaTooLong(meta.len()));
        }
        let path = self.path.clone();
        let outstanding = self.store.outstanding.clone();
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
        let writing = outstanding.begin();
        self.file
            .write_all(meta)
            .and_then(|()| self.file.write_all(&trailer.encode()))
            .and_then(|()| self.file.sync_all())
            .map_err(SnapshotError::io("write", &path))?;
        drop(writing);
        let _renaming = outstanding.begin();
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
        let _writing = self.store.outstanding.begin();
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
