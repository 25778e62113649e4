//! A new life for an old state, while no replica runs: a snapshot restored into an empty data directory,
//! and the survivor of a lost majority made a cluster of its own.
//!
//! Both end as a group of one voter with a higher generation, which then grows by adding members. The
//! identity is written first when a replica is recovered (from then on it is fenced from its old peers) and
//! last when a snapshot is restored (until then the directory belongs to nobody). Each step can be repeated.
//! What a new life means for jobs is `regent_state`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::vote::RaftLeaderId;
use regent_state::ids::{ClusterId, EntryId, LogIndex, NodeId as StateNodeId};
use regent_state::{Envelope, Machine, Rebirth};
use regent_storage::identity::{DataDir, Identity, Member as StoredMember};
use regent_storage::log::{LogConfig, LogStore};
use regent_storage::snapshot::SnapshotFile;
use regent_storage::state_store::StateStore;

use crate::log::RaftLog;
use crate::recovery;
use crate::snapshot::{SnapshotData, Snapshots};
use crate::types::{LeaderId, LogId, Member, Membership, NodeId, StoredMembership, Vote};
use crate::view::{Standing, View};

/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_024;

/// Why there was no new life. The text names cause and remedy.
#[derive(Debug, thiserror::Error)]
pub enum RebirthError {
    /// It would be unsafe, or isn't what was confirmed.
    #[error("{0}")]
    Refused(String),
    /// Files can't be read or written.
    #[error("{0}")]
    Storage(String),
}

fn storage(error: impl std::fmt::Display) -> RebirthError {
    RebirthError::Storage(error.to_string())
}

fn refused<T>(text: impl Into<String>) -> Result<T, RebirthError> {
    Err(RebirthError::Refused(text.into()))
}

/// What a snapshot file holds.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The state.
    pub machine: Machine,
    /// Index of its last entry.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The members at that time.
    pub members: Vec<Member>,
    /// Bytes of the file.
    pub size_bytes: u64,
}

/// Reads a snapshot file and checks all of it.
///
/// # Errors
/// It is no snapshot, is damaged, or holds what this release can't read.
pub fn read_snapshot(path: &Path) -> Result<Saved, RebirthError> {
    let file = SnapshotFile::open(path).map_err(storage)?;
    file.verify().map_err(storage)?;
    let size_bytes = file.file_len();
    let (data, view) = SnapshotData::open(file)
        .and_then(SnapshotData::load)
        .map_err(storage)?;
    let applied = data.cover.standing.applied;
    Ok(Saved {
        index: view.applied_index(),
        term: applied.map_or(0, |id| id.leader_id.term),
        members: view.members(),
        machine: view.machine,
        size_bytes,
    })
}

/// Writes a view as a snapshot file into a directory that is used for nothing else.
pub(crate) fn write_snapshot(dir: &Path, view: &View) -> io::Result<PathBuf> {
    let data = Snapshots::open(dir)?.write(view)?;
    Ok(data.file.path().to_owned())
}

/// What a stopped replica's directory holds, for judging a loss.
#[derive(Debug, Clone)]
pub struct Remains {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its generation.
    pub generation: u64,
    /// This replica.
    pub node_id: NodeId,
    /// The highest term it has seen: what must be confirmed.
    pub term: u64,
    /// Its last entry, committed or not.
    pub last_index: u64,
    /// Up to where it knew the log to be on a majority.
    pub committed_index: u64,
    /// Wall time of its last entry.
    pub last_wall_ms: u64,
    /// The members as its log has them.
    pub members: Vec<Member>,
    /// Those of them that vote.
    pub voters: BTreeSet<NodeId>,
    /// The state with every entry applied.
    pub machine: Machine,
}

struct Opened {
    dir: DataDir,
    identity: Identity,
    cluster_id: ClusterId,
    log: RaftLog,
    snapshots: Snapshots,
    view: View,
    committed: u64,
    vote: Option<Vote>,
}

/// Looks at a stopped replica's data directory. Changes nothing that its next start wouldn't.
///
/// # Errors
/// A process uses it, or it can't be trusted.
pub async fn examine(data_dir: &Path, node_id: NodeId) -> Result<Remains, RebirthError> {
    let opened = open(data_dir, node_id).await?;
    let remains = remains(&opened);
    opened.log.close();
    Ok(remains)
}

fn remains(opened: &Opened) -> Remains {
    let view = &opened.view;
    let applied_term = view.standing.applied.map_or(0, |id| id.leader_id.term);
    let vote_term = opened.vote.map_or(0, |vote| vote.leader_id.term);
    Remains {
        cluster_id: opened.cluster_id,
        generation: opened.identity.generation,
        node_id: opened.identity.node_id,
        term: applied_term.max(vote_term),
        last_index: view.applied_index(),
        committed_index: opened.committed,
        last_wall_ms: view.machine.meta().map_or(0, |meta| meta.wall_ms),
        members: view.members(),
        voters: view.standing.membership.voter_ids().collect(),
        machine: view.machine.clone(),
    }
}

