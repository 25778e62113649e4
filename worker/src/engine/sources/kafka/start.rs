//! The beginning: which partitions a subtask reads, from where, and up to where. Blocking.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use regent_protocol::spec::{KafkaSourceSpec, KafkaStart};

use super::position::{PartitionPosition, from_items, is_mine};
use crate::engine::error::TaskError;
use crate::engine::kafka::{Cluster, Quiet, partitions};

/// Memory of messages that were fetched and aren't rows yet, for each subtask.
const FETCHED_KIB_MAX: u32 = 16 * 1024;
/// What a broker may answer at once: a part of that memory, and no long work for it. Kafka's default is
/// more than all of it.
const ANSWER_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What the client may take: the answer that fills its queue counts as well.
pub(super) const CLIENT_BYTES: u64 = FETCHED_KIB_MAX as u64 * 1024 + ANSWER_BYTES_MAX as u64;

/// A consumer that reads what it is told to, and remembers nothing at the broker by itself.
pub(super) fn consumer(
    cluster: &Cluster,
    spec: &KafkaSourceSpec,
    vertex: &str,
) -> Result<BaseConsumer<Quiet>, TaskError> {
    // The client wants a group's name even if it never becomes a member of one.
    let group = spec.group.clone();
    let group = group.unwrap_or_else(|| format!("regent-{vertex}"));
    let mut config = cluster.config();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string())
        .set("fetch.max.bytes", ANSWER_BYTES_MAX.to_string())
        .set("fetch.queue.backoff.ms", "10")
        // Backpressure may keep the task from asking for a long time, and that is nobody's business.
        .set("max.poll.interval.ms", "86400000");
    let made = config.create_with_context(Quiet);
    made.map_err(|error| cluster.failed("making a consumer", &error))
}

/// What the subtask reads, from the state or from the beginning.
pub(super) fn positions(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    spec: &KafkaSourceSpec,
    restored: Option<&[Bytes]>,
    place: (u32, u32),
) -> Result<BTreeMap<i32, PartitionPosition>, TaskError> {
    let deadline = Instant::now() + cluster.within;
    let known = restored.map(|items| from_items(items, &spec.topic));
    let known = known.transpose()?;
    if let Some(known) = &known
        && spec.bounded
        && known.values().any(|one| one.end.is_none())
    {
        return Err(TaskError::Restore(
            "the state is of a source that isn't bounded; give this one another id".to_owned(),
        ));
    }
    let there = partitions(cluster, consumer, cluster.within)?;
    let mine = there.into_iter().filter(|number| is_mine(*number, place));
    let Some(mut known) = known else {
        let looked = mine.map(|number| {
            let found = first(cluster, consumer, spec, number, deadline)?;
            Ok((number, found))
        });
        return looked.collect();
    };
    known.retain(|number, _| is_mine(*number, place));
    // A bounded source is what it was at its first start; others read what is new from the beginning.
    let new = mine.filter(|number| !spec.bounded && !known.contains_key(number));
    for number in new.collect::<Vec<_>>() {
        let found = fresh(cluster, consumer, number, deadline)?;
        known.insert(number, found);
    }
    if !spec.bounded {
        for position in known.values_mut() {
            (position.end, position.done) = (None, false);
        }
    }
    Ok(known)
}

/// A partition that is found while the source runs, from its oldest message on.
pub(super) fn fresh(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    number: i32,
    deadline: Instant,
) -> Result<PartitionPosition, TaskError> {
    let (low, _) = watermarks(cluster, consumer, number, deadline)?;
    Ok(PartitionPosition::new(&cluster.topic, number, low, None))
}

fn first(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    spec: &KafkaSourceSpec,
    number: i32,
    deadline: Instant,
) -> Result<PartitionPosition, TaskError> {
    let (low, high) = watermarks(cluster, consumer, number, deadline)?;
    let offset = match &spec.start {
        KafkaStart::Earliest => low,
        KafkaStart::Latest => high,
        KafkaStart::Offsets(offsets) => offsets.get(&number).copied().unwrap_or(low),
    };
    if !(low..=high).contains(&offset) {
        return Err(cluster.error(&format!(
            "start names offset {offset} of partition {number}, which has {low} to {high}"
        )));
    }
    let end = spec.bounded.then_some(high);
    Ok(PartitionPosition::new(&cluster.topic, number, offset, end))
}

/// The oldest offset, and the one behind the last message that is committed.
fn watermarks(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    number: i32,
    deadline: Instant,
) -> Result<(i64, i64), TaskError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    let found = consumer.fetch_watermarks(&cluster.topic, number, left);
    found.map_err(|error| {
        let doing = format!("asking for the offsets of partition {number}");
        cluster.failed(&doing, &error)
    })
}

/// Makes sure that the end of a bounded partition is there, and fetches from its position again.
pub(super) fn fetch_again(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    position: &PartitionPosition,
) -> Result<(), TaskError> {
    let number = position.partition;
    let deadline = Instant::now() + cluster.within;
    let (_, high) = watermarks(cluster, consumer, number, deadline)?;
    let end = position.end.unwrap_or(high);
    if high < end {
        return Err(cluster.error(&format!(
            "partition {number} ended at offset {end} when the source started, and ends at {high} now"
        )));
    }
    let offset = Offset::Offset(position.offset);
    let sought = consumer.seek(&cluster.topic, number, offset, cluster.within);
    sought.map_err(|error| cluster.failed("reading again", &error))
}

/// Which position is no longer there, when a broker has refused one.
pub(super) fn out_of_range(
    cluster: &Cluster,
    consumer: &BaseConsumer<Quiet>,
    positions: &BTreeMap<i32, PartitionPosition>,
) -> TaskError {
    let deadline = Instant::now() + cluster.within;
    for (number, position) in positions {
        let Ok((low, high)) = watermarks(cluster, consumer, *number, deadline) else {
            continue;
        };
        if !(low..=high).contains(&position.offset) {
            let wanted = position.offset;
            return cluster.error(&format!(
                "offset {wanted} of partition {number} is not there, only {low} to {high}: messages \
                 were deleted before they were read, or the topic was made anew; submit the job \
                 again to read what is there"
            ));
        }
    }
    cluster.error("a broker has refused an offset that seems to be there")
}
