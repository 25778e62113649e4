//! Writing a task's state for a checkpoint, beside the task's work, and acknowledging it. A write
//! that fails declines the checkpoint; it never fails the task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use regent_protocol::INLINE_STATE_BYTES;
use regent_protocol::v1::subtask_handle::State;
use regent_protocol::v1::{CheckpointAck, StateFile, SubtaskHandle, TaskState};
use tokio::task::JoinSet;

use super::Context;
use crate::engine::EngineEvent;
use crate::engine::orders::{Known, Ordered, Orders};

/// A barrier may come before its order, by another way; not by more than this.
const ORDER_WITHIN: Duration = Duration::from_secs(60);
/// For an order without a deadline of its own.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Larger states are encoded on a blocking thread.
const ENCODE_INLINE_BYTES: usize = 256 * 1024;

/// The writes of one task that are in progress.
pub(super) struct Checkpointer {
    context: Arc<Context>,
    writes: JoinSet<()>,
}

impl Checkpointer {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            writes: JoinSet::new(),
        }
    }

    /// Writes a state taken at a barrier and acknowledges it.
    pub(super) fn write(&mut self, checkpoint: u64, state: TaskState) {
        while self.writes.try_join_next().is_some() {}
        let context = self.context.clone();
        self.writes.spawn(write(context, checkpoint, state));
    }

    /// Cancels what is in progress.
    pub(super) async fn stop(&mut self) {
        self.writes.shutdown().await;
    }
}

async fn write(context: Arc<Context>, checkpoint: u64, state: TaskState) {
    let known = tokio::time::timeout(ORDER_WITHIN, context.orders.wait(checkpoint)).await;
    let Ok(Known::Ordered(ordered)) = known else {
        tracing::debug!(task = %context.id, checkpoint, "no order for this barrier, or aborted");
        return;
    };
    // Until it is written the state is there twice.
    let _copy = context.memory.charge(state.encoded_len() as u64);
    let storing = store(&context, &ordered, state);
    match unless_aborted(&context.orders, checkpoint, storing).await {
        None => {}
        Some(Ok(handle)) => acknowledge(&context, &ordered, handle).await,
        Some(Err(cause)) => context.decline(checkpoint, cause).await,
    }
}

/// The result of the work, unless the checkpoint is aborted first: then the work is dropped where it stands,
/// so that it writes nothing more into a directory that is being deleted.
async fn unless_aborted<T>(
    orders: &Orders,
    checkpoint: u64,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = orders.aborted(checkpoint) => None,
        done = work => Some(done),
    }
}

async fn acknowledge(context: &Context, ordered: &Ordered, handle: SubtaskHandle) {
    if context.effects.allowed().is_err() {
        return;
    }
    let bytes = match &handle.state {
        None => 0,
        Some(State::Inline(bytes)) => bytes.len() as u64,
        Some(State::File(file)) => file.length,
    };
    let took = ordered.received.elapsed();
    let id = ordered.order.checkpoint_id;
    context.meter.checkpoint(id, bytes, took);
    let ack = CheckpointAck {
        attempt: Some(context.key.clone()),
        task: Some(context.id.key()),
        checkpoint_id: id,
        handle: Some(handle),
        duration_us: took.as_micros() as u64,
    };
    context.event(EngineEvent::Ack(ack)).await;
}

/// Puts the state where it belongs; answers its handle, or why that failed.
async fn store(
    context: &Context,
    ordered: &Ordered,
    state: TaskState,
) -> Result<SubtaskHandle, String> {
    let finished = state.finished;
    let transactions = state.transactions.len() as u32;
    let bytes = encode(state).await?;
    let state = if bytes.len() <= INLINE_STATE_BYTES {
        State::Inline(bytes)
    } else {
        State::File(upload(context, ordered, bytes).await?)
    };
    Ok(SubtaskHandle {
        subtask: context.id.subtask,
        finished,
        state: Some(state),
        transactions,
    })
}

async fn encode(state: TaskState) -> Result<Bytes, String> {
    if state.encoded_len() <= ENCODE_INLINE_BYTES {
        return Ok(state.encode_to_vec().into());
    }
    let encoded = tokio::task::spawn_blocking(move || Bytes::from(state.encode_to_vec())).await;
    encoded.map_err(|error| format!("encoding the state: {error}"))
}

async fn upload(context: &Context, ordered: &Ordered, bytes: Bytes) -> Result<StateFile, String> {
    let name = format!("{}-{}.state", context.id.vertex, context.id.subtask);
    let path = format!("{}/{name}", ordered.order.path.trim_end_matches('/'));
    let file = StateFile {
        name,
        length: bytes.len() as u64,
        crc32c: crc32c::crc32c(&bytes),
    };
    let deadline = remaining(ordered, Instant::now());
    context.effects.allowed().map_err(|e| e.to_string())?;
    let write = context.files.put_create(path.clone(), bytes, deadline);
    let written = context.effects.write_state(&path, write).await;
    written
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    Ok(file)
}

/// What is left of the write deadline, which counts from the receipt of the order.
fn remaining(ordered: &Ordered, now: Instant) -> Duration {
    let within = match ordered.order.write_deadline_ms {
        0 => WRITE_WITHIN,
        millis => Duration::from_millis(millis),
    };
    within.saturating_sub(now.saturating_duration_since(ordered.received))
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::TriggerCheckpoint;

    use super::*;

    #[tokio::test]
    async fn an_abort_drops_what_is_being_written() {
        let orders = Orders::default();
        let kept = Arc::new(());
        let held = kept.clone();
        let writing = async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        let mut writing = Box::pin(unless_aborted(&orders, 1, writing));
        assert!(futures::poll!(writing.as_mut()).is_pending());
        orders.abort(1);
        let ended = tokio::time::timeout(Duration::from_secs(5), writing).await;
        assert_eq!(ended, Ok(None));
        assert_eq!(Arc::strong_count(&kept), 1, "the write was dropped");
        assert_eq!(unless_aborted(&orders, 2, async { 7 }).await, Some(7));
    }

    #[test]
    fn the_deadline_counts_from_the_receipt() {
        let received = Instant::now();
        let ordered = |write_deadline_ms| Ordered {
            order: TriggerCheckpoint {
                write_deadline_ms,
                ..Default::default()
            },
            received,
        };
        let later = received + Duration::from_secs(2);
        assert_eq!(remaining(&ordered(5000), later), Duration::from_secs(3));
        assert_eq!(remaining(&ordered(1000), later), Duration::ZERO);
        assert_eq!(remaining(&ordered(0), later), Duration::from_secs(28));
    }
}
