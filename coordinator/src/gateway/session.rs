//! One session: the worker's messages go to the hub, the hub's orders go to the worker.
//!
//! A heartbeat is answered only after a majority acknowledged a Raft round begun after it arrived, so a
//! deposed leader can't keep a lease alive (`docs/protocol.md` §4). Rounds are shared by many.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use regent_protocol::v1;
use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_message::Message as Report;
use regent_security::Caller;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Answers, admission};
use crate::leader::hub::{CheckpointEvent, Hub, Orders, SessionKey};
use crate::leader::rule::Rule;
use crate::wire;

/// How long a worker may take to say who it is.
const REGISTER_LIMIT: Duration = Duration::from_secs(5);
/// Heartbeats of one session that may wait for their round; more mean that the worker doesn't listen.
const HEARTBEATS_MAX: usize = 64;

/// Takes the registration, and answers with the stream of orders.
pub(super) async fn open(
    rule: Arc<Rule>,
    caller: &Caller,
    mut reports: Streaming<v1::WorkerMessage>,
) -> Result<Answers<v1::LeaderMessage>, Status> {
    let first = tokio::time::timeout(REGISTER_LIMIT, reports.message());
    let first = first
        .await
        .map_err(|_| Status::deadline_exceeded("no registration came"))??;
    let Some(Report::Register(register)) = first.and_then(|message| message.message) else {
        return Err(Status::invalid_argument(
            "a session begins with a registration",
        ));
    };
    admission::check_name(caller, &register.worker_id)?;
    let cluster_id = rule
        .view()
        .machine
        .cluster_id()
        .map(|id| id.to_string())
        .unwrap_or_default();
    if let Err(refusal) = admission::check(&register, &cluster_id, rule.reign.epoch) {
        tracing::warn!(worker = %register.worker_id, reason = %refusal.reason, "worker refused");
        return Ok(refused(&rule, refusal));
    }
    let tasks = admission::tasks(&register, rule.hub.now());
    let greeting = v1::Registered {
        cluster_id,
        lease_ms: millis(rule.config.workers.lease),
        heartbeat_ms: millis(rule.config.workers.heartbeat),
    };
    let (key, orders) = rule.hub.open(&register, tasks, greeting)?;
    let (slots, held) = (register.slots, register.tasks.len());
    tracing::info!(worker = %key.worker, slots, held, "registered");
    tokio::spawn(serve(rule, key, reports));
    Ok(answers(orders))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn answers(orders: Orders) -> Answers<v1::LeaderMessage> {
    Box::pin(ReceiverStream::new(orders))
}

fn refused(rule: &Rule, refusal: admission::Refusal) -> Answers<v1::LeaderMessage> {
    let message = v1::LeaderMessage {
        epoch: Some(wire::epoch_to(rule.reign.epoch)),
        message: Some(Order::Refused(v1::Refused {
            reason: refusal.reason,
            stop_tasks: refusal.stop_tasks,
        })),
    };
    Box::pin(futures::stream::once(async { Ok(message) }))
}

/// Reads until the stream ends, the reign is over, or the worker must come again.
async fn serve(rule: Arc<Rule>, key: SessionKey, mut reports: Streaming<v1::WorkerMessage>) {
    let (heartbeats, beats) = tokio::sync::mpsc::channel(HEARTBEATS_MAX);
    let answering = tokio::spawn(answer(Arc::clone(&rule), key.clone(), beats));
    loop {
        let next = tokio::select! {
            () = rule.stop.cancelled() => break,
            next = reports.next() => next,
        };
        let report = match next {
            Some(Ok(v1::WorkerMessage {
                message: Some(report),
            })) => report,
            Some(Ok(v1::WorkerMessage { message: None })) => continue,
            Some(Err(status)) => {
                tracing::info!(worker = %key.worker, %status, "session broke");
                break;
            }
            None => {
                tracing::info!(worker = %key.worker, "session ended");
                break;
            }
        };
        rule.hub.heard(&key);
        let go_on = match report {
            Report::Heartbeat(beat) => {
                rule.hub.measured(&key, beat.metrics);
                heartbeats.try_send(beat.sequence).is_ok()
            }
            other => take(&rule.hub, &key, other),
        };
        if !go_on {
            break;
        }
    }
    answering.abort();
    rule.hub.broke(&key);
}

/// Hands a report on; `false` ends the session.
fn take(hub: &Hub, key: &SessionKey, report: Report) -> bool {
    match report {
        Report::Task(task) => hub.task(key, &task),
        Report::CheckpointAck(ack) => {
            return hub.checkpoint_event(CheckpointEvent::Ack(Box::new(ack)));
        }
        Report::CheckpointDeclined(declined) => {
            return hub.checkpoint_event(CheckpointEvent::Declined(declined));
        }
        Report::SinkCommitted(done) => {
            return hub.checkpoint_event(CheckpointEvent::SinkCommitted(done));
        }
        Report::CommitOnlyDone(done) => hub.commit_done(done),
        Report::PathsInspected(answer) => hub.inspected(answer),
        Report::Goodbye(_) => {
            tracing::info!(worker = %key.worker, "said goodbye");
            hub.died(key.worker.clone());
            return false;
        }
        // Both belong elsewhere: the first message, and the loop above.
        Report::Register(_) | Report::Heartbeat(_) => return false,
    }
    true
}

/// Answers heartbeats, each after a round begun after it came; those that wait share one.
async fn answer(rule: Arc<Rule>, key: SessionKey, mut beats: tokio::sync::mpsc::Receiver<u64>) {
    while let Some(first) = beats.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = beats.try_recv() {
            waiting.push(next);
        }
        if !rule.confirm_quorum().await || rule.stop.is_cancelled() {
            continue;
        }
        rule.hub.lease_granted(&key);
        for sequence in waiting {
            rule.hub.answer(&key, sequence);
        }
    }
}
