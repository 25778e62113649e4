//! Operations on their way to the writer, and the promise that each is answered exactly once.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::LogRecord;
use super::error::LogError;
use super::view::Position;

/// Called once an operation is durable, or has failed. Runs on the writer's thread (or on the
/// caller's, if refused at once), so it must be quick and must not wait for the log.
pub type Callback = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// Holds a callback and calls it with [`LogError::Closed`] if nobody else did.
pub(crate) struct Completion(Option<Callback>);

impl Completion {
    pub(crate) fn new(callback: Callback) -> Completion {
        Completion(Some(callback))
    }

    pub(crate) fn call(mut self, result: Result<(), LogError>) {
        self.fire(result);
    }

    fn fire(&mut self, result: Result<(), LogError>) {
        let Some(callback) = self.0.take() else {
            return;
        };
        // The writer serves everybody: one caller's panic must not end it.
        if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
            tracing::error!("a callback of the log panicked");
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.fire(Err(LogError::Closed));
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}

/// The answer to an operation, to be awaited or waited for. Dropping it doesn't undo the operation.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<(), LogError>>);

impl Receipt {
    pub(crate) fn pair() -> (Completion, Receipt) {
        let (sender, receiver) = oneshot::channel();
        let callback: Callback = Box::new(move |result| {
            // Nobody waiting is fine.
            sender.send(result).ok();
        });
        (Completion::new(callback), Receipt(receiver))
    }

    /// Blocks the thread until the operation is durable. Not for use within an async runtime.
    pub fn wait(self) -> Result<(), LogError> {
        self.0.blocking_recv().unwrap_or(Err(LogError::Closed))
    }
}

impl Future for Receipt {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(LogError::Closed)))
    }
}

#[derive(Debug)]
pub(crate) enum Op {
    Append(Vec<LogRecord>),
    Vote(Bytes),
    Committed(Bytes),
    /// Entries from `first_removed` on go; `last` is then the last position.
    Truncate {
        first_removed: u64,
        last: Option<Position>,
    },
    Purge {
        index: u64,
        log_id: Bytes,
    },
    /// Writes nothing: answered when everything before is durable.
    Barrier,
}

impl Op {
    /// May wait for another operation to be written with.
    fn is_lazy(&self) -> bool {
        matches!(self, Op::Committed(_))
    }

    pub(crate) fn is_append(&self) -> bool {
        matches!(self, Op::Append(_))
    }

    /// Payload bytes, for limits.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Op::Append(records) => records.iter().map(LogRecord::memory).sum(),
            Op::Vote(value) | Op::Committed(value) => value.len() + 64,
            Op::Truncate { .. } | Op::Purge { .. } | Op::Barrier => 64,
        }
    }
}

/// An operation in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) id: u64,
    pub(crate) at: Instant,
    pub(crate) op: Op,
    pub(crate) done: Option<Completion>,
    bytes: usize,
}

impl Queued {
    pub(crate) fn complete(self, result: Result<(), LogError>) {
        if let Some(done) = self.done {
            done.call(result);
        }
    }
}

/// Operations in the order in which they were issued.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ops: VecDeque<Queued>,
    bytes: usize,
    /// Operations that can't wait.
    urgent: usize,
    last_id: u64,
}

impl Queue {
    /// Adds an operation and answers its number.
    pub(crate) fn push(&mut self, op: Op, done: Option<Completion>) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        if op.is_lazy() && self.ops.back().is_some_and(|back| back.op.is_lazy()) {
            self.take_back();
        }
        let bytes = op.bytes();
        self.urgent += usize::from(!op.is_lazy());
        self.bytes += bytes;
        self.ops.push_back(Queued {
            id,
            at: Instant::now(),
            op,
            done,
            bytes,
        });
        id
    }

    fn take_back(&mut self) {
        if let Some(queued) = self.ops.pop_back() {
            self.forget(&queued);
        }
    }

    fn forget(&mut self, queued: &Queued) {
        self.bytes -= queued.bytes;
        self.urgent -= usize::from(!queued.op.is_lazy());
    }

    /// The next group to write together: all that is there, up to about `bytes_max`.
    pub(crate) fn take_group(&mut self, bytes_max: usize) -> Vec<Queued> {
        let mut group = Vec::with_capacity(self.ops.len().min(1024));
        let mut bytes = 0;
        while let Some(next) = self.ops.front() {
            if !group.is_empty() && bytes + next.bytes > bytes_max {
                break;
            }
            bytes += next.bytes;
            if let Some(queued) = self.ops.pop_front() {
                self.forget(&queued);
                group.push(queued);
            }
        }
        group
    }

    /// Takes out what can't be done once an append was refused: later appends, and committed
    /// positions that may speak of them.
    pub(crate) fn take_dependents(&mut self) -> Vec<Queued> {
        let (out, rest): (Vec<Queued>, Vec<Queued>) = self
            .ops
            .drain(..)
            .partition(|q| q.op.is_append() || q.op.is_lazy());
        self.ops = rest.into();
        self.bytes = self.ops.iter().map(|q| q.bytes).sum();
        self.urgent = self.ops.iter().filter(|q| !q.op.is_lazy()).count();
        out
    }

    /// When the oldest operation that can't wait was issued.
    pub(crate) fn oldest_urgent(&self) -> Option<Instant> {
        self.ops.iter().find(|q| !q.op.is_lazy()).map(|q| q.at)
    }

    pub(crate) fn has_urgent(&self) -> bool {
        self.urgent > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_operation_is_answered_all_the_same() {
        let (sender, answer) = std::sync::mpsc::channel();
        drop(Completion::new(Box::new(move |result| {
            sender.send(result).unwrap();
        })));
        assert!(matches!(answer.recv().unwrap(), Err(LogError::Closed)));
        let (done, receipt) = Receipt::pair();
        drop(done);
        assert!(matches!(receipt.wait(), Err(LogError::Closed)));
    }

    #[test]
    fn groups_are_bounded_and_in_order() {
        let mut queue = Queue::default();
        for _ in 0..5 {
            queue.push(Op::Vote(Bytes::from_static(&[0; 36])), None);
        }
        let ids = |group: Vec<Queued>| group.iter().map(|q| q.id).collect::<Vec<u64>>();
        assert_eq!(ids(queue.take_group(250)), vec![1, 2]);
        assert_eq!(ids(queue.take_group(1)), vec![3], "at least one");
        assert_eq!(queue.bytes(), 200);
        assert_eq!(ids(queue.take_group(usize::MAX)), vec![4, 5]);
        assert!(!queue.has_urgent());
    }

    #[test]
    fn committed_positions_replace_each_other_only_side_by_side() {
        let mut queue = Queue::default();
        queue.push(Op::Committed(Bytes::from("1")), None);
        queue.push(Op::Committed(Bytes::from("2")), None);
        assert!(!queue.has_urgent());
        queue.push(Op::Barrier, None);
        queue.push(Op::Committed(Bytes::from("3")), None);
        let values: Vec<String> = queue
            .take_group(usize::MAX)
            .iter()
            .map(|q| format!("{:?}", q.op))
            .collect();
        assert_eq!(values.len(), 3, "{values:?}");
        assert!(values[0].contains('2'));
    }
}
