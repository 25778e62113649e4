//! Operators of one's own, and how the engine runs one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::keyspace::KeySpace;
use super::list::Listed;
use super::timers::{Clock, END_OF_INPUT};
use super::{Columns, Due, Output, Result, Rows, Schemas, Setup, in_one_line};
use crate::engine::{OperatorState, TaskError};

/// Timers that fire in one call.
const DUE_ROWS: usize = 8192;
/// Batches emitted by timers are put together up to this many rows.
const EMITTED_ROWS: usize = 8192;

/// What happens to rows between sources and sinks. One value runs each subtask; all methods are
/// called one after the other. An error or a panic fails the task with its message, and the job's
/// restart strategy decides; the worker goes on.
pub trait Operator: Send + 'static {
    /// Raise it when state of the version before can't be used without knowing that. A job runs the
    /// version that it was submitted with, and only on workers that have it. State of an earlier
    /// version is read as far as serde can: a field that is new needs `#[serde(default)]`.
    const VERSION: u32 = 1;

    /// The columns that are emitted; without this, those that come in. Also asked when a job is
    /// submitted, where an error refuses it.
    ///
    /// # Errors
    /// What is wrong with configuration or input.
    fn schema(setup: &Setup) -> Result<Columns> {
        Ok(setup.input().clone())
    }

    /// Takes rows.
    ///
    /// # Errors
    /// Fails the task.
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()>;

    /// Timers are due: all of one time, a row for each.
    ///
    /// # Errors
    /// Fails the task.
    fn on_timers(&mut self, _due: &Due<'_>, _out: &mut Output<'_>) -> Result<()> {
        Ok(())
    }

    /// The watermark has risen, and the timers that were due by it have fired.
    ///
    /// # Errors
    /// Fails the task.
    fn on_watermark(&mut self, _out: &mut Output<'_>) -> Result<()> {
        Ok(())
    }

    /// No row follows. Afterwards all state is dropped: what is to be emitted of it must be by now,
    /// here or by timers for [`END_OF_INPUT`]. Timers that are set as late as that don't fire.
    ///
    /// # Errors
    /// Fails the task.
    fn end(&mut self, _out: &mut Output<'_>) -> Result<()> {
        Ok(())
    }
}

/// An operator without its type.
pub(crate) trait AnyOperator: Send {
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()>;
    fn on_timers(&mut self, due: &Due<'_>, out: &mut Output<'_>) -> Result<()>;
    fn on_watermark(&mut self, out: &mut Output<'_>) -> Result<()>;
    fn end(&mut self, out: &mut Output<'_>) -> Result<()>;
}

impl<O: Operator> AnyOperator for O {
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        Operator::process(self, rows, out)
    }

    fn on_timers(&mut self, due: &Due<'_>, out: &mut Output<'_>) -> Result<()> {
        Operator::on_timers(self, due, out)
    }

    fn on_watermark(&mut self, out: &mut Output<'_>) -> Result<()> {
        Operator::on_watermark(self, out)
    }

    fn end(&mut self, out: &mut Output<'_>) -> Result<()> {
        Operator::end(self, out)
    }
}

/// Microseconds since 1970.
pub(crate) type Now = Box<dyn Fn() -> i64 + Send>;

/// The machine's clock.
pub(crate) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}

/// One subtask of an operator of one's own, as the engine runs it.
pub(crate) struct RunningOperator {
    operator: Box<dyn AnyOperator>,
    keyspace: Option<KeySpace>,
    lists: Vec<Arc<dyn Listed>>,
    schemas: Schemas,
    now: Now,
    watermark: i64,
    ended: bool,
    /// Slots of the timers that fire.
    due: Vec<u32>,
}

impl RunningOperator {
    /// Builds it and gives it its state.
    pub(crate) fn start(
        mut setup: Setup,
        schemas: Schemas,
        now: Now,
        build: impl FnOnce(&mut Setup) -> Result<Box<dyn AnyOperator>>,
    ) -> Result<Self> {
        let operator = build(&mut setup)?;
        let (keyspace, lists) = setup.into_state()?;
        Ok(Self {
            operator,
            keyspace,
            lists,
            schemas,
            now,
            watermark: i64::MIN,
            ended: false,
            due: Vec::new(),
        })
    }

