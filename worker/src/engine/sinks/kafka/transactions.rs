//! Committing transactions, as often as it is asked for, by whoever is asked.
//!
//! A Kafka transaction that was prepared can't be taken up again by another process, so nothing is
//! prepared at a barrier: the messages wait in a file. At the commit they are sent in one Kafka
//! transaction, together with the offset `sequence + 1` of a consumer group that nobody reads by. That
//! offset is how many transactions of the subtask are in the topic: it becomes visible with the
//! messages or not at all, and a repeated commit finds it and does nothing.
//!
//! Taking up the transactional id comes before the offset is asked for. The broker ends what the
//! former owner left open first, and takes nothing from it afterwards; so what is read then holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use regent_protocol::v1::Transaction;
use tokio::runtime::Handle;

use super::rows::Message;
use super::staged;
use super::target::Target;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::kafka::{Held, Quiet, words};

/// The pause before the first repetition; it doubles.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How long the client is left alone with a queue that is full.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
/// Kafka's own bounds for how long a transaction may be open.
const OPEN_MIN: Duration = Duration::from_secs(10);
const OPEN_MAX: Duration = Duration::from_secs(900);
/// The partition that carries the count; every topic has it.
const COUNTED_ON: i32 = 0;

/// Commits everything, in the order of each subtask. Blocking.
pub(crate) fn commit_all(effects: &Effects, transactions: &[Transaction]) -> Result<(), TaskError> {
    let mut by_target: BTreeMap<Target, Vec<&Transaction>> = BTreeMap::new();
    for transaction in transactions {
        let path = &transaction.final_path;
        let target = Target::parse(path)
            .ok_or_else(|| TaskError::task(format!("{path} is no place in a kafka topic")))?;
        by_target.entry(target).or_default().push(transaction);
    }
    for (target, mut due) in by_target {
        due.sort_by_key(|transaction| transaction.sequence);
        let mut committer = Committer::new(target);
        for transaction in due {
            committer.commit(effects, transaction)?;
        }
    }
    Ok(())
}

/// Commits the transactions of one subtask.
pub(super) struct Committer {
    target: Target,
    client: Option<Client>,
}

/// A producer that owns the transactional id, as far as it knows.
struct Client {
    producer: Held<BaseProducer<Quiet>>,
    group: Held<BaseConsumer<Quiet>>,
    /// Transactions that are in the topic.
    count: u64,
}

/// Why a try failed.
enum Failed {
    /// Trying again is of no use.
    Finally(TaskError),
    Perhaps(String),
}

impl From<TaskError> for Failed {
    fn from(error: TaskError) -> Self {
        Self::Finally(error)
    }
}

impl Committer {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            client: None,
        }
    }

    /// Takes the transactional id up, if that isn't done. Answers how many transactions are in the topic.
    pub(super) fn connect(&mut self, effects: &Effects) -> Result<u64, TaskError> {
        self.patiently(|committer, deadline| {
            let client = committer.client(effects, deadline)?;
            Ok(client.count)
        })
    }

    /// Makes sure that the transaction is in the topic, once.
    pub(super) fn commit(
        &mut self,
        effects: &Effects,
        transaction: &Transaction,
    ) -> Result<(), TaskError> {
        self.patiently(|committer, deadline| committer.try_commit(effects, transaction, deadline))
    }

    /// Tries until it works or the time is over. After a failure nothing is known, so the next try
    /// begins with a new client.
    fn patiently<T>(
        &mut self,
        mut work: impl FnMut(&mut Self, Instant) -> Result<T, Failed>,
    ) -> Result<T, TaskError> {
        let deadline = Instant::now() + self.target.cluster.within;
        let mut pause = AGAIN;
        loop {
            let cause = match work(self, deadline) {
                Ok(done) => return Ok(done),
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Perhaps(cause)) => cause,
            };
            self.client = None;
            if Instant::now() + pause >= deadline {
                let within = self.target.cluster.within;
                let what = format!("{cause}; tried for {within:?} (broker-timeout)");
                return Err(self.target.cluster.error(&what));
            }
            tracing::warn!(id = %self.target.id, cause, "a kafka transaction is tried again");
            // Committing is done on threads that may wait.
            Handle::current().block_on(tokio::time::sleep(pause));
            pause = AGAIN_MAX.min(pause * 2);
        }
    }

    fn client(&mut self, effects: &Effects, deadline: Instant) -> Result<&mut Client, Failed> {
        if self.client.is_none() {
            effects.allowed()?;
            self.client = Some(Client::connect(&self.target, deadline)?);
        }
        let client = self.client.as_mut();
        client.ok_or_else(|| Failed::Perhaps("there is no client".to_owned()))
    }

    fn try_commit(
        &mut self,
        effects: &Effects,
        transaction: &Transaction,
        deadline: Instant,
    ) -> Result<(), Failed> {
        let target = self.target.clone();
        let client = self.client(effects, deadline)?;
        match standing(client.count, transaction.sequence) {
            Standing::Committed => return Ok(()),
            Standing::Due => {}
            Standing::Lacking => {
                return Err(Failed::Finally(lacking(
                    &target,
                    client.count,
                    transaction.sequence,
                )));
            }
        }
        let bytes = staged::read(effects, transaction)?;
        effects.allowed()?;
        let begun = client.producer.begin_transaction();
        begun.map_err(|error| failed(&target, "beginning a transaction", &error))?;
        for message in staged::messages(&bytes) {
            let message = message.ok_or_else(|| {
                let path = &transaction.staged_path;
                Failed::Finally(TaskError::task(format!("{path}: a message is cut short")))
            })?;
            client.send(&target, message, deadline)?;
        }
        client.count_to(&target, transaction.sequence + 1, deadline)?;
        effects.allowed()?;
        let ended = client.producer.commit_transaction(left(deadline));
        ended.map_err(|error| failed(&target, "committing a transaction", &error))?;
        client.count = transaction.sequence + 1;
        Ok(())
    }
}

