//! Which windows of a subtask are over, so that a row for one of them is late. After a restore that
//! differs from key group to key group, until the watermark has caught up: a window that was emitted
//! must not open again, and one that wasn't must not be lost.

use std::ops::Range;

use bytes::Bytes;
use prost::Message;
use regent_protocol::MAX_PARALLELISM;

use crate::engine::error::TaskError;

/// Windows that end at or before this time are over, for these key groups. Frozen: fields are added,
/// never renumbered.
#[derive(Clone, PartialEq, Eq, Message)]
struct ClosedItem {
    #[prost(uint32, tag = "1")]
    first_group: u32,
    #[prost(uint32, tag = "2")]
    end_group: u32,
    #[prost(sint64, tag = "3")]
    closed_us: i64,
}

/// The line between windows that are over and those that aren't.
#[derive(Debug)]
pub(super) struct Closed {
    now: i64,
    /// By key group, while some are above `now`.
    restored: Option<Box<[i64]>>,
    mine: Range<u32>,
}

impl Closed {
    /// For the key groups of a subtask, from the items of all subtasks of the restored state.
    pub(super) fn new(mine: Range<u32>, items: &[Bytes]) -> Result<Self, TaskError> {
        let mut restored = vec![i64::MIN; MAX_PARALLELISM as usize];
        for item in items {
            let item = ClosedItem::decode(item.clone())
                .map_err(|e| TaskError::Restore(format!("the closed windows are damaged: {e}")))?;
            let groups = item.first_group as usize..item.end_group as usize;
            let groups = restored.get_mut(groups).ok_or_else(|| {
                TaskError::Restore("the closed windows are of no such key groups".to_owned())
            })?;
            groups.fill(item.closed_us);
        }
        let any = mine
            .clone()
            .any(|group| restored[group as usize] > i64::MIN);
        Ok(Self {
            now: i64::MIN,
            restored: any.then(|| restored.into_boxed_slice()),
            mine,
        })
    }

    /// Windows that end at or before this time are over for all.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// They are over up to here now.
    pub(super) fn advance(&mut self, micros: i64) {
        self.now = self.now.max(micros);
        let caught_up = |restored: &[i64]| {
            let mut mine = self.mine.clone();
            mine.all(|group| restored[group as usize] <= self.now)
        };
        if self.restored.as_deref().is_some_and(caught_up) {
            self.restored = None;
        }
    }

    /// Whether it depends on the key group.
    pub(super) fn by_group(&self) -> bool {
        self.restored.is_some()
    }

    /// Windows of this key group that end at or before this time are over.
    pub(super) fn of(&self, group: u32) -> i64 {
        match &self.restored {
            Some(restored) => restored[group as usize].max(self.now),
            None => self.now,
        }
    }

    /// One item for each run of key groups that agree.
    pub(super) fn snapshot(&self) -> Vec<Bytes> {
        let mut items: Vec<ClosedItem> = Vec::new();
        for group in self.mine.clone() {
            let closed_us = self.of(group);
            match items.last_mut() {
                Some(last) if last.closed_us == closed_us => last.end_group = group + 1,
                _ => items.push(ClosedItem {
                    first_group: group,
                    end_group: group + 1,
                    closed_us,
                }),
            }
        }
        let encoded = items.iter().map(|item| item.encode_to_vec().into());
        encoded.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::keys::groups_of;

    fn subtasks(parallelism: u32, items: &[Bytes]) -> Vec<Closed> {
        let one = |subtask| Closed::new(groups_of(subtask, parallelism), items).unwrap();
        (0..parallelism).map(one).collect()
    }

    fn by_group(subtasks: &[Closed]) -> Vec<i64> {
        let of = |one: &Closed| one.mine.clone().map(|g| one.of(g)).collect::<Vec<_>>();
        subtasks.iter().flat_map(of).collect()
    }

    #[test]
    fn a_restored_line_holds_until_the_watermark_has_caught_up() {
        let mut closed = Closed::new(0..128, &[]).unwrap();
        assert!(!closed.by_group());
        closed.advance(50);
        let items = closed.snapshot();
        assert_eq!(items.len(), 1);
        let mut restored = Closed::new(0..64, &items).unwrap();
        assert_eq!((restored.now(), restored.of(3)), (i64::MIN, 50));
        restored.advance(49);
        assert!(restored.by_group());
        restored.advance(50);
        assert!(!restored.by_group());
        assert_eq!(restored.of(3), 50);
    }

    #[test]
    fn damaged_items_are_refused() {
        assert!(Closed::new(0..1, &[Bytes::from_static(b"\xff\xff")]).is_err());
        let item = ClosedItem {
            first_group: 3,
            end_group: 129,
            closed_us: 1,
        };
        assert!(Closed::new(0..1, &[item.encode_to_vec().into()]).is_err());
    }

    proptest! {
        /// Over any chain of parallelisms every key group keeps its own line.
        #[test]
        fn rescaling_keeps_every_groups_line(
            parallelisms in proptest::collection::vec(1u32..=128, 1..4),
            lines in proptest::collection::vec(-100i64..100, 128),
        ) {
            let mut before = subtasks(128, &[]);
            for (one, line) in before.iter_mut().zip(&lines) {
                one.advance(*line);
            }
            for parallelism in parallelisms {
                let items: Vec<Bytes> = before.iter().flat_map(Closed::snapshot).collect();
                before = subtasks(parallelism, &items);
                prop_assert_eq!(by_group(&before), lines.clone());
            }
        }
    }
}
