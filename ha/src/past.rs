//! Looking back: entries of this replica's log, and the state as it was after one of them.
//!
//! A past state is the newest snapshot at or before that entry with the log's entries applied on top, so it
//! reaches back as far as both do. Nothing here touches the present state; all of it is applied entries only.

use std::collections::BTreeMap;
use std::io;

use openraft::EntryPayload;
use regent_state::ids::{LogIndex, NodeId as StateNodeId};
use regent_state::key::Key;
use regent_state::{EntryId, Envelope, Machine};

use crate::log::RaftLog;
use crate::snapshot::Snapshots;
use crate::types::{Entry, NodeId};
use crate::view::View;

/// About how many bytes of entries are read at once.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Most entries that one call answers.
pub const ENTRIES_MAX: u64 = 1_000;

/// Why the past can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// It has not happened here.
    #[error("entry {asked} is not applied here; the last one is {applied}")]
    Ahead {
        /// What was asked for.
        asked: u64,
        /// The last applied entry.
        applied: u64,
    },
    /// Log and snapshots don't reach back so far.
    #[error("entry {asked} is gone: log and snapshots of this replica reach back to {first}")]
    Gone {
        /// What was asked for.
        asked: u64,
        /// The first that can be shown.
        first: u64,
    },
    /// The files can't be read.
    #[error("the past can't be read: {0}")]
    Storage(String),
}

/// An entry of the log.
#[derive(Debug, Clone)]
pub struct PastEntry {
    /// Its place.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
    /// That leader.
    pub node_id: NodeId,
    /// What it carries.
    pub content: PastContent,
}

/// What an entry carries.
#[derive(Debug, Clone)]
pub enum PastContent {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A change of the membership: all members, and those that vote.
    Membership {
        /// Names of all members by number.
        members: BTreeMap<NodeId, String>,
        /// Numbers of those that vote, once for each configuration while it changes.
        voters: Vec<Vec<NodeId>>,
    },
    /// A command.
    Command(Box<Envelope>),
}

/// Which entry last changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastChange {
    /// Its place.
    pub index: u64,
    /// Who asked.
    pub actor: String,
    /// What was to happen.
    pub command: String,
}

/// The state after one entry.
#[derive(Debug, Clone)]
pub struct PastState {
    /// The state.
    pub machine: Machine,
    /// The snapshot that it was built from; `None`: the beginning.
    pub snapshot_index: Option<u64>,
    /// The entry itself.
    pub last: Option<PastEntry>,
    /// Why the machine refused it, if it did.
    pub refused: Option<String>,
    /// Which entry last changed an entity; absent where that was before the snapshot.
    pub changes: BTreeMap<Key, LastChange>,
    /// What the entry itself changed.
    pub changed: Vec<Key>,
}

fn failed(error: impl std::fmt::Display) -> PastError {
    PastError::Storage(error.to_string())
}

/// The past of one replica.
pub(crate) struct Past<'a> {
    pub(crate) log: &'a RaftLog,
    pub(crate) snapshots: &'a Snapshots,
    /// The last applied entry.
    pub(crate) applied: u64,
}

