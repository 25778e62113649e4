//! Where a partition stands: the piece of state that any subtask can take over.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::engine::error::TaskError;

/// A partition of the topic and how far it was read. Frozen: fields are added, never renumbered.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PartitionPosition {
    #[prost(string, tag = "1")]
    pub(super) topic: String,
    #[prost(int32, tag = "2")]
    pub(super) partition: i32,
    /// Offset of the next message.
    #[prost(int64, tag = "3")]
    pub(super) offset: i64,
    /// Bounded: the offset that the first start found behind the last message.
    #[prost(int64, optional, tag = "4")]
    pub(super) end: Option<i64>,
    /// Bounded: nothing is left to read.
    #[prost(bool, tag = "5")]
    pub(super) done: bool,
    /// Rows emitted.
    #[prost(uint64, tag = "6")]
    pub(super) rows: u64,
    /// Messages skipped.
    #[prost(uint64, tag = "7")]
    pub(super) skipped: u64,
    /// The highest time among its rows, in microseconds, and the column that it was taken from.
    #[prost(sint64, optional, tag = "8")]
    pub(super) highest: Option<i64>,
    #[prost(string, tag = "9")]
    pub(super) time_column: String,
}

impl PartitionPosition {
    /// A partition that is read from `offset` on, up to `end` if there is one.
    pub(super) fn new(topic: &str, partition: i32, offset: i64, end: Option<i64>) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            offset,
            end,
            done: end.is_some_and(|end| end <= offset),
            ..Self::default()
        }
    }

    /// How far its rows had come in that column, and the restored state says so.
    pub(super) fn time_of(&self, column: &str) -> Option<i64> {
        self.highest.filter(|_| self.time_column == column)
    }

    /// The next message has this offset, if it is before the end. False: it is behind it.
    pub(super) fn admits(&mut self, offset: i64) -> bool {
        if self.done || self.end.is_some_and(|end| end <= offset) {
            self.done = true;
            return false;
        }
        offset >= self.offset
    }

    /// The message at that offset is dealt with.
    pub(super) fn advance(&mut self, offset: i64) {
        self.offset = offset + 1;
        self.done = self.end.is_some_and(|end| end <= self.offset);
    }

    /// The broker has nothing further now. What a bounded partition lacks to its end was no message:
    /// markers of transactions have offsets, and so have messages that were aborted or compacted away.
    pub(super) fn caught_up(&mut self) {
        self.done |= self.end.is_some();
    }
}

/// Whose a partition is.
pub(super) fn is_mine(partition: i32, (subtask, parallelism): (u32, u32)) -> bool {
    partition.unsigned_abs() % parallelism == subtask
}

/// All positions of a restored state, by partition.
pub(super) fn from_items(
    items: &[Bytes],
    topic: &str,
) -> Result<BTreeMap<i32, PartitionPosition>, TaskError> {
    let damaged = |what: String| TaskError::Restore(format!("the partition positions: {what}"));
    let mut positions = BTreeMap::new();
    for item in items {
        let position = PartitionPosition::decode(item.clone());
        let position = position.map_err(|error| damaged(error.to_string()))?;
        if position.topic != topic {
            return Err(TaskError::Restore(format!(
                "the state is of topic {}, the source reads {topic}; give it another id",
                position.topic
            )));
        }
        let partition = position.partition;
        if positions.insert(partition, position).is_some() {
            return Err(damaged(format!("{topic}/{partition} is there twice")));
        }
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_partition_ends_at_its_end_whatever_has_the_last_offsets() {
        let mut plain = PartitionPosition::new("t", 0, 3, Some(5));
        assert!(plain.admits(3));
        plain.advance(3);
        assert!(!plain.done);
        plain.advance(4);
        assert!(plain.done);
        let mut marker_last = PartitionPosition::new("t", 0, 3, Some(5));
        marker_last.advance(3);
        marker_last.caught_up();
        assert!(marker_last.done);
        let mut written_to = PartitionPosition::new("t", 0, 3, Some(5));
        assert!(!written_to.admits(6), "it was written after the start");
        assert!(written_to.done);
        assert!(PartitionPosition::new("t", 0, 5, Some(5)).done, "empty");
    }

    #[test]
    fn an_unbounded_partition_goes_on() {
        let mut position = PartitionPosition::new("t", 0, 3, None);
        position.caught_up();
        assert!(!position.done);
        assert!(position.admits(7), "offsets may have gaps");
        position.advance(7);
        assert_eq!(position.offset, 8);
        assert!(!position.admits(7), "it was dealt with");
    }

    #[test]
    fn times_are_of_their_column_and_older_states_have_none() {
        let older = PartitionPosition::new("t", 2, 9, None);
        let read = PartitionPosition::decode(older.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.time_of("at"), None);
        let newer = PartitionPosition {
            highest: Some(-7),
            time_column: "at".to_owned(),
            ..older
        };
        let read = PartitionPosition::decode(newer.encode_to_vec().as_slice()).unwrap();
        assert_eq!((read.time_of("at"), read.time_of("due")), (Some(-7), None));
    }

    #[test]
    fn restored_positions_are_of_this_topic_and_each_there_once() {
        let item = |partition| {
            let position = PartitionPosition::new("t", partition, 9, None);
            Bytes::from(position.encode_to_vec())
        };
        let items = [item(1), item(0)];
        let restored = from_items(&items, "t").unwrap();
        assert_eq!(restored.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert!(from_items(&items, "u").is_err());
        assert!(from_items(&[item(1), item(1)], "t").is_err());
        assert!(from_items(&[Bytes::from_static(&[0xff])], "t").is_err());
    }

    #[test]
    fn every_partition_has_one_owner() {
        for parallelism in [1, 2, 7, 128] {
            for partition in 0..300 {
                let owners = (0..parallelism).filter(|s| is_mine(partition, (*s, parallelism)));
                assert_eq!(owners.count(), 1);
            }
        }
    }
}
