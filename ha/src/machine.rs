//! openraft's state machine over `regent_state::Machine`.
//!
//! Applies committed entries in batches. For each batch: publish the new view to readers, hand the changes
//! to the write-behind store, wake subscribers, and only then answer the proposers. Building, checking and
//! installing snapshots happen off the Raft threads, on clones.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use regent_state::ids::{LogIndex, NodeId as StateNodeId};
use regent_state::{Change, Effect, EntryId, Envelope};
use regent_storage::state_store::{Change as StoredChange, Marker, StateStore};
use tokio::sync::watch;

use crate::agreement::Agreement;
use crate::entry;
use crate::hints::Effects;
use crate::shared::Shared;
use crate::snapshot::{SnapshotData, Snapshots};
use crate::types::{Entry, EntryOutcome, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::view::{Cover, View};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;
type Responder = ApplyResponder<TypeConfig>;

/// Entries applied before the result is published; bounds what one batch holds in memory.
const BATCH_ENTRIES: usize = 1_024;

/// The state machine as openraft drives it: one task, in log order.
pub(crate) struct StateMachine {
    pub(crate) views: watch::Sender<Arc<View>>,
    pub(crate) effects: Effects,
    pub(crate) store: StateStore,
    pub(crate) snapshots: Snapshots,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) shared: Option<Arc<Shared>>,
}

impl std::fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMachine").finish_non_exhaustive()
    }
}

/// What a batch of entries has done so far.
struct Batch {
    view: View,
    changes: Vec<StoredChange>,
    effects: Vec<Effect>,
    answers: Vec<(Responder, EntryOutcome)>,
    entries: usize,
    membership_changed: bool,
}

impl Batch {
    fn after(view: &View) -> Self {
        Self {
            view: view.clone(),
            changes: Vec::new(),
            effects: Vec::new(),
            answers: Vec::new(),
            entries: 0,
            membership_changed: false,
        }
    }

    fn apply(&mut self, entry: Entry, responder: Option<Responder>) -> io::Result<()> {
        let log_id = entry.log_id;
        let outcome = match entry.payload {
            EntryPayload::Blank => EntryOutcome(None),
            EntryPayload::Normal(data) => self.command(log_id, data.envelope())?,
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(log_id), membership);
                self.view.standing.set_membership(stored);
                self.membership_changed = true;
                EntryOutcome(None)
            }
        };
        self.view.standing.applied = Some(log_id);
        self.entries += 1;
        if let Some(responder) = responder {
            self.answers.push((responder, outcome));
        }
        Ok(())
    }

    // An entry that this release can't read must not be skipped: the replica stops.
    fn command(&mut self, log_id: LogId, bytes: &[u8]) -> io::Result<EntryOutcome> {
        let envelope = Envelope::decode(bytes).map_err(|error| {
            let text = format!("entry {log_id} can't be applied by this release: {error}");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let applied = self.view.machine.apply(entry_id(log_id), &envelope);
        self.changes.extend(applied.changes.into_iter().map(stored));
        self.effects.extend(applied.effects);
        Ok(EntryOutcome(Some(applied.response)))
    }
}

fn entry_id(log_id: LogId) -> EntryId {
    EntryId {
        index: LogIndex(log_id.index),
        term: log_id.leader_id.term,
        node: StateNodeId(log_id.leader_id.node_id),
    }
}

fn stored(change: Change) -> StoredChange {
    match change {
        Change::Put(key, value) => StoredChange {
            key: key.to_bytes(),
            value: Some(value),
        },
        Change::Delete(key) => StoredChange {
            key: key.to_bytes(),
            value: None,
        },
    }
}

/// The marker that goes with a state in the store.
pub(crate) fn marker(cover: &Cover) -> io::Result<Marker> {
    let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let applied = cover.standing.applied;
    let log_id = applied.map(|id| entry::encode_log_id(&id)).transpose();
    Ok(Marker {
        last_applied_index: applied.map(|id| id.index),
        log_id: log_id.map_err(bad)?.unwrap_or_default().to_vec(),
        membership: entry::encode_cover(cover).map_err(bad)?.to_vec(),
        state_hash: cover.hash,
    })
}

impl StateMachine {
    fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    fn finish(&mut self, batch: Batch) -> io::Result<()> {
        let cover = batch.view.cover();
        let marker = marker(&cover)?;
        self.agreement.note(cover.index(), cover.hash);
        if batch.membership_changed {
            self.note_members(&batch.view);
        }
        self.views.send_replace(Arc::new(batch.view));
        self.store.enqueue(batch.changes, marker);
        self.effects.send(&batch.effects);
        for (responder, outcome) in batch.answers {
            responder.send(outcome);
        }
        Ok(())
    }

    fn note_members(&self, view: &View) {
        if let Some(shared) = &self.shared {
            shared.set_removed(view.standing.removed.iter().copied().collect());
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let view = self.view();
        Ok((view.standing.applied, view.standing.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::after(&self.view());
        while let Some((entry, responder)) = entries.try_next().await? {
            batch.apply(entry, responder)?;
            if batch.entries >= BATCH_ENTRIES {
                let next = Batch::after(&batch.view);
                self.finish(std::mem::replace(&mut batch, next))?;
            }
        }
        match batch.entries {
            0 => Ok(()),
            _ => self.finish(batch),
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            view: self.view(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let (store, snapshots) = (self.store.clone(), self.snapshots.clone());
        let view = blocking(move || {
            let (snapshot, view) = snapshot.load()?;
            snapshots.keep(&snapshot, &view)?;
            refill(&store, &view);
            Ok(view)
        })
        .await?;
        tracing::info!(index = view.applied_index(), "snapshot installed");
        self.note_members(&view);
        self.views.send_replace(Arc::new(view));
        // Whoever was woken by entries that the snapshot skipped must look at everything.
        self.effects.send_everything();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.snapshots.clone();
        let latest = blocking(move || snapshots.latest()).await?;
        Ok(latest.map(|snapshot| Snapshot {
            meta: snapshot.meta(),
            snapshot,
        }))
    }
}

/// Makes the write-behind store equal to a view; it may fail, since it is only ever a shortcut.
pub(crate) fn refill(store: &StateStore, view: &View) {
    let entities = view.machine.entities();
    let entities = entities.map(|(key, value)| (key.to_bytes(), value));
    let installed = marker(&view.cover()).map(|marker| store.install(entities, &marker));
    match installed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the state store was not refilled"),
        Err(error) => tracing::error!(%error, "the state store was not refilled"),
    }
}

/// Writes a snapshot of one view, beside the applying of later entries.
#[derive(Debug)]
pub(crate) struct Builder {
    view: Arc<View>,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (view, snapshots) = (self.view.clone(), self.snapshots.clone());
        let snapshot = blocking(move || snapshots.write(&view)).await?;
        tracing::info!(
            index = snapshot.file.index(),
            bytes = snapshot.file.file_len(),
            "snapshot written"
        );
        Ok(Snapshot {
            meta: snapshot.meta(),
            snapshot,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
