//! `source: kafka` and `sink: kafka`. Whether the topic is there is found out by running.

use std::collections::BTreeMap;

use regent_protocol::spec::{
    Delivery, KafkaSinkSpec, KafkaSourceSpec, KafkaStart, MessageFormat, OnError,
};
use regent_state::graph::{Column, DataType, IfExists, SinkInfo};

use super::catalog::{Built, Context};
use super::columns;
use super::error::{Place, Problems, quoted};
use super::fields::{self, Fields};
use super::sinks::{self, DELIVERIES};
use super::sources::{self, ON_ERROR};
use super::tree::{Node, Value};

const FORMATS: [(&str, MessageFormat); 3] = [
    ("json-lines", MessageFormat::JsonLines),
    ("csv", MessageFormat::Csv),
    ("raw", MessageFormat::Raw),
];
const STARTS: [(&str, bool); 2] = [("earliest", true), ("latest", false)];

/// Kafka's own limit.
const TOPIC_BYTES_MAX: usize = 249;
/// A list of brokers longer than this is a mistake.
const BROKERS_BYTES_MAX: usize = 4096;
const DISCOVERY_INTERVAL_MS: u64 = 30_000;
const BROKER_TIMEOUT_MS: u64 = 60_000;
/// Brokers are asked again within this time; less would give up on every hiccup.
const BROKER_TIMEOUT_MS_MIN: u64 = 1_000;

/// Rows of a topic's messages.
pub(super) fn source(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let with = &context.with;
    let what = "source kafka";
    let (brokers, topic) = (brokers(with, what, problems), topic(with, what, problems));
    let format = format(with, what, problems);
    let on_error = match with.get("on-error") {
        Some(node) => fields::choice(node, "on-error", &ON_ERROR, problems),
        None => Some(OnError::Fail),
    };
    let group = group(with, problems);
    let start = start(with, problems);
    let bounded = match with.get("bounded") {
        Some(node) => fields::boolean(node, "bounded", problems),
        None => Some(false),
    };
    let rate = sources::rate(context, problems);
    let discovery = duration(
        with,
        "discovery-interval",
        (DISCOVERY_INTERVAL_MS, 10),
        problems,
    );
    let timeout = timeout(with, problems);
    let columns_node = with.need("columns", what, problems);
    let columns = columns_node.and_then(|node| sources::columns(node, problems))?;
    let (format, bounded) = (format?, bounded?);
    if format == MessageFormat::Raw {
        one_text(
            &columns.iter().collect::<Vec<_>>(),
            columns_node?.at,
            problems,
        )?;
    }
    let spec = KafkaSourceSpec {
        brokers: brokers?,
        topic: topic?,
        group: group?,
        format,
        columns: columns.iter().map(sources::column_spec).collect(),
        start: start?,
        bounded,
        on_error: on_error?,
        rate: rate?,
        discovery_interval_ms: discovery?,
        broker_timeout_ms: timeout?,
    };
    Some(sources::source(&spec, columns, bounded, None))
}

/// Rows written to a topic.
pub(super) fn sink(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let with = &context.with;
    let what = "sink kafka";
    let (brokers, topic) = (brokers(with, what, problems), topic(with, what, problems));
    let format = format(with, what, problems);
    let delivery = match with.get("delivery") {
        Some(node) => fields::choice(node, "delivery", &DELIVERIES, problems),
        None => Some(Delivery::ExactlyOnce),
    };
    let input = context.input.map_or(&[][..], |rows| rows.columns);
    let key = key(with, input, problems);
    let timeout = timeout(with, problems);
    let (format, delivery, key) = (format?, delivery?, key?);
    if format == MessageFormat::Raw {
        let values = input.iter().filter(|one| Some(&one.name) != key.as_ref());
        one_text(&values.collect::<Vec<_>>(), with.at, problems)?;
    }
    let (staging, at) = staging(context, delivery, problems)?;
    // The machine claims the directory, declares what is staged in it, and has it cleaned.
    let sink = staging.clone().map(|path| SinkInfo {
        path,
        mode: IfExists::Append,
        exactly_once: true,
    });
    let spec = KafkaSinkSpec {
        brokers: brokers?,
        topic: topic?,
        format,
        key,
        delivery,
        staging,
        broker_timeout_ms: timeout?,
    };
    let zombie_safe = delivery == Delivery::ExactlyOnce;
    let config_json = super::config_json(&spec);
    Some(sinks::sink_of(context, config_json, zombie_safe, sink, at))
}

