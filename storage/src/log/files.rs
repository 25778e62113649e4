//! The log's files as the writer uses them: where the next batch goes, new segments, the reserve for
//! a full disk, removal after a purge. Knows nothing of queues and callers.

use std::any::Any;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, write_all_at};
use super::error::LogError;
use super::format::{BatchBuilder, BatchPlace, SEGMENT_HEADER_LEN, SegmentHeader};
use super::segment::{Manifest, RESERVE_NAME, segment_path};

/// One segment of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    /// The highest index of an entry in it.
    pub(crate) max_index: Option<u64>,
}

/// All files of an open log. The last segment is the one written to.
#[derive(Debug)]
pub(crate) struct LogFiles {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) segments: VecDeque<Segment>,
    /// Where the next batch goes in the last segment.
    pub(crate) end: u64,
    pub(crate) next_sequence: u64,
    /// Checksum of the last batch.
    pub(crate) previous_crc: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) reserve: Option<u64>,
    /// Held as long as the log is open.
    pub(crate) _lock: Box<dyn Any + Send + Sync>,
}

impl LogFiles {
    /// True if the next batch is the first of its segment, and so has to open it.
    pub(crate) fn at_segment_start(&self) -> bool {
        self.end == SEGMENT_HEADER_LEN as u64
    }

    /// True if a batch of that length goes into the present segment.
    pub(crate) fn fits(&self, batch_len: usize) -> bool {
        self.segments
            .back()
            .is_some_and(|last| self.end + batch_len as u64 <= last.len)
    }

    pub(crate) fn has_reserve(&self) -> bool {
        self.reserve.is_some()
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|s| s.len).sum();
        segments + self.reserve.unwrap_or(0)
    }

    /// Makes the reserve if there is none.
    pub(crate) fn ensure_reserve(&mut self) -> Result<(), LogError> {
        if self.reserve.is_some() {
            return Ok(());
        }
        let path = self.dir.join(RESERVE_NAME);
        self.disk
            .create(&path, self.segment_bytes)
            .and_then(|_| self.disk.sync_dir(&self.dir))
            .map_err(|e| LogError::io("create", &path, e))?;
        self.reserve = Some(self.segment_bytes);
        Ok(())
    }

    /// Starts a new segment with room for `batch_len` bytes. Without space for it, and if
    /// `use_reserve`, the reserve becomes the segment.
    pub(crate) fn rotate(&mut self, batch_len: usize, use_reserve: bool) -> Result<(), LogError> {
        let id = self.manifest.data.last + 1;
        let path = segment_path(&self.dir, id);
        let needed = (SEGMENT_HEADER_LEN + batch_len) as u64;
        let (file, len) = match self.allocate(&path, needed.max(self.segment_bytes)) {
            Err(LogError::DiskFull { .. }) if use_reserve => self.take_reserve(&path, needed)?,
            other => other?,
        };
        self.begin_segment(&path, id, file, len)
    }

    fn allocate(&self, path: &Path, len: u64) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
        let file = self
            .disk
            .create(path, len)
            .map_err(|e| LogError::io("create", path, e))?;
        Ok((file, len))
    }

    fn take_reserve(
        &mut self,
        path: &Path,
        needed: u64,
    ) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
        let full = || LogError::DiskFull {
            dir: self.dir.clone(),
        };
        let len = self.reserve.filter(|len| *len >= needed).ok_or_else(full)?;
        let from = self.dir.join(RESERVE_NAME);
        self.disk
            .rename(&from, path)
            .map_err(|e| LogError::io("rename", &from, e))?;
        self.reserve = None;
        let file = self
            .disk
            .open(path)
            .map_err(|e| LogError::io("open", path, e))?;
        tracing::warn!(dir = %self.dir.display(), "disk full: the log's reserve is in use");
        Ok((file, len))
    }

    /// Header, sync, directory, manifest: only then may a batch be written to the new segment.
    fn begin_segment(
        &mut self,
        path: &Path,
        id: u32,
        file: Arc<dyn DiskFile>,
        len: u64,
    ) -> Result<(), LogError> {
        let header = SegmentHeader {
            segment: id,
            salt: self.manifest.data.salt,
            first_sequence: self.next_sequence,
            previous_end: self.end,
            previous_crc: self.previous_crc,
            len,
        };
        write_all_at(file.as_ref(), &header.encode(), 0)
            .and_then(|()| file.sync_data())
            .map_err(|e| LogError::io("write", path, e))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(|e| LogError::io("sync", &self.dir, e))?;
        self.manifest.store(self.manifest.data.first, id)?;
        self.segments.push_back(Segment {
            id,
            file,
            len,
            max_index: None,
        });
        self.end = SEGMENT_HEADER_LEN as u64;
        Ok(())
    }

    /// Writes and syncs a batch that fits. After an error nothing counts as written.
    pub(crate) fn write_batch(&mut self, batch: &mut BatchBuilder) -> Result<u64, BatchError> {
        let Some(segment) = self.segments.back() else {
            return Err(BatchError::Write(LogError::Closed));
        };
        let place = BatchPlace {
            salt: self.manifest.data.salt,
            segment: segment.id,
            offset: self.end as u32,
            sequence: self.next_sequence,
            previous_crc: self.previous_crc,
        };
        let path = || segment_path(&self.dir, segment.id);
        let (bytes, crc) = batch.finish(place);
        write_all_at(segment.file.as_ref(), bytes, self.end)
            .map_err(|e| BatchError::Write(LogError::io("write", &path(), e)))?;
        regent_failpoint::reach("disk", "sync");
        segment
            .file
            .sync_data()
            .map_err(|e| BatchError::Sync(LogError::io("sync", &path(), e)))?;
        let written = bytes.len() as u64;
        self.end += written;
        self.next_sequence += 1;
        self.previous_crc = crc;
        Ok(written)
    }

    /// Number and place of the segment written to.
    pub(crate) fn current(&self) -> (u32, u32) {
        (self.segments.back().map_or(0, |s| s.id), self.end as u32)
    }

    /// Notes that an entry went into the present segment.
    pub(crate) fn note_entry(&mut self, index: u64) {
        if let Some(segment) = self.segments.back_mut() {
            segment.max_index = segment.max_index.max(Some(index));
        }
    }

    /// Strikes out segments that hold only purged entries. Answers their numbers; the caller lets
    /// go of them and then calls `remove`.
    pub(crate) fn strike_out(&mut self, purged: u64) -> Result<Vec<u32>, LogError> {
        // Before its first batch a segment doesn't repeat vote and purge: older ones still count.
        if self.at_segment_start() {
            return Ok(Vec::new());
        }
        let gone = self
            .segments
            .iter()
            .take(self.segments.len().saturating_sub(1))
            .take_while(|s| s.max_index.is_none_or(|max| max <= purged))
            .count();
        if gone == 0 {
            return Ok(Vec::new());
        }
        let first = self.segments[gone].id;
        self.manifest.store(first, self.manifest.data.last)?;
        Ok(self.segments.drain(..gone).map(|s| s.id).collect())
    }

    /// Removes the files of segments that were struck out. A failure only costs space: opening
    /// removes what is left.
    pub(crate) fn remove(&self, segments: &[u32]) {
        for id in segments {
            let path = segment_path(&self.dir, *id);
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "can't remove a purged segment");
            }
        }
        if let Err(error) = self.disk.sync_dir(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "can't sync the log's directory");
        }
    }
}

/// Where a batch failed: a refused write left nothing behind, a failed sync may have.
#[derive(Debug)]
pub(crate) enum BatchError {
    Write(LogError),
    Sync(LogError),
}
