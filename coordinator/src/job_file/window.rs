//! `window` of an aggregate: tumbling windows of event time.

use regent_protocol::spec::WindowSpec;
use regent_state::graph::{Column, DataType};

use super::columns::{self, type_name};
use super::error::{Place, Problems, quoted};
use super::event_time::ReadsTime;
use super::fields::{self, Fields};
use super::tree::Node;

pub(super) const KEYS: [&str; 4] = ["tumbling", "time", "lateness", "idle-timeout"];
/// What a window adds to the output, in this order.
const ADDED: [&str; 2] = ["window_start", "window_end"];

/// A window as written.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) spec: WindowSpec,
    pub(super) reads: ReadsTime,
}

/// Reads the section.
pub(super) fn read(node: &Node, columns: &[Column], problems: &mut Problems) -> Option<Window> {
    let map = Fields::open(node, "window", &KEYS, problems)?;
    let tumbling = map.need("tumbling", "window", problems);
    let tumbling = tumbling.and_then(|node| fields::duration_ms(node, "tumbling", 1, problems));
    let time_node = map.need("time", "window", problems);
    let time = time_node.and_then(|node| time(node, columns, problems));
    let lateness = match map.get("lateness") {
        Some(node) => fields::duration_ms(node, "lateness", 0, problems),
        None => Some(0),
    };
    let idle = match map.get("idle-timeout") {
        Some(node) => fields::duration_ms(node, "idle-timeout", 1, problems).map(Some),
        None => Some(None),
    };
    let (time, at) = (time?, time_node?.at);
    Some(Window {
        spec: WindowSpec {
            tumbling_ms: tumbling?,
            time: time.clone(),
            lateness_ms: lateness?,
        },
        reads: ReadsTime {
            column: time,
            at,
            idle_timeout_ms: idle?,
        },
    })
}

fn time(node: &Node, columns: &[Column], problems: &mut Problems) -> Option<String> {
    let name = fields::text(node, "time", problems)?;
    let column = columns::find(name, node.at, columns, problems)?;
    if column.data_type == DataType::Timestamp {
        return Some(column.name.clone());
    }
    problems.none(node.at, || {
        let found = type_name(column.data_type);
        format!(
            "time must be a timestamp column; {} is {found}",
            quoted(name)
        )
    })
}

/// The columns that a window adds behind the others.
pub(super) fn added(at: Place, others: &[Column], problems: &mut Problems) -> Option<Vec<Column>> {
    for name in ADDED {
        if others.iter().any(|column| column.name == name) {
            return problems.none(at, || {
                format!(
                    "a window adds the column {}; give the other one another name",
                    quoted(name)
                )
            });
        }
    }
    let column = |name: &str| Column {
        name: name.to_owned(),
        data_type: DataType::Timestamp,
    };
    Some(ADDED.map(column).into())
}
