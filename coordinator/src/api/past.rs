//! Answers about the past of this replica: entries of its log, and the state after one of them.

use regent_ha::{PastContent, PastEntry, PastError, PastState};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::view::{EntityThen, LogEntry, LogShown, StateThen};
use regent_state::Key;

use super::documents;
use crate::node::Node;

/// Most entities of one answer.
const ENTITIES_MAX: usize = 2_000;

fn refused(error: &PastError) -> ApiError {
    ApiError::new(ErrorKind::Failed, error.to_string())
}

/// The last entries.
pub(super) async fn tail(node: &Node, count: u64) -> Result<Vec<LogEntry>, ApiError> {
    let applied = node.replica.stale().applied_index();
    let from = applied.saturating_add(1).saturating_sub(count.max(1));
    let entries = match node.replica.entries(from, count).await {
        // Fewer are left than were asked for.
        Err(PastError::Gone { first, .. }) => node.replica.entries(first.min(applied), count).await,
        entries => entries,
    };
    let entries = entries.map_err(|error| refused(&error))?;
    Ok(entries.iter().map(entry).collect())
}

/// One entry, and what it did.
pub(super) async fn show(node: &Node, index: u64) -> Result<LogShown, ApiError> {
    let entries = node.replica.entries(index, 1).await;
    let entries = entries.map_err(|error| refused(&error))?;
    let found = entries
        .first()
        .ok_or_else(|| ApiError::new(ErrorKind::Failed, format!("there is no entry {index}")))?;
    let done = node.replica.state_at(index).await.ok();
    let detail = match &found.content {
        PastContent::Command(envelope) => Some(format!("{:#?}", envelope.command)),
        PastContent::Blank | PastContent::Membership { .. } => None,
    };
    Ok(LogShown {
        entry: entry(found),
        detail,
        refused: done.as_ref().and_then(|state| state.refused.clone()),
        changed: done.map(|state| state.changed.iter().map(Key::to_string).collect()),
    })
}

/// The state after an entry; with a beginning of keys, those entities in full.
pub(super) async fn state(node: &Node, asked: &v1::StateAt) -> Result<StateThen, ApiError> {
    let state = node.replica.state_at(asked.index).await;
    let state = state.map_err(|error| refused(&error))?;
    Ok(then(asked.index, &asked.key, &state))
}

fn then(index: u64, prefix: &str, state: &PastState) -> StateThen {
    let machine = &state.machine;
    let wanted = |key: &Key| key.to_string().starts_with(prefix);
    let keys: Vec<Key> = machine
        .entities()
        .map(|(key, _)| key)
        .filter(wanted)
        .collect();
    let entity = |key: &Key| {
        let last = state.changes.get(key);
        EntityThen {
            key: key.to_string(),
            changed_at: last.map(|last| last.index),
            actor: last.map(|last| last.actor.clone()),
            command: last.map(|last| last.command.clone()),
            value: (!prefix.is_empty())
                .then(|| machine.describe(key))
                .flatten(),
        }
    };
    StateThen {
        index,
        entry: state.last.as_ref().map(entry_of),
        refused: state.refused.clone(),
        snapshot_index: state.snapshot_index,
        state_hash: format!("{:032x}", machine.hash()),
        leader: machine.reign().map(|reign| reign.node_name.clone()),
        jobs: documents::job_list(machine),
        truncated: keys.len() > ENTITIES_MAX,
        entities: keys.iter().take(ENTITIES_MAX).map(entity).collect(),
    }
}

fn entry_of(past: &PastEntry) -> LogEntry {
    entry(past)
}

fn entry(past: &PastEntry) -> LogEntry {
    let bare = LogEntry {
        index: past.index,
        term: past.term,
        node_id: past.node_id,
        ..LogEntry::default()
    };
    match &past.content {
        PastContent::Blank => LogEntry {
            kind: "blank".to_owned(),
            text: "the first entry of a term".to_owned(),
            ..bare
        },
        PastContent::Membership { members, voters } => {
            let names: Vec<String> = members
                .iter()
                .map(|(id, name)| format!("{name} ({id})"))
                .collect();
            LogEntry {
                kind: "membership".to_owned(),
                text: format!("members {}; voters {voters:?}", names.join(", ")),
                ..bare
            }
        }
        PastContent::Command(envelope) => LogEntry {
            kind: "command".to_owned(),
            at_ms: Some(envelope.wall_ms),
            actor: Some(envelope.actor.clone()),
            text: envelope.command.to_string(),
            epoch: envelope.epoch.map(|epoch| epoch.to_string()),
            request_id: envelope.request.map(|request| request.id.to_string()),
            ..bare
        },
    }
}
