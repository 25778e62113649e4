//! Finding the state to start from: the write-behind store if it fits the log, else a snapshot, else
//! nothing; the log's committed entries are applied on top by openraft.
//!
//! The store is only a shortcut. It counts if its marker is at most what log and snapshots hold durably
//! (it may have run ahead of the log's sync) and its entities have the hash that it says.

use std::io;
use std::path::Path;

use regent_state::Machine;
use regent_storage::state_store::{Marker, StateStore, StateStoreConfig};

use crate::entry;
use crate::error::StartError;
use crate::log::RaftLog;
use crate::machine::refill;
use crate::snapshot::{SnapshotData, Snapshots};
use crate::types::LogId;
use crate::view::View;

/// The state to start from, and the store that will follow it.
pub(crate) struct Recovered {
    pub(crate) store: StateStore,
    pub(crate) view: View,
}

fn storage(error: impl std::fmt::Display) -> StartError {
    StartError::Storage(error.to_string())
}

/// Loads the newest state that is whole.
pub(crate) fn recover(
    dir: &Path,
    log: &RaftLog,
    snapshots: &Snapshots,
) -> Result<Recovered, StartError> {
    let usable = snapshots.usable().map_err(storage)?;
    let newest = usable.first().and_then(|data| data.cover.standing.applied);
    let durable = log.last_durable().map_err(storage)?;
    let (store, kept) = open_store(dir, durable.max(newest))?;
    if let Some(view) = kept.filter(|view| view.standing.applied >= newest) {
        return Ok(Recovered { store, view });
    }
    let view = from_snapshots(usable, log)?;
    refill(&store, &view);
    Ok(Recovered { store, view })
}

/// Opens the store, with its view if that can be trusted; otherwise the store is empty.
fn open_store(dir: &Path, limit: Option<LogId>) -> Result<(StateStore, Option<View>), StartError> {
    let config = StateStoreConfig::default();
    let opened = StateStore::open_or_discard(dir, config.clone()).map_err(storage)?;
    let (store, marker, damage) = opened;
    if let Some(damage) = damage {
        tracing::warn!(%damage, "the state store is rebuilt");
    }
    let reason = match load(&store, &marker, limit) {
        Ok(view) => return Ok((store, view)),
        Err(reason) => reason,
    };
    tracing::warn!(%reason, "the state store is rebuilt from snapshot and log");
    store.close();
    drop(store);
    StateStore::discard(dir).map_err(storage)?;
    let (store, _) = StateStore::open(dir, config).map_err(storage)?;
    Ok((store, None))
}

fn load(store: &StateStore, marker: &Marker, limit: Option<LogId>) -> io::Result<Option<View>> {
    if marker.last_applied_index.is_none() {
        return Ok(None);
    }
    let cover = entry::decode_cover(&marker.membership).map_err(io::Error::other)?;
    if cover.standing.applied > limit {
        return Err(io::Error::other("it is ahead of log and snapshots"));
    }
    let (_, entries) = store.load().map_err(io::Error::other)?;
    let mut failed = None;
    let entities = entries.map_while(|entity| entity.map_err(|error| failed = Some(error)).ok());
    let machine = Machine::from_entities(entities);
    if let Some(error) = failed {
        return Err(io::Error::other(error));
    }
    let machine = machine.map_err(io::Error::other)?;
    if machine.hash() != cover.hash {
        return Err(io::Error::other(
            "its entities have another hash than its marker says",
        ));
    }
    Ok(Some(View {
        machine,
        standing: cover.standing,
    }))
}

/// The newest snapshot whose body is whole, if the log reaches back to it.
fn from_snapshots(usable: Vec<SnapshotData>, log: &RaftLog) -> Result<View, StartError> {
    let purged = log.last_purged().map_err(storage)?;
    for data in usable {
        let path = data.file.path().to_owned();
        let applied = data.cover.standing.applied;
        if applied < purged {
            break;
        }
        match data.load() {
            Ok((_, view)) => return Ok(view),
            Err(error) => set_aside(&path, &error),
        }
    }
    match purged {
        None => Ok(View::empty()),
        Some(purged) => Err(StartError::Storage(format!(
            "the log begins after {purged} and no usable snapshot reaches up to there; this replica can't \
             go on: remove it and add it again with an empty data directory (regent members remove, then \
             regent members add)"
        ))),
    }
}

// Kept for whoever wants to look, but no longer offered to anybody.
fn set_aside(path: &Path, error: &io::Error) {
    tracing::error!(path = %path.display(), %error, "a snapshot is damaged and is set aside");
    if let Err(error) = std::fs::rename(path, path.with_extension("damaged")) {
        tracing::error!(path = %path.display(), %error, "it could not be renamed");
    }
}
