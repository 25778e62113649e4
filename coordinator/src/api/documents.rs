//! From the machine to the documents that clients read. Pure; the shapes are the user contract's.
//!
//! What only the leader sees (task states, figures of heartbeats, workers) comes in as `Live`; without
//! it, on a stale follower read, those parts say that they are unknown.

use std::collections::BTreeMap;

use regent_protocol::v1::TaskMetrics;
use regent_protocol::view;
use regent_state::Machine;
use regent_state::command::CheckpointKind;
use regent_state::graph::Vertex;
use regent_state::ids::JobId;
use regent_state::model::{
    Artefact, ArtefactKind, ArtefactState, Attempt, AttemptState, Checkpoint, CheckpointStatus,
    Failure, Job, JobState, Reign,
};

use crate::leader::seen::{Moment, Phase, Seen};
use crate::scheduler::slots::{Slots, attempt_ref, live_attempts};
use crate::scheduler::standing::tasks_in_slot;
use crate::wire::TaskId;

/// The watermark of a task whose input has ended.
const WATERMARK_END_MS: i64 = i64::MAX / 1_000;

/// What the serving leader knows beside the log.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) seen: Seen,
    pub(crate) now: Moment,
    pub(crate) lease: std::time::Duration,
    /// Figures of the asked job's current attempt.
    pub(crate) metrics: Vec<(TaskId, TaskMetrics)>,
}

pub(crate) fn job_list(machine: &Machine) -> Vec<view::JobSummary> {
    let mut jobs: Vec<_> = machine.jobs().collect();
    jobs.sort_by_key(|job| job.run);
    let summary = |job: &&std::sync::Arc<Job>| view::JobSummary {
        job_id: job.id.to_string(),
        name: job.name.clone(),
        state: job.state.to_string(),
        attempt: job.attempt,
        submitted_at_ms: job.submitted_ms,
    };
    jobs.iter().map(summary).collect()
}

pub(crate) fn job_detail(machine: &Machine, job: &Job, live: Option<&Live>) -> view::JobDetail {
    let attempt = machine.current_attempt(job.id);
    let graph = machine.graph(job.id);
    let history = machine.history(job.id);
    let figures = figures(job, live);
    let vertices = graph.map_or(&[][..], |graph| &graph.vertices);
    view::JobDetail {
        job_id: job.id.to_string(),
        name: job.name.clone(),
        state: job.state.to_string(),
        reason: job.reason.clone(),
        attempt: job.attempt,
        adoptions: job.adoptions,
        restarts: job.restarts,
        tasks: attempt.map_or_else(Vec::new, |attempt| tasks(machine, job, attempt, live)),
        vertices: vertices.iter().map(|one| vertex(one, figures)).collect(),
        checkpoints: checkpoints_view(job),
        failures: history.map_or_else(Vec::new, |h| h.failures.iter().map(failure).collect()),
        submitted_at_ms: job.submitted_ms,
        bounded: graph.is_some_and(|graph| graph.bounded()),
    }
}

fn tasks(
    machine: &Machine,
    job: &Job,
    attempt: &Attempt,
    live: Option<&Live>,
) -> Vec<view::TaskView> {
    let deploying = job.attempt_state == Some(AttemptState::Deploying);
    let Some(graph) = machine.graph(attempt.job) else {
        return Vec::new();
    };
    if attempt.over {
        return Vec::new();
    }
    let key = attempt_ref(attempt);
    let mut views = Vec::new();
    for place in &attempt.placement {
        for task in tasks_in_slot(graph, place.slot) {
            let reported = live.and_then(|live| {
                let worker = live
                    .seen
                    .worker(&place.worker)
                    .filter(|worker| worker.present())?;
                worker.tasks.get(&key)?.get(&task)
            });
            let state = match (reported, live) {
                (Some(phase), _) => phase.name(),
                (None, Some(_)) if deploying => "deploying",
                (None, _) => "unknown",
            };
            views.push(view::TaskView {
                vertex: task.vertex,
                subtask: task.subtask,
                worker: Some(place.worker.worker.clone()),
                state: state.to_owned(),
            });
        }
    }
    let order: BTreeMap<&str, usize> = graph
        .vertices
        .iter()
        .enumerate()
        .map(|(n, vertex)| (vertex.id.as_str(), n))
        .collect();
    views.sort_by_key(|task| (order.get(task.vertex.as_str()).copied(), task.subtask));
    views
}

