//! `source: kafka`: the messages of a topic. Partition p belongs to subtask p modulo parallelism, and
//! its offset is state of the job; nothing that a broker remembers decides anything. Partitions that
//! are added are found and read from their beginning. Each has its own event time, and the lowest of a
//! subtask's counts.

mod messages;
mod position;
mod start;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use regent_protocol::spec::{KafkaSourceSpec, OnError};

use self::messages::Parser;
use self::position::{PartitionPosition, is_mine};
use self::watch::Watch;
use super::files::columns::{Cell, Columns, schema};
use super::skips::Skips;
use super::split_clock::SplitClock;
use super::{BATCH_ROWS, Source, SourceStart, SourceStep, Tells};
use crate::engine::clock::EventTime;
use crate::engine::error::TaskError;
use crate::engine::kafka::{Cluster, Held, Quiet, blocking, words};
use crate::engine::rate::{Allowance, RateLimiter};

/// A batch ends after this many bytes of messages, whatever its rows.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The pause before the client is asked again that had nothing.
const NOTHING_THERE: Duration = Duration::from_millis(10);
/// Offsets of checkpoints that are under way, for the group.
const MARKS_MAX: usize = 16;

/// One subtask of a Kafka source.
pub(crate) struct KafkaSource {
    cluster: Cluster,
    vertex: String,
    spec: KafkaSourceSpec,
    schema: SchemaRef,
    place: (u32, u32),
    consumer: Held<BaseConsumer<Quiet>>,
    positions: BTreeMap<i32, PartitionPosition>,
    watch: Watch,
    limiter: Option<RateLimiter>,
    parser: Parser,
    row: Vec<Cell>,
    /// Bounded partitions whose broker had nothing further before their end.
    doubtful: BTreeSet<i32>,
    /// Those that were asked for once more since.
    asked_again: BTreeSet<i32>,
    /// Event time of the partitions, if a window asks for it.
    clock: Option<SplitClock>,
    /// Skipped of the partitions of this subtask, since the job began.
    skipped: u64,
    skips: Skips,
    /// Checkpoint to its offsets, until it is complete.
    marks: BTreeMap<u64, Vec<(i32, i64)>>,
}

impl KafkaSource {
    /// Asks the brokers what there is, within their time-out.
    pub(crate) async fn start(
        spec: KafkaSourceSpec,
        vertex: &str,
        time: Option<EventTime>,
        start: SourceStart,
    ) -> Result<Self, TaskError> {
        let within = Duration::from_millis(spec.broker_timeout_ms);
        let cluster = Cluster {
            brokers: spec.brokers.clone(),
            topic: spec.topic.clone(),
            within,
        };
        let place = (start.subtask, start.parallelism);
        let (asked, name, wanted) = (cluster.clone(), vertex.to_owned(), spec.clone());
        let ask = move || {
            let consumer = start::consumer(&asked, &wanted, &name)?;
            let restored = start.restored.as_deref();
            let found = start::positions(&asked, &consumer, &wanted, restored, place)?;
            Ok::<_, TaskError>((consumer, found))
        };
        let (consumer, positions) = blocking(&cluster, ask).await?;
        let now = Instant::now();
        let rate = |rate: f64| RateLimiter::new(rate / f64::from(place.1), now);
        let interval = Duration::from_millis(spec.discovery_interval_ms);
        let mut source = Self {
            schema: schema(&spec.columns),
            limiter: spec.rate.map(rate),
            watch: Watch::new(interval, within, now),
            cluster,
            vertex: vertex.to_owned(),
            spec,
            place,
            consumer: Held::new(consumer),
            positions: BTreeMap::new(),
            parser: Parser::default(),
            row: Vec::new(),
            doubtful: BTreeSet::new(),
            asked_again: BTreeSet::new(),
            clock: time.map(SplitClock::new),
            skipped: 0,
            skips: Skips::default(),
            marks: BTreeMap::new(),
        };
        source.read_also(positions)?;
        Ok(source)
    }

    /// Reads these partitions as well, from where they stand.
    fn read_also(&mut self, new: BTreeMap<i32, PartitionPosition>) -> Result<(), TaskError> {
        let mut list = TopicPartitionList::new();
        for (number, position) in new.iter().filter(|(_, position)| !position.done) {
            let offset = Offset::Offset(position.offset);
            let added = list.add_partition_offset(&self.cluster.topic, *number, offset);
            added.map_err(|error| self.cluster.failed("choosing partitions", &error))?;
        }
        if list.count() > 0 {
            let assigned = self.consumer.incremental_assign(&list);
            assigned.map_err(|error| self.cluster.failed("choosing partitions", &error))?;
        }
        for (number, position) in &new {
            self.skipped += position.skipped;
            if let Some(clock) = &mut self.clock {
                let highest = position.time_of(clock.name());
                clock.add(*number, highest);
            }
        }
        self.positions.extend(new);
        Ok(())
    }

