//! An aggregate in tumbling windows of event time: one set of groups for each open window. A window
//! is emitted, and gone, when the watermark is past its end by the lateness; rows for it that come
//! afterwards are dropped and counted, as are rows without a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use regent_protocol::spec::{AggregateSpec, ColumnType, Emit};
use regent_protocol::v1::KeyGroupState;

use super::EMITTED_ROWS;
use super::accumulator::take;
use super::closed::Closed;
use super::groups::Groups;
use super::shape::{Gathered, Shape, damaged};
use crate::engine::error::TaskError;
use crate::engine::keys::{Keys, group_of, groups_of};
use crate::engine::operators::{Operator, OperatorStart, OperatorState};
use crate::engine::schema::find_column;

/// One subtask's open windows.
pub(super) struct WindowedAggregate {
    spec: AggregateSpec,
    input: SchemaRef,
    shape: Shape,
    /// Length of a window, and how much longer it stays open, in microseconds.
    length: i64,
    lateness: i64,
    time: usize,
    /// By the time at which the window begins.
    open: BTreeMap<i64, Groups>,
    /// Bytes of all of them.
    open_bytes: u64,
    /// Rows of the first window that were already emitted.
    emitted: usize,
    closed: Closed,
    late: u64,
    ended: bool,
    keys: Keys,
    slots: Vec<u32>,
    /// Begin of the window, and number, of each row that isn't late.
    rows: Vec<(i64, u32)>,
}

impl WindowedAggregate {
    pub(super) fn new(
        spec: &AggregateSpec,
        schema: &Schema,
        start: &OperatorStart,
    ) -> Result<Self, TaskError> {
        let window = spec.window.as_ref();
        let window = window.ok_or_else(|| TaskError::task("the aggregate has no window"))?;
        let (time, kind) = find_column(schema, &window.time)?;
        if kind != ColumnType::Timestamp {
            return Err(TaskError::task(format!(
                "column {} is {} and can't be the rows' time",
                window.time,
                kind.name()
            )));
        }
        let micros = |millis: u64| i64::try_from(millis.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let mut windowed = Self {
            shape: Shape::new(spec, schema)?,
            input: Arc::new(schema.clone()),
            length: micros(window.tumbling_ms).max(1),
            lateness: micros(window.lateness_ms),
            time,
            open: BTreeMap::new(),
            open_bytes: 0,
            emitted: 0,
            closed: Closed::new(groups_of(start.subtask, start.parallelism), &start.items)?,
            late: 0,
            ended: false,
            keys: Keys::default(),
            slots: Vec::new(),
            rows: Vec::new(),
            spec: spec.clone(),
        };
        for group in &start.groups {
            windowed.restore(group)?;
        }
        windowed.open_bytes = windowed.open.values().map(Groups::bytes).sum();
        Ok(windowed)
    }

    fn restore(&mut self, group: &KeyGroupState) -> Result<(), TaskError> {
        let mut bytes = self.shape.entries(group)?;
        while !bytes.is_empty() {
            let begin = take(&mut bytes).ok_or_else(|| damaged(group))?;
            let groups = open(&mut self.open, i64::from_le_bytes(begin), || {
                Groups::new(&self.spec, &self.input)
            })?;
            groups.decode(&mut bytes).ok_or_else(|| damaged(group))?;
        }
        Ok(())
    }

    /// Sorts the rows that aren't late by window into `rows`; the others are counted.
    fn assign(&mut self, batch: &RecordBatch) -> Result<(), TaskError> {
        let by_group = self.closed.by_group();
        if by_group {
            self.keys.encode(batch, &self.shape.key_columns)?;
        }
        let now = self.closed.now();
        let times = batch.column(self.time);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        self.rows.clear();
        let mut sorted = true;
        for (row, time) in (0u32..).zip(times) {
            let Some(time) = time else {
                continue;
            };
            let begin = time.div_euclid(self.length).saturating_mul(self.length);
            let closed = match by_group {
                true => self.closed.of(group_of(self.keys.hashes()[row as usize])),
                false => now,
            };
            if begin.saturating_add(self.length) <= closed {
                continue;
            }
            sorted &= self.rows.last().is_none_or(|(last, _)| *last <= begin);
            self.rows.push((begin, row));
        }
        if !sorted {
            self.rows.sort_unstable();
        }
        self.late += (batch.num_rows() - self.rows.len()) as u64;
        Ok(())
    }

    /// Takes rows that lie in one window.
    fn update(
        &mut self,
        begin: i64,
        batch: &RecordBatch,
        rows: Range<usize>,
    ) -> Result<Option<RecordBatch>, TaskError> {
        let emit = self.spec.emit == Emit::Changes;
        let groups = open(&mut self.open, begin, || {
            Groups::new(&self.spec, &self.input)
        })?;
        let part = batch.slice(rows.start, rows.len());
        let keys = (&self.keys, rows);
        // A window that was opened just now counts from nothing.
        let before = if groups.len() == 0 { 0 } else { groups.bytes() };
        let values = groups.update(keys, part.columns(), &mut self.slots, emit)?;
        self.open_bytes += groups.bytes().saturating_sub(before);
        if !emit {
            return Ok(None);
        }
        let keys = self.shape.key_columns.iter();
        let keys = keys.map(|at| part.column(*at).clone());
        let columns: Vec<ArrayRef> = keys.chain(values).collect();
        self.emit(columns, begin, part.num_rows()).map(Some)
    }

    /// A batch of keys and values of one window.
    fn emit(
        &self,
        mut columns: Vec<ArrayRef>,
        begin: i64,
        rows: usize,
    ) -> Result<RecordBatch, TaskError> {
        for time in [begin, begin.saturating_add(self.length)] {
            columns.push(Arc::new(TimestampMicrosecondArray::from_value(time, rows)));
        }
        Ok(RecordBatch::try_new(self.shape.output.clone(), columns)?)
    }

    /// Emits the next rows of windows that are over. False when none is left.
    fn close_next(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        let mut gathered = Vec::new();
        let mut rows = 0;
        while rows < EMITTED_ROWS {
            let Some(first) = self.open.first_entry() else {
                break;
            };
            let (begin, last) = (*first.key(), first.get().len());
            if begin.saturating_add(self.length) > self.closed.now() {
                break;
            }
            let until = match self.spec.emit {
                Emit::Final => last.min(self.emitted + EMITTED_ROWS - rows),
                // Every row was emitted when it changed.
                Emit::Changes => last,
            };
            if self.spec.emit == Emit::Final && self.emitted < until {
                let slots = self.emitted..until;
                rows += slots.len();
                let columns = first.get().rows(slots.clone(), &self.shape.key_types)?;
                gathered.push(self.emit(columns, begin, slots.len())?);
            }
            self.emitted = until;
            if until == last {
                let closed = self.open.pop_first();
                let freed = closed.map_or(0, |(_, groups)| groups.bytes());
                self.open_bytes = self.open_bytes.saturating_sub(freed);
                self.emitted = 0;
            }
        }
        if rows > 0 {
            out.push(concat_batches(&self.shape.output, &gathered)?);
        }
        let over = |begin: &i64| begin.saturating_add(self.length) <= self.closed.now();
        Ok(self.open.keys().next().is_some_and(over))
    }
}

/// The groups of a window, made if there are none.
fn open(
    windows: &mut BTreeMap<i64, Groups>,
    begin: i64,
    make: impl FnOnce() -> Result<Groups, TaskError>,
) -> Result<&mut Groups, TaskError> {
    use std::collections::btree_map::Entry;
    match windows.entry(begin) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => Ok(entry.insert(make()?)),
    }
}

