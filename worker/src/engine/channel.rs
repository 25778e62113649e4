//! Channels between the tasks of an attempt as the tasks see them: bounded queues of elements, many
//! into one task and one task into many. Whether a queue's other end is on another worker is the
//! exchange's business.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::align::Alignment;
use super::clock::EventClock;
use super::error::TaskError;
use super::memory::{Charge, TaskMemory};
use super::meter::{Activity, Meter};
use super::partition::Partitioner;
use super::schema::row_bytes;
use super::sources::Tells;

/// Elements that a channel holds before its sender waits.
pub(crate) const CHANNEL_ELEMENTS: usize = 8;

/// Why a checkpoint is taken; travels with the barrier for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Checkpoint,
    Savepoint,
    Final,
}

impl BarrierKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Savepoint => "savepoint",
            Self::Final => "final",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Checkpoint, Self::Savepoint, Self::Final]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The line between what belongs to a checkpoint and what doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) id: u64,
    pub(crate) kind: BarrierKind,
}

/// What travels on a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Element {
    /// The charge is dropped when the rows don't wait any more.
    Batch(RecordBatch, Charge),
    Barrier(Barrier),
    /// Microseconds; no row with an earlier time follows.
    Watermark(i64),
    /// Nothing comes for a while: this channel holds no watermark back until its next batch or
    /// watermark.
    Idle,
    /// The last element.
    End,
}

/// The inputs of one task.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// `None`: the sender went away without an end. Its failure is reported where it happened; this
    /// task waits to be told.
    receivers: Vec<Option<mpsc::Receiver<Element>>>,
    next: usize,
}