/// The directory of messages that wait, which exactly-once needs and nothing else has a use for.
fn staging(
    context: &Context<'_>,
    delivery: Delivery,
    problems: &mut Problems,
) -> Option<(Option<String>, Place)> {
    let node = context.with.get("staging");
    match (delivery, node) {
        (Delivery::AtLeastOnce, None) => Some((None, Place::FILE)),
        (Delivery::AtLeastOnce, Some(node)) => problems.none(node.at, || {
            "staging is for `delivery: exactly-once`; leave it out".to_owned()
        }),
        (Delivery::ExactlyOnce, None) => {
            context.with.missing(problems, || {
                "sink kafka needs the key `staging`, a directory that every worker sees, or \
                 `delivery: at-least-once`"
                    .to_owned()
            });
            None
        }
        (Delivery::ExactlyOnce, Some(node)) => {
            let path = sources::named_path(node, "staging", context, problems)?;
            if path == "/" {
                return problems.none(node.at, || "a sink can't own the root directory".to_owned());
            }
            Some((Some(path), node.at))
        }
    }
}

fn brokers(with: &Fields<'_>, what: &str, problems: &mut Problems) -> Option<String> {
    let node = with.need("brokers", what, problems)?;
    let text = fields::text(node, "brokers", problems)?;
    let good = text.len() <= BROKERS_BYTES_MAX && text.split(',').all(is_broker);
    if good {
        return Some(text.to_owned());
    }
    problems.none(node.at, || {
        format!(
            "brokers must be host:port,host:port, found {}",
            quoted(text)
        )
    })
}

fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn topic(with: &Fields<'_>, what: &str, problems: &mut Problems) -> Option<String> {
    let node = with.need("topic", what, problems)?;
    let text = fields::text(node, "topic", problems)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = (1..=TOPIC_BYTES_MAX).contains(&text.len())
        && text.chars().all(plain)
        && !matches!(text, "." | "..");
    if good {
        return Some(text.to_owned());
    }
    problems.none(node.at, || {
        format!(
            "topic must be 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`, found {}",
            quoted(text)
        )
    })
}

fn format(with: &Fields<'_>, what: &str, problems: &mut Problems) -> Option<MessageFormat> {
    let node = with.need("format", what, problems)?;
    fields::choice(node, "format", &FORMATS, problems)
}

/// `Some(None)`: there is none.
fn group(with: &Fields<'_>, problems: &mut Problems) -> Option<Option<String>> {
    let Some(node) = with.get("group") else {
        return Some(None);
    };
    let text = fields::text(node, "group", problems)?;
    if (1..=TOPIC_BYTES_MAX).contains(&text.len()) && !text.contains('\0') {
        return Some(Some(text.to_owned()));
    }
    problems.none(node.at, || {
        format!("group must have 1 to {TOPIC_BYTES_MAX} bytes")
    })
}

fn start(with: &Fields<'_>, problems: &mut Problems) -> Option<KafkaStart> {
    let Some(node) = with.get("start") else {
        return Some(KafkaStart::Earliest);
    };
    match &node.value {
        Value::Map(_) => offsets(node, problems).map(KafkaStart::Offsets),
        _ => {
            let earliest = fields::choice(node, "start", &STARTS, problems)?;
            Some(match earliest {
                true => KafkaStart::Earliest,
                false => KafkaStart::Latest,
            })
        }
    }
}

/// `{ 0: 17, 3: 5 }`: offsets by partition.
fn offsets(node: &Node, problems: &mut Problems) -> Option<BTreeMap<i32, i64>> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let mut offsets = BTreeMap::new();
    for entry in entries {
        let partition = entry.key.parse::<i32>().ok().filter(|number| *number >= 0);
        let Some(partition) = partition else {
            return problems.none(entry.key_at, || {
                let found = quoted(&entry.key);
                format!("start must be earliest, latest or offsets by partition, found {found}")
            });
        };
        let offset = fields::integer(&entry.node, "an offset", (0, i64::MAX), problems)?;
        offsets.insert(partition, offset);
    }
    Some(offsets)
}

/// `Some(None)`: messages have no key.
fn key(with: &Fields<'_>, input: &[Column], problems: &mut Problems) -> Option<Option<String>> {
    let Some(node) = with.get("key") else {
        return Some(None);
    };
    let name = fields::text(node, "key", problems)?;
    let column = columns::find(name, node.at, input, problems)?;
    Some(Some(column.name.clone()))
}

/// What `raw` can hold.
fn one_text(columns: &[&Column], at: Place, problems: &mut Problems) -> Option<()> {
    match columns {
        [one] if one.data_type == DataType::Utf8 => Some(()),
        _ => problems.none(at, || {
            "`format: raw` needs exactly one column beside the key, of type utf8".to_owned()
        }),
    }
}

fn timeout(with: &Fields<'_>, problems: &mut Problems) -> Option<u64> {
    let bounds = (BROKER_TIMEOUT_MS, BROKER_TIMEOUT_MS_MIN);
    duration(with, "broker-timeout", bounds, problems)
}

fn duration(
    with: &Fields<'_>,
    key: &str,
    (default, low): (u64, u64),
    problems: &mut Problems,
) -> Option<u64> {
    match with.get(key) {
        Some(node) => fields::duration_ms(node, key, low, problems),
        None => Some(default),
    }
}
