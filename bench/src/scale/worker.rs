//! A simulated worker: a real session, no tasks. What it is told to deploy counts as running, and what it is
//! told to write counts as written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use regent_protocol::v1;
use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::subtask_handle::State;
use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::worker_message::Message as Report;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::Outcome;

/// Reports that may wait.
const REPORTS_MAX: usize = 65_536;
const HEARTBEAT: Duration = Duration::from_millis(500);
const COME_AGAIN: Duration = Duration::from_millis(20);

/// Slots of each worker.
pub(super) const SLOTS: u32 = 1_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) deployed: AtomicU64,
    pub(super) completed: AtomicU64,
}

/// The tasks it holds, by job.
type Held = Arc<Mutex<BTreeMap<String, Vec<v1::TaskReport>>>>;

/// A worker that runs until it is stopped.
#[derive(Debug)]
pub(super) struct Worker {
    task: JoinHandle<()>,
}

impl Worker {
    /// The worker of that number. Looks for the leader among these, always.
    pub(super) fn start(number: usize, members: Vec<String>, counters: Arc<Counters>) -> Self {
        let task = tokio::spawn(async move {
            let held = Held::default();
            let name = format!("simulated-{number}");
            let (mut cluster_id, mut turn) = (String::new(), 0);
            loop {
                let member = &members[turn % members.len()];
                // Every end of a session is the same: it comes again, to another one.
                session(member, &name, &mut cluster_id, &held, &counters)
                    .await
                    .ok();
                turn += 1;
                tokio::time::sleep(COME_AGAIN).await;
            }
        });
        Self { task }
    }

    /// Ends its session.
    pub(super) fn stop(self) {
        self.task.abort();
    }
}

fn register(name: &str, cluster_id: &str, held: &Held) -> v1::Register {
    let offer = |kind: &str, name: &str| v1::OperatorOffer {
        kind: kind.to_owned(),
        name: name.to_owned(),
        version: 1,
        own: false,
    };
    let tasks = held
        .lock()
        .map(|held| held.values().flatten().cloned().collect());
    v1::Register {
        cluster_id: cluster_id.to_owned(),
        generation: 1,
        worker_id: name.to_owned(),
        incarnation: 1,
        machine_id: "simulated".to_owned(),
        data_dir: format!("/nowhere/{name}"),
        slots: SLOTS,
        data_address: "127.0.0.1:1".to_owned(),
        api_address: "127.0.0.1:1".to_owned(),
        offers: vec![offer("source", "sequence"), offer("sink", "blackhole")],
        tasks: tasks.unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..v1::Register::default()
    }
}

async fn session(
    member: &str,
    name: &str,
    cluster_id: &mut String,
    held: &Held,
    counters: &Counters,
) -> Outcome<()> {
    let mut client = WorkerGatewayClient::connect(format!("http://{member}"))
        .await?
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20);
    let (reports, queue) = mpsc::channel(REPORTS_MAX);
    send(&reports, Report::Register(register(name, cluster_id, held)))?;
    let mut orders = client
        .session(ReceiverStream::new(queue))
        .await?
        .into_inner();
    let mut beat = tokio::time::interval(HEARTBEAT);
    let mut sequence = 0;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                sequence += 1;
                let metrics = Vec::new();
                send(&reports, Report::Heartbeat(v1::Heartbeat { sequence, metrics }))?;
            }
            order = orders.next() => {
                let Some(order) = order.transpose()?.and_then(|order| order.message) else {
                    return Ok(());
                };
                obey(order, &reports, cluster_id, held, counters)?;
            }
        }
    }
}

fn send(reports: &mpsc::Sender<v1::WorkerMessage>, report: Report) -> Outcome<()> {
    let message = v1::WorkerMessage {
        message: Some(report),
    };
    reports
        .try_send(message)
        .map_err(|_| "the leader doesn't listen".into())
}

fn obey(
    order: Order,
    reports: &mpsc::Sender<v1::WorkerMessage>,
    cluster_id: &mut String,
    held: &Held,
    counters: &Counters,
) -> Outcome<()> {
    match order {
        Order::Registered(greeting) => *cluster_id = greeting.cluster_id,
        Order::Deploy(deploy) => {
            let tasks = tasks(&deploy);
            for task in &tasks {
                send(reports, Report::Task(task.clone()))?;
            }
            let job = deploy
                .attempt
                .map(|attempt| attempt.job_id)
                .unwrap_or_default();
            let before = held
                .lock()
                .ok()
                .and_then(|mut held| held.insert(job, tasks));
            if before.is_none() {
                counters.deployed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Order::Trigger(trigger) => acknowledge(&trigger, reports, held)?,
        Order::Completed(_) => {
            counters.completed.fetch_add(1, Ordering::Relaxed);
        }
        Order::Inspect(inspect) => {
            let answer = v1::PathsInspected {
                request: inspect.request,
                ..v1::PathsInspected::default()
            };
            send(reports, Report::PathsInspected(answer))?;
        }
        Order::Refused(refused) => return Err(refused.reason.into()),
        _ => {}
    }
    Ok(())
}

/// Every subtask of the attempt, running.
fn tasks(deploy: &v1::Deploy) -> Vec<v1::TaskReport> {
    let subtasks = |vertex: &v1::VertexPlan| {
        let id = vertex.id.clone();
        (0..vertex.parallelism).map(move |subtask| v1::TaskKey {
            vertex: id.clone(),
            subtask,
        })
    };
    let report = |task| v1::TaskReport {
        attempt: deploy.attempt.clone(),
        task: Some(task),
        phase: v1::TaskPhase::Running.into(),
        ..v1::TaskReport::default()
    };
    deploy
        .vertices
        .iter()
        .flat_map(subtasks)
        .map(report)
        .collect()
}

fn acknowledge(
    trigger: &v1::TriggerCheckpoint,
    reports: &mpsc::Sender<v1::WorkerMessage>,
    held: &Held,
) -> Outcome<()> {
    let job = trigger
        .attempt
        .as_ref()
        .map_or("", |attempt| &attempt.job_id);
    let tasks = held.lock().ok().and_then(|held| held.get(job).cloned());
    for report in tasks.unwrap_or_default() {
        let subtask = report.task.as_ref().map_or(0, |task| task.subtask);
        let handle = v1::SubtaskHandle {
            subtask,
            state: Some(State::Inline(Bytes::from_static(&[7; 64]))),
            ..v1::SubtaskHandle::default()
        };
        let ack = v1::CheckpointAck {
            attempt: trigger.attempt.clone(),
            task: report.task,
            checkpoint_id: trigger.checkpoint_id,
            handle: Some(handle),
            duration_us: 1,
        };
        send(reports, Report::CheckpointAck(ack))?;
    }
    Ok(())
}
