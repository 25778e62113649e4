//! What the broker of this harness remembers: topics, producers, transactions, counted offsets. Pure;
//! the rules are those of Kafka's protocol (KIP-98): a producer that takes a transactional id up ends
//! what its predecessor left open and is the only one to be heard from then on; messages and offsets of
//! a transaction become visible together, or never.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::Batch;

pub(crate) const NONE: i16 = 0;
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const OUT_OF_ORDER_SEQUENCE: i16 = 45;
pub(crate) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(crate) const INVALID_TXN_STATE: i16 = 48;
pub(crate) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;

/// A producer's number and epoch.
pub(crate) type Producer = (i64, i16);
/// A topic's partition.
pub(crate) type Partition = (String, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Stored {
    transaction: usize,
    value: Vec<u8>,
}

#[derive(Debug)]
struct Owner {
    producer: Producer,
    open: Option<usize>,
    partitions: BTreeSet<Partition>,
    /// By group and partition.
    offsets: BTreeMap<(String, Partition), i64>,
    /// How the last transaction of this epoch ended: a request that is repeated is answered alike.
    ended: Option<bool>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    topics: BTreeMap<String, i32>,
    log: BTreeMap<Partition, Vec<Stored>>,
    owners: BTreeMap<String, Owner>,
    fates: Vec<Fate>,
    committed: BTreeMap<(String, Partition), i64>,
    /// The next sequence of a producer in a partition.
    sequences: BTreeMap<(Producer, Partition), i32>,
    fenced: usize,
}

impl Ledger {
    pub(crate) fn create(&mut self, topic: &str, partitions: i32) {
        self.topics.insert(topic.to_owned(), partitions);
    }

    pub(crate) fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).copied()
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// Takes a transactional id up.
    pub(crate) fn init(&mut self, id: &str) -> Producer {
        let next = i64::try_from(self.owners.len()).unwrap_or(i64::MAX) + 1000;
        let producer = match self.owners.get(id) {
            None => (next, 0),
            Some(owner) => {
                if let Some(open) = owner.open {
                    self.fates[open] = Fate::Aborted;
                }
                (owner.producer.0, owner.producer.1 + 1)
            }
        };
        let owner = Owner {
            producer,
            open: None,
            partitions: BTreeSet::new(),
            offsets: BTreeMap::new(),
            ended: None,
        };
        self.owners.insert(id.to_owned(), owner);
        producer
    }

    fn owner(&mut self, id: &str, producer: Producer) -> Result<&mut Owner, i16> {
        let owner = self.owners.get_mut(id).ok_or(INVALID_PRODUCER_ID_MAPPING)?;
        if owner.producer.0 != producer.0 {
            return Err(INVALID_PRODUCER_ID_MAPPING);
        }
        if owner.producer.1 != producer.1 {
            self.fenced += 1;
            return Err(INVALID_PRODUCER_EPOCH);
        }
        Ok(owner)
    }

    fn begin(&mut self, id: &str, producer: Producer) -> Result<&mut Owner, i16> {
        let new = self.fates.len();
        let owner = self.owner(id, producer)?;
        let begins = owner.open.is_none();
        if begins {
            owner.open = Some(new);
            owner.ended = None;
        }
        if begins {
            self.fates.push(Fate::Open);
        }
        self.owner(id, producer)
    }

    pub(crate) fn add_partitions(
        &mut self,
        id: &str,
        producer: Producer,
        partitions: &[Partition],
    ) -> i16 {
        let known = |one: &Partition| self.topics.get(&one.0).is_some_and(|count| one.1 < *count);
        if !partitions.iter().all(known) {
            return UNKNOWN_TOPIC_OR_PARTITION;
        }
        match self.begin(id, producer) {
            Err(code) => code,
            Ok(owner) => {
                owner.partitions.extend(partitions.iter().cloned());
                NONE
            }
        }
    }

    /// A group's offsets will be part of the transaction.
    pub(crate) fn add_group(&mut self, id: &str, producer: Producer) -> i16 {
        self.begin(id, producer).err().unwrap_or(NONE)
    }

    pub(crate) fn add_offset(
        &mut self,
        id: &str,
        producer: Producer,
        (group, partition, offset): (String, Partition, i64),
    ) -> i16 {
        match self.owner(id, producer) {
            Err(code) => code,
            Ok(owner) if owner.open.is_none() => INVALID_TXN_STATE,
            Ok(owner) => {
                owner.offsets.insert((group, partition), offset);
                NONE
            }
        }
    }

    /// The offset of the first record, or a refusal.
    pub(crate) fn produce(
        &mut self,
        id: &str,
        partition: &Partition,
        batch: Batch,
    ) -> Result<i64, i16> {
        let producer = (batch.producer, batch.epoch);
        let owner = self.owner(id, producer)?;
        let open = owner.open.filter(|_| owner.partitions.contains(partition));
        let transaction = open.ok_or(INVALID_TXN_STATE)?;
        let stored = self.log.entry(partition.clone()).or_default();
        let base = i64::try_from(stored.len()).unwrap_or(i64::MAX);
        let next = self
            .sequences
            .entry((producer, partition.clone()))
            .or_default();
        let count = i32::try_from(batch.values.len()).unwrap_or(i32::MAX);
        if batch.sequence + count <= *next {
            return Ok(base - i64::from(*next - batch.sequence));
        }
        if batch.sequence != *next {
            return Err(OUT_OF_ORDER_SEQUENCE);
        }
        *next += count;
        stored.extend(
            batch
                .values
                .into_iter()
                .map(|value| Stored { transaction, value }),
        );
        Ok(base)
    }

    pub(crate) fn end(&mut self, id: &str, producer: Producer, commit: bool) -> i16 {
        let owner = match self.owner(id, producer) {
            Err(code) => return code,
            Ok(owner) => owner,
        };
        let Some(open) = owner.open.take() else {
            return if owner.ended == Some(commit) {
                NONE
            } else {
                INVALID_TXN_STATE
            };
        };
        owner.ended = Some(commit);
        owner.partitions.clear();
        let offsets = std::mem::take(&mut owner.offsets);
        self.fates[open] = if commit {
            Fate::Committed
        } else {
            Fate::Aborted
        };
        if commit {
            self.committed.extend(offsets);
        }
        NONE
    }

    /// −1: there is none.
    pub(crate) fn committed(&self, group: &str, partition: &Partition) -> i64 {
        let key = (group.to_owned(), partition.clone());
        self.committed.get(&key).copied().unwrap_or(-1)
    }

    /// Values that readers of committed messages see.
    pub(crate) fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let partitions = self.log.iter().filter(|((name, _), _)| name == topic);
        let stored = partitions.flat_map(|(_, stored)| stored);
        let visible = stored.filter(|one| self.fates[one.transaction] == Fate::Committed);
        visible.map(|one| one.value.clone()).collect()
    }

    /// (committed, aborted, requests of fenced producers).
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let of = |fate: Fate| self.fates.iter().filter(|one| **one == fate).count();
        (of(Fate::Committed), of(Fate::Aborted), self.fenced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(producer: Producer, sequence: i32, value: &str) -> Batch {
        Batch {
            producer: producer.0,
            epoch: producer.1,
            sequence,
            values: vec![value.as_bytes().to_vec()],
        }
    }

    fn place() -> Partition {
        ("t".to_owned(), 0)
    }

    fn begun() -> (Ledger, Producer) {
        let mut ledger = Ledger::default();
        ledger.create("t", 1);
        let producer = ledger.init("id");
        assert_eq!(ledger.add_partitions("id", producer, &[place()]), NONE);
        (ledger, producer)
    }

    #[test]
    fn messages_and_offsets_are_seen_together_or_never() {
        let (mut ledger, producer) = begun();
        assert_eq!(
            ledger.produce("id", &place(), batch(producer, 0, "a")),
            Ok(0)
        );
        assert_eq!(
            ledger.produce("id", &place(), batch(producer, 0, "a")),
            Ok(0),
            "again"
        );
        let offset = ("g".to_owned(), place(), 1);
        assert_eq!(ledger.add_offset("id", producer, offset), NONE);
        assert!(ledger.values("t").is_empty());
        assert_eq!(ledger.committed("g", &place()), -1);
        assert_eq!(ledger.end("id", producer, true), NONE);
        assert_eq!(ledger.end("id", producer, true), NONE, "repeated");
        assert_eq!(ledger.end("id", producer, false), INVALID_TXN_STATE);
        assert_eq!(ledger.values("t"), [b"a"]);
        assert_eq!(ledger.committed("g", &place()), 1);
    }

    #[test]
    fn a_successor_ends_what_was_open_and_is_heard_alone() {
        let (mut ledger, old) = begun();
        ledger.produce("id", &place(), batch(old, 0, "a")).unwrap();
        let new = ledger.init("id");
        assert_eq!(ledger.end("id", old, true), INVALID_PRODUCER_EPOCH);
        let late = ledger.produce("id", &place(), batch(old, 1, "b"));
        assert_eq!(late, Err(INVALID_PRODUCER_EPOCH));
        assert_eq!(ledger.add_partitions("id", new, &[place()]), NONE);
        ledger.produce("id", &place(), batch(new, 0, "c")).unwrap();
        assert_eq!(ledger.end("id", new, true), NONE);
        assert_eq!(ledger.values("t"), [b"c"]);
        assert_eq!(ledger.counts(), (1, 1, 2));
    }
}
