//! The coordinators' deeds: propose, write `_metadata`, order. Dull on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regent_failpoint::reach;
use regent_protocol::metadata::{
    METADATA_NAME, METADATA_VERSION, MetadataPointer, encode_metadata,
};
use regent_protocol::v1;
use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::subtask_handle::State;
use regent_state::command::{
    AbortCheckpoint, AttemptFailed, BeginCheckpoint, CheckpointKind, CheckpointPointer,
    CompleteCheckpoint, FailureKind, SinksCommitted,
};
use regent_state::graph::Vertex;
use regent_state::ids::{CheckpointId, WorkerRef};
use regent_state::model::Wanted;
use regent_state::{Command, JobGraph, Response};
use regent_storage::objects::Location;

use super::plan::{Action, Pending};
use super::{Coordinators, NotCompleted, Outcome, Sight, course, kind_name};
use crate::leader::rule::Rule;
use crate::leader::seen::Seen;
use crate::scheduler::offers::{kind_name as role_name, own_version};
use crate::scheduler::order::columns;
use crate::wire::{self, AttemptRef, TaskId};

/// How long a worker goes on writing a checkpoint; `docs/protocol.md` §7.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long writing `_metadata` may take.
const METADATA_LIMIT: Duration = Duration::from_secs(30);

const ACTOR: &str = "checkpoints";

/// The order to forget a checkpoint.
pub(super) fn aborted(key: AttemptRef, id: CheckpointId) -> Order {
    let attempt = Some(wire::attempt_to(key));
    Order::Aborted(v1::CheckpointAborted {
        attempt,
        checkpoint_id: id.0,
    })
}

fn trigger(key: AttemptRef, sight: &Sight, pending: &Pending) -> Order {
    let (stop, drain) = match (&sight.job.wanted, pending.kind) {
        (Wanted::Stop { drain, .. }, CheckpointKind::StopSavepoint) => (true, *drain),
        _ => (false, false),
    };
    Order::Trigger(v1::TriggerCheckpoint {
        attempt: Some(wire::attempt_to(key)),
        checkpoint_id: pending.id.0,
        path: pending.path.clone(),
        kind: kind_name(pending.kind).to_owned(),
        write_deadline_ms: u64::try_from(WRITE_DEADLINE.as_millis()).unwrap_or(u64::MAX),
        stop,
        drain,
    })
}

impl Coordinators {
    /// Carries out actions of one attempt.
    pub(super) fn act(&mut self, key: AttemptRef, sight: &Sight, actions: Vec<Action>) {
        let announces = |action: &Action| matches!(action, Action::AnnounceCompleted { .. });
        let announced = actions.iter().any(announces);
        for action in actions {
            let rule = Arc::clone(&self.rule);
            match action {
                Action::Begin(kind) => {
                    self.deeds
                        .spawn(async move { (key, begin(&rule, key, kind).await) });
                }
                Action::Trigger(pending) => {
                    self.trigger(key, sight, &pending);
                }
                Action::Complete {
                    pending,
                    sinks_committed_through,
                } => {
                    let metadata = metadata(&rule, key, sight, &pending);
                    self.deeds.spawn(async move {
                        let through = sinks_committed_through;
                        let done = complete(&rule, key, pending, metadata, through).await;
                        (key, Outcome::Completed(done))
                    });
                }
                Action::Abort { id, cause, counts } => {
                    self.deeds
                        .spawn(async move { (key, abort(&rule, key, id, cause, counts).await) });
                }
                Action::AnnounceAborted(id) => rule.order_all(sight.workers(), &aborted(key, id)),
                Action::AnnounceCompleted { id, path, worker } => {
                    let attempt = Some(wire::attempt_to(key));
                    let order = v1::CheckpointCompleted {
                        attempt,
                        checkpoint_id: id.0,
                        path,
                    };
                    rule.order_all([worker], &Order::Completed(order));
                    reach(sight.latest_course(), "one-announced");
                }
                Action::SinksCommitted(through) => {
                    self.deeds.spawn(async move {
                        let command = SinksCommitted {
                            job: key.job,
                            run: key.run,
                            through,
                        };
                        reach("end", "committed");
                        let done = rule.propose(ACTOR, Command::SinksCommitted(command)).await;
                        reach("end", "reported");
                        (key, Outcome::Reported(done.is_ok()))
                    });
                }
            }
        }
        if announced {
            reach(sight.latest_course(), "announced");
        }
    }

