//! Names of the log's files, and the manifest: which segments exist.
//!
//! The manifest is what notices a missing first or last segment. A segment is made and synced, then
//! noted in the manifest, and only then written to; on purge it is struck out first and removed
//! after. The manifest is one small preallocated file with two slots that are written in turn, so
//! noting a change never needs space: purging works on a full disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_exact_at, write_all_at};
use super::error::LogError;
use super::format::{u32_at, u64_at};

pub(crate) const MANIFEST_NAME: &str = "MANIFEST";
pub(crate) const RESERVE_NAME: &str = "RESERVE";
pub(crate) const LOCK_NAME: &str = "LOCK";

const SLOT_LEN: usize = 4096;
const SLOT_USED: usize = 44;
const MANIFEST_MAGIC: [u8; 8] = *b"RGNTMAN\x01";

/// `segment-0000000007.log`
pub(crate) fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("segment-{segment:010}.log"))
}

/// The number in a segment's file name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    if digits.len() != 10 {
        return None;
    }
    digits.parse().ok()
}

/// Which segments are part of the log: `first..=last`, none if `last < first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ManifestData {
    /// Rises with each change; the higher of two valid slots counts.
    pub(crate) generation: u64,
    /// Random, fixed for this log: seed of every batch's checksum.
    pub(crate) salt: u64,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl ManifestData {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0u8; SLOT_USED];
        out[..8].copy_from_slice(&MANIFEST_MAGIC);
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..28].copy_from_slice(&self.first.to_le_bytes());
        out[28..32].copy_from_slice(&self.last.to_le_bytes());
        let crc = crc32c::crc32c(&out[..40]);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(slot: &[u8]) -> Option<ManifestData> {
        if slot[..8] != MANIFEST_MAGIC || crc32c::crc32c(&slot[..40]) != u32_at(slot, 40) {
            return None;
        }
        Some(ManifestData {
            generation: u64_at(slot, 8),
            salt: u64_at(slot, 16),
            first: u32_at(slot, 24),
            last: u32_at(slot, 28),
        })
    }
}

/// The open manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    pub(crate) data: ManifestData,
}

/// What the manifest's file holds.
pub(crate) enum Found {
    /// No file, or one that was never finished.
    Nothing,
    /// A file with a note in it.
    Noted(Manifest),
    /// A file in which no slot is valid although something was written.
    Unreadable,
}

impl Manifest {
    /// A manifest for a new log without segments.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, salt: u64) -> Result<Manifest, LogError> {
        let path = dir.join(MANIFEST_NAME);
        let file = disk
            .create(&path, 2 * SLOT_LEN as u64)
            .map_err(|e| LogError::io("create", &path, e))?;
        let data = ManifestData {
            generation: 0,
            salt,
            first: 1,
            last: 0,
        };
        let mut manifest = Manifest { file, path, data };
        manifest.store(1, 0)?;
        disk.sync_dir(dir)
            .map_err(|e| LogError::io("sync", dir, e))?;
        Ok(manifest)
    }

    /// Reads the manifest that is there.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Found, LogError> {
        let path = dir.join(MANIFEST_NAME);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(LogError::io("open", &path, e)),
        };
        let size = file.size().map_err(|e| LogError::io("read", &path, e))?;
        let mut bytes = vec![0u8; (size as usize).min(2 * SLOT_LEN)];
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(|e| LogError::io("read", &path, e))?;
        if bytes.iter().all(|b| *b == 0) {
            return Ok(Found::Nothing);
        }
        bytes.resize(2 * SLOT_LEN, 0);
        let (a, b) = bytes.split_at(SLOT_LEN);
        let newest = [ManifestData::decode(a), ManifestData::decode(b)]
            .into_iter()
            .flatten()
            .max_by_key(|data| data.generation);
        Ok(match newest {
            Some(data) => Found::Noted(Manifest { file, path, data }),
            None => Found::Unreadable,
        })
    }

    /// Notes durably that the log is `first..=last`.
    pub(crate) fn store(&mut self, first: u32, last: u32) -> Result<(), LogError> {
        let data = ManifestData {
            generation: self.data.generation + 1,
            first,
            last,
            ..self.data
        };
        let offset = (data.generation % 2) * SLOT_LEN as u64;
        write_all_at(self.file.as_ref(), &data.encode(), offset)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| LogError::io("write", &self.path, e))?;
        self.data = data;
        Ok(())
    }
}