impl Client {
    fn connect(target: &Target, deadline: Instant) -> Result<Self, Failed> {
        let cluster = &target.cluster;
        let open = cluster
            .within
            .clamp(OPEN_MIN, OPEN_MAX)
            .as_millis()
            .to_string();
        let mut config = cluster.config();
        config
            .set("transactional.id", &target.id)
            .set("transaction.timeout.ms", &open)
            .set("message.timeout.ms", &open)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set(
                "queue.buffering.max.kbytes",
                super::QUEUE_KIB_MAX.to_string(),
            );
        let producer = config.create_with_context::<_, BaseProducer<Quiet>>(Quiet);
        let producer = producer.map_err(|error| failed(target, "making a producer", &error))?;
        let producer = Held::new(producer);
        let taken = producer.init_transactions(left(deadline));
        taken.map_err(|error| failed(target, "taking the transactional id up", &error))?;
        let mut config = cluster.config();
        config
            .set("group.id", &target.id)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let group = config.create_with_context::<_, BaseConsumer<Quiet>>(Quiet);
        let group = group.map_err(|error| failed(target, "making a consumer", &error))?;
        let group = Held::new(group);
        let count = counted(target, &group, deadline)?;
        Ok(Self {
            producer,
            group,
            count,
        })
    }

    fn send(
        &self,
        target: &Target,
        (key, value): Message<'_>,
        deadline: Instant,
    ) -> Result<(), Failed> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&target.cluster.topic);
        (record.key, record.payload) = (key, value);
        loop {
            let Err((error, same)) = self.producer.send(record) else {
                return Ok(());
            };
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || Instant::now() >= deadline {
                return Err(failed(target, "sending", &error));
            }
            self.producer.poll(ROOM_WITHIN);
            record = same;
        }
    }

    /// Makes the count part of the transaction.
    fn count_to(&self, target: &Target, count: u64, deadline: Instant) -> Result<(), Failed> {
        let counting = |error: &KafkaError| failed(target, "counting the transaction", error);
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(count).unwrap_or(i64::MAX));
        let topic = &target.cluster.topic;
        let added = offsets.add_partition_offset(topic, COUNTED_ON, offset);
        added.map_err(|error| counting(&error))?;
        let group = self.group.group_metadata();
        let group = group.ok_or_else(|| Failed::Perhaps("the client has no group".to_owned()))?;
        let counted = self
            .producer
            .send_offsets_to_transaction(&offsets, &group, left(deadline));
        counted.map_err(|error| counting(&error))
    }
}

/// How many transactions of the subtask are in the topic.
fn counted(target: &Target, group: &BaseConsumer<Quiet>, deadline: Instant) -> Result<u64, Failed> {
    let asking = |error: &KafkaError| failed(target, "asking for the count", error);
    let topic = &target.cluster.topic;
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, COUNTED_ON);
    let found = group.committed_offsets(asked, left(deadline));
    let found = found.map_err(|error| asking(&error))?;
    let Some(one) = found.find_partition(topic, COUNTED_ON) else {
        return Err(Failed::Perhaps(
            "the broker doesn't tell the count".to_owned(),
        ));
    };
    one.error().map_err(|error| asking(&error))?;
    match one.offset() {
        Offset::Offset(count) => Ok(count.max(0).unsigned_abs()),
        Offset::Invalid => Ok(0),
        other => Err(Failed::Perhaps(format!("the count is {other:?}"))),
    }
}

/// Where a transaction stands by the count.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Committed,
    Due,
    /// Earlier ones, which were committed, aren't counted.
    Lacking,
}

fn standing(count: u64, sequence: u64) -> Standing {
    match count.cmp(&sequence) {
        std::cmp::Ordering::Greater => Standing::Committed,
        std::cmp::Ordering::Equal => Standing::Due,
        std::cmp::Ordering::Less => Standing::Lacking,
    }
}

/// The broker counts fewer or more transactions than the state that the job was restored from.
pub(super) fn lacking(target: &Target, count: u64, known: u64) -> TaskError {
    let (id, topic) = (&target.id, &target.cluster.topic);
    target.cluster.error(&format!(
        "the broker counts {count} transactions of {id}, the job's state {known}. Fewer: the group's \
         offset was deleted or has expired; if the topic holds the output, set it: \
         kafka-consumer-groups --group {id} --topic {topic}:{COUNTED_ON} --reset-offsets \
         --to-offset {known} --execute. More: the job was restored from before its latest output; \
         submit it as a new one"
    ))
}

fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

fn failed(target: &Target, doing: &str, error: &KafkaError) -> Failed {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::InvalidTransactionTimeout
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidArgument,
        ) => Failed::Finally(target.cluster.failed(doing, error)),
        _ => Failed::Perhaps(format!("{doing}: {}", words(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_tells_where_a_transaction_stands() {
        assert_eq!(standing(0, 0), Standing::Due);
        assert_eq!(standing(1, 0), Standing::Committed);
        assert_eq!(standing(5, 4), Standing::Committed);
        assert_eq!(standing(4, 5), Standing::Lacking);
    }
}
