//! `delivery: at-least-once`: messages are sent as they come; a barrier waits until the brokers have
//! acknowledged all before it. After a restart those since the last checkpoint are sent again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::rows::RowWriter;
use super::staged;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::kafka::{Cluster, Held, Quiet};
use crate::engine::sinks::{Committed, Sink, SinkState};

/// How long the client is left alone with a queue that is full.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
/// Beside what a message may take: its report has to arrive as well.
const FLUSH_MORE: Duration = Duration::from_secs(5);

/// Remembers the first message that no broker took.
#[derive(Debug, Clone, Default)]
struct Reports(Arc<Mutex<Option<KafkaError>>>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.clone());
        }
    }
}

/// One subtask.
pub(crate) struct AtLeastOnce {
    cluster: Cluster,
    producer: Held<BaseProducer<Reports>>,
    reports: Reports,
    writer: RowWriter,
    effects: Effects,
}

impl AtLeastOnce {
    pub(super) fn new(
        cluster: Cluster,
        writer: RowWriter,
        effects: Effects,
    ) -> Result<Self, TaskError> {
        let reports = Reports::default();
        let mut config = cluster.config();
        config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", cluster.within.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set(
                "queue.buffering.max.kbytes",
                super::QUEUE_KIB_MAX.to_string(),
            );
        let producer = config.create_with_context(reports.clone());
        let producer = producer.map_err(|error| cluster.failed("making a producer", &error))?;
        Ok(Self {
            cluster,
            producer: Held::new(producer),
            reports,
            writer,
            effects,
        })
    }

    async fn send(&mut self, batch: RecordBatch) -> Result<(), TaskError> {
        let mut messages = Vec::new();
        self.writer.rows(&batch, |message| {
            staged::append(message, &mut messages);
            Ok(())
        })?;
        let (cluster, producer) = (self.cluster.clone(), self.producer.share());
        let reports = self.reports.clone();
        let work = move |effects: &Effects| {
            effects.allowed()?;
            send_all(&cluster, &producer, &reports, &messages)
        };
        self.effects.run(work).await
    }

    /// Waits until everything sent is acknowledged.
    async fn flush(&mut self) -> Result<(), TaskError> {
        let (cluster, producer) = (self.cluster.clone(), self.producer.share());
        let reports = self.reports.clone();
        let work = move |effects: &Effects| {
            effects.allowed()?;
            let flushed = producer.flush(cluster.within + FLUSH_MORE);
            check(&cluster, &reports)?;
            flushed.map_err(|error| cluster.failed("waiting for acknowledgements", &error))
        };
        self.effects.run(work).await
    }
}

fn send_all(
    cluster: &Cluster,
    producer: &BaseProducer<Reports>,
    reports: &Reports,
    messages: &[u8],
) -> Result<(), TaskError> {
    let deadline = Instant::now() + cluster.within + FLUSH_MORE;
    for message in staged::messages(messages) {
        let (key, value) = message.ok_or_else(|| cluster.error("a message is cut short"))?;
        let mut record = BaseRecord::<[u8], [u8]>::to(&cluster.topic);
        (record.key, record.payload) = (key, value);
        while let Err((error, same)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || Instant::now() >= deadline {
                return Err(cluster.failed("sending", &error));
            }
            producer.poll(ROOM_WITHIN);
            check(cluster, reports)?;
            record = same;
        }
    }
    producer.poll(Duration::ZERO);
    check(cluster, reports)
}

/// A message that wasn't taken is lost to this attempt: the next one sends it again.
fn check(cluster: &Cluster, reports: &Reports) -> Result<(), TaskError> {
    let first = reports.0.lock().unwrap_or_else(PoisonError::into_inner);
    match &*first {
        None => Ok(()),
        Some(error) => Err(cluster.failed("a message was not taken", error)),
    }
}

impl Sink for AtLeastOnce {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        self.send(batch).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.flush().boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.flush().boxed()
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<SinkState, TaskError> {
        Ok(SinkState::default())
    }

    fn commit(&mut self, _checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        std::future::ready(Ok(Committed::All)).boxed()
    }

    fn abort(&mut self, _checkpoint: u64) {}

    fn client_bytes(&self) -> u64 {
        super::QUEUE_BYTES_MAX
    }

    fn pending(&self) -> u32 {
        0
    }
}
