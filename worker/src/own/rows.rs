//! What an operator's methods are given: rows with their keys, timers that are due, and the way out.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::timers::{Clock, Timers};
use super::{Columns, Result};

/// A batch whose rows have keys: an Arrow `RecordBatch`, by which also states are asked for their
/// rows' values.
#[derive(Debug)]
pub struct Rows<'a> {
    batch: &'a RecordBatch,
    /// Empty without a key.
    slots: &'a [u32],
}

impl<'a> Rows<'a> {
    pub(crate) fn new(batch: &'a RecordBatch, slots: &'a [u32]) -> Self {
        Self { batch, slots }
    }

    pub(crate) fn slots(&self) -> &[u32] {
        self.slots
    }

    /// All columns, and one more.
    #[must_use]
    pub fn and(&self, column: impl arrow::array::Array + 'static) -> Vec<ArrayRef> {
        let mut columns = self.batch.columns().to_vec();
        columns.push(Arc::new(column));
        columns
    }
}

impl Deref for Rows<'_> {
    type Target = RecordBatch;

    fn deref(&self) -> &RecordBatch {
        self.batch
    }
}

/// Timers that are due, all at the same time: a row for each, of the key's columns alone.
#[derive(Debug)]
pub struct Due<'a> {
    rows: Rows<'a>,
    clock: Clock,
    at: i64,
}

impl<'a> Due<'a> {
    pub(crate) fn new(rows: Rows<'a>, clock: Clock, at: i64) -> Self {
        Self { rows, clock, at }
    }

    /// What they were measured by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The time that they were set for, in microseconds.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }
}

impl<'a> Deref for Due<'a> {
    type Target = Rows<'a>;

    fn deref(&self) -> &Rows<'a> {
        &self.rows
    }
}

/// What goes out of a vertex, as its schema function says and as batches carry it.
#[derive(Debug, Clone)]
pub(crate) struct Schemas {
    pub(crate) columns: Columns,
    pub(crate) arrow: SchemaRef,
}

impl Schemas {
    pub(crate) fn new(columns: Columns) -> Self {
        let arrow = columns.arrow();
        Self { columns, arrow }
    }

    /// A batch of these columns, if they are of the schema.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let built = RecordBatch::try_new(self.arrow.clone(), columns);
        built.map_err(|error| {
            format!(
                "what is emitted isn't [{}], as its schema says: {error}",
                self.columns
            )
            .into()
        })
    }
}

/// The way out: rows, and timers for later.
pub struct Output<'a> {
    pub(crate) emitted: &'a mut Vec<RecordBatch>,
    pub(crate) schemas: &'a Schemas,
    /// `None` without a key.
    pub(crate) timers: Option<&'a mut Timers>,
    /// Clock and time of the timers that fire at this moment.
    pub(crate) fired: Option<(Clock, i64)>,
    pub(crate) now: i64,
    pub(crate) watermark: i64,
}

impl Output<'_> {
    /// Emits rows: all columns of the schema, in its order.
    ///
    /// # Errors
    /// The columns aren't those of the schema, or of different lengths.
    pub fn emit(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = self.schemas.batch(columns)?;
        if batch.num_rows() > 0 {
            self.emitted.push(batch);
        }
        Ok(())
    }

    /// The watermark, in microseconds: no row with an earlier time follows. `i64::MIN` before there
    /// is one.
    #[must_use]
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The worker's clock, in microseconds since 1970. Another worker's, after a restart, may be
    /// behind it.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Sets a timer for the key of a row. It is kept in checkpoints, and due once however often it is
    /// set. One that is due already comes with the next watermark or at once.
    ///
    /// # Panics
    /// Without a key, or if there is no such row.
    pub fn set_timer(&mut self, rows: &Rows<'_>, row: usize, clock: Clock, at_micros: i64) {
        let fired = self.fired;
        self.keyed().set(clock, at_micros, rows.slots[row], fired);
    }

    /// Takes a timer back; false if there is none of that time.
    ///
    /// # Panics
    /// Without a key, or if there is no such row.
    pub fn cancel_timer(
        &mut self,
        rows: &Rows<'_>,
        row: usize,
        clock: Clock,
        at_micros: i64,
    ) -> bool {
        self.keyed().cancel(clock, at_micros, rows.slots[row])
    }

    fn keyed(&mut self) -> &mut Timers {
        match &mut self.timers {
            Some(timers) => timers,
            None => panic!("timers need a key: the input must have `partition: hash, by: [..]`"),
        }
    }
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("emitted", &self.emitted.len())
            .field("watermark", &self.watermark)
            .finish_non_exhaustive()
    }
}