    /// Queues the trigger, and remembers into which sessions it went.
    fn trigger(&mut self, key: AttemptRef, sight: &Sight, pending: &Pending) {
        let order = trigger(key, sight, pending);
        let send = |worker: WorkerRef| {
            let session = self.rule.hub.send(&worker, order.clone())?;
            reach(course(pending.kind), "one-triggered");
            Some((worker, session))
        };
        let sessions = sight.workers().into_iter().map(send).collect();
        reach(course(pending.kind), "triggered");
        let coordinator = self.by_attempt.get_mut(&key);
        let action = coordinator.and_then(|coordinator| coordinator.triggered(sessions));
        self.act(key, sight, action.into_iter().collect());
    }
}

async fn begin(rule: &Rule, key: AttemptRef, kind: CheckpointKind) -> Outcome {
    let root = rule.config.storage.checkpoint_dir.clone();
    let command = BeginCheckpoint {
        job: key.job,
        token: key.token,
        kind,
        root,
    };
    reach(course(kind), "planned");
    let answer = rule.propose(ACTOR, Command::BeginCheckpoint(command)).await;
    let Ok(Response::CheckpointBegun { id, path, .. }) = answer else {
        return Outcome::Begun(None);
    };
    reach(course(kind), "begun");
    Outcome::Begun(Some(Pending {
        id,
        kind,
        path,
        begun_ms: rule.clock_ms(),
        handles: BTreeMap::new(),
    }))
}

/// The content of `_metadata`: every subtask's handle, in graph order.
fn metadata(
    rule: &Rule,
    key: AttemptRef,
    sight: &Sight,
    pending: &Pending,
) -> v1::CheckpointMetadata {
    let seen = rule.hub.seen();
    let cluster = rule.view().machine.cluster_id();
    v1::CheckpointMetadata {
        format_version: METADATA_VERSION,
        cluster_id: cluster.map_or_else(String::new, |cluster| cluster.to_string()),
        attempt: Some(wire::attempt_to(key)),
        checkpoint_id: pending.id.0,
        kind: kind_name(pending.kind).to_owned(),
        vertices: vertex_states(&sight.graph, &seen, &pending.handles),
        job_name: sight.job.name.clone(),
    }
}

fn vertex_states(
    graph: &JobGraph,
    seen: &Seen,
    handles: &BTreeMap<TaskId, v1::SubtaskHandle>,
) -> Vec<v1::VertexState> {
    let state = |vertex: &Vertex| v1::VertexState {
        vertex: vertex.id.clone(),
        operator: vertex.operator.clone(),
        operator_version: version(vertex, seen),
        parallelism: vertex.parallelism,
        columns: columns(&vertex.columns),
        subtasks: (0..vertex.parallelism)
            .filter_map(|n| handles.get(&TaskId::new(vertex.id.clone(), n)).cloned())
            .collect(),
    };
    graph.vertices.iter().map(state).collect()
}

fn version(vertex: &Vertex, seen: &Seen) -> u32 {
    if let Some(version) = own_version(vertex) {
        return version;
    }
    let offers = seen
        .workers
        .values()
        .flat_map(|worker| worker.offers.iter());
    let mut of_vertex = offers
        .filter(|offer| offer.kind == role_name(vertex.kind) && offer.name == vertex.operator);
    of_vertex.next().map_or(0, |offer| offer.version)
}

