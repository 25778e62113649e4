//! What people do with a topic: make it, write to it, read all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
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

/// Writes values, each to its partition and in order there, and waits until all are taken.
///
/// # Panics
/// If one isn't taken.
pub fn produce(brokers: &str, topic: &str, values: impl Iterator<Item = (i32, String)>) {
    let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (partition, value) in values {
        by_partition.entry(partition).or_default().push(value);
    }
    std::thread::scope(|scope| {
        for (partition, values) in &by_partition {
            scope.spawn(|| produce_to(brokers, topic, *partition, values));
        }
    });
}

fn produce_to(brokers: &str, topic: &str, partition: i32, values: &[String]) {
    let mut config = config(brokers);
    // Each message a batch: asked for an offset within one, tansu skips to the next.
    config.set("batch.num.messages", "1").set("linger.ms", "0");
    let producer: BaseProducer = config.create().expect("a producer");
    for value in values {
        let record = BaseRecord::<(), str>::to(topic).payload(value.as_str());
        let mut record = record.partition(partition);
        while let Err((error, same)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "{error}");
            producer.poll(Duration::from_millis(20));
            record = same;
        }
    }
    let flushed = producer.flush(PATIENCE * 5);
    flushed.expect("the broker takes everything");
}

/// Every value that is in the topic now: each partition up to where its fetches say that it ends. (tansu's
/// answer to `ListOffsets` is its last batch's offset, so the latest offset can't be asked for.)
///
/// # Panics
/// If that takes too long.
#[must_use]
pub fn read_all(brokers: &str, topic: &str, partitions: i32) -> Vec<String> {
    let mut config = config(brokers);
    config
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let added = list.add_partition_offset(topic, partition, Offset::Beginning);
        added.expect("a partition can be chosen");
    }
    consumer.assign(&list).expect("partitions can be chosen");
    let deadline = Instant::now() + PATIENCE * 3;
    let (mut values, mut ended) = (Vec::new(), BTreeSet::new());
    while ended.len() < list.count() {
        let read = values.len();
        assert!(
            Instant::now() < deadline,
            "{read} were read, {ended:?} have ended"
        );
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let value = message.payload().unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => println!("reading {topic}: {error}"),
            None => {}
        }
    }
    values
}
