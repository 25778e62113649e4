//! Both deliveries against librdkafka's mock cluster. It takes transactions and checks their order, but
//! keeps no counted offsets and hides nothing: that is shown with the processes' tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use regent_protocol::spec::MessageFormat;
use regent_protocol::v1::{Column, Transaction};

use super::*;
use crate::engine::Authority;
use crate::engine::effects::Effects;
use crate::engine::ids::AttemptId;
use crate::engine::sinks::Committed;

type Mock = MockCluster<'static, DefaultProducerContext>;

struct May(bool);
impl Authority for May {
    fn may_act(&self) -> bool {
        self.0
    }
}

fn mock() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    mock
}

fn spec(mock: &Mock, staging: Option<&std::path::Path>) -> KafkaSinkSpec {
    KafkaSinkSpec {
        brokers: mock.bootstrap_servers(),
        topic: "t".to_owned(),
        format: MessageFormat::JsonLines,
        key: None,
        delivery: match staging {
            Some(_) => Delivery::ExactlyOnce,
            None => Delivery::AtLeastOnce,
        },
        staging: staging.map(|path| path.display().to_string()),
        broker_timeout_ms: 20_000,
    }
}

async fn start(spec: &KafkaSinkSpec, may: bool) -> Result<Box<dyn Sink>, TaskError> {
    let plan = VertexPlan {
        id: "out".to_owned(),
        columns: vec![Column {
            name: "n".to_owned(),
            data_type: "int64".to_owned(),
        }],
        ..VertexPlan::default()
    };
    let start = SinkStart {
        attempt: AttemptId {
            job: "j".into(),
            run: (1, 5),
            token: (1, 7),
        },
        job_name: "j".to_owned(),
        subtask: 0,
        restored: 0,
        items: Vec::new(),
        effects: Effects::new(Arc::new(May(may))),
    };
    build(spec, &plan, start).await
}

fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap()
}

/// The values in the topic when there are so many.
fn values(mock: &Mock, count: usize) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers());
    config.set("group.id", "reader");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut values = Vec::new();
    while values.len() < count && Instant::now() < deadline {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn expected(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn end(mock: &Mock) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers());
    let consumer: BaseConsumer = config.create().unwrap();
    let found = consumer.fetch_watermarks("t", 0, Duration::from_secs(30));
    found.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_a_barrier_waits_for_acknowledgements() {
    let mock = mock();
    let mut sink = start(&spec(&mock, None), true).await.unwrap();
    sink.write(batch(0..100)).await.unwrap();
    sink.write(batch(100..200)).await.unwrap();
    sink.roll().await.unwrap();
    assert_eq!(
        end(&mock),
        200,
        "all are there when the barrier is answered"
    );
    assert_eq!(values(&mock, 200), expected(0..200));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_a_message_that_is_not_taken_fails_the_task() {
    let mock = mock();
    let mut spec = spec(&mock, None);
    spec.broker_timeout_ms = 1_000;
    let mut sink = start(&spec, true).await.unwrap();
    mock.broker_down(-1).unwrap();
    let written = sink.write(batch(0..1)).await;
    let error = match written {
        Ok(()) => sink.roll().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        error.to_string().contains("a message was not taken"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_messages_wait_for_their_checkpoint() {
    let (mock, dir) = (mock(), tempfile::tempdir().unwrap());
    let mut sink = start(&spec(&mock, Some(dir.path())), true).await.unwrap();
    sink.write(batch(0..10)).await.unwrap();
    sink.roll().await.unwrap();
    let state = sink.snapshot(1).unwrap();
    assert_eq!((state.transactions.len(), state.next_sequence), (1, 1));
    assert!(state.transactions[0].final_path.starts_with("kafka://"));
    sink.write(batch(10..20)).await.unwrap();
    sink.roll().await.unwrap();
    assert_eq!(sink.snapshot(2).unwrap().transactions.len(), 2);
    assert_eq!(end(&mock), 0);
    for _ in 0..2 {
        assert_eq!(sink.commit(1).await.unwrap(), Committed::All);
        assert_eq!(values(&mock, 10), expected(0..10));
    }
    assert_eq!(sink.pending(), 1);
    sink.commit(2).await.unwrap();
    assert_eq!(values(&mock, 20), expected(0..20));
    assert_eq!(sink.commit(9).await.unwrap(), Committed::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_goes_through_what_brokers_answer() {
    let (mock, dir) = (mock(), tempfile::tempdir().unwrap());
    let mut sink = start(&spec(&mock, Some(dir.path())), true).await.unwrap();
    sink.write(batch(0..10)).await.unwrap();
    sink.roll().await.unwrap();
    sink.snapshot(1).unwrap();
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE as UNAVAILABLE,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as FENCED,
    };
    // Tried again by the client; then the whole transaction by a client that took the id up anew.
    mock.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[UNAVAILABLE]);
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[UNAVAILABLE]);
    mock.request_errors(RDKafkaApiKey::EndTxn, &[FENCED]);
    assert_eq!(sink.commit(1).await.unwrap(), Committed::All);
    // The mock cluster doesn't hide what was aborted.
    assert_eq!(end(&mock), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_differ_are_told_before_anything_is_written() {
    let (mock, dir) = (mock(), tempfile::tempdir().unwrap());
    let cluster = Cluster {
        brokers: mock.bootstrap_servers(),
        topic: "t".to_owned(),
        within: Duration::from_secs(20),
    };
    let target = Target {
        cluster,
        id: "regent-j-1.5-out-0".to_owned(),
    };
    let staged = dir.path().join("part");
    let mut bytes = Vec::new();
    staged::append((None, Some(b"{}")), &mut bytes);
    std::fs::write(&staged, &bytes).unwrap();
    let transaction = |sequence| Transaction {
        sequence,
        staged_path: staged.display().to_string(),
        final_path: target.to_path(),
        length: bytes.len() as u64,
        crc32c: crc32c::crc32c(&bytes),
        ..Transaction::default()
    };
    let effects = Effects::new(Arc::new(May(true)));
    // The broker counts none, so the fourth can't be next.
    let fourth = transaction(3);
    let refused = effects.run(move |e| commit_all(e, &[fourth])).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("counts 0 transactions"), "{error}");
    assert!(error.contains("--to-offset 3"), "{error}");
    let (second, first) = (transaction(1), transaction(0));
    effects
        .run(move |e| commit_all(e, &[second, first]))
        .await
        .unwrap();
    assert_eq!(values(&mock, 2), ["{}", "{}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lease_nothing_is_taken_up() {
    let (mock, dir) = (mock(), tempfile::tempdir().unwrap());
    let started = start(&spec(&mock, Some(dir.path())), false).await;
    assert_eq!(started.err(), Some(TaskError::Lease));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_or_brokers_that_are_not_there_are_named_before_anything_is_written() {
    let (mock, dir) = (mock(), tempfile::tempdir().unwrap());
    for staging in [None, Some(dir.path())] {
        let mut missing = spec(&mock, staging);
        missing.topic = "missing".to_owned();
        let error = start(&missing, true).await.err().unwrap().to_string();
        let place = format!("kafka {} topic missing: ", missing.brokers);
        assert_eq!(error, format!("{place}there is no such topic; create it"));
        let mut silent = spec(&mock, staging);
        silent.brokers = "127.0.0.1:1".to_owned();
        silent.broker_timeout_ms = 1_000;
        let error = start(&silent, true).await.err().unwrap().to_string();
        assert!(error.starts_with("kafka 127.0.0.1:1 topic t: "), "{error}");
        assert!(error.contains("are these the brokers"), "{error}");
    }
}
