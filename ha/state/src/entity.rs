//! Which entity lives in which table under which key, in one place.

use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::graph::JobGraph;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, LogIndex, NodeId, Run};
use crate::index::Index;
use crate::key::Key;
use crate::machine::Tables;
use crate::model::{
    Artefact, Attempt, Checkpoint, Claim, Drain, Job, JobHistory, MemberWish, Meta, Reborn, Reign,
    RequestRecord,
};
use crate::table::Table;

/// Something that is stored under a key and counts in the state hash.
pub(crate) trait Entity: Debug + Serialize + DeserializeOwned + Sized {
    /// What tells it from others of its kind.
    type Id: Ord + Clone;

    fn key(id: &Self::Id) -> Key;
    fn table(tables: &Tables) -> &Table<Self::Id, Self>;
    fn table_mut(tables: &mut Tables) -> &mut Table<Self::Id, Self>;
    /// Keeps the derived orders up to date.
    fn reindex(_index: &mut Index, _id: &Self::Id, _old: Option<&Self>, _new: Option<&Self>) {}
}

macro_rules! entity {
    ($type:ty, $id:ty, $field:ident, |$key_id:ident| $key:expr $(, $reindex:item)?) => {
        impl Entity for $type {
            type Id = $id;

            fn key($key_id: &Self::Id) -> Key {
                $key
            }

            fn table(tables: &Tables) -> &Table<Self::Id, Self> {
                &tables.$field
            }

            fn table_mut(tables: &mut Tables) -> &mut Table<Self::Id, Self> {
                &mut tables.$field
            }

            $($reindex)?
        }
    };
}

entity!(Meta, (), meta, |_id| Key::Meta);
entity!(JobGraph, JobId, graphs, |id| Key::Graph(*id));
entity!(JobHistory, JobId, histories, |id| Key::History(*id));
entity!(Attempt, (JobId, AttemptToken), attempts, |id| Key::Attempt(
    id.0, id.1
));
entity!(Checkpoint, (JobId, Run, CheckpointId), checkpoints, |id| {
    Key::Checkpoint(id.0, id.1, id.2)
});
entity!(Claim, String, claims, |id| Key::Claim(id.clone()));
entity!(Reign, u64, reigns, |id| Key::Reign(*id));
entity!(MemberWish, NodeId, members, |id| Key::Member(*id));
entity!(Reborn, u64, rebirths, |id| Key::Reborn(*id));
entity!(Drain, String, drains, |id| Key::Drain(id.clone()));
entity!(
    Job,
    JobId,
    jobs,
    |id| Key::Job(*id),
    fn reindex(index: &mut Index, _: &JobId, old: Option<&Self>, new: Option<&Self>) {
        index.job(old, new);
    }
);
entity!(
    Artefact,
    ArtefactId,
    artefacts,
    |id| Key::Artefact(*id),
    fn reindex(index: &mut Index, _: &ArtefactId, old: Option<&Self>, new: Option<&Self>) {
        index.artefact(old, new);
    }
);
entity!(
    RequestRecord,
    LogIndex,
    requests,
    |id| Key::Request(*id),
    fn reindex(index: &mut Index, id: &LogIndex, old: Option<&Self>, new: Option<&Self>) {
        index.request(*id, old, new);
    }
);

/// Something to be done to the entity behind a key, whatever its type.
pub(crate) trait Visit {
    type Output;

    fn visit<E: Entity>(self, id: E::Id) -> Self::Output;
}

/// Calls the visitor with the type that belongs to the key.
pub(crate) fn visit<V: Visit>(key: Key, visitor: V) -> V::Output {
    match key {
        Key::Meta => visitor.visit::<Meta>(()),
        Key::Job(job) => visitor.visit::<Job>(job),
        Key::Graph(job) => visitor.visit::<JobGraph>(job),
        Key::History(job) => visitor.visit::<JobHistory>(job),
        Key::Attempt(job, token) => visitor.visit::<Attempt>((job, token)),
        Key::Checkpoint(job, run, id) => visitor.visit::<Checkpoint>((job, run, id)),
        Key::Artefact(id) => visitor.visit::<Artefact>(id),
        Key::Claim(path) => visitor.visit::<Claim>(path),
        Key::Request(index) => visitor.visit::<RequestRecord>(index),
        Key::Reign(number) => visitor.visit::<Reign>(number),
        Key::Member(node) => visitor.visit::<MemberWish>(node),
        Key::Drain(worker) => visitor.visit::<Drain>(worker),
        Key::Reborn(generation) => visitor.visit::<Reborn>(generation),
    }
}

impl Tables {
    pub(crate) fn get<E: Entity>(&self, id: &E::Id) -> Option<&Arc<E>> {
        E::table(self).get(id)
    }
}