async fn complete(
    rule: &Rule,
    key: AttemptRef,
    pending: Pending,
    metadata: v1::CheckpointMetadata,
    sinks_committed_through: Option<CheckpointId>,
) -> Result<(), NotCompleted> {
    reach(course(pending.kind), "acknowledged");
    let under_way = rule.writing.begin(&pending.path);
    if !is_wanted(rule, key, pending.id) {
        return Err(NotCompleted {
            cause: "it was given up meanwhile".to_owned(),
            counts: false,
        });
    }
    let written = write(rule, &pending, &metadata).await;
    drop(under_way);
    let written = written.map_err(|cause| NotCompleted {
        cause,
        counts: true,
    })?;
    reach(course(pending.kind), "written");
    let command = CompleteCheckpoint {
        job: key.job,
        token: key.token,
        id: pending.id,
        pointer: pointer(&pending, written, rule.clock_ms()),
        sinks_committed_through,
    };
    let proposed = rule
        .propose(ACTOR, Command::CompleteCheckpoint(command))
        .await;
    proposed.map_err(|refused| NotCompleted {
        cause: refused.to_string(),
        counts: false,
    })?;
    reach(course(pending.kind), "completed");
    rule.counters.checkpoints_completed.add(1);
    Ok(())
}

/// Whether the log still waits for this checkpoint: the directory of one that was given up may be gone already.
fn is_wanted(rule: &Rule, key: AttemptRef, id: CheckpointId) -> bool {
    let view = rule.view();
    let pending = view
        .machine
        .job(key.job)
        .and_then(|job| job.pending.as_ref());
    pending.is_some_and(|pending| pending.id == id)
}

async fn write(
    rule: &Rule,
    pending: &Pending,
    metadata: &v1::CheckpointMetadata,
) -> Result<MetadataPointer, String> {
    let file = encode_metadata(metadata).map_err(text)?;
    let pointer = MetadataPointer::of(&file);
    let location: Location = pending.path.parse().map_err(text)?;
    let location = location.join(METADATA_NAME).map_err(text)?;
    rule.objects
        .put_create(&location, Bytes::from(file), METADATA_LIMIT)
        .await
        .map_err(text)?;
    Ok(pointer)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn pointer(pending: &Pending, written: MetadataPointer, clock_ms: u64) -> CheckpointPointer {
    let handles = || pending.handles.values();
    let files = || {
        handles().filter_map(|handle| match &handle.state {
            Some(State::File(file)) => Some(file.length),
            Some(State::Inline(_)) | None => None,
        })
    };
    CheckpointPointer {
        path: pending.path.clone(),
        metadata_len: written.length,
        metadata_crc: written.crc32c,
        size_bytes: written.length + files().sum::<u64>(),
        duration_ms: clock_ms.saturating_sub(pending.begun_ms),
        files: u32::try_from(files().count()).unwrap_or(u32::MAX),
        has_transactions: handles().any(|handle| handle.transactions > 0),
    }
}

async fn abort(
    rule: &Rule,
    key: AttemptRef,
    id: CheckpointId,
    cause: String,
    counts: bool,
) -> Outcome {
    tracing::warn!(job = %key.job, checkpoint = %id, %cause, "checkpoint aborted");
    rule.counters.checkpoints_failed.add(u64::from(counts));
    let (job, token) = (key.job, key.token);
    let command = AbortCheckpoint {
        job,
        token,
        id,
        cause: cause.clone(),
        counts,
    };
    let answer = rule.propose(ACTOR, Command::AbortCheckpoint(command)).await;
    if let Ok(Response::CheckpointAborted { too_many: true }) = answer {
        let failed = AttemptFailed {
            job,
            token,
            cause: format!("checkpoint {id}: {cause}; more failed than tolerated"),
            kind: FailureKind::CheckpointsFailing,
            worker: None,
            vertex: None,
            subtask: None,
            jitter_permille: 0,
        };
        // If this is lost the next failed checkpoint says it again.
        rule.propose(ACTOR, Command::AttemptFailed(failed))
            .await
            .ok();
    }
    Outcome::Aborted {
        id,
        applied: answer.is_ok(),
    }
}
