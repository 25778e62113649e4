//! A worker that holds tasks without running anything: it speaks the protocol as a good worker does,
//! and does what a test tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::*;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

type Key = (String, u64, String, u32);

#[derive(Default)]
struct Held {
    tasks: BTreeMap<Key, TaskReport>,
    sinks: Vec<String>,
    orders: Vec<String>,
    refused: Vec<String>,
    heartbeats_answered: u64,
    session: Option<mpsc::Sender<WorkerMessage>>,
}

/// One worker process.
pub(crate) struct Puppet {
    held: Arc<Mutex<Held>>,
    stop: CancellationToken,
}

fn key(attempt: &AttemptKey, task: &TaskKey) -> Key {
    (
        attempt.job_id.clone(),
        attempt.token_rank().1,
        task.vertex.clone(),
        task.subtask,
    )
}

impl Puppet {
    /// Looks for the leader at these addresses, and registers with it for as long as it lives.
    pub(crate) fn start(name: &str, incarnation: u64, endpoints: Vec<String>) -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let stop = CancellationToken::new();
        let life = Life {
            name: name.to_owned(),
            incarnation,
            endpoints,
            held: Arc::clone(&held),
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = life.live() => {}
            }
        });
        Self { held, stop }
    }

    /// Ends without a goodbye, as a killed process does.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
        self.held.lock().unwrap().session = None;
    }

    /// Names of the orders that came, oldest first.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.held.lock().unwrap().orders.clone()
    }

    pub(crate) fn heartbeats_answered(&self) -> u64 {
        self.held.lock().unwrap().heartbeats_answered
    }

    pub(crate) fn tasks(&self) -> usize {
        self.held.lock().unwrap().tasks.len()
    }

    /// All running tasks of these vertices reach the end of their input.
    pub(crate) fn finish(&self) {
        self.change(TaskPhase::Finished, "", "", |_| true);
    }

    /// One task fails.
    pub(crate) fn fail(&self, vertex: &str, subtask: u32, cause: &str) {
        self.change(TaskPhase::Failed, cause, "task", |task| {
            task.vertex == vertex && task.subtask == subtask
        });
    }

    /// Loses a task without a word.
    pub(crate) fn lose(&self, vertex: &str) {
        self.held
            .lock()
            .unwrap()
            .tasks
            .retain(|(_, _, of, _), _| of != vertex);
    }

    fn change(&self, phase: TaskPhase, cause: &str, kind: &str, wanted: impl Fn(&TaskKey) -> bool) {
        let mut held = self.held.lock().unwrap();
        let mut reports = Vec::new();
        for report in held.tasks.values_mut() {
            let running = report.phase() == TaskPhase::Running;
            if running && wanted(report.task.as_ref().unwrap()) {
                report.set_phase(phase);
                report.cause = cause.to_owned();
                report.failure_kind = kind.to_owned();
                reports.push(Report::Task(report.clone()));
            }
        }
        for report in reports {
            held.send(report);
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Held {
    fn send(&self, report: Report) {
        if let Some(session) = &self.session {
            session
                .try_send(WorkerMessage {
                    message: Some(report),
                })
                .ok();
        }
    }
}

struct Life {
    name: String,
    incarnation: u64,
    endpoints: Vec<String>,
    held: Arc<Mutex<Held>>,
}

impl Life {
    async fn live(&self) {
        loop {
            if let Some(api) = self.leader().await {
                self.session(&api).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn leader(&self) -> Option<String> {
        for endpoint in &self.endpoints {
            let Ok(mut gateway) = connect(endpoint).await else {
                continue;
            };
            let Ok(views) = gateway.watch_leader(WatchLeaderRequest::default()).await else {
                continue;
            };
            let mut views = views.into_inner();
            let first = tokio::time::timeout(Duration::from_secs(1), views.next());
            if let Ok(Some(Ok(view))) = first.await
                && !view.api.is_empty()
            {
                return Some(view.api);
            }
        }
        None
    }

    async fn session(&self, api: &str) {
        let Ok(mut gateway) = connect(api).await else {
            return;
        };
        let (reports, outgoing) = mpsc::channel(1_024);
        let register = {
            let mut held = self.held.lock().unwrap();
            held.session = Some(reports.clone());
            self.register(held.tasks.values().cloned().collect())
        };
        let first = WorkerMessage {
            message: Some(Report::Register(register)),
        };
        reports.send(first).await.unwrap();
        let Ok(orders) = gateway.session(ReceiverStream::new(outgoing)).await else {
            return;
        };
        let mut orders = orders.into_inner();
        let mut beat = tokio::time::interval(Duration::from_millis(200));
        let mut sequence = 0;
        loop {
            tokio::select! {
                next = orders.next() => match next {
                    Some(Ok(LeaderMessage { message: Some(order), .. })) => self.obey(order),
                    _ => return,
                },
                _ = beat.tick() => {
                    sequence += 1;
                    let heartbeat = Heartbeat { sequence, metrics: Vec::new() };
                    self.held.lock().unwrap().send(Report::Heartbeat(heartbeat));
                }
            }
        }
    }

    fn register(&self, tasks: Vec<TaskReport>) -> Register {
        let offer = |kind: &str, name: &str| OperatorOffer {
            kind: kind.to_owned(),
            name: name.to_owned(),
            version: 1,
            own: false,
        };
        Register {
            worker_id: self.name.clone(),
            incarnation: self.incarnation,
            machine_id: "test".to_owned(),
            data_dir: format!("/{}", self.name),
            slots: 4,
            data_address: "127.0.0.1:1".to_owned(),
            offers: vec![
                offer("source", "sequence"),
                offer("source", "files"),
                offer("operator", "filter"),
                offer("operator", "aggregate"),
                offer("sink", "files"),
                offer("sink", "blackhole"),
            ],
            tasks,
            ..Register::default()
        }
    }

    fn obey(&self, order: Order) {
        let mut held = self.held.lock().unwrap();
        let name = match &order {
            Order::Registered(_) | Order::Heartbeat(_) => None,
            Order::Deploy(_) => Some("deploy"),
            Order::Cancel(_) => Some("cancel"),
            Order::Trigger(trigger) if trigger.kind == "final" => Some("trigger final"),
            Order::Trigger(_) => Some("trigger"),
            Order::Completed(_) => Some("completed"),
            Order::Aborted(_) => Some("aborted"),
            Order::CommitOnly(_) => Some("commit-only"),
            Order::Forget(_) => Some("forget"),
            Order::Inspect(_) => Some("inspect"),
            Order::Refused(_) => Some("refused"),
        };
        held.orders.extend(name.map(str::to_owned));
        held.heartbeats_answered += u64::from(matches!(order, Order::Heartbeat(_)));
        match order {
            Order::Deploy(deploy) => self.deploy(&mut held, &deploy),
            Order::Cancel(cancel) => end(&mut held, &cancel.attempt.unwrap_or_default()),
            Order::Trigger(trigger) => acknowledge(&held, &trigger),
            Order::Completed(completed) => commit(&held, &completed),
            Order::Forget(forget) => {
                for attempt in forget.attempts {
                    let token = attempt.token_rank().1;
                    held.tasks.retain(|(_, of, _, _), _| *of != token);
                }
            }
            Order::Inspect(inspect) => held.send(Report::PathsInspected(PathsInspected {
                request: inspect.request,
                ..Default::default()
            })),
            Order::CommitOnly(order) => held.send(Report::CommitOnlyDone(CommitOnlyDone {
                job_id: order.job_id,
                run: order.run,
                checkpoint_id: order.checkpoint_id,
                error: String::new(),
            })),
            Order::Refused(refused) => held.refused.push(refused.reason),
            Order::Registered(_) | Order::Heartbeat(_) | Order::Aborted(_) => {}
        }
    }

    fn deploy(&self, held: &mut Held, deploy: &Deploy) {
        let sinks = deploy
            .vertices
            .iter()
            .filter(|vertex| vertex.kind == "sink");
        held.sinks = sinks.map(|vertex| vertex.id.clone()).collect();
        for slot in deploy
            .slots
            .iter()
            .filter(|slot| slot.worker_id == self.name)
        {
            for vertex in deploy
                .vertices
                .iter()
                .filter(|vertex| vertex.parallelism > slot.index)
            {
                let task = TaskKey {
                    vertex: vertex.id.clone(),
                    subtask: slot.index,
                };
                let attempt = deploy.attempt.clone().unwrap();
                let report = TaskReport {
                    attempt: Some(attempt.clone()),
                    task: Some(task.clone()),
                    phase: TaskPhase::Running.into(),
                    ..TaskReport::default()
                };
                held.tasks.insert(key(&attempt, &task), report.clone());
                held.send(Report::Task(report));
            }
        }
    }
}

fn end(held: &mut Held, attempt: &AttemptKey) {
    let mut ended = Vec::new();
    for report in held.tasks.values_mut() {
        let same = report.attempt.as_ref() == Some(attempt);
        if same && matches!(report.phase(), TaskPhase::Running | TaskPhase::Finished) {
            report.set_phase(TaskPhase::Canceled);
            ended.push(Report::Task(report.clone()));
        }
    }
    for report in ended {
        held.send(report);
    }
}

fn acknowledge(held: &Held, trigger: &TriggerCheckpoint) {
    for report in held
        .tasks
        .values()
        .filter(|report| report.attempt == trigger.attempt)
    {
        let task = report.task.clone().unwrap();
        let is_sink = held.sinks.contains(&task.vertex);
        let handle = SubtaskHandle {
            subtask: task.subtask,
            finished: report.phase() == TaskPhase::Finished,
            state: Some(subtask_handle::State::Inline(bytes::Bytes::from_static(
                b"state",
            ))),
            transactions: u32::from(is_sink),
        };
        held.send(Report::CheckpointAck(CheckpointAck {
            attempt: trigger.attempt.clone(),
            task: Some(task),
            checkpoint_id: trigger.checkpoint_id,
            handle: Some(handle),
            duration_us: 1,
        }));
    }
}

fn commit(held: &Held, completed: &CheckpointCompleted) {
    for report in held
        .tasks
        .values()
        .filter(|report| report.attempt == completed.attempt)
    {
        let task = report.task.clone().unwrap();
        if held.sinks.contains(&task.vertex) {
            held.send(Report::SinkCommitted(SinkCommitted {
                attempt: completed.attempt.clone(),
                task: Some(task),
                checkpoint_id: completed.checkpoint_id,
            }));
        }
    }
}

async fn connect(address: &str) -> Result<WorkerGatewayClient<Channel>, tonic::transport::Error> {
    WorkerGatewayClient::connect(format!("http://{address}")).await
}
