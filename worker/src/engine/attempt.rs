//! One attempt on this worker: its tasks, the channels between them, and the channels that other
//! workers will subscribe for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::units::format_duration;
use regent_protocol::v1::{AttemptKey, Deploy, TaskPhase};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::channel::{CHANNEL_ELEMENTS, Element, OutputEdge, Outputs};
use super::clock::EventClock;
use super::effects::Effects;
use super::error::TaskError;
use super::exchange::{Connections, Export, ExportPoint, OPEN_WITHIN, TakeError};
use super::ids::{AttemptId, ChannelId, TaskId};
use super::memory::SlotMemory;
use super::orders::Orders;
use super::partition::Partitioner;
use super::plan::{LocalPlan, OutputPlan, TaskPlan};
use super::registry::EpochCell;
use super::remote::Remote;
use super::restore::Checkpoint;
use super::schema::schema_of;
use super::sources::ListingCache;
use super::task::{self, Command, Context, Ends, InputEnd, Kill, TaskHandle};
use super::{EngineConfig, EngineEvent};

/// The tasks of one attempt that belong on this worker.
pub(crate) struct Attempt {
    id: AttemptId,
    key: AttemptKey,
    tasks: Vec<TaskHandle>,
    exports: Mutex<HashMap<ChannelId, ExportPoint>>,
    orders: Arc<Orders>,
    /// How long a task may take to end.
    cancel_within: Duration,
    /// What the tasks start with, until they are started.
    ready: Mutex<Vec<(Arc<Context>, Ends)>>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What an attempt is made of beside its order.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) events: &'a mpsc::Sender<EngineEvent>,
    pub(crate) epoch: &'a Arc<EpochCell>,
}

impl Attempt {
    /// Makes the tasks and their channels; nothing runs yet.
    pub(crate) fn new(
        id: AttemptId,
        order: Deploy,
        plan: &LocalPlan,
        parts: &Parts<'_>,
    ) -> Result<Self, TaskError> {
        let order = Arc::new(order);
        let mut wiring = Wiring::default();
        let shared = Shared::new(&id, &order, plan, parts);
        // A slot holds subtask i of every vertex.
        let mut slots: HashMap<u32, Arc<SlotMemory>> = HashMap::new();
        let mut tasks = Vec::new();
        let mut ready = Vec::new();
        for planned in &plan.tasks {
            let slot = slots.entry(planned.id.subtask);
            let slot = slot.or_insert_with(|| SlotMemory::new(parts.config.slot_memory));
            let memory = slot.task(&planned.id.vertex);
            let (handle, commands) = TaskHandle::new(planned.id.clone(), memory);
            let context = shared.context(planned, &handle);
            // Only to commit: no rows flow, so no channels are needed.
            let ends = if order.commit_only {
                wiring.unconnected(&handle, commands)
            } else {
                wiring.ends(planned, &order, &handle, commands)?
            };
            tasks.push(handle);
            ready.push((Arc::new(context), ends));
        }
        if !order.commit_only {
            for ((_, ends), planned) in ready.iter_mut().zip(&plan.tasks) {
                ends.inputs = wiring.inputs(planned)?;
            }
        }
        let orders = shared.orders;
        Ok(Self {
            key: id.key(),
            id,
            tasks,
            exports: Mutex::new(wiring.exports),
            orders,
            cancel_within: parts.config.cancel_within,
            ready: Mutex::new(ready),
        })
    }

    pub(crate) fn key(&self) -> &AttemptKey {
        &self.key
    }

