//! Opening: finds the log's files, checks that none is missing, replays them, and tells a write torn
//! by a crash (cut off) from damage to what was acknowledged (refused).
//!
//! The rule: one batch is one sync, so if a whole batch stands after a bad one, the bad one was
//! durable once, and that is damage. Only a bad batch at the very end can be a tear.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::LogConfig;
use super::disk::{Disk, DiskFile, read_exact_at, write_zeros};
use super::error::LogError;
use super::files::{LogFiles, Segment};
use super::format::{
    ALIGN, BatchInfo, RecordKind, RecordRef, SEGMENT_HEADER_LEN, SegmentHeader, parse_batch,
    parse_record,
};
use super::segment::{
    Found, MANIFEST_NAME, Manifest, RESERVE_NAME, parse_segment_name, segment_path,
};
use super::view::{Slot, View};
use super::writer::{ANY_INDEX, Written};

/// A torn write that opening cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The last segment.
    pub file: PathBuf,
    /// Where its last whole batch ends.
    pub offset: u64,
    /// Bytes overwritten with zeros.
    pub bytes: u64,
    /// What was wrong at `offset`.
    pub reason: String,
}

pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) files: LogFiles,
    pub(crate) written: Written,
    pub(crate) cut: Option<CutTail>,
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: &LogConfig,
) -> Result<Recovered, LogError> {
    disk.create_dir(dir)
        .map_err(|e| LogError::io("create", dir, e))?;
    let lock = disk.lock(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => LogError::Locked {
            dir: dir.to_path_buf(),
        },
        _ => LogError::io("lock", dir, e),
    })?;
    let names = disk.list(dir).map_err(|e| LogError::io("list", dir, e))?;
    let mut present: Vec<u32> = names.iter().filter_map(|n| parse_segment_name(n)).collect();
    present.sort_unstable();
    let manifest = open_manifest(disk.as_ref(), dir, &present)?;
    let segments = open_segments(disk.as_ref(), dir, &manifest, &present)?;
    let mut replay = Replay::new(dir, manifest.data.salt);
    let cut = replay.run(segments)?;
    replay.check_complete()?;
    replay.view.flushed = replay.view.last.clone();
    let mut files = LogFiles {
        reserve: reserve_size(disk.as_ref(), dir, config.segment_bytes),
        disk,
        dir: dir.to_path_buf(),
        manifest,
        segments: replay.segments,
        end: replay.end,
        next_sequence: replay.next_sequence,
        previous_crc: replay.previous_crc,
        segment_bytes: config.segment_bytes,
        _lock: lock,
    };
    match files.ensure_reserve() {
        // An existing log opens on a full disk: purging has to remain possible.
        Err(LogError::DiskFull { .. }) if !files.segments.is_empty() => {}
        other => other?,
    }
    Ok(Recovered {
        view: replay.view,
        files,
        written: replay.written,
        cut,
    })
}

fn open_manifest(disk: &dyn Disk, dir: &Path, present: &[u32]) -> Result<Manifest, LogError> {
    let path = dir.join(MANIFEST_NAME);
    match Manifest::read(disk, dir)? {
        Found::Noted(manifest) => Ok(manifest),
        Found::Nothing | Found::Unreadable if present.is_empty() => {
            Manifest::create(disk, dir, random_salt())
        }
        Found::Nothing => Err(LogError::corrupt(&path, 0, "the manifest is missing")),
        Found::Unreadable => Err(LogError::corrupt(
            &path,
            0,
            "the manifest fails its checksum",
        )),
    }
}

/// The standard library's hasher keys are random per process and per call.
fn random_salt() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

fn reserve_size(disk: &dyn Disk, dir: &Path, wanted: u64) -> Option<u64> {
    let size = disk
        .open(&dir.join(RESERVE_NAME))
        .and_then(|file| file.size())
        .ok()?;
    (size >= wanted).then_some(size)
}

