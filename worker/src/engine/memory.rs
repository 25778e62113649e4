//! Memory of a slot: what its tasks keep as state, what the clients of sources and sinks may take for
//! messages and objects on their way, and the rows that wait in the channels which they fill. Counted once
//! for each batch.
//!
//! State beyond the limit fails the task that grew: it can't be given back. Rows that wait can: near
//! the limit a channel takes the next batch only when it is empty, so buffers end up at what state
//! leaves them, and one batch for each channel.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use regent_protocol::units::{about_size, format_size};

use super::error::TaskError;

/// Tasks that a message names.
const NAMED_MAX: usize = 3;

/// What one task holds.
#[derive(Debug)]
struct Part {
    vertex: String,
    state: AtomicU64,
    /// What its client may take, whether it does or not.
    reserved: AtomicU64,
    buffers: AtomicU64,
}

impl Part {
    fn held(&self) -> u64 {
        self.state.load(Relaxed) + self.reserved.load(Relaxed)
    }

    /// Its size and name for a message.
    fn named(&self) -> String {
        let state = format!(
            "{} of {}",
            about_size(self.state.load(Relaxed)),
            self.vertex
        );
        match self.reserved.load(Relaxed) {
            0 => state,
            reserved => format!(
                "{state} and {} for its client's buffers",
                about_size(reserved)
            ),
        }
    }
}

/// The memory of one slot of an attempt: of one subtask of each vertex.
#[derive(Debug)]
pub(crate) struct SlotMemory {
    limit: u64,
    /// What can't be given back: state, and what is reserved.
    state: AtomicU64,
    buffers: AtomicU64,
    parts: Mutex<Vec<Arc<Part>>>,
}

impl SlotMemory {
    /// With room for so many bytes.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
            parts: Mutex::default(),
        })
    }

    /// A task that uses it.
    pub(crate) fn task(self: &Arc<Self>, vertex: &str) -> Arc<TaskMemory> {
        let part = Arc::new(Part {
            vertex: vertex.to_owned(),
            state: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
        });
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(part.clone());
        Arc::new(TaskMemory {
            slot: self.clone(),
            part,
        })
    }

    /// The failure: who holds how much, the greediest first.
    fn exceeded(&self, total: u64) -> TaskError {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: Vec<_> = parts.iter().filter(|part| part.held() > 0).collect();
        held.sort_by_key(|part| std::cmp::Reverse(part.held()));
        let named = held.iter().take(NAMED_MAX).map(|part| part.named());
        TaskError::task(format!(
            "slot memory exceeded: state {}, together {}, where slot-memory allows {}; spread the job \
             over more subtasks (parallelism), keep less (shorter windows, fewer keys), or raise \
             slot-memory of the TaskManagers",
            named.collect::<Vec<_>>().join(", "),
            about_size(total),
            format_size(self.limit)
        ))
    }
}

/// A task's part of its slot's memory.
#[derive(Debug)]
pub(crate) struct TaskMemory {
    slot: Arc<SlotMemory>,
    part: Arc<Part>,
}

impl TaskMemory {
    /// The task's state has this size now.
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), TaskError> {
        let before = self.part.state.swap(bytes, Relaxed);
        if bytes <= before {
            self.slot.state.fetch_sub(before - bytes, Relaxed);
            return Ok(());
        }
        self.grow(bytes - before)
    }

    /// The task's client may take this much from now on, beside what it may already.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), TaskError> {
        self.part.reserved.fetch_add(bytes, Relaxed);
        self.grow(bytes)
    }

    fn grow(&self, bytes: u64) -> Result<(), TaskError> {
        let total = self.slot.state.fetch_add(bytes, Relaxed) + bytes;
        match total > self.slot.limit {
            true => Err(self.slot.exceeded(total)),
            false => Ok(()),
        }
    }

    /// Bytes of state.
    pub(crate) fn state(&self) -> u64 {
        self.part.state.load(Relaxed)
    }

    /// Bytes of rows that wait.
    pub(crate) fn buffers(&self) -> u64 {
        self.part.buffers.load(Relaxed)
    }

    /// Rows are about to wait; they count until the answer and all its clones are dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        self.part.buffers.fetch_add(bytes, Relaxed);
        self.slot.buffers.fetch_add(bytes, Relaxed);
        Charge(Some(Arc::new(Charged {
            memory: self.clone(),
            bytes,
        })))
    }

    /// State and rows that wait take all of it: channels hold one batch each.
    pub(crate) fn is_full(&self) -> bool {
        let slot = &self.slot;
        slot.state.load(Relaxed) + slot.buffers.load(Relaxed) >= slot.limit
    }
}

#[derive(Debug)]
struct Charged {
    memory: Arc<TaskMemory>,
    bytes: u64,
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.memory.part.buffers.fetch_sub(self.bytes, Relaxed);
        self.memory.slot.buffers.fetch_sub(self.bytes, Relaxed);
    }
}

/// Rows that count as waiting. A batch that goes to several tasks is there once, and counts once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charge(#[expect(dead_code, reason = "held to be dropped")] Option<Arc<Charged>>);

/// Two batches with the same rows are the same, whoever pays for them.
impl PartialEq for Charge {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_beyond_the_limit_names_the_greediest() {
        let slot = SlotMemory::new(1 << 20);
        let (small, large) = (slot.task("by-carrier"), slot.task("by-origin"));
        small.hold(300 << 10).unwrap();
        large.hold(700 << 10).unwrap();
        large.hold(600 << 10).unwrap();
        let error = large.hold(800 << 10).unwrap_err().to_string();
        assert!(
            error.contains("state 800 KiB of by-origin, 300 KiB of by-carrier, together 1 MiB"),
            "{error}"
        );
        assert!(error.contains("slot-memory allows 1MiB"), "{error}");
        // Whoever gives back may go on.
        small.hold(0).unwrap();
        large.hold(900 << 10).unwrap();
        assert_eq!((small.state(), large.state()), (0, 900 << 10));
    }

    #[test]
    fn what_clients_may_take_counts_beside_state() {
        let slot = SlotMemory::new(100 << 20);
        let (client, keeper) = (slot.task("out"), slot.task("by-carrier"));
        client.reserve(64 << 20).unwrap();
        keeper.hold(30 << 20).unwrap();
        assert_eq!((client.state(), client.is_full()), (0, false));
        let error = keeper.hold(40 << 20).unwrap_err().to_string();
        let both = "state 0 B of out and 64 MiB for its client's buffers, 40 MiB of by-carrier";
        assert!(error.contains(both), "{error}");
        let small = SlotMemory::new(32 << 20);
        let error = small.task("out").reserve(64 << 20).unwrap_err();
        assert!(
            error.to_string().contains("slot-memory allows 32MiB"),
            "{error}"
        );
    }

    #[test]
    fn rows_count_once_and_until_the_last_of_them_is_gone() {
        let slot = SlotMemory::new(1000);
        let task = slot.task("v");
        task.hold(500).unwrap();
        let charge = task.charge(400);
        let other = charge.clone();
        assert!(!task.is_full());
        let more = task.charge(100);
        assert!(task.is_full());
        drop((charge, more));
        assert_eq!(task.buffers(), 400);
        drop(other);
        assert_eq!((task.buffers(), task.is_full()), (0, false));
    }
}
