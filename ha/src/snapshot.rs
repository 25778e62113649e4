//! Snapshots of the state machine as files: entities one after the other, and beside them what they cover.
//!
//! A body is `key length u32 | value length u32 | key | value`, repeated, little-endian. Checksums, syncs
//! and names are `regent_storage::snapshot`'s. All of this blocks: call it off the Raft threads.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use regent_state::Machine;
use regent_storage::snapshot::{SnapshotFile, SnapshotStore, SnapshotWriter};

use crate::entry;
use crate::log::Covered;
use crate::types::SnapshotMeta;
use crate::view::{Cover, View};

/// Longest key of an entity.
const KEY_MAX: usize = 64 * 1024;
/// Longest value of an entity.
const VALUE_MAX: usize = 64 * 1024 * 1024;

/// A snapshot as openraft passes it around: a whole file, and its state if that was loaded already.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotData {
    pub(crate) file: SnapshotFile,
    pub(crate) cover: Cover,
    pub(crate) machine: Option<Machine>,
}

impl SnapshotData {
    /// Reads what a file says of itself; not its body.
    pub(crate) fn open(file: SnapshotFile) -> io::Result<Self> {
        let cover = entry::decode_cover(file.meta()).map_err(invalid)?;
        if cover.index() != file.index() {
            let text = format!(
                "{} covers another index than it says",
                file.path().display()
            );
            return Err(invalid(text));
        }
        Ok(Self {
            file,
            cover,
            machine: None,
        })
    }

    /// What openraft wants to know of it.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta::from(&self.cover.standing)
    }

    /// The view that it holds; reads and checks the whole body unless that was done.
    pub(crate) fn load(mut self) -> io::Result<(Self, View)> {
        let machine = match self.machine.take() {
            Some(machine) => machine,
            None => read_body(&self.file, &self.cover)?,
        };
        self.machine = Some(machine.clone());
        let view = View {
            machine,
            standing: self.cover.standing.clone(),
        };
        Ok((self, view))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn read_body(file: &SnapshotFile, cover: &Cover) -> io::Result<Machine> {
    let mut reader = file.open_reader().map_err(io::Error::other)?;
    let mut failed = None;
    let entities = std::iter::from_fn(|| {
        read_entity(&mut reader).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    });
    let machine = Machine::from_entities(entities);
    if let Some(error) = failed {
        return Err(error);
    }
    let machine = machine.map_err(invalid)?;
    if machine.hash() != cover.hash {
        let path = file.path().display();
        return Err(invalid(format!(
            "{path}: the state has another hash than it was saved with"
        )));
    }
    Ok(machine)
}

fn read_entity(reader: &mut impl Read) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut lengths = [0u8; 8];
    // The end of the body may only lie between two entities.
    if reader.read(&mut lengths[..1])? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut lengths[1..])?;
    let [k0, k1, k2, k3, v0, v1, v2, v3] = lengths;
    let key_len = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
    let value_len = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
    if key_len > KEY_MAX || value_len > VALUE_MAX {
        return Err(invalid("an entity of the snapshot is too long"));
    }
    let mut key = vec![0; key_len];
    reader.read_exact(&mut key)?;
    let mut value = vec![0; value_len];
    reader.read_exact(&mut value)?;
    Ok(Some((key, value)))
}

fn write_body(writer: &mut SnapshotWriter, machine: &Machine) -> io::Result<()> {
    for (key, value) in machine.entities() {
        let key = key.to_bytes();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(invalid);
        writer.write_all(&length(&key)?.to_le_bytes())?;
        writer.write_all(&length(&value)?.to_le_bytes())?;
        writer.write_all(&key)?;
        writer.write_all(&value)?;
    }
    Ok(())
}

/// The snapshot files of this replica, and up to where they cover the log.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    store: SnapshotStore,
    dir: PathBuf,
    // Index + 1 of the newest durable file; 0 if there is none.
    covered: Arc<AtomicU64>,
    // When it was written, milliseconds since 1970; 0 if there is none.
    written_ms: Arc<AtomicU64>,
    // Its bytes.
    length: Arc<AtomicU64>,
}