/// A segment with its header, before its batches are read.
struct Opened {
    segment: Segment,
    header: SegmentHeader,
}

fn open_segments(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
    present: &[u32],
) -> Result<Vec<Opened>, LogError> {
    let (first, last) = (manifest.data.first, manifest.data.last);
    let mut opened = Vec::new();
    for id in first..=last {
        if !present.contains(&id) {
            let path = segment_path(dir, id);
            return Err(LogError::corrupt(&path, 0, "the segment is missing"));
        }
        opened.push(open_segment(disk, dir, id, manifest.data.salt)?);
    }
    for id in present
        .iter()
        .copied()
        .filter(|id| *id < first || *id > last)
    {
        remove_leftover(disk, dir, manifest, id)?;
    }
    Ok(opened)
}

fn open_segment(disk: &dyn Disk, dir: &Path, id: u32, salt: u64) -> Result<Opened, LogError> {
    let path = segment_path(dir, id);
    let file = disk
        .open(&path)
        .map_err(|e| LogError::io("open", &path, e))?;
    let len = file.size().map_err(|e| LogError::io("read", &path, e))?;
    let mut bytes = vec![0u8; (len as usize).min(SEGMENT_HEADER_LEN)];
    read_exact_at(file.as_ref(), &mut bytes, 0).map_err(|e| LogError::io("read", &path, e))?;
    let header = SegmentHeader::decode(&bytes).map_err(|e| LogError::corrupt(&path, 0, e))?;
    if header.segment != id || header.salt != salt {
        return Err(LogError::corrupt(
            &path,
            0,
            "the segment belongs to another log or place",
        ));
    }
    if len < header.len {
        let reason = format!("the file ends here and not at {}", header.len);
        return Err(LogError::corrupt(&path, len, reason));
    }
    Ok(Opened {
        segment: Segment {
            id,
            file,
            len,
            max_index: None,
        },
        header,
    })
}

/// Removes a segment that a crash left over: struck out, or made but never noted. One that was never
/// noted holds no batch; if it does, the manifest is not the newest.
fn remove_leftover(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
    id: u32,
) -> Result<(), LogError> {
    let path = segment_path(dir, id);
    if id > manifest.data.last {
        let file = disk
            .open(&path)
            .map_err(|e| LogError::io("open", &path, e))?;
        let bytes = read_segment(file.as_ref(), &path)?;
        let has_batch = parse_batch(&bytes, SEGMENT_HEADER_LEN, manifest.data.salt, id).is_ok();
        if has_batch || id > manifest.data.last + 1 {
            let manifest_path = dir.join(MANIFEST_NAME);
            let reason = format!("it doesn't know of {}, which is in use", path.display());
            return Err(LogError::corrupt(&manifest_path, 0, reason));
        }
    }
    disk.remove(&path)
        .and_then(|()| disk.sync_dir(dir))
        .map_err(|e| LogError::io("remove", &path, e))
}

fn read_segment(file: &dyn DiskFile, path: &Path) -> Result<Vec<u8>, LogError> {
    let len = file.size().map_err(|e| LogError::io("read", path, e))?;
    let mut bytes = vec![0u8; len as usize];
    read_exact_at(file, &mut bytes, 0).map_err(|e| LogError::io("read", path, e))?;
    Ok(bytes)
}

/// Rebuilds view and writer's state from segments, in order.
struct Replay<'a> {
    dir: &'a Path,
    salt: u64,
    view: View,
    written: Written,
    segments: VecDeque<Segment>,
    end: u64,
    next_sequence: u64,
    previous_crc: u32,
    /// The index before which entries lay in segments that are gone.
    base: Option<u64>,
}

