//! The keys of Kafka's source and sink.

use super::{Key, key};

pub(super) const SOURCE: &[Key] = &[
    key(
        "brokers",
        "`host:port,host:port`",
        "required",
        "some of the cluster's brokers; without TLS and authentication for now",
    ),
    key(
        "topic",
        "name of a topic that is there",
        "required",
        "what is read",
    ),
    key(
        "format",
        "`json-lines`, `csv`, `raw`",
        "required",
        "a message is one JSON object, one CSV record of exactly the `columns` without a header, or text for a single `utf8` column",
    ),
    key("columns", "map, name: type", "required", "as for `files`"),
    key(
        "start",
        "`earliest`, `latest`, or offsets by partition such as `{ 0: 17, 1: 5 }`",
        "`earliest`",
        "where the job's first attempt begins; partitions that aren't named begin with their oldest message",
    ),
    key(
        "bounded",
        "`true`, `false`",
        "`false`",
        "the source ends at the offsets that it found when it started first",
    ),
    key(
        "on-error",
        "`fail`, `skip`",
        "`fail`",
        "a message that doesn't parse fails the job, naming partition and offset, or is skipped and counted",
    ),
    key(
        "rate",
        "number above 0",
        "unlimited",
        "rows per second of the whole vertex",
    ),
    key(
        "discovery-interval",
        "duration, at least `10ms`",
        "`30s`",
        "how often new partitions are looked for; a bounded source takes none",
    ),
    key(
        "group",
        "name of a consumer group",
        "none",
        "its offsets follow the completed checkpoints, for people and tools to see",
    ),
    key(
        "broker-timeout",
        "duration, at least `1s`",
        "`1m`",
        "how long no broker may answer before the task fails",
    ),
];

pub(super) const SINK: &[Key] = &[
    key(
        "brokers",
        "`host:port,host:port`",
        "required",
        "as for the source",
    ),
    key(
        "topic",
        "name of a topic that is there",
        "required",
        "what is written",
    ),
    key(
        "format",
        "`json-lines`, `csv`, `raw`",
        "required",
        "as for the source; `raw` takes the text of the one column beside the `key`",
    ),
    key(
        "key",
        "column",
        "none",
        "its text is the message's key, and chooses the partition as Kafka's Java clients do; null: no key",
    ),
    key(
        "delivery",
        "`exactly-once`, `at-least-once`",
        "`exactly-once`",
        "see below",
    ),
    key(
        "staging",
        "path",
        "required with `exactly-once`, else not allowed",
        "a directory that every worker sees, for messages that wait for their checkpoint; this sink's own",
    ),
    key(
        "broker-timeout",
        "duration, at least `1s`",
        "`1m`",
        "how long no broker may answer before the task fails",
    ),
];
