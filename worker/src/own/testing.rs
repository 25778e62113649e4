//! One operator, or one two-phase sink, without a cluster: rows in, rows out, the watermark and the clock by hand, and its
//! state taken over at another parallelism as a real restore would.
//!
//! ```
//! use regent_worker::own::testing;
//! # use regent_worker::own::{Operator, Output, Result, Rows};
//! # struct Pass;
//! # impl Operator for Pass {
//! #     fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
//! #         out.emit(rows.columns().to_vec())
//! #     }
//! # }
//! use regent_worker::own::ColumnType::Int64;
//!
//! # fn main() -> Result<()> {
//! let mut harness = testing::operator(|_| Ok(Pass)).input([("n", Int64)]).start()?;
//! let out = harness.push(vec![testing::column([1, 2])])?;
//! assert_eq!(testing::lines(&out)?, ["1", "2"]);
//! # Ok(())
//! # }
//! ```

mod two_phase;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use prost::Message;
use regent_protocol::v1::TaskState;
use serde_json::Value;

use super::operator::AnyOperator;
use super::timers::END_OF_INPUT;
use super::{
    ColumnType, Columns, Error, Operator, Restored, Result, RunningOperator, Schemas, Setup,
    SetupParts, in_one_line,
};
use crate::engine::{Operator as _, Partitioner, TaskError, restored_of};

pub use two_phase::{SinkCheckpoint, SinkHarness, SinkTrial, two_phase_sink};

type New = Arc<dyn Fn(&mut Setup) -> Result<Box<dyn AnyOperator>> + Send + Sync>;

/// An operator that is to be tested: begins with one subtask, without key and configuration.
#[must_use]
pub fn operator<O: Operator>(
    new: impl Fn(&mut Setup) -> Result<O> + Send + Sync + 'static,
) -> Trial {
    Trial {
        new: Arc::new(move |setup| Ok(Box::new(new(setup)?) as _)),
        schema: O::schema,
        parts: SetupParts {
            vertex: "tested".to_owned(),
            what: "operator tested".to_owned(),
            version: O::VERSION,
            parallelism: 1,
            ..SetupParts::default()
        },
        restore: None,
    }
}

/// What a job file would say of the operator.
#[derive(Clone)]
pub struct Trial {
    new: New,
    schema: fn(&Setup) -> Result<Columns>,
    parts: SetupParts,
    restore: Option<Snapshot>,
}

impl Trial {
    /// The columns that come in.
    #[must_use]
    pub fn input<N: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = (N, ColumnType)>,
    ) -> Self {
        self.parts.input = Columns::of(columns);
        self
    }

    /// The columns of `partition: hash, by: [..]`.
    #[must_use]
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.parts.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The vertex's `with`.
    #[must_use]
    pub fn config(mut self, with: Value) -> Self {
        self.parts.with = with;
        self
    }

    /// Number of subtasks, 1 to 128.
    #[must_use]
    pub fn parallelism(mut self, subtasks: u32) -> Self {
        self.parts.parallelism = subtasks;
        self
    }

    /// Begins with this state, whatever the parallelism was.
    #[must_use]
    pub fn restore(mut self, snapshot: &Snapshot) -> Self {
        self.restore = Some(snapshot.clone());
        self
    }

    /// What the schema function answers.
    ///
    /// # Errors
    /// What submitting the job would say.
    pub fn schema(&self) -> Result<Columns> {
        let columns = (self.schema)(&Setup::new(self.parts.clone(), None)?)?;
        columns.check()?;
        Ok(columns)
    }

    /// Builds all subtasks.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn start(&self) -> Result<Harness> {
        let schemas = Schemas::new(self.schema()?);
        let clock = Arc::new(AtomicI64::new(0));
        let parallelism = self.parts.parallelism;
        let restored = |subtask| self.restore.as_ref().map(|s| s.share(subtask, parallelism));
        let start = |subtask| {
            let parts = SetupParts {
                subtask,
                ..self.parts.clone()
            };
            let setup = Setup::new(parts, restored(subtask).transpose()?)?;
            let read = clock.clone();
            let now = Box::new(move || read.load(Ordering::SeqCst));
            RunningOperator::start(setup, schemas.clone(), now, &*self.new)
        };
        let subtasks: Result<Vec<RunningOperator>> = (0..parallelism).map(start).collect();
        let way = if self.parts.key.is_empty() {
            "rebalance"
        } else {
            "hash"
        };
        let input = Schemas::new(self.parts.input.clone());
        let partitioner = Partitioner::new(way, &self.parts.key, &input.arrow, parallelism);
        Ok(Harness {
            subtasks: subtasks?,
            partitioner: partitioner.map_err(told)?,
            input,
            clock,
            version: self.parts.version,
        })
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

