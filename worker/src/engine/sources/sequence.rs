//! `source: sequence`: whole numbers in order. The range is cut into 128 strided splits (split s
//! holds start + s, start + s + 128, ...), whose positions are the state: any parallelism restores
//! exactly. Split s belongs to subtask s mod parallelism.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::spec::{ColumnType, SequenceSpec};

use super::{BATCH_ROWS, Source, SourceStart, SourceStep};
use crate::engine::error::TaskError;
use crate::engine::rate::{Allowance, RateLimiter};
use crate::engine::schema::arrow_type;

/// Frozen: positions in checkpoints are of these splits.
const SPLITS: u64 = 128;
/// split (u32) and next round (u64), little-endian.
const ITEM_BYTES: usize = 12;

/// Split `split` has emitted its first `round` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Split {
    split: u64,
    round: u64,
}

/// One subtask of a sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    start: i64,
    /// How many values the whole range holds.
    total: u64,
    keys: Option<i64>,
    schema: SchemaRef,
    limiter: Option<RateLimiter>,
    /// In order; all of them before `cursor` have had their turn in `round`.
    splits: Vec<Split>,
    cursor: usize,
    round: u64,
}

impl Sequence {
    pub(crate) fn new(spec: &SequenceSpec, start: &SourceStart) -> Result<Self, TaskError> {
        let rounds = match &start.restored {
            None => vec![0; SPLITS as usize],
            Some(items) => restored_rounds(items)?,
        };
        let mine = |split: &u64| split % u64::from(start.parallelism) == u64::from(start.subtask);
        let splits: Vec<Split> = (0..SPLITS)
            .filter(mine)
            .map(|split| Split {
                split,
                round: rounds[split as usize],
            })
            .collect();
        let end = spec.end.unwrap_or(i64::MAX);
        let per_subtask = |rate: f64| rate / f64::from(start.parallelism);
        Ok(Self {
            start: spec.start,
            total: (i128::from(end) - i128::from(spec.start)).max(0) as u64,
            keys: spec.keys,
            schema: schema(spec),
            limiter: spec
                .rate
                .map(|rate| RateLimiter::new(per_subtask(rate), Instant::now())),
            round: splits.iter().map(|s| s.round).min().unwrap_or(0),
            splits,
            cursor: 0,
        })
    }

    fn step(&mut self) -> Result<SourceStep, TaskError> {
        let mut rows = BATCH_ROWS;
        if let Some(limiter) = &mut self.limiter {
            match limiter.allow(Instant::now()) {
                Allowance::Rows(allowed) => rows = rows.min(allowed),
                // The end is told at once, not when the next row would be due.
                Allowance::Wait(_) if self.exhausted() => return Ok(SourceStep::End),
                Allowance::Wait(until) => return Ok(SourceStep::Wait(until)),
            }
        }
        let values = self.take(rows);
        if values.is_empty() {
            return Ok(SourceStep::End);
        }
        if let Some(limiter) = &mut self.limiter {
            limiter.emitted(values.len());
        }
        Ok(SourceStep::Batch(self.batch(values)?))
    }

    fn exhausted(&self) -> bool {
        let left = |s: &Split| self.number(*s) < self.total;
        !self.splits.iter().any(left)
    }

    /// Number within the range of the split's next value.
    fn number(&self, split: Split) -> u64 {
        split
            .round
            .saturating_mul(SPLITS)
            .saturating_add(split.split)
    }

    /// The next values, at most `rows`, fewer only at the end.
    fn take(&mut self, rows: usize) -> Vec<i64> {
        let mut values = Vec::with_capacity(rows);
        let rounds = self.total.div_ceil(SPLITS);
        while values.len() < rows && self.round < rounds {
            let first = self.round * SPLITS;
            while values.len() < rows && self.cursor < self.splits.len() {
                let split = &mut self.splits[self.cursor];
                self.cursor += 1;
                let number = first.saturating_add(split.split);
                // After a restore at another parallelism some splits may be ahead.
                if split.round == self.round && number < self.total {
                    split.round += 1;
                    values.push(self.start.wrapping_add(number as i64));
                }
            }
            if self.cursor == self.splits.len() {
                self.cursor = 0;
                self.round += 1;
            }
        }
        values
    }

    fn batch(&self, values: Vec<i64>) -> Result<RecordBatch, TaskError> {
        // Wall time of the emission, for people and latencies; nothing is decided by it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = now.map_or(0, |since| since.as_micros() as i64);
        let rows = values.len();
        let key: Option<ArrayRef> = self.keys.map(|keys| {
            let key = values.iter().map(|value| value.wrapping_rem(keys));
            Arc::new(key.collect::<Int64Array>()) as ArrayRef
        });
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(values)),
            Arc::new(TimestampMicrosecondArray::from(vec![at; rows])),
        ];
        columns.extend(key);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

impl Source for Sequence {
    fn next(&mut self) -> BoxFuture<'_, Result<SourceStep, TaskError>> {
        std::future::ready(self.step()).boxed()
    }

    fn snapshot(&mut self) -> Result<Vec<Bytes>, TaskError> {
        let item = |split: &Split| {
            let mut item = BytesMut::with_capacity(ITEM_BYTES);
            item.put_u32_le(split.split as u32);
            item.put_u64_le(split.round);
            item.freeze()
        };
        Ok(self.splits.iter().map(item).collect())
    }

    fn skipped(&self) -> u64 {
        0
    }
}

