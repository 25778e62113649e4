//! What the source and the sink `kafka` have in common: how clients are configured, where their logs
//! go, and how their errors read. Only with the feature `kafka`.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use tokio::runtime::Handle;

use super::error::TaskError;

/// Between two tries to reach a broker, at most.
const RECONNECT_MS_MAX: u32 = 1_000;

/// A cluster, a topic in it, and the patience with both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cluster {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    /// How long brokers may fail to answer.
    pub(crate) within: Duration,
}

impl Cluster {
    /// The configuration of every client.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "regent")
            .set("reconnect.backoff.max.ms", RECONNECT_MS_MAX.to_string())
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// A failure that names the place.
    pub(crate) fn error(&self, what: &str) -> TaskError {
        TaskError::task(format!(
            "kafka {} topic {}: {what}",
            self.brokers, self.topic
        ))
    }

    /// A failure of the client.
    pub(crate) fn failed(&self, doing: &str, error: &KafkaError) -> TaskError {
        self.error(&format!("{doing}: {}", words(error)))
    }
}

/// Sends librdkafka's log lines to ours. They are details: what counts comes as an error as well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "regent::kafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "regent::kafka", %error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// For producers whose transactions tell what became of their messages.
impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// A client that is closed on a thread that may wait for it: brokers that don't answer make that take
/// its time.
pub(crate) struct Held<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Held<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(Arc::new(client)))
    }

    /// The client, to be let go of by a thread that may wait.
    pub(crate) fn share(&self) -> Arc<T> {
        self.0.clone().expect("only dropping takes the client")
    }
}

impl<T: Send + Sync + 'static> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only dropping takes the client")
    }
}

impl<T: Send + Sync + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
            Err(_) => drop(client),
        }
    }
}

/// The error's own words, without the wrapping of the layers between, and what to do if nobody answers.
pub(crate) fn words(error: &KafkaError) -> String {
    let words = match error {
        KafkaError::Transaction(error) => error.string(),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    };
    match error.rdkafka_error_code() {
        Some(code) if is_silence(code) => format!(
            "{words}; are these the brokers, and can this worker reach them? They are spoken to without \
             TLS and authentication"
        ),
        _ => words,
    }
}

/// No broker has said anything.
fn is_silence(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::MessageTimedOut
            | RDKafkaErrorCode::Resolve
    )
}

/// Work that asks brokers, on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    cluster: &Cluster,
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| cluster.error(&format!("asking brokers ended early: {error}")))?
}

/// Makes sure that the topic is there. Blocking, for as long as the cluster's patience.
pub(crate) fn look_at(cluster: &Cluster) -> Result<(), TaskError> {
    let mut config = cluster.config();
    // The client wants a group's name even if it never becomes a member of one.
    config.set("group.id", "regent");
    let consumer = config.create_with_context::<_, BaseConsumer<Quiet>>(Quiet);
    let consumer = consumer.map_err(|error| cluster.failed("making a consumer", &error))?;
    partitions(cluster, &consumer, cluster.within).map(drop)
}

/// The partitions of the topic, in order. Blocking, for as long as `within`.
pub(crate) fn partitions(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    within: Duration,
) -> Result<Vec<i32>, TaskError> {
    let metadata = consumer.fetch_metadata(Some(&cluster.topic), within);
    let metadata = metadata.map_err(|error| cluster.failed("asking for its partitions", &error))?;
    let mut topics = metadata.topics().iter();
    let found = topics.find(|topic| topic.name() == cluster.topic);
    let unknown = || cluster.error("there is no such topic; create it");
    let found = found.ok_or_else(unknown)?;
    if let Some(error) = found.error() {
        let code = RDKafkaErrorCode::from(error);
        return Err(match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => unknown(),
            code => cluster.error(&format!("asking for its partitions: {code}")),
        });
    }
    let mut numbers: Vec<i32> = found.partitions().iter().map(|one| one.id()).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(unknown());
    }
    Ok(numbers)
}