    fn take(&mut self, batch: &RecordBatch, emitted: &mut Vec<RecordBatch>) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (slots, timers) = match &mut self.keyspace {
            None => (&[][..], None),
            Some(keyspace) => {
                keyspace.locate(batch)?;
                let (slots, timers) = keyspace.parts();
                (slots, Some(timers))
            }
        };
        let mut out = Output {
            emitted,
            schemas: &self.schemas,
            timers,
            fired: None,
            now: (self.now)(),
            watermark: self.watermark,
        };
        self.operator.process(&Rows::new(batch, slots), &mut out)?;
        match &mut self.keyspace {
            Some(keyspace) => keyspace.measure_if_due(),
            None => Ok(()),
        }
    }

    /// Fires every timer that is due; what they emit is put together.
    fn fire(&mut self, clock: Clock, until: i64, emitted: &mut Vec<RecordBatch>) -> Result<()> {
        let mut of_timers = Vec::new();
        while self.fire_once(clock, until, &mut of_timers)? {}
        if let Some(keyspace) = &mut self.keyspace {
            keyspace.timers.settle();
        }
        self.put_together(of_timers, emitted)
    }

    /// False if none is due.
    fn fire_once(
        &mut self,
        clock: Clock,
        until: i64,
        emitted: &mut Vec<RecordBatch>,
    ) -> Result<bool> {
        let Some(keyspace) = &mut self.keyspace else {
            return Ok(false);
        };
        let mut slots = std::mem::take(&mut self.due);
        let earliest = keyspace.timers.take(clock, until, DUE_ROWS, &mut slots);
        let Some(at) = earliest else {
            self.due = slots;
            return Ok(false);
        };
        // A timer that sets itself again and again must not hold up the end.
        let last = clock == Clock::Event && until == END_OF_INPUT;
        let fires_up_to = if last { END_OF_INPUT } else { at };
        let keys = keyspace.keys_of(&slots)?;
        let mut out = Output {
            emitted,
            schemas: &self.schemas,
            timers: Some(&mut keyspace.timers),
            fired: Some((clock, fires_up_to)),
            now: (self.now)(),
            watermark: self.watermark,
        };
        let due = Due::new(Rows::new(&keys, &slots), clock, at);
        self.operator.on_timers(&due, &mut out)?;
        self.due = slots;
        Ok(true)
    }

    /// Timers emit a few rows each; batches of a few rows would be slow downstream.
    fn put_together(
        &self,
        mut batches: Vec<RecordBatch>,
        emitted: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        while !batches.is_empty() {
            let mut rows = 0;
            let fits = batches.iter().take_while(|batch| {
                rows += batch.num_rows();
                rows <= EMITTED_ROWS
            });
            let count = fits.count().max(1);
            let some: Vec<RecordBatch> = batches.drain(..count).collect();
            match <[RecordBatch; 1]>::try_from(some) {
                Ok([one]) => emitted.push(one),
                Err(some) => emitted.push(concat_batches(&self.schemas.arrow, &some)?),
            }
        }
        Ok(())
    }

    /// Calls the operator without rows.
    fn call(
        &mut self,
        emitted: &mut Vec<RecordBatch>,
        method: impl FnOnce(&mut dyn AnyOperator, &mut Output<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut out = Output {
            emitted,
            schemas: &self.schemas,
            timers: self.keyspace.as_mut().map(|keyspace| &mut keyspace.timers),
            fired: None,
            now: (self.now)(),
            watermark: self.watermark,
        };
        method(self.operator.as_mut(), &mut out)
    }

    fn raise(&mut self, micros: i64, emitted: &mut Vec<RecordBatch>) -> Result<()> {
        self.watermark = micros;
        self.fire(Clock::Event, micros, emitted)?;
        self.call(emitted, |operator, out| operator.on_watermark(out))
    }

    fn finish(&mut self, emitted: &mut Vec<RecordBatch>) -> Result<()> {
        self.call(emitted, |operator, out| operator.end(out))?;
        self.ended = true;
        if let Some(keyspace) = &mut self.keyspace {
            keyspace.clear();
        }
        self.lists.iter().for_each(|list| list.clear());
        Ok(())
    }

    fn state(&mut self) -> Result<OperatorState> {
        let mut state = OperatorState::default();
        if self.ended {
            return Ok(state);
        }
        if let Some(keyspace) = &mut self.keyspace {
            state.key_groups = keyspace.snapshot()?;
        }
        for list in &self.lists {
            list.encode(&mut state.items)?;
        }
        Ok(state)
    }
}

/// Runs the user's code where it may take its time, or never come back: other tasks of the thread are
/// taken over by another one meanwhile. (Only a runtime with several threads can do that, such as the
/// engine's; tests have others.)
fn apart<T>(call: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let several = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    match Handle::try_current().is_ok_and(several) {
        true => tokio::task::block_in_place(call),
        false => call(),
    }
}

/// What the code answered, as the task's failure.
pub(crate) fn told<T>(result: Result<T>) -> Result<T, TaskError> {
    result.map_err(|error| TaskError::task(in_one_line(&error)))
}

impl crate::engine::Operator for RunningOperator {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        told(apart(|| self.take(&batch, out)))
    }

    fn watermark(&mut self, micros: i64, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        told(apart(|| self.raise(micros, out)))?;
        Ok(false)
    }

    fn deadline(&self) -> Option<Instant> {
        let first = self.keyspace.as_ref()?.timers.first(Clock::Processing)?;
        let ahead = first.saturating_sub((self.now)()).max(0);
        Instant::now().checked_add(Duration::from_micros(ahead as u64))
    }

    fn wake(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        let now = (self.now)();
        told(apart(|| self.fire(Clock::Processing, now, out)))
    }

    fn end(&mut self, out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        told(apart(|| self.finish(out)))?;
        Ok(false)
    }

    fn state_bytes(&self) -> u64 {
        let keyed = self.keyspace.as_ref().map_or(0, KeySpace::bytes);
        keyed + self.lists.iter().map(|list| list.bytes()).sum::<u64>()
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        told(self.state())
    }
}