    pub(crate) fn tasks(&self) -> &[TaskHandle] {
        &self.tasks
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Starts the tasks when those of older attempts have ended. One that doesn't end keeps its slot for
    /// good: if the leader knew so, this attempt was placed beside it, else it is to be placed anew.
    pub(crate) fn start(self: Arc<Self>, older: &[Arc<Self>]) -> impl Future<Output = ()> + use<> {
        let tasks = older.iter().flat_map(|attempt| attempt.tasks());
        let awaited = tasks.filter(|task| !task.is_given_up());
        let awaited: Vec<_> = awaited.map(|t| (t.id.clone(), t.ended.clone())).collect();
        for attempt in older {
            attempt.kill(&Kill::Cancel);
        }
        self.start_after(awaited)
    }

    async fn start_after(self: Arc<Self>, awaited: Vec<(TaskId, CancellationToken)>) {
        let gone = async {
            for (_, ended) in &awaited {
                ended.cancelled().await;
            }
        };
        if tokio::time::timeout(self.cancel_within, gone)
            .await
            .is_err()
        {
            self.kill(&Kill::Fail(self.no_room(&awaited)));
        }
        let ready = std::mem::take(&mut *lock(&self.ready));
        for ((context, ends), handle) in ready.into_iter().zip(&self.tasks) {
            tokio::spawn(task::run(context, ends, handle.ended.clone()));
        }
        // An attempt that is let go of meanwhile needs no watching.
        let attempt = Arc::downgrade(&self);
        drop(self);
        tokio::time::sleep(OPEN_WITHIN * 2).await;
        if let Some(attempt) = attempt.upgrade() {
            attempt.fail_unopened();
        }
    }

    /// Why this attempt can't begin: a task before it doesn't end.
    fn no_room(&self, awaited: &[(TaskId, CancellationToken)]) -> TaskError {
        let stuck = awaited.iter().find(|(_, ended)| !ended.is_cancelled());
        let name = stuck.map_or_else(|| "a task".to_owned(), |(task, _)| task.to_string());
        TaskError::Stuck(format!(
            "{name} of an earlier attempt doesn't end within task-cancellation-timeout ({}), and its \
             slot can't be used",
            format_duration(self.cancel_within)
        ))
    }

    /// A channel that nobody subscribed for by now is as good as broken.
    fn fail_unopened(&self) {
        for (channel, point) in lock(&self.exports).iter() {
            if let ExportPoint::Waiting(export) = point {
                let message = format!("channel {channel}: the receiver never came");
                export.kill.kill(Kill::Fail(TaskError::Channel(message)));
            }
        }
    }

    pub(crate) fn take_export(&self, channel: &ChannelId) -> Result<Export, TakeError> {
        let mut exports = lock(&self.exports);
        let point = exports.get_mut(channel).ok_or(TakeError::Unknown)?;
        match std::mem::replace(point, ExportPoint::Taken) {
            ExportPoint::Waiting(export) => Ok(export),
            ExportPoint::Taken => Err(TakeError::Taken),
        }
    }

    pub(crate) fn command(&self, command: Command) {
        for task in &self.tasks {
            task.command(command);
        }
    }

    pub(crate) fn kill(&self, why: &Kill) {
        for task in &self.tasks {
            task.kill.kill(why.clone());
        }
    }

    /// Waits until all tasks are over.
    pub(crate) async fn ended(&self) {
        for task in &self.tasks {
            task.ended.cancelled().await;
        }
    }

    /// True when every task has reported an end.
    pub(crate) fn all_ended(&self) -> bool {
        let ended = |phase| !matches!(phase, TaskPhase::Deploying | TaskPhase::Running);
        self.tasks.iter().all(|task| ended(task.status.phase()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the tasks of an attempt have in common.
struct Shared<'a> {
    id: &'a AttemptId,
    order: &'a Arc<Deploy>,
    parts: &'a Parts<'a>,
    orders: Arc<Orders>,
    restore: Option<Arc<Checkpoint>>,
    listings: Arc<ListingCache>,
    connections: Arc<Connections>,
}

impl<'a> Shared<'a> {
    fn new(
        id: &'a AttemptId,
        order: &'a Arc<Deploy>,
        plan: &LocalPlan,
        parts: &'a Parts<'a>,
    ) -> Self {
        let restore = order.restore.clone().map(|restore| {
            let run = order.attempt.as_ref().and_then(|a| a.run);
            let files = parts.config.files.clone();
            let tasks = plan.tasks.iter().map(|task| task.vertex);
            Arc::new(Checkpoint::new(files, restore, run, &order.vertices, tasks))
        });
        Self {
            id,
            order,
            parts,
            orders: Arc::default(),
            restore,
            listings: Arc::default(),
            connections: Arc::new(Connections::new(
                parts.epoch.clone(),
                parts.config.dialer.clone(),
            )),
        }
    }

    fn context(&self, planned: &TaskPlan, handle: &TaskHandle) -> Context {
        Context {
            attempt: self.id.clone(),
            key: self.id.key(),
            id: planned.id.clone(),
            order: self.order.clone(),
            vertex: planned.vertex,
            events: self.parts.events.clone(),
            files: self.parts.config.files.clone(),
            effects: Effects::with_remote(
                self.parts.config.authority.clone(),
                Remote::new(self.parts.config.files.clone()),
            ),
            orders: self.orders.clone(),
            restore: self.restore.clone(),
            listings: self.listings.clone(),
            connections: self.connections.clone(),
            status: handle.status.clone(),
            meter: handle.meter.clone(),
            memory: handle.memory.clone(),
            kill: handle.kill.clone(),
            own: self.parts.config.own.clone(),
        }
    }
}

/// Channels while they are being made: every sender is made with its task, and leaves its receiver
/// for the task downstream or for another worker.
#[derive(Default)]
struct Wiring {
    local: HashMap<ChannelId, mpsc::Receiver<Element>>,
    exports: HashMap<ChannelId, ExportPoint>,
}

impl Wiring {
    fn unconnected(&self, handle: &TaskHandle, commands: mpsc::Receiver<Command>) -> Ends {
        Ends {
            commands,
            inputs: Vec::new(),
            outputs: Outputs::new(
                Vec::new(),
                handle.meter.clone(),
                handle.memory.clone(),
                None,
            ),
            delivered: Vec::new(),
        }
    }

    /// The outputs of a task; its inputs follow when all outputs are made.
    fn ends(
        &mut self,
        planned: &TaskPlan,
        order: &Deploy,
        handle: &TaskHandle,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Ends, TaskError> {
        let vertex = &order.vertices[planned.vertex];
        let schema = schema_of(&vertex.columns)?;
        let clock = EventClock::of(vertex, &schema)?;
        let mut edges = Vec::new();
        let mut delivered = Vec::new();
        for output in &planned.outputs {
            let targets = output.targets.len() as u32;
            let partitioner = Partitioner::new(&output.partition, &output.by, &schema, targets)?;
            edges.push(OutputEdge {
                partitioner,
                targets: self.targets(output, handle, &mut delivered),
            });
        }
        Ok(Ends {
            commands,
            inputs: Vec::new(),
            outputs: Outputs::new(edges, handle.meter.clone(), handle.memory.clone(), clock),
            delivered,
        })
    }

    fn targets(
        &mut self,
        output: &OutputPlan,
        handle: &TaskHandle,
        delivered: &mut Vec<oneshot::Receiver<()>>,
    ) -> Vec<mpsc::Sender<Element>> {
        let mut senders = Vec::new();
        for (channel, local) in &output.targets {
            let (sender, elements) = mpsc::channel(CHANNEL_ELEMENTS);
            senders.push(sender);
            if *local {
                self.local.insert(channel.clone(), elements);
                continue;
            }
            let (taken, is_taken) = oneshot::channel();
            delivered.push(is_taken);
            let export = Export {
                elements,
                delivered: taken,
                kill: handle.kill.clone(),
            };
            self.exports
                .insert(channel.clone(), ExportPoint::Waiting(export));
        }
        senders
    }

    fn inputs(&mut self, planned: &TaskPlan) -> Result<Vec<InputEnd>, TaskError> {
        let end = |input: &super::plan::InputPlan| match &input.remote {
            Some(address) => Ok(InputEnd::Remote {
                address: address.clone(),
                channel: input.channel.clone(),
            }),
            None => self
                .local
                .remove(&input.channel)
                .map(InputEnd::Local)
                .ok_or_else(|| TaskError::task(format!("channel {} has no sender", input.channel))),
        };
        planned.inputs.iter().map(end).collect()
    }
}
