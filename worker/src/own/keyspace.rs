//! The keys of one subtask: canonical bytes to a slot, the cells of every state by slot, the timers
//! of every key, and all of it as the bytes of key groups and back.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use regent_protocol::MAX_PARALLELISM;
use regent_protocol::v1::KeyGroupState;
use xxhash_rust::xxh3::xxh3_64;

use super::state::Cells;
use super::timers::{Clock, Timers};
use super::{ColumnType, Columns, Result, entries};
use crate::engine::{KeyDecoder, Keys, group_of};

/// Keys without state are let go of when there are this many, and twice what was left then.
const SWEEP_MIN: usize = 4096;

/// State is measured anew when this many rows have come, and so many for each key that there was the
/// last time: writing it then costs a small part of what the rows did.
const MEASURE_ROWS_MIN: u64 = 65_536;
const MEASURE_ROWS_PER_KEY: u64 = 16;
/// A timer and its place in the tree.
const TIMER_BYTES: usize = 32;

/// A key that has a slot.
struct Key {
    hash: u64,
    bytes: Box<[u8]>,
}

/// All that a subtask keeps by key.
pub(crate) struct KeySpace {
    /// Positions of the key's columns in the input.
    columns: Vec<usize>,
    types: Vec<ColumnType>,
    schema: SchemaRef,
    encoder: Keys,
    table: HashTable<u32>,
    keys: Vec<Option<Key>>,
    free: Vec<u32>,
    sweep_at: usize,
    /// Bytes of all keys.
    key_bytes: usize,
    /// What values hold beside themselves, when it was measured last: their bytes in a checkpoint.
    deep_bytes: u64,
    /// Rows since then, and how many make it due again.
    unmeasured: u64,
    measure_after: u64,
    /// Slots of the rows of the present batch.
    slots: Vec<u32>,
    cells: Vec<Arc<dyn Cells>>,
    pub(crate) timers: Timers,
}

/// A value of a restored state, until it is declared.
pub(crate) type Undeclared = Vec<(String, u32, Bytes)>;

impl KeySpace {
    /// For rows of these columns, keyed by the columns of these names.
    pub(crate) fn new(input: &Columns, key: &[String]) -> Result<Self> {
        let names: Vec<&str> = key.iter().map(String::as_str).collect();
        let of_key = input.only(&names)?;
        let position = |name: &&str| input.iter().position(|(known, _)| known == *name);
        Ok(Self {
            columns: names.iter().filter_map(position).collect(),
            types: of_key.iter().map(|(_, kind)| kind).collect(),
            schema: of_key.arrow(),
            encoder: Keys::default(),
            table: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
            sweep_at: SWEEP_MIN,
            key_bytes: 0,
            deep_bytes: 0,
            unmeasured: 0,
            measure_after: MEASURE_ROWS_MIN,
            slots: Vec::new(),
            cells: Vec::new(),
            timers: Timers::default(),
        })
    }

    pub(crate) fn declare(&mut self, cells: Arc<dyn Cells>) {
        self.cells.push(cells);
    }

    /// Finds the slots of a batch's rows; new keys get one.
    pub(crate) fn locate(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.table.len() >= self.sweep_at {
            self.sweep();
        }
        self.encoder.encode(batch, &self.columns)?;
        self.slots.clear();
        for row in 0..self.encoder.hashes().len() {
            let hash = self.encoder.hashes()[row];
            let key = self.encoder.key(row);
            let before = self.table.len();
            let slot = slot(&mut self.table, &mut self.keys, &mut self.free, hash, key)?;
            if self.table.len() > before {
                self.key_bytes += key.len();
            }
            self.slots.push(slot);
        }
        self.unmeasured += self.slots.len() as u64;
        Ok(())
    }

    /// Bytes in memory: exact for keys and what is of one size, as measured last for the rest.
    pub(crate) fn bytes(&self) -> u64 {
        let keys = self.keys.capacity() * size_of::<Option<Key>>() + self.key_bytes;
        let table = self.table.capacity() * 5 + self.free.capacity() * 4;
        let timers = self.timers.len() * TIMER_BYTES;
        let flat: u64 = self.cells.iter().map(|cells| cells.bytes()).sum();
        (keys + table + timers) as u64 + flat + self.deep_bytes
    }

    /// Measures what values hold beside themselves, if enough has come since the last time.
    pub(crate) fn measure_if_due(&mut self) -> Result<()> {
        if self.unmeasured < self.measure_after {
            return Ok(());
        }
        self.measure()
    }

    fn measured(&mut self, bytes: u64) {
        let keys = self.table.len() as u64;
        self.deep_bytes = bytes;
        self.unmeasured = 0;
        self.measure_after = MEASURE_ROWS_MIN.max(MEASURE_ROWS_PER_KEY * keys);
    }

    fn measure(&mut self) -> Result<()> {
        let mut bytes = 0;
        let mut scratch = Vec::new();
        for cells in self.cells.iter().filter(|cells| cells.is_deep()) {
            for slot in 0..self.keys.len() {
                scratch.clear();
                cells.encode(slot as u32, &mut scratch)?;
                bytes += scratch.len() as u64;
            }
        }
        self.measured(bytes);
        Ok(())
    }

    /// Slots of the batch that was located last, and the timers.
    pub(crate) fn parts(&mut self) -> (&[u32], &mut Timers) {
        (&self.slots, &mut self.timers)
    }