impl<'a> Replay<'a> {
    fn new(dir: &'a Path, salt: u64) -> Replay<'a> {
        Replay {
            dir,
            salt,
            view: View::default(),
            written: Written::default(),
            segments: VecDeque::new(),
            end: 0,
            next_sequence: 1,
            previous_crc: 0,
            base: None,
        }
    }

    fn run(&mut self, opened: Vec<Opened>) -> Result<Option<CutTail>, LogError> {
        let ends: Vec<u64> = opened
            .iter()
            .skip(1)
            .map(|o| o.header.previous_end)
            .collect();
        let mut cut = None;
        for (at, Opened { segment, header }) in opened.into_iter().enumerate() {
            let path = segment_path(self.dir, segment.id);
            self.begin(&path, &header, at == 0)?;
            let bytes = read_segment(segment.file.as_ref(), &path)?;
            self.view
                .files
                .insert(segment.id, Arc::clone(&segment.file));
            self.segments.push_back(segment);
            let bad = self.replay_batches(&path, &bytes, ends.get(at).copied())?;
            if let (None, Some(reason)) = (ends.get(at), bad) {
                cut = self.end_of_log(&path, &bytes, reason)?;
            }
        }
        Ok(cut)
    }

    /// Checks that the segment follows the one before.
    fn begin(&mut self, path: &Path, header: &SegmentHeader, first: bool) -> Result<(), LogError> {
        if first {
            self.next_sequence = header.first_sequence;
            self.previous_crc = header.previous_crc;
        }
        let follows =
            header.first_sequence == self.next_sequence && header.previous_crc == self.previous_crc;
        if !follows {
            return Err(LogError::corrupt(
                path,
                0,
                "the segment doesn't follow the one before it",
            ));
        }
        self.end = SEGMENT_HEADER_LEN as u64;
        Ok(())
    }

    /// Replays until `stop`, or in the last segment (`None`) until there is no whole batch: then
    /// answers what is wrong there.
    fn replay_batches(
        &mut self,
        path: &Path,
        bytes: &[u8],
        stop: Option<u64>,
    ) -> Result<Option<&'static str>, LogError> {
        while stop.is_none_or(|stop| self.end < stop) && self.end < bytes.len() as u64 {
            let segment = self.segments.back().map_or(0, |s| s.id);
            match parse_batch(bytes, self.end as usize, self.salt, segment) {
                Ok(batch) => self.replay_batch(path, bytes, segment, &batch)?,
                Err(reason) if stop.is_none() => return Ok(Some(reason)),
                Err(reason) => return Err(LogError::corrupt(path, self.end, reason)),
            }
        }
        if stop.is_some_and(|stop| self.end != stop) {
            let reason = "the next segment says that this one ends elsewhere";
            return Err(LogError::corrupt(path, self.end, reason));
        }
        Ok(None)
    }

    fn replay_batch(
        &mut self,
        path: &Path,
        bytes: &[u8],
        segment: u32,
        batch: &BatchInfo,
    ) -> Result<(), LogError> {
        if batch.sequence != self.next_sequence || batch.previous_crc != self.previous_crc {
            let reason = "the batch doesn't follow the one before it";
            return Err(LogError::corrupt(path, self.end, reason));
        }
        let mut at = batch.body.0;
        for _ in 0..batch.records {
            let corrupt = |reason: &str| LogError::corrupt(path, at as u64, reason);
            let record = parse_record(&bytes[at..batch.body.1]).map_err(corrupt)?;
            let slot = Slot {
                segment,
                offset: at as u32,
                len: record.len as u32,
            };
            self.replay_record(&record, slot)
                .map_err(|reason| corrupt(&reason))?;
            at += record.len;
        }
        self.end = batch.body.1 as u64;
        self.next_sequence += 1;
        self.previous_crc = batch.crc;
        Ok(())
    }