    async fn step(&mut self) -> Result<SourceStep, TaskError> {
        self.look().await?;
        self.ask_again().await?;
        if self.spec.bounded && self.positions.values().all(|one| one.done) {
            return Ok(SourceStep::End);
        }
        if let Some(step) = self.tell_time() {
            return Ok(step);
        }
        let mut rows = BATCH_ROWS;
        if let Some(limiter) = &mut self.limiter {
            match limiter.allow(Instant::now()) {
                Allowance::Rows(allowed) => rows = rows.min(allowed),
                Allowance::Wait(until) => return Ok(SourceStep::Wait(self.or_idle(until))),
            }
        }
        let Some(batch) = self.read(rows).await? else {
            return Ok(SourceStep::Wait(Instant::now() + NOTHING_THERE));
        };
        if let Some(limiter) = &mut self.limiter {
            limiter.emitted(batch.num_rows());
        }
        Ok(SourceStep::Batch(batch))
    }

    /// What is to be said of event time first.
    fn tell_time(&mut self) -> Option<SourceStep> {
        let clock = self.clock.as_mut()?;
        let done = self.positions.iter().filter(|(_, one)| one.done);
        done.for_each(|(number, _)| clock.end(*number));
        clock.tell(Instant::now())
    }

    /// A partition may become idle earlier.
    fn or_idle(&self, until: Instant) -> Instant {
        let clock = self.clock.as_ref();
        let due = clock.and_then(|clock| clock.due(Instant::now()));
        due.map_or(until, |due| due.min(until))
    }

    /// Takes over partitions that are new.
    async fn look(&mut self) -> Result<(), TaskError> {
        let now = Instant::now();
        let found = self.watch.look(&self.cluster, &self.consumer, now).await?;
        let numbers = found.unwrap_or_default().into_iter();
        let new =
            |number: &i32| is_mine(*number, self.place) && !self.positions.contains_key(number);
        let new: Vec<i32> = numbers.filter(new).collect();
        if new.is_empty() || self.spec.bounded {
            return Ok(());
        }
        tracing::info!(topic = %self.cluster.topic, partitions = ?new, "new partitions");
        let (cluster, consumer) = (self.cluster.clone(), self.consumer.share());
        let deadline = now + cluster.within;
        let ask = move || {
            let fresh = |number: i32| {
                let found = start::fresh(&cluster, &consumer, number, deadline)?;
                Ok::<_, TaskError>((number, found))
            };
            new.into_iter().map(fresh).collect::<Result<_, _>>()
        };
        let found = blocking(&self.cluster, ask).await?;
        self.read_also(found)
    }