impl Inputs {
    pub(crate) fn new(receivers: Vec<mpsc::Receiver<Element>>) -> Self {
        Self {
            receivers: receivers.into_iter().map(Some).collect(),
            next: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.receivers.len()
    }

    /// The next element of an input that doesn't wait, in turn. Never answers when there can't be
    /// one. Losing the future loses nothing.
    pub(crate) async fn next(&mut self, alignment: &Alignment) -> (usize, Element) {
        poll_fn(|context| {
            let count = self.receivers.len();
            for step in 0..count {
                let input = (self.next + step) % count;
                if alignment.waits(input) {
                    continue;
                }
                let Some(receiver) = &mut self.receivers[input] else {
                    continue;
                };
                match receiver.poll_recv(context) {
                    Poll::Ready(Some(element)) => {
                        self.next = (input + 1) % count;
                        return Poll::Ready((input, element));
                    }
                    Poll::Ready(None) => self.receivers[input] = None,
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// One edge of a task to all subtasks of a vertex downstream.
pub(crate) struct OutputEdge {
    pub(crate) partitioner: Partitioner,
    pub(crate) targets: Vec<mpsc::Sender<Element>>,
}

/// The outputs of one task.
pub(crate) struct Outputs {
    edges: Vec<OutputEdge>,
    meter: Arc<Meter>,
    memory: Arc<TaskMemory>,
    split: Vec<(usize, RecordBatch)>,
    /// If this task brings watermarks forth itself.
    clock: Option<EventClock>,
}

impl Outputs {
    pub(crate) fn new(
        edges: Vec<OutputEdge>,
        meter: Arc<Meter>,
        memory: Arc<TaskMemory>,
        clock: Option<EventClock>,
    ) -> Self {
        Self {
            edges,
            meter,
            memory,
            split: Vec::new(),
            clock,
        }
    }

    /// Sends a batch along every edge, waiting for room.
    pub(crate) async fn batch(&mut self, batch: RecordBatch) -> Result<(), TaskError> {
        let bytes = row_bytes(&batch);
        self.meter.output(batch.num_rows(), bytes);
        let watermark = self.clock.as_mut().and_then(|clock| clock.observe(&batch));
        for edge in &mut self.edges {
            let targets = edge.targets.len();
            edge.partitioner
                .split(batch.clone(), targets, &mut self.split)?;
            // One charge for all parts: they are dealt with at much the same time.
            let charge = self.memory.charge(bytes);
            for (target, part) in self.split.drain(..) {
                let element = Element::Batch(part, charge.clone());
                send(&edge.targets[target], element, &self.meter, &self.memory).await;
            }
        }
        if let Some(micros) = watermark {
            self.meter.watermark(micros);
            self.broadcast(Element::Watermark(micros)).await;
        }
        Ok(())
    }

    /// Passes on the watermark of the inputs, that of a source which tells its time, or that of an end. A
    /// task that takes it from its rows lets no others through.
    pub(crate) async fn watermark(&mut self, micros: i64) {
        let micros = match &mut self.clock {
            Some(clock) if micros != i64::MAX => clock.tell(micros),
            _ => Some(micros),
        };
        if let Some(micros) = micros {
            self.meter.watermark(micros);
            self.broadcast(Element::Watermark(micros)).await;
        }
    }

    /// The source says itself what of its time it tells; the rest is still found out here.
    pub(crate) fn leave_time_to(&mut self, source: Tells) {
        match source {
            Tells::Nothing => {}
            Tells::Watermarks => {
                if let Some(clock) = &mut self.clock {
                    clock.be_told();
                }
            }
            Tells::Silence => self.clock = None,
        }
    }

    /// True if this task finds out by itself when it is idle.
    pub(crate) fn counts_silence(&self) -> bool {
        self.clock.is_some()
    }

    /// True if the watermark is taken from the times of rows.
    pub(crate) fn reads_rows_times(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| !clock.is_told())
    }

    /// All inputs are idle.
    pub(crate) async fn idle(&mut self) {
        if self.clock.is_none() {
            self.broadcast(Element::Idle).await;
        }
    }

    /// When this task, without rows, stops holding watermarks back.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        self.clock.as_ref().and_then(EventClock::idle_at)
    }

    /// Says so, once that time has come.
    pub(crate) async fn idle_if_due(&mut self) {
        let due = self.clock.as_mut().is_some_and(|c| c.idle(Instant::now()));
        if due {
            self.broadcast(Element::Idle).await;
        }
    }

    /// Sends an element to every task downstream, behind all batches so far.
    pub(crate) async fn broadcast(&mut self, element: Element) {
        for edge in &self.edges {
            for target in &edge.targets {
                put(target, element.clone(), &self.meter).await;
            }
        }
    }
}

/// Sends rows, waiting for room in the channel and in the slot's memory.
async fn send(
    target: &mpsc::Sender<Element>,
    element: Element,
    meter: &Meter,
    memory: &TaskMemory,
) {
    if !memory.is_full() {
        return put(target, element, meter).await;
    }
    meter.enter(Activity::Backpressured);
    if !put_rows(target, element, memory).await {
        meter.enter(Activity::Idle);
        peer_gone().await;
    }
    meter.enter(Activity::Busy);
}

/// Puts rows into a channel; while the slot's memory is full, only when the channel is empty. False if
/// nobody takes them any more.
pub(crate) async fn put_rows(
    target: &mpsc::Sender<Element>,
    element: Element,
    memory: &TaskMemory,
) -> bool {
    if !memory.is_full() {
        return target.send(element).await.is_ok();
    }
    let Ok(mut room) = target.reserve_many(target.max_capacity()).await else {
        return false;
    };
    if let Some(first) = room.next() {
        first.send(element);
    }
    true
}

/// Sends an element, waiting for room.
async fn put(target: &mpsc::Sender<Element>, element: Element, meter: &Meter) {
    let element = match target.try_send(element) {
        Ok(()) => return,
        Err(TrySendError::Full(element)) => element,
        Err(TrySendError::Closed(_)) => return peer_gone().await,
    };
    meter.enter(Activity::Backpressured);
    if target.send(element).await.is_err() {
        meter.enter(Activity::Idle);
        peer_gone().await;
    }
    meter.enter(Activity::Busy);
}

/// The task at the other end ended early. Its own report tells why; this task is about to be
/// cancelled, or is failed by the exchange if the other end is on another worker.
async fn peer_gone() {
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn inputs_take_turns_and_waiting_ones_are_left_alone() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel(8)).unzip();
        let mut inputs = Inputs::new(receivers);
        let mut alignment = Alignment::new(3, 0);
        for sender in &senders {
            for time in 0..2 {
                sender.try_send(Element::Watermark(time)).unwrap();
            }
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(inputs.next(&alignment).await.0);
        }
        assert_eq!(order, [0, 1, 2]);
        alignment.barrier(1, 1);
        order.clear();
        while let Some((input, _)) = inputs.next(&alignment).now_or_never() {
            order.push(input);
        }
        assert_eq!(order, [0, 2]);
        alignment.cancel();
        assert_eq!(inputs.next(&alignment).await.0, 1);
    }

    #[tokio::test]
    async fn a_full_slot_leaves_each_channel_one_batch() {
        use crate::engine::memory::SlotMemory;
        let memory = SlotMemory::new(100).task("v");
        let (sender, mut receiver) = mpsc::channel(CHANNEL_ELEMENTS);
        let meter = Meter::default();
        let rows = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        let send_one = || {
            let element = Element::Batch(rows.clone(), memory.charge(60));
            send(&sender, element, &meter, &memory).now_or_never()
        };
        assert!(send_one().is_some(), "there is room");
        assert!(send_one().is_none(), "120 of 100 bytes, and one waits");
        receiver.recv().await.unwrap();
        assert!(send_one().is_some(), "the channel is empty");
        memory.hold(100).unwrap();
        receiver.recv().await.unwrap();
        assert!(send_one().is_some(), "state alone never stops the flow");
        assert!(send_one().is_none());
        assert!(put(&sender, Element::End, &meter).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_sender_that_vanishes_is_not_an_end() {
        let (sender, receiver) = mpsc::channel(8);
        let mut inputs = Inputs::new(vec![receiver]);
        drop(sender);
        let alignment = Alignment::new(1, 0);
        assert!(inputs.next(&alignment).now_or_never().is_none());
    }
}