/// The state of all subtasks, as a checkpoint would keep it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    version: u32,
    subtasks: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Bytes that a checkpoint would hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.subtasks.iter().map(Vec::len).sum()
    }

    fn share(&self, subtask: u32, parallelism: u32) -> Result<Restored> {
        let read = |bytes: &Vec<u8>| TaskState::decode(bytes.as_slice());
        let states: Result<Vec<TaskState>, _> = self.subtasks.iter().map(read).collect();
        Ok(restored_of(&states?, self.version, subtask, parallelism))
    }
}

/// A running operator: all its subtasks, rows spread over them as on an edge of a job.
pub struct Harness {
    subtasks: Vec<RunningOperator>,
    partitioner: Partitioner,
    input: Schemas,
    clock: Arc<AtomicI64>,
    version: u32,
}

impl Harness {
    /// Rows come in: all columns of the input, in its order. Answers what is emitted.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn push(&mut self, columns: Vec<ArrayRef>) -> Result<Vec<RecordBatch>> {
        let batch = self.input.batch(columns)?;
        let (mut split, mut out) = (Vec::new(), Vec::new());
        let count = self.subtasks.len();
        let spread = self.partitioner.split(batch, count, &mut split);
        spread.map_err(told)?;
        for (subtask, part) in split {
            let taken = self.subtasks[subtask].process(part, &mut out);
            taken.map_err(told)?;
        }
        Ok(out)
    }

    /// The watermark of all subtasks rises; microseconds.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn watermark(&mut self, micros: i64) -> Result<Vec<RecordBatch>> {
        self.each(|subtask, out| subtask.watermark(micros, out).map(|_| ()))
    }

    /// The worker's clock moves on to this time, in microseconds; it begins at 0.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn clock(&mut self, micros: i64) -> Result<Vec<RecordBatch>> {
        self.clock.store(micros, Ordering::SeqCst);
        self.each(|subtask, out| subtask.wake(out))
    }

    /// No row follows: the last watermark, then the end.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn end(&mut self) -> Result<Vec<RecordBatch>> {
        let mut out = self.watermark(END_OF_INPUT)?;
        out.extend(self.each(|subtask, out| subtask.end(out).map(|_| ()))?);
        Ok(out)
    }

    /// The state at this moment.
    ///
    /// # Errors
    /// What would fail the task.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let mut subtasks = Vec::new();
        for subtask in &mut self.subtasks {
            let kept = subtask.snapshot().map_err(told)?;
            let state = TaskState {
                key_groups: kept.key_groups,
                operator_items: kept.items,
                ..TaskState::default()
            };
            subtasks.push(state.encode_to_vec());
        }
        let version = self.version;
        Ok(Snapshot { version, subtasks })
    }

    fn each(
        &mut self,
        call: impl Fn(&mut RunningOperator, &mut Vec<RecordBatch>) -> Result<(), TaskError>,
    ) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        for subtask in &mut self.subtasks {
            call(subtask, &mut out).map_err(told)?;
        }
        Ok(out)
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Harness({} subtasks)", self.subtasks.len())
    }
}

fn told(error: TaskError) -> Error {
    error.to_string().into()
}

/// A column of values as Arrow has it.
#[must_use]
pub fn column(values: impl Column) -> ArrayRef {
    values.array()
}

/// Values that [`column()`] takes.
pub trait Column {
    /// The same as Arrow has it.
    fn array(self) -> ArrayRef;
}

impl<const N: usize> Column for [i64; N] {
    fn array(self) -> ArrayRef {
        Arc::new(arrow::array::Int64Array::from_iter_values(self))
    }
}

impl<const N: usize> Column for [f64; N] {
    fn array(self) -> ArrayRef {
        Arc::new(arrow::array::Float64Array::from_iter_values(self))
    }
}

impl<const N: usize> Column for [&str; N] {
    fn array(self) -> ArrayRef {
        Arc::new(arrow::array::StringArray::from_iter_values(self))
    }
}

/// Rows as lines of text, values separated by commas, null as nothing.
///
/// # Errors
/// A value can't be written as text.
pub fn lines(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default();
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let formats: Result<Vec<ArrayFormatter<'_>>, _> = columns
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect();
        let formats = formats?;
        for row in 0..batch.num_rows() {
            let values = formats.iter().map(|format| format.value(row).to_string());
            lines.push(values.collect::<Vec<_>>().join(","));
        }
    }
    Ok(lines)
}

/// The error as a task's failure would show it.
#[must_use]
pub fn message(error: &Error) -> String {
    in_one_line(error)
}