/// Figures of a job's attempt.
#[derive(Debug, Clone, Copy)]
struct Figures<'a> {
    /// What each task told last.
    metrics: &'a [(TaskId, TaskMetrics)],
    /// They can be told: nobody kept those of a job that ended under an earlier leader.
    known: bool,
    /// Its tasks hold nothing any more, and do nothing.
    ended: bool,
}

fn figures<'a>(job: &Job, live: Option<&'a Live>) -> Figures<'a> {
    let metrics = live.map_or(&[][..], |live| &live.metrics);
    let ended = job.is_terminal();
    Figures {
        metrics,
        known: live.is_some() && !(ended && metrics.is_empty()),
        ended,
    }
}

/// A vertex with the figures of its subtasks, among those of its attempt.
fn vertex(vertex: &Vertex, figures: Figures<'_>) -> view::VertexView {
    let Figures { metrics, known, .. } = figures;
    let of_vertex = || {
        metrics
            .iter()
            .filter(|(task, _)| task.vertex == vertex.id)
            .map(|(_, m)| m)
    };
    let sum = |field: fn(&TaskMetrics) -> u64| known.then(|| of_vertex().map(field).sum());
    let held = |field: fn(&TaskMetrics) -> u64| match figures.ended {
        true => 0,
        false => of_vertex().map(field).sum(),
    };
    let count = of_vertex().count();
    let mean = |field: fn(&TaskMetrics) -> f64| {
        (count > 0 && !figures.ended).then(|| of_vertex().map(field).sum::<f64>() / count as f64)
    };
    let acknowledged = || of_vertex().filter(|m| m.checkpoint_id > 0);
    let watermark = of_vertex()
        .filter(|m| m.has_watermark)
        .map(|m| m.watermark_ms)
        .min()
        .filter(|lowest| *lowest < WATERMARK_END_MS);
    view::VertexView {
        id: vertex.id.clone(),
        operator: vertex.operator.clone(),
        parallelism: vertex.parallelism,
        records_in: sum(|m| m.records_in),
        records_out: sum(|m| m.records_out),
        bytes_out: sum(|m| m.bytes_out),
        busy_ratio: mean(|m| m.busy_ratio),
        backpressured_ratio: mean(|m| m.backpressured_ratio),
        watermark_ms: watermark,
        // It goes on from the state: before a task has told it, 0 would be wrong.
        records_skipped: sum(|m| m.records_skipped).filter(|_| count > 0),
        records_late: sum(|m| m.records_late),
        state_bytes: held(|m| m.state_bytes),
        buffer_bytes: held(|m| m.buffer_bytes),
        checkpoint_size_bytes: acknowledged()
            .map(|m| m.checkpoint_bytes)
            .reduce(|a, b| a + b),
        checkpoint_duration_ms: acknowledged()
            .map(|m| m.checkpoint_us.div_ceil(1_000))
            .max(),
    }
}

fn checkpoints_view(job: &Job) -> view::CheckpointsView {
    view::CheckpointsView {
        completed: job.checkpoints.completed,
        failed: job.checkpoints.failed,
        latest: job.latest.as_ref().map(|latest| view::LatestCheckpoint {
            id: latest.id.0,
            path: latest.path.clone(),
            size_bytes: latest.size_bytes,
            duration_ms: latest.duration_ms,
            completed_at_ms: latest.completed_at_ms,
        }),
    }
}

fn failure(failure: &Failure) -> view::FailureView {
    view::FailureView {
        at_ms: failure.at_ms,
        attempt: failure.attempt,
        cause: failure.cause.clone(),
        vertex: failure.vertex.clone(),
        subtask: failure.subtask,
        worker: failure.worker.as_ref().map(|worker| worker.worker.clone()),
    }
}

pub(crate) fn job_result(
    machine: &Machine,
    job: &Job,
    commit_problem: Option<String>,
) -> view::JobResultView {
    let result = job.result.as_ref();
    let cause = result.and_then(|result| result.cause.clone());
    let dirty = || {
        let artefacts = machine.artefacts_of(job.id, job.run);
        let stuck = artefacts
            .filter(|a| a.state.is_undone())
            .find_map(|a| a.last_error.clone());
        let uncommitted = || {
            let waits = "its output waits for a worker that offers the sinks".to_owned();
            job.uncommitted().map(|_| commit_problem.unwrap_or(waits))
        };
        stuck
            .or_else(uncommitted)
            .map(|cause| format!("not clean: {cause}"))
    };
    view::JobResultView {
        job_id: job.id.to_string(),
        state: job.state.to_string(),
        cause: cause.or_else(|| job.is_dirty().then(dirty).flatten()),
        started_at_ms: job.started_ms,
        ended_at_ms: result.map(|result| result.ended_ms),
        clean: result.is_some_and(|result| result.clean),
        output_complete: result.is_some_and(|result| result.output_complete),
    }
}

