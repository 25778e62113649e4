//! The machine: the whole replicated state, and the one door through which it changes.

use std::sync::Arc;

use crate::apply;
use crate::codec;
use crate::command::Envelope;
use crate::entity::{self, Entity, Visit};
use crate::graph::JobGraph;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, EntryId, JobId, LogIndex, NodeId, Run};
use crate::index::Index;
use crate::key::Key;
use crate::model::{
    Artefact, Attempt, Checkpoint, Claim, Drain, Job, JobHistory, MemberWish, Meta, Reborn, Reign,
    RequestRecord,
};
use crate::response::{Applied, Change};
use crate::table::Table;

/// The replicated state. Cloning is cheap (the maps are persistent), so a clone is a reader's
/// consistent snapshot.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub(crate) tables: Tables,
    pub(crate) index: Index,
    hash: u128,
}

/// The entities by kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) meta: Table<(), Meta>,
    pub(crate) jobs: Table<JobId, Job>,
    pub(crate) graphs: Table<JobId, JobGraph>,
    pub(crate) histories: Table<JobId, JobHistory>,
    pub(crate) attempts: Table<(JobId, AttemptToken), Attempt>,
    pub(crate) checkpoints: Table<(JobId, Run, CheckpointId), Checkpoint>,
    pub(crate) artefacts: Table<ArtefactId, Artefact>,
    pub(crate) claims: Table<String, Claim>,
    pub(crate) requests: Table<LogIndex, RequestRecord>,
    pub(crate) reigns: Table<u64, Reign>,
    pub(crate) members: Table<NodeId, MemberWish>,
    pub(crate) drains: Table<String, Drain>,
    pub(crate) rebirths: Table<u64, Reborn>,
}

impl Machine {
    /// The empty state, before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a committed log entry. The only place that changes the state; called once per
    /// entry, in log order. Never fails: a refusal is a response.
    pub fn apply(&mut self, entry: EntryId, envelope: &Envelope) -> Applied {
        apply::apply(self, entry, envelope)
    }

    /// The state hash: a wrapping sum over all entities, equal on replicas that applied the same
    /// entries.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    pub(crate) fn get<E: Entity>(&self, id: &E::Id) -> Option<&Arc<E>> {
        self.tables.get::<E>(id)
    }

    pub(crate) fn put<E: Entity>(&mut self, id: E::Id, value: E) {
        let value = Arc::new(value);
        let old = E::table_mut(&mut self.tables).put(id.clone(), Arc::clone(&value));
        E::reindex(&mut self.index, &id, old.as_deref(), Some(&value));
    }

    pub(crate) fn remove<E: Entity>(&mut self, id: &E::Id) {
        if let Some((old, digest)) = E::table_mut(&mut self.tables).remove(id) {
            self.hash = self.hash.wrapping_sub(digest);
            E::reindex(&mut self.index, id, Some(&old), None);
        }
    }

    /// Brings the hash up to date with a touched entity and tells what is different.
    pub(crate) fn seal(&mut self, key: Key) -> Change {
        entity::visit(key, Seal(self))
    }
}

struct Seal<'a>(&'a mut Machine);

impl Visit for Seal<'_> {
    type Output = Change;

    fn visit<E: Entity>(self, id: E::Id) -> Change {
        let key = E::key(&id);
        let Some((value, old)) = E::table(&self.0.tables).sealed(&id) else {
            return Change::Delete(key);
        };
        let bytes = codec::encode(value);
        let new = codec::digest(&key.to_bytes(), &bytes);
        E::table_mut(&mut self.0.tables).set_digest(&id, new);
        self.0.hash = self.0.hash.wrapping_sub(old).wrapping_add(new);
        Change::Put(key, bytes)
    }
}
