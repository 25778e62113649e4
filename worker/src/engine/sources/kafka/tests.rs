//! The source against librdkafka's mock cluster.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use regent_protocol::spec::{ColumnSpec, ColumnType, KafkaStart, MessageFormat};

use super::*;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", PARTITIONS, 1).unwrap();
    mock
}

fn write(mock: &Mock, values: std::ops::Range<i64>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers());
    let producer: BaseProducer = config.create().unwrap();
    for n in values {
        let text = format!("{{\"n\":{n}}}");
        let record = BaseRecord::<(), str>::to("t").payload(&text);
        producer.send(record.partition((n % 3) as i32)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn spec(mock: &Mock) -> KafkaSourceSpec {
    KafkaSourceSpec {
        brokers: mock.bootstrap_servers(),
        topic: "t".to_owned(),
        group: None,
        format: MessageFormat::JsonLines,
        columns: vec![ColumnSpec {
            name: "n".to_owned(),
            data_type: ColumnType::Int64,
        }],
        start: KafkaStart::Earliest,
        bounded: true,
        on_error: OnError::Fail,
        rate: None,
        discovery_interval_ms: 100,
        broker_timeout_ms: 20_000,
    }
}

async fn start(
    spec: &KafkaSourceSpec,
    place: (u32, u32),
    restored: Option<Vec<Bytes>>,
) -> Result<KafkaSource, TaskError> {
    start_timed(spec, None, place, restored).await
}

async fn start_timed(
    spec: &KafkaSourceSpec,
    time: Option<EventTime>,
    place: (u32, u32),
    restored: Option<Vec<Bytes>>,
) -> Result<KafkaSource, TaskError> {
    let start = SourceStart {
        subtask: place.0,
        parallelism: place.1,
        restored,
        listings: std::sync::Arc::default(),
        remote: None,
    };
    KafkaSource::start(spec.clone(), "numbers", time, start).await
}

/// Reads until there are `rows` or the source ends.
async fn read(source: &mut KafkaSource, rows: usize) -> Result<Vec<i64>, TaskError> {
    let deadline = Instant::now() + PATIENCE;
    let mut found: Vec<i64> = Vec::new();
    while found.len() < rows && Instant::now() < deadline {
        match source.next().await? {
            SourceStep::Batch(batch) => {
                found.extend(batch.column(0).as_primitive::<Int64Type>().values());
            }
            SourceStep::Wait(until) => tokio::time::sleep_until(until.into()).await,
            SourceStep::End => break,
            SourceStep::Watermark(_) | SourceStep::Idle => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_source_ends_where_the_topic_ended() {
    let mock = mock();
    write(&mock, 0..300);
    let spec = spec(&mock);
    let mut one = start(&spec, (0, 2), None).await.unwrap();
    let mut other = start(&spec, (1, 2), None).await.unwrap();
    write(&mock, 300..330);
    let mut found = read(&mut one, usize::MAX).await.unwrap();
    found.extend(read(&mut other, usize::MAX).await.unwrap());
    found.sort_unstable();
    assert_eq!(found, all(0..300));
}

/// Milliseconds of each partition in its order, all of one partition before the next.
fn write_times(mock: &Mock, millis: std::ops::Range<i64>, partitions: std::ops::Range<i32>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers());
    let producer: BaseProducer = config.create().unwrap();
    for partition in partitions {
        for n in millis.clone() {
            let at = format!("2013-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
            let text = format!("{{\"n\":{n},\"at\":\"{at}\"}}");
            let record = BaseRecord::<(), str>::to("t").payload(&text);
            producer.send(record.partition(partition)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

/// A source of such times, and that it is asked for them.
fn timed(mock: &Mock, idle_after: Option<Duration>) -> (KafkaSourceSpec, Option<EventTime>) {
    let mut spec = spec(mock);
    spec.columns.push(ColumnSpec {
        name: "at".to_owned(),
        data_type: ColumnType::Timestamp,
    });
    let time = EventTime {
        column: 1,
        name: "at".to_owned(),
        idle_after,
    };
    (spec, Some(time))
}

/// What a source says of its time, in order; rows must not be earlier than that.
#[derive(Default)]
struct Heard {
    rows: usize,
    late: usize,
    watermark: Option<i64>,
    idle: bool,
}

async fn listen(source: &mut KafkaSource, heard: &mut Heard, enough: impl Fn(&Heard) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !enough(heard) && Instant::now() < deadline {
        match source.next().await.unwrap() {
            SourceStep::Batch(batch) => {
                let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
                let late = |at: &&i64| heard.watermark.is_some_and(|mark| **at < mark);
                heard.late += times.values().iter().filter(late).count();
                heard.rows += batch.num_rows();
            }
            SourceStep::Watermark(micros) => {
                assert!(heard.watermark <= Some(micros), "it never falls");
                heard.watermark = Some(micros);
                heard.idle = false;
            }
            SourceStep::Idle => heard.idle = true,
            SourceStep::Wait(until) => tokio::time::sleep_until(until.into()).await,
            SourceStep::End => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_at_different_paces_make_no_row_late() {
    let mock = mock();
    write_times(&mock, 0..1_000, 0..PARTITIONS);
    let (mut spec, time) = timed(&mock, None);
    // Batches of a few rows, so that the watermark is told between them.
    spec.rate = Some(30_000.0);
    let mut source = start_timed(&spec, time.clone(), (0, 1), None)
        .await
        .unwrap();
    assert_eq!(source.tells(), Tells::Silence);
    let mut heard = Heard::default();
    listen(&mut source, &mut heard, |heard| heard.rows >= 1_700).await;
    assert_eq!(heard.late, 0);
    let state = source.snapshot().unwrap();
    let told = heard.watermark;
    let mut restored = start_timed(&spec, time, (0, 1), Some(state)).await.unwrap();
    let (before, mut heard) = (heard.rows, Heard::default());
    listen(&mut restored, &mut heard, |heard| heard.watermark.is_some()).await;
    assert!(
        told.is_none() || heard.watermark >= told,
        "time goes on where it was"
    );
    listen(&mut restored, &mut heard, |_| false).await;
    assert_eq!((heard.late, before + heard.rows), (0, 3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_rows_holds_time_back_until_it_is_idle() {
    let mock = mock();
    write_times(&mock, 0..10, 1..PARTITIONS);
    let (mut spec, time) = timed(&mock, None);
    spec.bounded = false;
    let mut patient = start_timed(&spec, time, (0, 1), None).await.unwrap();
    let mut heard = Heard::default();
    listen(&mut patient, &mut heard, |heard| heard.rows == 20).await;
    assert!(
        patient.tell_time().is_none(),
        "partition 0 may bring earlier rows"
    );
    let (mut spec, time) = timed(&mock, Some(Duration::from_millis(300)));
    spec.bounded = false;
    let mut source = start_timed(&spec, time, (0, 1), None).await.unwrap();
    let mut heard = Heard::default();
    listen(&mut source, &mut heard, |heard| heard.idle).await;
    assert_eq!((heard.rows, heard.late, heard.idle), (20, 0, true));
    assert!(heard.watermark.is_some());
    write_times(&mock, 10..11, 0..1);
    listen(&mut source, &mut heard, |heard| heard.rows == 21).await;
    listen(&mut source, &mut heard, |heard| !heard.idle).await;
    assert!(!heard.idle, "awake");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_taken_over_at_another_parallelism() {
    let mock = mock();
    write(&mock, 0..30);
    let mut spec = spec(&mock);
    spec.bounded = false;
    let mut first = start(&spec, (0, 1), None).await.unwrap();
    assert_eq!(read(&mut first, 30).await.unwrap(), all(0..30));
    let state = first.snapshot().unwrap();
    assert_eq!(state.len(), 3);
    write(&mock, 30..60);
    let mut found = Vec::new();
    for subtask in 0..2 {
        let mut source = start(&spec, (subtask, 2), Some(state.clone()))
            .await
            .unwrap();
        let mine = if subtask == 0 { 20 } else { 10 };
        found.extend(read(&mut source, mine).await.unwrap());
    }
    found.sort_unstable();
    assert_eq!(found, all(30..60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_the_state_does_not_know_is_read_from_its_beginning() {
    let mock = mock();
    write(&mock, 0..30);
    let mut spec = spec(&mock);
    (spec.bounded, spec.start) = (false, KafkaStart::Latest);
    let mut source = start(&spec, (0, 1), None).await.unwrap();
    let mut state = source.snapshot().unwrap();
    // As if the topic had had two partitions when the source started.
    state.pop();
    let mut restored = start(&spec, (0, 1), Some(state)).await.unwrap();
    let new: Vec<i64> = (0..30).filter(|n| n % 3 == 2).collect();
    assert_eq!(read(&mut restored, 10).await.unwrap(), new);
    // The same while it runs.
    let gone = source.positions.remove(&1).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 1);
    source.consumer.incremental_unassign(&list).unwrap();
    assert_eq!(gone.offset, 10, "latest");
    let new: Vec<i64> = (0..30).filter(|n| n % 3 == 1).collect();
    assert_eq!(read(&mut source, 10).await.unwrap(), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_may_be_named_and_must_be_there() {
    let mock = mock();
    write(&mock, 0..30);
    let mut spec = spec(&mock);
    spec.start = KafkaStart::Offsets([(0, 9), (1, 10)].into());
    let mut source = start(&spec, (0, 1), None).await.unwrap();
    let mut expected: Vec<i64> = (0..30).filter(|n| n % 3 == 2).collect();
    expected.insert(9, 27);
    expected.sort_unstable();
    assert_eq!(read(&mut source, usize::MAX).await.unwrap(), expected);
    spec.start = KafkaStart::Offsets([(0, 11)].into());
    let error = start(&spec, (0, 1), None).await.err().unwrap().to_string();
    assert!(
        error.contains("offset 11 of partition 0, which has 0 to 10"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named() {
    let mock = mock();
    write(&mock, 0..3);
    let mut wrong = spec(&mock);
    wrong.columns[0].data_type = ColumnType::Boolean;
    let mut source = start(&wrong, (0, 3), None).await.unwrap();
    let error = read(&mut source, 1).await.unwrap_err().to_string();
    assert!(
        error.contains("topic t: partition 0 offset 0: column n"),
        "{error}"
    );
    wrong.on_error = OnError::Skip;
    let mut source = start(&wrong, (0, 1), None).await.unwrap();
    assert_eq!(read(&mut source, 1).await.unwrap(), all(0..0));
    assert_eq!(source.skipped(), 3);
    let state = source.snapshot().unwrap();
    let restored = start(&wrong, (0, 2), Some(state)).await.unwrap();
    assert_eq!(restored.skipped(), 2, "of partitions 0 and 2");
    let mut gone = spec(&mock);
    gone.bounded = false;
    let ahead = PartitionPosition::new("t", 0, 17, None);
    let state = vec![Bytes::from(ahead.encode_to_vec())];
    let mut source = start(&gone, (0, 3), Some(state)).await.unwrap();
    let error = read(&mut source, 1).await.unwrap_err().to_string();
    assert!(
        error.contains("offset 17 of partition 0 is not there, only 0 to 1"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_gone_are_waited_for_and_given_up() {
    let mock = mock();
    write(&mock, 0..3);
    let mut spec = spec(&mock);
    (spec.bounded, spec.broker_timeout_ms) = (false, 2_000);
    let mut source = start(&spec, (0, 1), None).await.unwrap();
    assert_eq!(read(&mut source, 3).await.unwrap(), all(0..3));
    mock.broker_down(-1).unwrap();
    let error = read(&mut source, 1).await.unwrap_err().to_string();
    assert!(error.contains("broker-timeout"), "{error}");
    let error = start(&spec, (0, 1), None).await.err().unwrap().to_string();
    assert!(error.contains("asking for its partitions"), "{error}");
    assert!(error.contains("are these the brokers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_named() {
    let mock = mock();
    let mut spec = spec(&mock);
    spec.topic = "missing".to_owned();
    let error = start(&spec, (0, 1), None).await.err().unwrap().to_string();
    let place = format!("kafka {} topic missing: ", spec.brokers);
    assert_eq!(error, format!("{place}there is no such topic; create it"));
}