pub(crate) fn job_history(machine: &Machine, job: &Job) -> Vec<view::HistoryEvent> {
    let Some(history) = machine.history(job.id) else {
        return Vec::new();
    };
    let event = |event: &regent_state::model::JobEvent| view::HistoryEvent {
        at_ms: event.at_ms,
        event: event.kind.to_string(),
        attempt: event.attempt,
        cause: event.cause.clone(),
    };
    history.events.iter().map(event).collect()
}

fn checkpoint(checkpoint: &Checkpoint) -> Option<view::CheckpointView> {
    let CheckpointStatus::Completed {
        pointer,
        completed_at_ms,
        retained,
    } = &checkpoint.status
    else {
        return None;
    };
    let kind = match checkpoint.kind {
        CheckpointKind::Checkpoint | CheckpointKind::Final => "checkpoint",
        CheckpointKind::Savepoint { .. } | CheckpointKind::StopSavepoint => "savepoint",
    };
    Some(view::CheckpointView {
        id: checkpoint.id.0,
        path: checkpoint.path.clone(),
        kind: kind.to_owned(),
        size_bytes: pointer.size_bytes,
        duration_ms: pointer.duration_ms,
        completed_at_ms: *completed_at_ms,
        retained: *retained,
    })
}

pub(crate) fn checkpoint_list(machine: &Machine, job: JobId) -> Vec<view::CheckpointView> {
    machine
        .checkpoints(job)
        .filter_map(|one| checkpoint(one))
        .collect()
}

/// All that is kept on purpose, oldest first; of jobs whose results have expired too.
pub(crate) fn retained_list(machine: &Machine) -> Vec<view::RetainedView> {
    let kept = machine
        .artefacts()
        .filter(|artefact| artefact.state == ArtefactState::Retained);
    kept.filter_map(|artefact| retained(machine, artefact))
        .collect()
}

fn retained(machine: &Machine, artefact: &Artefact) -> Option<view::RetainedView> {
    let (job, run) = artefact.owner?;
    let id = match &artefact.kind {
        ArtefactKind::Checkpoint { id } => *id,
        ArtefactKind::Savepoint { id, .. } => (*id)?,
        _ => return None,
    };
    // Of the oldest of many savepoints only the path is kept.
    let known = machine.checkpoint(job, run, id);
    let known = known.and_then(|one| checkpoint(one));
    Some(view::RetainedView {
        job_id: job.to_string(),
        name: machine.job(job).map(|job| job.name.clone()),
        id: id.0,
        kind: artefact.kind.to_string(),
        path: artefact.path.clone(),
        size_bytes: known.as_ref().map(|one| one.size_bytes),
        completed_at_ms: known.as_ref().map(|one| one.completed_at_ms),
    })
}

pub(crate) fn cleanup_list(
    machine: &Machine,
    dirty_only: bool,
    clock_ms: u64,
    wall_ms: u64,
) -> Vec<view::ArtefactView> {
    let listed = machine.artefacts().filter(|artefact| match artefact.state {
        ArtefactState::Live | ArtefactState::Retained => false,
        ArtefactState::Dirty => true,
        ArtefactState::Pending | ArtefactState::Retrying | ArtefactState::Done => !dirty_only,
    });
    listed.map(|one| artefact(one, clock_ms, wall_ms)).collect()
}

/// Every artefact of a job, of all its runs; the live and retained ones too.
pub(crate) fn cleanup_show(
    machine: &Machine,
    job: JobId,
    clock_ms: u64,
    wall_ms: u64,
) -> Vec<view::ArtefactView> {
    let owned = machine
        .artefacts()
        .filter(|artefact| artefact.owner.is_some_and(|(owner, _)| owner == job));
    owned.map(|one| artefact(one, clock_ms, wall_ms)).collect()
}

fn artefact(artefact: &Artefact, clock_ms: u64, wall_ms: u64) -> view::ArtefactView {
    let due = artefact.state.is_due_work();
    let next = wall_ms + artefact.next_retry_ms.saturating_sub(clock_ms);
    view::ArtefactView {
        job_id: artefact
            .owner
            .map_or_else(String::new, |(job, _)| job.to_string()),
        artefact: artefact.id.to_string(),
        path: artefact.path.clone(),
        kind: artefact.kind.to_string(),
        state: artefact.state.to_string(),
        attempts: u64::from(artefact.attempts),
        next_retry_at_ms: due.then_some(next),
        last_error: artefact.last_error.clone(),
    }
}

