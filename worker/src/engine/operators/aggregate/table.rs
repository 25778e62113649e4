//! The keys of one subtask: canonical bytes to a slot number, without an allocation for a key that
//! is known. Values live elsewhere, in columns indexed by slot.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::engine::error::TaskError;

/// Keys in the order of their first appearance. Slots are never reused.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    slots: HashTable<u32>,
    hashes: Vec<u64>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        // A place of the hash table is a slot number and a byte of control.
        self.slots.capacity() * 5
            + (self.hashes.capacity() + self.ends.capacity()) * 8
            + self.bytes.capacity()
    }

    /// The slot of a key, a new one if it is unknown.
    pub(crate) fn slot(&mut self, hash: u64, key: &[u8]) -> Result<u32, TaskError> {
        let Self {
            slots,
            hashes,
            bytes,
            ends,
        } = self;
        let same = |slot: &u32| {
            let slot = *slot as usize;
            hashes[slot] == hash && range(ends, slot).is_some_and(|r| &bytes[r] == key)
        };
        match slots.entry(hash, same, |slot| hashes[*slot as usize]) {
            Entry::Occupied(entry) => Ok(*entry.get()),
            Entry::Vacant(entry) => {
                let slot = u32::try_from(ends.len())
                    .map_err(|_| TaskError::task("more than 4,294,967,295 keys in one subtask"))?;
                entry.insert(slot);
                hashes.push(hash);
                bytes.extend_from_slice(key);
                ends.push(bytes.len());
                Ok(slot)
            }
        }
    }

    /// Canonical bytes of the key in a slot.
    pub(crate) fn key(&self, slot: usize) -> &[u8] {
        range(&self.ends, slot).map_or(&[], |r| &self.bytes[r])
    }

    /// Hash of the key in a slot.
    pub(crate) fn hash(&self, slot: usize) -> u64 {
        self.hashes[slot]
    }
}

fn range(ends: &[usize], slot: usize) -> Option<std::ops::Range<usize>> {
    let begin = if slot == 0 { 0 } else { *ends.get(slot - 1)? };
    Some(begin..*ends.get(slot)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn equal_hashes_of_different_keys_get_different_slots() {
        let mut table = KeyTable::default();
        assert_eq!(table.slot(7, b"a").unwrap(), 0);
        assert_eq!(table.slot(7, b"b").unwrap(), 1);
        assert_eq!(table.slot(7, b"a").unwrap(), 0);
        assert_eq!((table.key(1), table.hash(1)), (b"b".as_slice(), 7));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(keys in proptest::collection::vec("[a-c]{0,3}", 0..300)) {
            let mut table = KeyTable::default();
            let mut model: HashMap<String, u32> = HashMap::new();
            for key in keys {
                let next = model.len() as u32;
                let expected = *model.entry(key.clone()).or_insert(next);
                let slot = table.slot(xxh3_64(key.as_bytes()), key.as_bytes()).unwrap();
                prop_assert_eq!(slot, expected);
                prop_assert_eq!(table.key(slot as usize), key.as_bytes());
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }
}
