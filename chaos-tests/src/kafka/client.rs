//! What people do with a topic: make it, write to it, read all of it.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(60);

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Makes a topic.
///
/// # Panics
/// If it can't be made.
pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("a client");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = runtime.block_on(admin.create_topics([&new], &options));
    let made = made.expect("the broker answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Writes values, each to the partition that its place in the row names, and waits until all are taken.
///
/// # Panics
/// If one isn't taken.
pub fn produce(brokers: &str, topic: &str, values: impl Iterator<Item = (i32, String)>) {
    let mut config = config(brokers);
    config.set("linger.ms", "5");
    let producer: BaseProducer = config.create().expect("a producer");
    for (partition, value) in values {
        let mut record = BaseRecord::<(), str>::to(topic)
            .payload(&value)
            .partition(partition);
        while let Err((error, same)) = producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::error::RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            producer.poll(Duration::from_millis(20));
            record = same;
        }
    }
    producer
        .flush(PATIENCE)
        .expect("the broker takes everything");
}

/// The offset behind the last message.
///
/// # Panics
/// If the broker doesn't tell.
#[must_use]
pub fn end_of(brokers: &str, topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer = config(brokers).create().expect("a consumer");
    let ends = consumer.fetch_watermarks(topic, partition, PATIENCE);
    ends.expect("the broker tells its offsets").1
}

/// Every value that is in the topic now.
///
/// # Panics
/// If that takes too long.
#[must_use]
pub fn read_all(brokers: &str, topic: &str, partitions: i32) -> Vec<String> {
    let mut config = config(brokers);
    config
        .set("group.id", "reader")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..partitions {
        let added = list.add_partition_offset(topic, partition, Offset::Beginning);
        added.expect("a partition can be chosen");
        expected += usize::try_from(end_of(brokers, topic, partition)).expect("an offset");
    }
    consumer.assign(&list).expect("partitions can be chosen");
    let deadline = Instant::now() + PATIENCE * 3;
    let mut values = Vec::with_capacity(expected);
    while values.len() < expected {
        let read = values.len();
        assert!(Instant::now() < deadline, "{read} of {expected} were read");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
            continue;
        };
        let value = message.payload().unwrap_or_default();
        values.push(String::from_utf8_lossy(value).into_owned());
    }
    values
}