    fn replay_record(&mut self, record: &RecordRef<'_>, slot: Slot) -> Result<(), String> {
        let log_id = Bytes::copy_from_slice(record.log_id);
        let value = || Bytes::copy_from_slice(record.payload);
        match record.kind {
            RecordKind::Entry => self.replay_entry(record.index, log_id, slot)?,
            RecordKind::Vote => self.written.vote = Some(value()),
            RecordKind::Committed => self.written.committed = Some(value()),
            RecordKind::Truncate => {
                let last =
                    (!record.payload.is_empty()).then(|| (record.index.saturating_sub(1), log_id));
                self.written.next = last.as_ref().map(|_| record.index);
                self.view.replay_truncate(record.index, last);
            }
            RecordKind::Purge => {
                let next = self.written.next.unwrap_or(0).max(record.index + 1);
                self.written.next = Some(next);
                self.written.purged = Some((record.index, log_id.clone()));
                self.view.purge(record.index, log_id);
            }
            RecordKind::Base => self.replay_base(record.index)?,
        }
        self.view.vote = self.written.vote.clone();
        self.view.committed = self.written.committed.clone();
        Ok(())
    }

    fn replay_entry(&mut self, index: u64, log_id: Bytes, slot: Slot) -> Result<(), String> {
        if self.written.next.is_some_and(|due| due != index) {
            return Err(format!(
                "entry {index} where {:?} was due",
                self.written.next
            ));
        }
        self.written.next = Some(index + 1);
        if let Some(segment) = self.segments.back_mut() {
            segment.max_index = segment.max_index.max(Some(index));
        }
        self.view.append_found(index, log_id, slot);
        Ok(())
    }

    fn replay_base(&mut self, index: u64) -> Result<(), String> {
        let next = Some(index).filter(|index| *index != ANY_INDEX);
        if self.segments.len() == 1 {
            self.base = next;
            self.written.next = next;
        } else if self.written.next != next {
            return Err(format!(
                "entry {:?} was due, not {next:?}",
                self.written.next
            ));
        }
        Ok(())
    }

    /// The last segment has no whole batch at `end`: zeros, a tear, or damage.
    fn end_of_log(
        &self,
        path: &Path,
        bytes: &[u8],
        reason: &'static str,
    ) -> Result<Option<CutTail>, LogError> {
        let Some(segment) = self.segments.back() else {
            return Ok(None);
        };
        let tail = &bytes[self.end as usize..];
        let Some(dirty) = tail.iter().rposition(|byte| *byte != 0) else {
            return Ok(None);
        };
        let later = (self.end as usize + ALIGN..bytes.len())
            .step_by(ALIGN)
            .find(|at| parse_batch(bytes, *at, self.salt, segment.id).is_ok());
        if let Some(later) = later {
            let reason = format!("{reason}, but a whole batch follows at {later}");
            return Err(LogError::corrupt(path, self.end, reason));
        }
        let dirty_end = self.end + dirty as u64 + 1;
        write_zeros(segment.file.as_ref(), self.end, dirty_end)
            .and_then(|()| segment.file.sync_data())
            .map_err(|e| LogError::io("cut the torn end of", path, e))?;
        let cut = CutTail {
            file: path.to_path_buf(),
            offset: self.end,
            bytes: dirty_end - self.end,
            reason: reason.to_owned(),
        };
        tracing::warn!(file = %path.display(), offset = cut.offset, bytes = cut.bytes, reason,
            "cut off a write torn by a crash; it was never acknowledged");
        Ok(Some(cut))
    }

    /// Entries before the first segment's must have been purged.
    fn check_complete(&self) -> Result<(), LogError> {
        let Some(base) = self.base else { return Ok(()) };
        let (first, end) = self.view.bounds();
        let first = if first == end {
            self.written.next.unwrap_or(base)
        } else {
            first
        };
        let purged = self.view.purged.as_ref().map(|(index, _)| index + 1);
        if purged == Some(first) {
            return Ok(());
        }
        let path = self
            .segments
            .front()
            .map_or_else(|| self.dir.to_path_buf(), |s| segment_path(self.dir, s.id));
        let reason = format!("entries from {purged:?} to {first} are missing before it");
        Err(LogError::corrupt(&path, 0, reason))
    }
}
