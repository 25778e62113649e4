//! State by key: one value or one map for each key, in cells indexed by the key's slot. Which key
//! has which slot, and where the bytes go, is `keyspace`'s.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::{Datum, Error, Result, Rows};

/// What the key space needs of one state.
pub(crate) trait Cells: Send + Sync {
    fn name(&self) -> &str;
    /// True if there is nothing for the key in this slot.
    fn is_empty(&self, slot: u32) -> bool;
    fn encode(&self, slot: u32, out: &mut Vec<u8>) -> Result<()>;
    fn decode(&self, slot: u32, bytes: &[u8]) -> Result<()>;
    fn clear(&self);
    /// Bytes in memory, without what values hold beside themselves.
    fn bytes(&self) -> u64;
    /// Whether values may hold anything beside themselves.
    fn is_deep(&self) -> bool;
}

/// Slots of one state, shared by the user's code and the checkpoints. One task uses it, one call after
/// the other, so a lock that is taken already was taken by the same call.
struct Shared<T> {
    name: String,
    cells: Mutex<Vec<Option<T>>>,
}

impl<T> Shared<T> {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            cells: Mutex::new(Vec::new()),
        })
    }

    fn borrow(&self) -> MutexGuard<'_, Vec<Option<T>>> {
        match self.cells.try_lock() {
            Ok(cells) => cells,
            Err(TryLockError::Poisoned(cells)) => cells.into_inner(),
            Err(TryLockError::WouldBlock) => panic!(
                "state {} is in use already: let go of the first `of(..)` before the second",
                self.name
            ),
        }
    }

    fn borrow_for(&self, rows: &Rows<'_>) -> MutexGuard<'_, Vec<Option<T>>> {
        let mut cells = self.borrow();
        let needed = rows
            .slots()
            .iter()
            .max()
            .map_or(0, |slot| *slot as usize + 1);
        if cells.len() < needed {
            cells.resize_with(needed, || None);
        }
        cells
    }

    /// Never panics: also called while a task that panicked is taken apart.
    fn lock(&self) -> MutexGuard<'_, Vec<Option<T>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Datum> Cells for Shared<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_empty(&self, slot: u32) -> bool {
        !matches!(self.lock().get(slot as usize), Some(Some(_)))
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) -> Result<()> {
        match self.lock().get(slot as usize) {
            Some(Some(value)) => write(&self.name, value, out),
            _ => Ok(()),
        }
    }

    fn decode(&self, slot: u32, bytes: &[u8]) -> Result<()> {
        let value = read(&self.name, bytes)?;
        let mut cells = self.lock();
        if cells.len() <= slot as usize {
            cells.resize_with(slot as usize + 1, || None);
        }
        cells[slot as usize] = Some(value);
        Ok(())
    }

    fn clear(&self) {
        self.lock().clear();
    }

    fn bytes(&self) -> u64 {
        (self.lock().capacity() * size_of::<Option<T>>()) as u64
    }

    fn is_deep(&self) -> bool {
        std::mem::needs_drop::<T>()
    }
}

/// Self-describing, so that a field that was added since can have a default.
pub(crate) fn write<T: serde::Serialize>(name: &str, value: &T, out: &mut Vec<u8>) -> Result<()> {
    let written = rmp_serde::encode::write_named(out, value);
    written.map_err(|error| Error::from(format!("state {name} can't be written: {error}")))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| Error::from(format!("state {name} can't be read: {error}")))
}

/// One value for each key, or none. Made by [`super::Setup::value`].
pub struct ValueState<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Datum> ValueState<T> {
    pub(crate) fn new(name: &str) -> (Self, Arc<dyn Cells>) {
        let shared = Shared::new(name);
        let cells = shared.clone();
        (Self { shared }, cells)
    }

    /// The values of these rows' keys.
    ///
    /// # Panics
    /// If the values of this state are in use already.
    #[must_use]
    pub fn of<'a>(&'a self, rows: &'a Rows<'_>) -> Values<'a, T> {
        Values {
            cells: self.shared.borrow_for(rows),
            slots: rows.slots(),
        }
    }
}

impl<T> fmt::Debug for ValueState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueState({})", self.shared.name)
    }
}

/// The values of some rows' keys, by the row's number. Rows of one key share its value.
pub struct Values<'a, T> {
    cells: MutexGuard<'a, Vec<Option<T>>>,
    slots: &'a [u32],
}

impl<T> Values<'_, T> {
    /// The value of the row's key, if there is one.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&T> {
        self.cells[self.slots[row] as usize].as_ref()
    }

    /// The place of the value of the row's key: `None` in it is no value, and takes no room.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn at(&mut self, row: usize) -> &mut Option<T> {
        &mut self.cells[self.slots[row] as usize]
    }
}

impl<T> fmt::Debug for Values<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({} rows)", self.slots.len())
    }
}

/// A map for each key. Made by [`super::Setup::map`].
pub struct MapState<K, V> {
    shared: Arc<Shared<BTreeMap<K, V>>>,
}

impl<K: Datum + Ord, V: Datum> MapState<K, V> {
    pub(crate) fn new(name: &str) -> (Self, Arc<dyn Cells>) {
        let shared = Shared::new(name);
        let cells = Arc::new(NonEmpty(shared.clone()));
        (Self { shared }, cells)
    }

    /// The maps of these rows' keys.
    ///
    /// # Panics
    /// If the maps of this state are in use already.
    #[must_use]
    pub fn of<'a>(&'a self, rows: &'a Rows<'_>) -> Maps<'a, K, V> {
        Maps {
            cells: self.shared.borrow_for(rows),
            slots: rows.slots(),
        }
    }
}

impl<K, V> fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapState({})", self.shared.name)
    }
}

/// The maps of some rows' keys, by the row's number.
pub struct Maps<'a, K, V> {
    cells: MutexGuard<'a, Vec<Option<BTreeMap<K, V>>>>,
    slots: &'a [u32],
}

impl<K, V> Maps<'_, K, V> {
    /// The map of the row's key; an empty one takes no room.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn at(&mut self, row: usize) -> &mut BTreeMap<K, V> {
        self.cells[self.slots[row] as usize].get_or_insert_with(BTreeMap::new)
    }
}

impl<K, V> fmt::Debug for Maps<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Maps({} rows)", self.slots.len())
    }
}

/// Maps as cells: an empty map is nothing.
struct NonEmpty<K, V>(Arc<Shared<BTreeMap<K, V>>>);

impl<K: Datum + Ord, V: Datum> Cells for NonEmpty<K, V> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn is_empty(&self, slot: u32) -> bool {
        let cells = self.0.lock();
        let map = cells.get(slot as usize).and_then(Option::as_ref);
        map.is_none_or(BTreeMap::is_empty)
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) -> Result<()> {
        self.0.encode(slot, out)
    }

    fn decode(&self, slot: u32, bytes: &[u8]) -> Result<()> {
        self.0.decode(slot, bytes)
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn is_deep(&self) -> bool {
        true
    }
}