impl Operator for WindowedAggregate {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        self.assign(&batch)?;
        let in_order = self.rows.iter().zip(0..).all(|((_, row), at)| *row == at);
        let batch = if in_order {
            batch.slice(0, self.rows.len())
        } else {
            let rows = UInt32Array::from_iter_values(self.rows.iter().map(|(_, row)| *row));
            take_record_batch(&batch, &rows)?
        };
        self.keys.encode(&batch, &self.shape.key_columns)?;
        let mut at = 0;
        while let Some((begin, _)) = self.rows.get(at).copied() {
            let same = self.rows[at..].iter().take_while(|(b, _)| *b == begin);
            let until = at + same.count();
            out.extend(self.update(begin, &batch, at..until)?);
            at = until;
        }
        Ok(())
    }

    fn watermark(&mut self, micros: i64, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        // The end of all input closes every window, however late rows might have come.
        let closed = match micros {
            i64::MAX => i64::MAX,
            micros => micros.saturating_sub(self.lateness),
        };
        self.closed.advance(closed);
        self.close_next(out)
    }

    fn late(&self) -> u64 {
        self.late
    }

    fn state_bytes(&self) -> u64 {
        self.open_bytes
    }

    fn end(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        let more = self.watermark(i64::MAX, out)?;
        self.ended = !more;
        Ok(more)
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        if self.ended {
            return Ok(OperatorState::default());
        }
        let mut gathered = Gathered::new(&self.shape);
        for (begin, groups) in &self.open {
            for slot in 0..groups.len() {
                let entries = gathered.of(groups.group(slot));
                entries.extend_from_slice(&begin.to_le_bytes());
                groups.encode(slot, entries);
            }
        }
        Ok(OperatorState {
            key_groups: gathered.finish(),
            items: self.closed.snapshot(),
        })
    }
}