impl Snapshots {
    /// Opens a directory, or makes it, and looks through the files that are there.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let snapshots = Self {
            store: SnapshotStore::open(dir).map_err(io::Error::other)?,
            dir: dir.to_owned(),
            covered: Arc::default(),
            written_ms: Arc::default(),
            length: Arc::default(),
        };
        if let Some(newest) = snapshots.usable()?.first() {
            snapshots.note(newest);
        }
        Ok(snapshots)
    }

    /// For the log: up to where it may be purged.
    pub(crate) fn covered(&self) -> Covered {
        let covered = self.covered.clone();
        Arc::new(move || covered.load(Ordering::Acquire).checked_sub(1))
    }

    fn note(&self, data: &SnapshotData) {
        let reached = data.cover.standing.applied.map_or(0, |id| id.index + 1);
        self.covered.fetch_max(reached, Ordering::AcqRel);
        self.length.store(data.file.file_len(), Ordering::Release);
        let modified = std::fs::metadata(data.file.path()).and_then(|meta| meta.modified());
        let since = modified
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if let Some(ms) = since.and_then(|since| u64::try_from(since.as_millis()).ok()) {
            self.written_ms.fetch_max(ms, Ordering::AcqRel);
        }
    }

    /// Since when the disk has been busy with one operation of writing a file.
    pub(crate) fn outstanding_since(&self) -> Option<Instant> {
        self.store.outstanding_since()
    }

    /// Bytes of the newest file; 0 if there is none.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// When the newest file was written, milliseconds since 1970.
    pub(crate) fn written_ms(&self) -> Option<u64> {
        Some(self.written_ms.load(Ordering::Acquire)).filter(|ms| *ms > 0)
    }

    /// Files whose ends are whole, newest first. Damaged ones are told about and passed over.
    pub(crate) fn usable(&self) -> io::Result<Vec<SnapshotData>> {
        let mut usable = Vec::new();
        for found in self.store.list().map_err(io::Error::other)? {
            let opened = found.map_err(io::Error::other).and_then(SnapshotData::open);
            match opened {
                Ok(data) => usable.push(data),
                Err(error) => tracing::error!(%error, "a snapshot can't be used"),
            }
        }
        Ok(usable)
    }

    /// The newest usable file.
    pub(crate) fn latest(&self) -> io::Result<Option<SnapshotData>> {
        Ok(self.usable()?.into_iter().next())
    }

    /// Begins to write a snapshot.
    pub(crate) fn create(&self) -> io::Result<SnapshotWriter> {
        self.store.create().map_err(io::Error::other)
    }

    fn finish(&self, writer: SnapshotWriter, cover: &Cover) -> io::Result<SnapshotData> {
        let meta = entry::encode_cover(cover).map_err(invalid)?;
        let file = writer
            .finish(cover.index(), &meta)
            .map_err(io::Error::other)?;
        SnapshotData::open(file)
    }

    /// Makes a received snapshot durable and checks all of it; a bad one leaves nothing.
    pub(crate) fn finish_received(
        &self,
        writer: SnapshotWriter,
        cover: &Cover,
    ) -> io::Result<SnapshotData> {
        let data = self.finish(writer, cover)?;
        let path = data.file.path().to_owned();
        match data.load() {
            Ok((data, _)) => {
                self.note(&data);
                Ok(data)
            }
            Err(error) => {
                std::fs::remove_file(path)?;
                Err(error)
            }
        }
    }

    /// Makes sure that an installed snapshot is one of this replica's own files.
    pub(crate) fn keep(&self, data: &SnapshotData, view: &View) -> io::Result<()> {
        if data.file.path().parent() == Some(&self.dir) {
            return Ok(());
        }
        self.write(view).map(drop)
    }

    /// Writes a view's state into a new file.
    pub(crate) fn write(&self, view: &View) -> io::Result<SnapshotData> {
        let mut writer = self.create()?;
        write_body(&mut writer, &view.machine)?;
        let data = self.finish(writer, &view.cover())?;
        self.note(&data);
        Ok(data)
    }
}