async fn open(data_dir: &Path, node_id: NodeId) -> Result<Opened, RebirthError> {
    if !data_dir.join("identity").exists() {
        return refused(format!("{} holds no replica", data_dir.display()));
    }
    let dir = DataDir::lock(data_dir).map_err(|e| RebirthError::Refused(e.to_string()))?;
    let identity = dir
        .identity()
        .map_err(|e| RebirthError::Refused(e.to_string()))?;
    let Some((identity, cluster_id)) = identity.and_then(|found| {
        let cluster_id = ClusterId(found.cluster_id?);
        Some((found, cluster_id))
    }) else {
        return refused(format!("{} belongs to no cluster", data_dir.display()));
    };
    if identity.node_id != node_id {
        let (found, dir) = (identity.node_id, data_dir.display());
        return refused(format!(
            "{dir} belongs to node {found}, not to node {node_id}"
        ));
    }
    let snapshots = Snapshots::open(&data_dir.join("snapshots")).map_err(storage)?;
    let store = LogStore::open(data_dir.join("log"), LogConfig::default()).map_err(storage)?;
    let mut log = RaftLog::new(store, snapshots.covered()).map_err(storage)?;
    let recovered = recovery::recover(&data_dir.join("state"), &log, &snapshots)
        .map_err(|e| RebirthError::Storage(e.to_string()))?;
    recovered.store.close();
    let committed = log.read_committed().await.map_err(storage)?;
    let vote = log.read_vote().await.map_err(storage)?;
    let view = replay(&mut log, recovered.view).await?;
    Ok(Opened {
        dir,
        identity,
        cluster_id,
        log,
        snapshots,
        view,
        committed: committed.map_or(0, |id| id.index),
        vote,
    })
}

/// Applies every entry that is there, also those that were never known to be on a majority: one of them
/// may have been acknowledged.
async fn replay(log: &mut RaftLog, mut view: View) -> Result<View, RebirthError> {
    loop {
        let from = view.standing.applied.map_or(0, |id| id.index + 1);
        let entries = log
            .try_get_log_entries(from..from + READ_ENTRIES)
            .await
            .map_err(storage)?;
        if entries.is_empty() {
            return Ok(view);
        }
        for entry in entries {
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    let stored = StoredMembership::new(Some(entry.log_id), membership);
                    view.standing.set_membership(stored);
                }
                EntryPayload::Normal(data) => {
                    let envelope = Envelope::decode(data.envelope()).map_err(storage)?;
                    drop(view.machine.apply(entry_id(entry.log_id), &envelope));
                }
            }
            view.standing.applied = Some(entry.log_id);
        }
    }
}

fn entry_id(log_id: LogId) -> EntryId {
    EntryId {
        index: LogIndex(log_id.index),
        term: log_id.leader_id.term,
        node: StateNodeId(log_id.leader_id.node_id),
    }
}

/// How a new life begins.
#[derive(Debug, Clone)]
pub struct Birth {
    /// The one member.
    pub member: Member,
    /// Where its data goes.
    pub data_dir: PathBuf,
    /// Above every generation that is known.
    pub generation: u64,
    /// Wall time, for people.
    pub wall_ms: u64,
    /// Who does it and why, for people.
    pub cause: String,
}

impl Birth {
    /// The first view of the new life, one entry after the old one ended.
    fn view(
        &self,
        old: &View,
        cluster_id: ClusterId,
        removed: BTreeSet<NodeId>,
    ) -> Result<View, RebirthError> {
        let last = old.standing.applied;
        let log_id = LogId::new(
            LeaderId::new(
                last.map_or(0, |id| id.leader_id.term) + 1,
                self.member.node_id,
            ),
            last.map_or(0, |id| id.index) + 1,
        );
        let rebirth = Rebirth {
            cluster_id,
            generation: self.generation,
            entry: entry_id(log_id),
            wall_ms: self.wall_ms,
            cause: self.cause.clone(),
        };
        let machine = old
            .machine
            .reborn(&rebirth)
            .map_err(|e| RebirthError::Refused(e.to_string()))?;
        let voters = BTreeSet::from([self.member.node_id]);
        let nodes = BTreeMap::from([(self.member.node_id, self.member.node.clone())]);
        let membership = Membership::new(vec![voters], nodes).map_err(storage)?;
        let standing = Standing {
            applied: Some(log_id),
            membership: StoredMembership::new(Some(log_id), membership),
            removed,
        };
        Ok(View { machine, standing })
    }

