//! What people do with a topic: make it, read all of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
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