pub(crate) fn leader_history(machine: &Machine) -> Vec<view::Reign> {
    let reign = |reign: &std::sync::Arc<Reign>| view::Reign {
        term: reign.epoch.term,
        node_id: reign.epoch.node.0,
        name: reign.node_name.clone(),
        from_ms: reign.from_ms,
        to_ms: reign.to_ms,
        cause: reign.cause.clone(),
        leaderless_ms: reign.leaderless_ms,
        jobs_adopted: reign.jobs_adopted,
        jobs_restarted: reign.jobs_restarted,
        fast_failover: view::FastFailover {
            fired: reign.failover.fired,
            lost: reign.failover.lost,
            not_needed: reign.failover.not_needed,
        },
    };
    machine.reigns().map(reign).collect()
}

/// The slots as they stand, counting every living attempt.
pub(crate) fn slots(machine: &Machine, seen: &Seen) -> Slots {
    Slots::count(seen, live_attempts(machine)).without_drained(machine)
}

pub(crate) fn worker_list(machine: &Machine, live: &Live) -> Vec<view::WorkerView> {
    let slots = slots(machine, &live.seen);
    let worker = |(name, seen): (&String, &crate::leader::seen::WorkerSeen)| {
        let key = regent_state::ids::WorkerRef {
            worker: name.clone(),
            incarnation: seen.incarnation,
        };
        let state = match () {
            () if seen.present() && machine.drain(name).is_some() => "drained",
            () if seen.present() => "registered",
            () if live.seen.cannot_act(&key, live.now, live.lease) => "lost",
            () => "silent",
        };
        let held = seen.tasks.values().flat_map(BTreeMap::values);
        let stuck = held
            .clone()
            .filter(|phase| matches!(phase, Phase::Stuck { .. }))
            .count();
        let tasks = held.filter(|phase| !phase.ended()).count();
        let silence = live.now.saturating_sub(seen.last_heard).as_millis();
        view::WorkerView {
            worker: name.clone(),
            address: seen.data_address.clone(),
            slots: seen.slots,
            free: slots.free_of(&key),
            state: state.to_owned(),
            last_heartbeat_ms: u64::try_from(silence).ok(),
            tasks: if seen.present() {
                u32::try_from(tasks).unwrap_or(u32::MAX)
            } else {
                0
            },
            stuck: u32::try_from(stuck).unwrap_or(u32::MAX),
        }
    };
    live.seen.workers.iter().map(worker).collect()
}

/// Jobs that are shown as not running.
const NOT_RUNNING_MAX: usize = 20;

fn not_running(machine: &Machine, wall_ms: u64) -> Vec<view::NotRunning> {
    let idle = machine
        .active_jobs()
        .filter(|job| job.state != JobState::Running);
    let shown = idle.map(|job| {
        let events = machine.history(job.id).map(|history| &history.events);
        let last = events
            .and_then(|events| events.last())
            .map(|event| event.at_ms);
        view::NotRunning {
            job_id: job.id.to_string(),
            name: job.name.clone(),
            state: job.state.to_string(),
            reason: job.reason.clone(),
            for_ms: wall_ms.saturating_sub(last.unwrap_or(job.submitted_ms)),
        }
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort_by_key(|job| std::cmp::Reverse(job.for_ms));
    shown.truncate(NOT_RUNNING_MAX);
    shown
}

pub(crate) fn overview(machine: &Machine, live: Option<&Live>, wall_ms: u64) -> view::Overview {
    let mut jobs = BTreeMap::new();
    for job in machine.jobs() {
        *jobs.entry(job.state.to_string()).or_default() += 1;
    }
    let undone = || {
        machine
            .artefacts()
            .filter(|artefact| artefact.state.is_undone())
    };
    let dirty = undone()
        .filter(|artefact| artefact.state == ArtefactState::Dirty)
        .count() as u64;
    let workers = live.map_or_else(Vec::new, |live| worker_list(machine, live));
    let (slots_total, slots_free) = live.map_or((0, 0), |live| slots(machine, &live.seen).totals());
    view::Overview {
        jobs,
        workers,
        slots_total,
        slots_free,
        cleanup_pending: undone().count() as u64 - dirty,
        cleanup_dirty: dirty,
        not_running: not_running(machine, wall_ms),
    }
}

#[cfg(test)]
#[path = "retained_test.rs"]
mod retained_test;