    fn identity(&self, cluster_id: ClusterId, incarnation: u64) -> Identity {
        let Member { node_id, node } = self.member.clone();
        Identity {
            cluster_id: Some(cluster_id.0),
            generation: self.generation,
            node_id,
            incarnation,
            members: vec![StoredMember {
                node_id,
                name: node.name,
                api: node.api,
                peer: node.peer,
            }],
        }
    }
}

/// Restores a snapshot file into an empty data directory, as a new cluster of one. Answers its id.
///
/// # Errors
/// The directory isn't empty, or the file can't be trusted.
pub async fn restore(file: &Path, birth: &Birth) -> Result<ClusterId, RebirthError> {
    let used = ["identity", "log", "snapshots", "state"];
    if let Some(found) = used.iter().find(|name| birth.data_dir.join(name).exists()) {
        let dir = birth.data_dir.display();
        return refused(format!(
            "{dir} isn't empty: it has {found}; restore into an empty directory"
        ));
    }
    let dir = DataDir::lock(&birth.data_dir).map_err(|e| RebirthError::Refused(e.to_string()))?;
    let opened = SnapshotFile::open(file).map_err(storage)?;
    opened.verify().map_err(storage)?;
    let (_, old) = SnapshotData::open(opened)
        .and_then(SnapshotData::load)
        .map_err(storage)?;
    let cluster_id = ClusterId(rand::random());
    let view = birth.view(&old, cluster_id, BTreeSet::new())?;
    let snapshots = Snapshots::open(&birth.data_dir.join("snapshots")).map_err(storage)?;
    snapshots.write(&view).map_err(storage)?;
    let store =
        LogStore::open(birth.data_dir.join("log"), LogConfig::default()).map_err(storage)?;
    let mut log = RaftLog::new(store, snapshots.covered()).map_err(storage)?;
    begin_log(&mut log, &view).await?;
    log.close();
    dir.replace_identity(&birth.identity(cluster_id, 0))
        .map_err(storage)?;
    Ok(cluster_id)
}

/// Makes the survivor of a lost majority a cluster of its own. `expected_term` is what `examine` showed to
/// whoever decided. Done again after an interruption, it carries on.
///
/// # Errors
/// A process uses the directory, or it isn't what was confirmed.
pub async fn recover(birth: &Birth, expected_term: u64) -> Result<Remains, RebirthError> {
    let mut opened = open(&birth.data_dir, birth.member.node_id).await?;
    let before = remains(&opened);
    let life = opened.view.machine.meta().map_or(0, |meta| meta.generation);
    let interrupted = opened.identity.generation == life + 1;
    let finished = opened.identity.generation == life && life == birth.generation;
    if !interrupted && !finished {
        check_confirmed(&before, expected_term)?;
    }
    let incarnation = opened.identity.incarnation;
    opened
        .dir
        .replace_identity(&birth.identity(opened.cluster_id, incarnation))
        .map_err(storage)?;
    if !finished {
        let mut removed = opened.view.standing.removed.clone();
        removed.extend(opened.view.standing.membership.nodes().map(|(id, _)| *id));
        removed.remove(&birth.member.node_id);
        opened.view = birth.view(&opened.view, opened.cluster_id, removed)?;
        opened.snapshots.write(&opened.view).map_err(storage)?;
    }
    begin_log(&mut opened.log, &opened.view).await?;
    opened.log.close();
    StateStore::discard(birth.data_dir.join("state")).map_err(storage)?;
    Ok(before)
}

fn check_confirmed(remains: &Remains, expected_term: u64) -> Result<(), RebirthError> {
    if remains.term == expected_term {
        return Ok(());
    }
    refused(format!(
        "the replica has seen term {}, not {expected_term}: something happened since it was looked at; look \
         again: regent recover plan",
        remains.term
    ))
}

/// Nothing before the view is in the log, and no vote is below it.
async fn begin_log(log: &mut RaftLog, view: &View) -> Result<(), RebirthError> {
    let Some(last) = view.standing.applied else {
        return refused("the state is empty");
    };
    let vote = Vote {
        leader_id: LeaderId::new(last.leader_id.term, last.leader_id.node_id),
        committed: false,
    };
    let known = log.read_vote().await.map_err(storage)?;
    if known.is_none_or(|known| known.leader_id < vote.leader_id) {
        log.save_vote(&vote).await.map_err(storage)?;
    }
    let state = log.get_log_state().await.map_err(storage)?;
    if state.last_purged_log_id < Some(last) {
        log.purge(last).await.map_err(storage)?;
    }
    Ok(())
}
