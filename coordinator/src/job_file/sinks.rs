//! `sink: files`, `sink: blackhole` and `sink: print`.

use regent_protocol::spec::{self, BlackholeSpec, Delivery, FilesSinkSpec, PrintSpec};
use regent_state::graph::{IfExists, SinkInfo};

use super::catalog::{Built, Context, FORMATS};
use super::error::{Place, Problems};
use super::fields;
use super::sources;

pub(super) const DELIVERIES: [(&str, Delivery); 2] = [
    ("exactly-once", Delivery::ExactlyOnce),
    ("at-least-once", Delivery::AtLeastOnce),
];

const IF_EXISTS: [(&str, (spec::IfExists, IfExists)); 3] = [
    ("refuse", (spec::IfExists::Refuse, IfExists::Refuse)),
    ("append", (spec::IfExists::Append, IfExists::Append)),
    ("replace", (spec::IfExists::Replace, IfExists::Replace)),
];

/// Rows written to files below a path.
pub(super) fn files(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let with = &context.with;
    let path_node = with.need("path", "sink files", problems);
    let path = path_node.and_then(|node| sources::path(node, context, problems));
    let format = with.need("format", "sink files", problems);
    let format = format.and_then(|node| fields::choice(node, "format", &FORMATS, problems));
    let delivery = match with.get("delivery") {
        Some(node) => fields::choice(node, "delivery", &DELIVERIES, problems),
        None => Some(Delivery::ExactlyOnce),
    };
    let if_exists = match with.get("if-exists") {
        Some(node) => fields::choice(node, "if-exists", &IF_EXISTS, problems),
        None => Some((spec::IfExists::Refuse, IfExists::Refuse)),
    };
    let (path, at, delivery) = (path?, path_node?.at, delivery?);
    let (if_exists, mode) = if_exists?;
    if path == "/" {
        return problems.none(at, || "a sink can't own the root directory".to_owned());
    }
    let exactly_once = delivery == Delivery::ExactlyOnce;
    let sink = SinkInfo {
        path: path.clone(),
        mode,
        exactly_once,
    };
    let spec = FilesSinkSpec {
        path,
        format: format?,
        delivery,
        if_exists,
    };
    Some(sink_of(
        context,
        super::config_json(&spec),
        exactly_once,
        Some(sink),
        at,
    ))
}

/// Rows counted and dropped.
pub(super) fn blackhole(context: &Context<'_>, _: &mut Problems) -> Option<Built> {
    let config_json = super::config_json(&BlackholeSpec {});
    Some(sink_of(context, config_json, true, None, Place::FILE))
}

/// Rows written to the worker's log. A task that outlives its fencing would go on printing.
pub(super) fn print(context: &Context<'_>, _: &mut Problems) -> Option<Built> {
    let config_json = super::config_json(&PrintSpec {});
    Some(sink_of(context, config_json, false, None, Place::FILE))
}

pub(super) fn sink_of(
    context: &Context<'_>,
    config_json: String,
    zombie_safe: bool,
    sink: Option<SinkInfo>,
    path_at: Place,
) -> Built {
    let columns = context
        .input
        .map(|rows| rows.columns.to_vec())
        .unwrap_or_default();
    let bounded = context.input.is_some_and(|rows| rows.bounded);
    Built {
        config_json,
        columns,
        bounded,
        zombie_safe,
        sink,
        reads: None,
        path_at,
        keyed_by: None,
        reads_time: None,
    }
}