    /// Takes what the client has fetched, without waiting for more.
    async fn read(&mut self, rows: usize) -> Result<Option<RecordBatch>, TaskError> {
        let mut columns = Columns::new(&self.spec.columns, rows);
        let mut bytes = 0;
        let consumer = self.consumer.share();
        while columns.rows() < rows && bytes < BATCH_BYTES {
            match consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    bytes += message.payload_len();
                    let place = (message.partition(), message.offset());
                    self.take(place, message.payload(), &mut columns)?;
                }
                Some(Err(error)) => {
                    if let Some(error) = self.trouble(&error) {
                        return Err(self.explained(error).await);
                    }
                }
            }
        }
        if bytes > 0 {
            self.watch.heard(Instant::now());
        }
        if columns.rows() == 0 {
            return Ok(None);
        }
        columns.finish(&self.schema).map(Some)
    }

    /// Makes a row of a message, and moves its partition's position behind it.
    fn take(
        &mut self,
        (number, offset): (i32, i64),
        value: Option<&[u8]>,
        columns: &mut Columns,
    ) -> Result<(), TaskError> {
        let Some(position) = self.positions.get_mut(&number) else {
            return Ok(());
        };
        if !position.admits(offset) {
            return Ok(());
        }
        self.asked_again.remove(&number);
        self.doubtful.remove(&number);
        match self.parser.parse(&self.spec, value, &mut self.row) {
            Ok(()) => {
                columns.append(&self.row);
                position.rows += 1;
                if let Some(clock) = &mut self.clock {
                    clock.row(number, time_in(&self.row, clock.column()));
                }
            }
            Err(bad) if self.spec.on_error == OnError::Skip => {
                position.skipped += 1;
                self.skipped += 1;
                if let Some(clock) = &mut self.clock {
                    clock.row(number, None);
                }
                let topic = &self.cluster.topic;
                let place = format_args!("topic {topic} partition {number} offset {offset}");
                self.skips.skip(&self.vertex, place, &bad);
            }
            Err(bad) => {
                let what = format!("partition {number} offset {offset}: {bad}");
                return Err(self.cluster.error(&what));
            }
        }
        position.advance(offset);
        Ok(())
    }

    /// What an error of the client means; `None` goes on. The client tries again by itself, and the
    /// watch notices if that doesn't help.
    fn trouble(&mut self, error: &KafkaError) -> Option<Trouble> {
        let code = match error {
            KafkaError::PartitionEOF(number) => {
                self.caught_up(*number);
                self.watch.heard(Instant::now());
                return None;
            }
            KafkaError::MessageConsumption(code) => *code,
            other => return Some(Trouble::Fatal(words(other))),
        };
        match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                Some(Trouble::OutOfRange)
            }
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented => Some(Trouble::Fatal(code.to_string())),
            code => {
                tracing::debug!(topic = %self.cluster.topic, %code, "kafka");
                None
            }
        }
    }

    /// The broker has nothing further of that partition now.
    fn caught_up(&mut self, number: i32) {
        if let Some(clock) = &mut self.clock {
            clock.quiet(number, Instant::now());
        }
        let Some(position) = self.positions.get_mut(&number) else {
            return;
        };
        if position.end.is_none() || position.done {
            return;
        }
        if self.asked_again.contains(&number) {
            position.caught_up();
        } else {
            self.doubtful.insert(number);
        }
    }

    /// A new leader of a partition may know for a moment of less than its end. It is made sure that
    /// the end is there, and what comes before it is fetched once more.
    async fn ask_again(&mut self) -> Result<(), TaskError> {
        for number in std::mem::take(&mut self.doubtful) {
            let Some(position) = self.positions.get(&number).cloned() else {
                continue;
            };
            let (cluster, consumer) = (self.cluster.clone(), self.consumer.share());
            let ask = move || start::fetch_again(&cluster, &consumer, &position);
            blocking(&self.cluster, ask).await?;
            self.asked_again.insert(number);
        }
        Ok(())
    }

    async fn explained(&self, trouble: Trouble) -> TaskError {
        match trouble {
            Trouble::Fatal(words) => self.cluster.error(&format!("reading: {words}")),
            Trouble::OutOfRange => {
                let (cluster, consumer) = (self.cluster.clone(), self.consumer.share());
                let positions = self.positions.clone();
                let ask = move || Ok(start::out_of_range(&cluster, &consumer, &positions));
                blocking(&self.cluster, ask)
                    .await
                    .unwrap_or_else(|error| error)
            }
        }
    }

    /// Tells the group, for people to see. Nothing depends on whether it arrives.
    fn publish(&self, offsets: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (number, offset) in offsets {
            let offset = Offset::Offset(*offset);
            if let Err(error) = list.add_partition_offset(&self.cluster.topic, *number, offset) {
                tracing::debug!(%error, "offsets for the group");
                return;
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(topic = %self.cluster.topic, %error, "offsets for the group");
        }
    }
}

/// The time of a row.
fn time_in(row: &[Cell], column: usize) -> Option<i64> {
    match row.get(column) {
        Some(Cell::Timestamp(micros)) => Some(*micros),
        _ => None,
    }
}

/// Why reading can't go on.
enum Trouble {
    OutOfRange,
    Fatal(String),
}

impl Source for KafkaSource {
    fn next(&mut self) -> BoxFuture<'_, Result<SourceStep, TaskError>> {
        self.step().boxed()
    }

    fn snapshot(&mut self) -> Result<Vec<Bytes>, TaskError> {
        let item = |one: &PartitionPosition| {
            let clock = self.clock.as_ref();
            let timed = PartitionPosition {
                highest: clock.and_then(|clock| clock.highest(one.partition)),
                time_column: clock.map_or_else(String::new, |clock| clock.name().to_owned()),
                ..one.clone()
            };
            Bytes::from(timed.encode_to_vec())
        };
        Ok(self.positions.values().map(item).collect())
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }

    fn client_bytes(&self) -> u64 {
        start::CLIENT_BYTES
    }

    fn tells(&self) -> Tells {
        match &self.clock {
            Some(_) => Tells::Silence,
            None => Tells::Nothing,
        }
    }

    fn marked(&mut self, checkpoint: u64) {
        if self.spec.group.is_none() {
            return;
        }
        let offsets = self.positions.iter();
        let offsets = offsets.map(|(number, one)| (*number, one.offset)).collect();
        self.marks.insert(checkpoint, offsets);
        while self.marks.len() > MARKS_MAX {
            self.marks.pop_first();
        }
    }

    fn completed(&mut self, checkpoint: u64) {
        if let Some(offsets) = self.marks.remove(&checkpoint) {
            self.publish(&offsets);
            self.marks = self.marks.split_off(&checkpoint);
        }
    }
}

#[cfg(test)]
mod tests;
