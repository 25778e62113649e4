//! How a batch is spread over the subtasks downstream.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;
use regent_protocol::MAX_PARALLELISM;

use super::error::TaskError;
use super::keys::{Keys, group_of, subtask_of};
use super::schema::find_column;

/// The way of one edge of one subtask, for a given number of targets.
pub(crate) enum Partitioner {
    /// All rows to the only target: `forward`, and anything with one subtask downstream.
    Single,
    /// All rows to every target.
    Broadcast,
    /// Whole batches in turn.
    Rebalance { next: usize },
    /// Rows by their key's group.
    Hash(Box<HashPartitioner>),
}

impl Partitioner {
    pub(crate) fn new(
        partition: &str,
        by: &[String],
        schema: &Schema,
        targets: u32,
    ) -> Result<Self, TaskError> {
        match partition {
            "forward" => Ok(Self::Single),
            // Keys are resolved even for one target, so that a wrong column is found at once.
            "hash" => {
                let hash = HashPartitioner::new(by, schema, targets)?;
                Ok(if targets == 1 {
                    Self::Single
                } else {
                    Self::Hash(Box::new(hash))
                })
            }
            _ if targets == 1 => Ok(Self::Single),
            "broadcast" => Ok(Self::Broadcast),
            "rebalance" => Ok(Self::Rebalance { next: 0 }),
            other => Err(TaskError::task(format!("unknown partition {other}"))),
        }
    }

    /// Appends (target, rows) pairs; every pair has at least one row.
    pub(crate) fn split(
        &mut self,
        batch: RecordBatch,
        targets: usize,
        out: &mut Vec<(usize, RecordBatch)>,
    ) -> Result<(), TaskError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match self {
            Self::Single => out.push((0, batch)),
            Self::Broadcast => out.extend((0..targets).map(|target| (target, batch.clone()))),
            Self::Rebalance { next } => {
                out.push((*next, batch));
                *next = (*next + 1) % targets;
            }
            Self::Hash(hash) => hash.split(batch, out)?,
        }
        Ok(())
    }
}

/// Spreads rows by key group.
pub(crate) struct HashPartitioner {
    columns: Vec<usize>,
    keys: Keys,
    /// Target of each key group.
    target_of: [u8; MAX_PARALLELISM as usize],
    /// Rows of each target; kept from batch to batch for its capacity.
    rows: Vec<Vec<u32>>,
}

impl HashPartitioner {
    fn new(by: &[String], schema: &Schema, targets: u32) -> Result<Self, TaskError> {
        let columns: Result<Vec<usize>, _> = by
            .iter()
            .map(|name| find_column(schema, name).map(|(at, _)| at))
            .collect();
        let mut target_of = [0; MAX_PARALLELISM as usize];
        for (group, target) in (0..).zip(&mut target_of) {
            *target = subtask_of(group, targets) as u8;
        }
        Ok(Self {
            columns: columns?,
            keys: Keys::default(),
            target_of,
            rows: vec![Vec::new(); targets as usize],
        })
    }

    fn split(
        &mut self,
        batch: RecordBatch,
        out: &mut Vec<(usize, RecordBatch)>,
    ) -> Result<(), TaskError> {
        self.keys.encode(&batch, &self.columns)?;
        for rows in &mut self.rows {
            rows.clear();
        }
        for (row, hash) in (0..).zip(self.keys.hashes()) {
            let target = self.target_of[group_of(*hash) as usize];
            self.rows[usize::from(target)].push(row);
        }
        for (target, rows) in self.rows.iter().enumerate() {
            if rows.len() == batch.num_rows() {
                out.push((target, batch));
                return Ok(());
            }
            if !rows.is_empty() {
                out.push((target, take_rows(&batch, rows)?));
            }
        }
        Ok(())
    }
}

fn take_rows(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, TaskError> {
    let rows = UInt32Array::from_iter_values(rows.iter().copied());
    let columns: Result<Vec<_>, _> = batch
        .columns()
        .iter()
        .map(|column| take(column, &rows, None))
        .collect();
    Ok(RecordBatch::try_new(batch.schema(), columns?)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let names = (0..rows).map(|n| Some(format!("n{}", n % 7)));
        RecordBatch::try_from_iter([
            ("k", Arc::new((0..rows).collect::<Int64Array>()) as ArrayRef),
            ("s", Arc::new(names.collect::<StringArray>()) as ArrayRef),
        ])
        .unwrap()
    }

    fn split(
        partitioner: &mut Partitioner,
        batch: &RecordBatch,
        targets: usize,
    ) -> Vec<(usize, RecordBatch)> {
        let mut out = Vec::new();
        partitioner.split(batch.clone(), targets, &mut out).unwrap();
        out
    }

    #[test]
    fn rows_go_where_their_group_lies() {
        let batch = batch(1000);
        let by = ["s".to_owned(), "k".to_owned()];
        for targets in [2u32, 3, 128] {
            let mut hash = Partitioner::new("hash", &by, &batch.schema(), targets).unwrap();
            let mut seen = Vec::new();
            for (target, part) in split(&mut hash, &batch, targets as usize) {
                let mut keys = Keys::default();
                keys.encode(&part, &[1, 0]).unwrap();
                for hash in keys.hashes() {
                    assert_eq!(subtask_of(group_of(*hash), targets) as usize, target);
                }
                seen.extend_from_slice(part.column(0).as_primitive::<Int64Type>().values());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_other_ways() {
        let batch = batch(3);
        let new = |way: &str, targets| Partitioner::new(way, &[], &batch.schema(), targets);
        let targets = |out: Vec<(usize, RecordBatch)>| -> Vec<usize> {
            assert!(out.iter().all(|(_, part)| *part == batch));
            out.into_iter().map(|(target, _)| target).collect()
        };
        let mut broadcast = new("broadcast", 3).unwrap();
        assert_eq!(targets(split(&mut broadcast, &batch, 3)), [0, 1, 2]);
        let mut rebalance = new("rebalance", 2).unwrap();
        for expected in [0, 1, 0] {
            assert_eq!(targets(split(&mut rebalance, &batch, 2)), [expected]);
        }
        assert_eq!(
            targets(split(&mut new("forward", 5).unwrap(), &batch, 5)),
            [0]
        );
        assert!(split(&mut broadcast, &batch.slice(0, 0), 3).is_empty());
        assert!(new("sideways", 2).is_err());
        let by = ["x".to_owned()];
        assert!(Partitioner::new("hash", &by, &batch.schema(), 1).is_err());
    }
}