fn schema(spec: &SequenceSpec) -> SchemaRef {
    let field = |name: &str, kind| Field::new(name, arrow_type(kind), true);
    let mut fields = vec![
        field("value", ColumnType::Int64),
        field("at", ColumnType::Timestamp),
    ];
    if spec.keys.is_some() {
        fields.push(field("key", ColumnType::Int64));
    }
    Arc::new(Schema::new(fields))
}

/// The next round of every split; each must be there exactly once.
fn restored_rounds(items: &[Bytes]) -> Result<Vec<u64>, TaskError> {
    let damaged = |what: &str| TaskError::Restore(format!("positions of the sequence: {what}"));
    let mut rounds = vec![None; SPLITS as usize];
    for item in items {
        let (split, round) = item
            .split_first_chunk()
            .ok_or_else(|| damaged("cut short"))?;
        let round: [u8; 8] = round.try_into().map_err(|_| damaged("wrong length"))?;
        let place = rounds
            .get_mut(u32::from_le_bytes(*split) as usize)
            .ok_or_else(|| damaged("no such split"))?;
        if place.replace(u64::from_le_bytes(round)).is_some() {
            return Err(damaged("a split is there twice"));
        }
    }
    let all: Option<Vec<u64>> = rounds.into_iter().collect();
    all.ok_or_else(|| damaged("a split is missing"))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn spec(start: i64, end: i64) -> SequenceSpec {
        SequenceSpec {
            start,
            end: Some(end),
            rate: None,
            keys: Some(10),
        }
    }

    fn subtasks(spec: &SequenceSpec, parallelism: u32, items: Option<&[Bytes]>) -> Vec<Sequence> {
        let new = |subtask| {
            let start = SourceStart {
                subtask,
                parallelism,
                restored: items.map(<[Bytes]>::to_vec),
                listings: Arc::default(),
                remote: None,
            };
            Sequence::new(spec, &start).unwrap()
        };
        (0..parallelism).map(new).collect()
    }

    fn drain(sequence: &mut Sequence) -> Vec<i64> {
        let mut values = Vec::new();
        while let SourceStep::Batch(batch) = sequence.step().unwrap() {
            values.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        values
    }

    #[test]
    fn one_subtask_counts_in_order() {
        let mut one = subtasks(&spec(-3, 20_000), 1, None).remove(0);
        assert_eq!(drain(&mut one), (-3..20_000).collect::<Vec<_>>());
    }

    #[test]
    fn keys_are_the_remainder() {
        let mut one = subtasks(&spec(0, 25), 1, None).remove(0);
        let SourceStep::Batch(batch) = one.step().unwrap() else {
            panic!("no batch");
        };
        let keys = batch
            .column(2)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec();
        assert_eq!(keys, (0..25).map(|v| v % 10).collect::<Vec<i64>>());
        assert_eq!(batch.schema().field(1).name(), "at");
    }

    #[test]
    fn an_empty_range_and_the_ends_of_int64() {
        assert!(drain(&mut subtasks(&spec(5, 5), 1, None)[0]).is_empty());
        assert!(drain(&mut subtasks(&spec(5, -5), 1, None)[0]).is_empty());
        let mut last = subtasks(&spec(i64::MAX - 3, i64::MAX), 1, None).remove(0);
        assert_eq!(drain(&mut last), [i64::MAX - 3, i64::MAX - 2, i64::MAX - 1]);
        let unbounded = SequenceSpec {
            end: None,
            ..spec(i64::MIN, 0)
        };
        let mut first = subtasks(&unbounded, 1, None).remove(0);
        assert_eq!(first.take(2), [i64::MIN, i64::MIN + 1]);
    }

    #[test]
    fn a_rate_is_split_over_the_subtasks_and_the_end_is_told_at_once() {
        let slow = SequenceSpec {
            rate: Some(2.0),
            ..spec(0, 2)
        };
        for mut sequence in subtasks(&slow, 2, None) {
            assert!(matches!(sequence.step().unwrap(), SourceStep::Batch(b) if b.num_rows() == 1));
            assert!(matches!(sequence.step().unwrap(), SourceStep::End));
        }
    }

    #[test]
    fn damaged_positions_are_refused() {
        let items = subtasks(&spec(0, 9), 1, None)[0].snapshot().unwrap();
        assert!(restored_rounds(&items).is_ok());
        assert!(restored_rounds(&items[1..]).is_err());
        let mut twice = items.clone();
        twice.push(items[0].clone());
        assert!(restored_rounds(&twice).is_err());
        assert!(restored_rounds(&[Bytes::from_static(b"short")]).is_err());
    }

    proptest! {
        /// Cut anywhere in each subtask and restored at another parallelism: every value once.
        #[test]
        fn rescaling_is_exact(
            total in 0i64..3000,
            before in 1u32..12,
            after in 1u32..12,
            cuts in proptest::collection::vec(0usize..1500, 12),
        ) {
            let spec = spec(100, 100 + total);
            let mut values = Vec::new();
            let mut items = Vec::new();
            for (mut sequence, cut) in subtasks(&spec, before, None).into_iter().zip(cuts) {
                values.extend(sequence.take(cut));
                items.extend(sequence.snapshot().unwrap());
            }
            for mut sequence in subtasks(&spec, after, Some(&items)) {
                values.extend(drain(&mut sequence));
            }
            values.sort_unstable();
            prop_assert_eq!(values, (100..100 + total).collect::<Vec<_>>());
        }
    }
}
