//! State that belongs to no key: a list whose items any subtask may take over. At a restore they are
//! dealt out in turn, at whatever parallelism.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::Bytes;

use super::state::{read, write};
use super::{Datum, Result, entries};

/// What a checkpoint needs of one list.
pub(crate) trait Listed: Send + Sync {
    fn encode(&self, out: &mut Vec<Bytes>) -> Result<()>;
    fn clear(&self);
    /// Bytes in memory; what items hold beside themselves by the last time that they were written.
    fn bytes(&self) -> u64;
}

struct Shared<T> {
    name: String,
    items: Mutex<Vec<T>>,
    written: AtomicU64,
}

impl<T: Datum> Listed for Shared<T> {
    fn encode(&self, out: &mut Vec<Bytes>) -> Result<()> {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = 0;
        for item in items.iter() {
            let mut bytes = entries::begin_item(&self.name);
            write(&self.name, item, &mut bytes)?;
            written += bytes.len() as u64;
            out.push(bytes.into());
        }
        self.written.store(written, Relaxed);
        Ok(())
    }

    fn clear(&self) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.clear();
    }

    fn bytes(&self) -> u64 {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = match std::mem::needs_drop::<T>() {
            true => self.written.load(Relaxed),
            false => 0,
        };
        (items.capacity() * size_of::<T>()) as u64 + beside
    }
}

/// A list of items. Made by [`super::Setup::list`], with what was restored in it.
pub struct ListState<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Datum> ListState<T> {
    pub(crate) fn new(name: &str, restored: &[Bytes]) -> Result<(Self, Arc<dyn Listed>)> {
        let items: Result<Vec<T>> = restored.iter().map(|bytes| read(name, bytes)).collect();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            items: Mutex::new(items?),
            written: AtomicU64::new(restored.iter().map(|bytes| bytes.len() as u64).sum()),
        });
        let listed = shared.clone();
        Ok((Self { shared }, listed))
    }

    /// The items, to be read and changed.
    ///
    /// # Panics
    /// If they are in use already.
    #[must_use]
    pub fn items(&self) -> Items<'_, T> {
        let items = match self.shared.items.try_lock() {
            Ok(items) => items,
            Err(TryLockError::Poisoned(items)) => items.into_inner(),
            Err(TryLockError::WouldBlock) => panic!(
                "state {} is in use already: let go of the first `items()` before the second",
                self.shared.name
            ),
        };
        Items(items)
    }
}

impl<T> fmt::Debug for ListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListState({})", self.shared.name)
    }
}

/// The items of a list, which is a `Vec`.
pub struct Items<'a, T>(MutexGuard<'a, Vec<T>>);

impl<T> Deref for Items<'_, T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Items<'_, T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
