//! What the micro-benchmarks may touch of the engine: the way of rows from one task to another, and the keyed
//! aggregation. Not part of the interface; a task uses the same pieces, with channels between them.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use regent_protocol::spec::{AggregateSpec, ComputeSpec, Emit, Function};

use super::channel::Element;
use super::error::TaskError;
use super::frame;
use super::memory::Charge;
use super::operators::Operator;
use super::operators::aggregate::Aggregate;
use super::partition::Partitioner;

/// A hash edge to tasks on other machines.
pub struct Exchange {
    partitioner: Partitioner,
    targets: u32,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// Rows go by this column's key group to one of `targets`.
    pub fn hashed(schema: &Schema, column: &str, targets: u32) -> Result<Self, String> {
        let by = [column.to_owned()];
        let partitioner = Partitioner::new("hash", &by, schema, targets).map_err(text)?;
        Ok(Self {
            partitioner,
            targets,
        })
    }

    /// Spreads rows, and returns how many there are: the part that local and remote channels share.
    pub fn spread(&mut self, batch: &RecordBatch) -> Result<usize, String> {
        Ok(self.split(batch)?.iter().map(RecordBatch::num_rows).sum())
    }

    /// Spreads rows, writes each target's as frames, and reads those again; returns how many arrived.
    pub fn send(&mut self, batch: &RecordBatch) -> Result<usize, String> {
        let mut arrived = 0;
        for rows in self.split(batch)? {
            let frames = frame::encode(Element::Batch(rows, Charge::default())).map_err(text)?;
            for sent in frames {
                if let Element::Batch(rows, _) = frame::decode(sent).map_err(text)? {
                    arrived += rows.num_rows();
                }
            }
        }
        Ok(arrived)
    }

    fn split(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, String> {
        let mut pieces = Vec::new();
        let targets = self.targets as usize;
        let split = self.partitioner.split(batch.clone(), targets, &mut pieces);
        split.map_err(text)?;
        Ok(pieces.into_iter().map(|(_, rows)| rows).collect())
    }
}

/// `operator: aggregate` that counts by key, and tells of every change.
#[derive(Debug)]
pub struct Counting(Aggregate);

impl Counting {
    /// Counts by this column.
    pub fn by(schema: &Schema, column: &str) -> Result<Self, String> {
        let spec = AggregateSpec {
            group_by: vec![column.to_owned()],
            emit: Emit::Changes,
            compute: vec![ComputeSpec {
                name: "rows".to_owned(),
                function: Function::Count,
                column: None,
            }],
            window: None,
        };
        Aggregate::new(&spec, schema).map(Self).map_err(text)
    }

    /// Takes rows in; returns how many it emits.
    pub fn process(&mut self, batch: &RecordBatch) -> Result<usize, String> {
        let mut out = Vec::new();
        self.0.process(batch.clone(), &mut out).map_err(text)?;
        Ok(out.iter().map(RecordBatch::num_rows).sum())
    }

    /// Bytes of a checkpoint's state for its keys.
    pub fn snapshot(&mut self) -> Result<usize, String> {
        let state = self.0.snapshot().map_err(text)?;
        Ok(state
            .key_groups
            .iter()
            .map(|group| group.entries.len())
            .sum())
    }
}

fn text(error: TaskError) -> String {
    error.to_string()
}