    /// The key columns of these slots.
    pub(crate) fn keys_of(&self, slots: &[u32]) -> Result<RecordBatch> {
        let mut decoder = KeyDecoder::new(&self.types);
        for slot in slots {
            let key = self.keys[*slot as usize].as_ref();
            if !key.is_some_and(|key| decoder.append(&key.bytes)) {
                return Err("the state holds a key of other types".into());
            }
        }
        Ok(RecordBatch::try_new(self.schema.clone(), decoder.finish())?)
    }

    /// Lets go of keys for which nothing is kept.
    fn sweep(&mut self) {
        let mut kept = vec![false; self.keys.len()];
        for (_, _, slot) in self.timers.iter() {
            kept[slot as usize] = true;
        }
        let Self {
            table,
            keys,
            free,
            cells,
            key_bytes,
            ..
        } = self;
        table.retain(|slot| {
            let held = kept[*slot as usize] || cells.iter().any(|cells| !cells.is_empty(*slot));
            if !held {
                if let Some(key) = keys[*slot as usize].take() {
                    *key_bytes -= key.bytes.len();
                }
                free.push(*slot);
            }
            held
        });
        self.sweep_at = SWEEP_MIN.max(2 * self.table.len());
    }

    /// Nothing is kept any more.
    pub(crate) fn clear(&mut self) {
        self.timers.clear();
        self.cells.iter().for_each(|cells| cells.clear());
        self.deep_bytes = 0;
        self.sweep();
    }

    /// Every key group that holds anything.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<KeyGroupState>> {
        self.sweep();
        let mut timers: Vec<(u32, Clock, i64)> = self
            .timers
            .iter()
            .map(|(clock, at, slot)| (slot, clock, at))
            .collect();
        timers.sort_unstable_by_key(|(slot, _, at)| (*slot, *at));
        let mut timers = timers.as_slice();
        let mut groups: Vec<Vec<u8>> = vec![Vec::new(); MAX_PARALLELISM as usize];
        for (slot, key) in (0..).zip(&self.keys) {
            let mine = timers.partition_point(|(of, _, _)| *of <= slot);
            let (of_key, others) = timers.split_at(mine);
            timers = others;
            if let Some(key) = key {
                let group = &mut groups[group_of(key.hash) as usize];
                if group.is_empty() {
                    *group = entries::begin_group(self.cells.iter().map(|cells| cells.name()));
                }
                self.write_entry(slot, key, of_key, group)?;
            }
        }
        if self.cells.iter().any(|cells| cells.is_deep()) {
            let bytes = groups.iter().map(|bytes| bytes.len() as u64).sum();
            self.measured(bytes);
        }
        let filled = (0..).zip(groups).filter(|(_, bytes)| !bytes.is_empty());
        let state = |(group, bytes): (u32, Vec<u8>)| KeyGroupState {
            group,
            entries: bytes.into(),
        };
        Ok(filled.map(state).collect())
    }

    fn write_entry(
        &self,
        slot: u32,
        key: &Key,
        timers: &[(u32, Clock, i64)],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        entries::put(&key.bytes, out);
        let held = || (0u32..).zip(&self.cells).filter(|(_, c)| !c.is_empty(slot));
        out.extend_from_slice(&(held().count() as u32).to_le_bytes());
        for (name, cells) in held() {
            out.extend_from_slice(&name.to_le_bytes());
            entries::put_sized(out, |out| cells.encode(slot, out))?;
        }
        for clock in [Clock::Event, Clock::Processing] {
            let of_clock = timers.iter().filter(|(_, of, _)| *of == clock);
            let times: Vec<i64> = of_clock.map(|(_, _, at)| *at).collect();
            entries::put_times(&times, out);
        }
        Ok(())
    }

    /// Takes over a key group; its values wait until their states are declared.
    pub(crate) fn restore(&mut self, group: &KeyGroupState, found: &mut Undeclared) -> Result<()> {
        let (names, entries) = entries::read_group(group.entries.clone())?;
        self.deep_bytes += group.entries.len() as u64;
        for entry in entries {
            self.key_bytes += entry.key.len();
            let hash = xxh3_64(&entry.key);
            let (keys, free) = (&mut self.keys, &mut self.free);
            let slot = slot(&mut self.table, keys, free, hash, &entry.key)?;
            for (name, bytes) in entry.values {
                found.push((names[name].clone(), slot, bytes));
            }
            for at in entry.event_timers {
                self.timers.set(Clock::Event, at, slot, None);
            }
            for at in entry.processing_timers {
                self.timers.set(Clock::Processing, at, slot, None);
            }
        }
        Ok(())
    }
}

/// The slot of a key, a free one if it is new. Only a new key costs an allocation.
fn slot(
    table: &mut HashTable<u32>,
    keys: &mut Vec<Option<Key>>,
    free: &mut Vec<u32>,
    hash: u64,
    bytes: &[u8],
) -> Result<u32> {
    let same = |slot: &u32| {
        let key = keys[*slot as usize].as_ref();
        key.is_some_and(|key| key.hash == hash && *key.bytes == *bytes)
    };
    let hash_of = |slot: &u32| keys[*slot as usize].as_ref().map_or(0, |key| key.hash);
    let vacant = match table.entry(hash, same, hash_of) {
        Place::Occupied(place) => return Ok(*place.get()),
        Place::Vacant(vacant) => vacant,
    };
    let slot = match free.last() {
        Some(slot) => *slot,
        None => {
            u32::try_from(keys.len()).map_err(|_| "more than 4,294,967,295 keys in one subtask")?
        }
    };
    vacant.insert(slot);
    let key = Key {
        hash,
        bytes: bytes.into(),
    };
    match free.pop() {
        Some(slot) => keys[slot as usize] = Some(key),
        None => keys.push(Some(key)),
    }
    Ok(slot)
}
