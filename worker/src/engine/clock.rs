//! Event time of a task's output: the highest time among the rows so far is its watermark, unless a
//! source tells its time itself. Lateness is the business of whoever closes windows. Pure; sending is the
//! task's.

use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::max;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use regent_protocol::spec::{ColumnType, EventTimeSpec};
use regent_protocol::v1::VertexPlan;
use serde_json::Value;

use super::error::TaskError;
use super::schema::find_column;

/// The event time that a vertex is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventTime {
    /// The column that holds it, and its name.
    pub(crate) column: usize,
    pub(crate) name: String,
    /// Silence of this length is idleness.
    pub(crate) idle_after: Option<Duration>,
}

impl EventTime {
    /// What a vertex's configuration asks for, if anything.
    pub(crate) fn of(plan: &VertexPlan, schema: &Schema) -> Result<Option<Self>, TaskError> {
        // What else is in the configuration, and whether it can be read, is the vertex's business.
        let config: Option<Value> = serde_json::from_str(&plan.config_json).ok();
        let Some(spec) = config.and_then(|config| config.get("event-time").cloned()) else {
            return Ok(None);
        };
        let spec: EventTimeSpec = serde_json::from_value(spec)
            .map_err(|error| TaskError::task(format!("event-time of {}: {error}", plan.id)))?;
        let (column, kind) = find_column(schema, &spec.column)?;
        if kind != ColumnType::Timestamp {
            return Err(TaskError::task(format!(
                "column {} is {} and can't be the rows' time",
                spec.column,
                kind.name()
            )));
        }
        Ok(Some(Self {
            column,
            name: spec.column,
            idle_after: spec.idle_timeout_ms.map(Duration::from_millis),
        }))
    }
}

/// The watermark of one task's output.
#[derive(Debug)]
pub(crate) struct EventClock {
    column: usize,
    highest: i64,
    idle_after: Option<Duration>,
    last_rows: Instant,
    idle: bool,
    /// The source says what time it is: that of rows means nothing.
    told: bool,
}

impl EventClock {
    /// The clock that a vertex's configuration asks for, if any.
    pub(crate) fn of(plan: &VertexPlan, schema: &Schema) -> Result<Option<Self>, TaskError> {
        let time = EventTime::of(plan, schema)?;
        Ok(time.map(|time| Self {
            column: time.column,
            highest: i64::MIN,
            idle_after: time.idle_after,
            last_rows: Instant::now(),
            idle: false,
            told: false,
        }))
    }

    /// From now on only [`Self::tell`] moves it.
    pub(crate) fn be_told(&mut self) {
        self.told = true;
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// What is said of the time; answers the watermark to send. `None` too where rows say it.
    pub(crate) fn tell(&mut self, micros: i64) -> Option<i64> {
        if !self.told {
            return None;
        }
        let woke = std::mem::take(&mut self.idle);
        self.last_rows = Instant::now();
        let rose = micros > self.highest;
        self.highest = self.highest.max(micros);
        (rose || woke).then_some(self.highest)
    }

    /// Takes the times of rows that are being sent; answers the watermark to send behind them.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) -> Option<i64> {
        if batch.num_rows() == 0 {
            return None;
        }
        if self.idle_after.is_some() {
            self.last_rows = Instant::now();
        }
        let woke = std::mem::take(&mut self.idle);
        if self.told {
            return woke.then_some(self.highest);
        }
        let times = batch.column(self.column);
        // Without any time in the batch the watermark stays where it is.
        let latest = max(times.as_primitive::<TimestampMicrosecondType>());
        let rose = latest.is_some_and(|latest| latest > self.highest);
        if let (Some(latest), true) = (latest, rose) {
            self.highest = latest;
        }
        (rose || woke).then_some(self.highest)
    }

    /// When silence becomes idleness; `None` if it doesn't, or has already.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        let after = self.idle_after.filter(|_| !self.idle)?;
        Some(self.last_rows + after)
    }

    /// True, once, when that time has come.
    pub(crate) fn idle(&mut self, now: Instant) -> bool {
        let due = self.idle_at().is_some_and(|at| now >= at);
        self.idle |= due;
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMicrosecondArray};

    use super::*;

    fn batch(times: &[Option<i64>]) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("at", times, true)]).unwrap()
    }

    fn clock(config: &str) -> Result<Option<EventClock>, TaskError> {
        let plan = VertexPlan {
            config_json: config.into(),
            ..VertexPlan::default()
        };
        EventClock::of(&plan, &batch(&[]).schema())
    }

    #[test]
    fn the_highest_time_counts_and_never_falls() {
        let mut clock = clock(r#"{"rate":1,"event-time":{"column":"at"}}"#)
            .unwrap()
            .unwrap();
        assert_eq!(clock.observe(&batch(&[None])), None);
        assert_eq!(clock.observe(&batch(&[Some(5), None, Some(3)])), Some(5));
        assert_eq!(clock.observe(&batch(&[Some(4)])), None);
        assert_eq!(clock.observe(&batch(&[Some(6)])), Some(6));
        assert_eq!(clock.idle_at(), None, "it may be silent for ever");
    }

    #[test]
    fn silence_is_told_once_and_the_next_rows_end_it() {
        let config = r#"{"event-time":{"column":"at","idle-timeout-ms":1000}}"#;
        let mut clock = clock(config).unwrap().unwrap();
        assert_eq!(clock.observe(&batch(&[Some(5)])), Some(5));
        let at = clock.idle_at().unwrap();
        assert!(!clock.idle(at - Duration::from_millis(1)));
        assert!(clock.idle(at));
        assert!(!clock.idle(at), "told already");
        assert_eq!(clock.idle_at(), None);
        assert_eq!(
            clock.observe(&batch(&[Some(2)])),
            Some(5),
            "awake, though no later"
        );
        assert!(clock.idle_at().is_some());
    }

    #[test]
    fn what_a_source_says_of_its_time_counts_instead_of_its_rows() {
        let config = r#"{"event-time":{"column":"at","idle-timeout-ms":1000}}"#;
        let mut clock = clock(config).unwrap().unwrap();
        assert_eq!(clock.tell(3), None, "its rows say it");
        clock.be_told();
        assert_eq!(clock.observe(&batch(&[Some(9)])), None);
        assert_eq!(clock.tell(4), Some(4));
        assert_eq!(clock.tell(3), None, "it never falls");
        assert!(clock.idle(clock.idle_at().unwrap()));
        assert_eq!(clock.observe(&batch(&[Some(1)])), Some(4), "awake");
        assert!(clock.idle(clock.idle_at().unwrap()));
        assert_eq!(clock.tell(4), Some(4), "awake by its word");
    }

    #[test]
    fn only_those_that_ask_have_one() {
        for config in ["{}", "", "not ours"] {
            assert!(clock(config).unwrap().is_none());
        }
        assert!(clock(r#"{"event-time":7}"#).is_err());
        let error = clock(r#"{"event-time":{"column":"x"}}"#).unwrap_err();
        assert_eq!(error.to_string(), "there is no column x");
    }
}