impl Past<'_> {
    /// Entries from `from` on, at most `count`.
    pub(crate) async fn entries(&self, from: u64, count: u64) -> Result<Vec<PastEntry>, PastError> {
        self.check(from)?;
        let first = self.first_entry()?;
        if from < first {
            return Err(PastError::Gone { asked: from, first });
        }
        let end = from
            .saturating_add(count.min(ENTRIES_MAX))
            .min(self.applied + 1);
        let mut found = Vec::new();
        let mut next = from;
        while next < end {
            let piece = self
                .log
                .read(next, end, PIECE_BYTES)
                .await
                .map_err(failed)?;
            let Some(last) = piece.last() else { break };
            next = last.log_id.index + 1;
            for entry in piece {
                found.push(past_entry(entry)?);
            }
        }
        Ok(found)
    }

    /// The state after entry `index`.
    pub(crate) async fn state(&self, index: u64) -> Result<PastState, PastError> {
        self.check(index)?;
        let (view, snapshot_index) = self.base(index).await?;
        let mut state = PastState {
            machine: view.machine,
            snapshot_index,
            last: None,
            refused: None,
            changes: BTreeMap::new(),
            changed: Vec::new(),
        };
        let mut next = snapshot_index.map_or(0, |at| at + 1);
        while next <= index {
            let piece = self
                .log
                .read(next, index + 1, PIECE_BYTES)
                .await
                .map_err(failed)?;
            let Some(last) = piece.last() else {
                return Err(failed(format!("entry {next} is missing")));
            };
            next = last.log_id.index + 1;
            for entry in piece {
                state.apply(past_entry(entry)?);
            }
        }
        Ok(state)
    }

    fn check(&self, asked: u64) -> Result<(), PastError> {
        let applied = self.applied;
        match asked <= applied {
            true => Ok(()),
            false => Err(PastError::Ahead { asked, applied }),
        }
    }

    fn first_entry(&self) -> Result<u64, PastError> {
        let purged = self.log.last_purged().map_err(failed)?;
        Ok(purged.map_or(0, |id| id.index + 1))
    }

    /// What to apply entries to: the newest snapshot that isn't later, or nothing.
    async fn base(&self, index: u64) -> Result<(View, Option<u64>), PastError> {
        let snapshots = self.snapshots.clone();
        let first_entry = self.first_entry()?;
        let load = move || -> io::Result<Result<(View, Option<u64>), u64>> {
            let usable = snapshots.usable()?;
            let oldest = usable.iter().map(|data| data.cover.index()).min();
            let fits = |at: u64| at <= index && at + 1 >= first_entry;
            let chosen = usable.into_iter().find(|data| fits(data.cover.index()));
            match chosen {
                Some(data) => {
                    let at = data.cover.index();
                    Ok(Ok((data.load()?.1, Some(at))))
                }
                None if first_entry == 0 => Ok(Ok((View::empty(), None))),
                None => Ok(Err(oldest.unwrap_or(first_entry))),
            }
        };
        let loaded = tokio::task::spawn_blocking(load).await.map_err(failed)?;
        let found = loaded.map_err(failed)?;
        found.map_err(|first| PastError::Gone {
            asked: index,
            first,
        })
    }
}

impl PastState {
    fn apply(&mut self, entry: PastEntry) {
        self.refused = None;
        self.changed = Vec::new();
        if let PastContent::Command(envelope) = &entry.content {
            let id = EntryId {
                index: LogIndex(entry.index),
                term: entry.term,
                node: StateNodeId(entry.node_id),
            };
            let applied = self.machine.apply(id, envelope);
            self.refused = applied.response.rejection().map(ToString::to_string);
            let change = LastChange {
                index: entry.index,
                actor: envelope.actor.clone(),
                command: envelope.command.to_string(),
            };
            for key in applied.changes.iter().map(|change| change.key().clone()) {
                self.changes.insert(key.clone(), change.clone());
                self.changed.push(key);
            }
        }
        self.last = Some(entry);
    }
}

fn past_entry(entry: Entry) -> Result<PastEntry, PastError> {
    let content = match entry.payload {
        EntryPayload::Blank => PastContent::Blank,
        EntryPayload::Normal(data) => {
            PastContent::Command(Box::new(Envelope::decode(data.envelope()).map_err(failed)?))
        }
        EntryPayload::Membership(membership) => PastContent::Membership {
            members: membership
                .nodes()
                .map(|(id, node)| (*id, node.name.clone()))
                .collect(),
            voters: membership
                .get_joint_config()
                .iter()
                .map(|voters| voters.iter().copied().collect())
                .collect(),
        },
    };
    Ok(PastEntry {
        index: entry.log_id.index,
        term: entry.log_id.leader_id.term,
        node_id: entry.log_id.leader_id.node_id,
        content,
    })
}
