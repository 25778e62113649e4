//! `source: sequence` and `source: files`.

use regent_protocol::spec::{ColumnSpec, FilesSourceSpec, OnError, SequenceSpec};
use regent_state::graph::{Column, DataType};

use super::catalog::{Built, Context, FORMATS};
use super::columns::{self, TYPES};
use super::error::{Place, Problems};
use super::fields;
use super::paths;
use super::suggest;
use super::tree::{Node, Value};

/// Wider rows than this are more likely a mistake than a table.
const COLUMNS_MAX: usize = 1_000;
pub(super) const ON_ERROR: [(&str, OnError); 2] =
    [("fail", OnError::Fail), ("skip", OnError::Skip)];

/// Rows `{value, at}`, with `keys` also `key`.
pub(super) fn sequence(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let with = &context.with;
    let any = (i64::MIN, i64::MAX);
    let start = match with.get("start") {
        Some(node) => fields::integer(node, "start", any, problems)?,
        None => 0,
    };
    let end = match with.get("end") {
        Some(node) => Some(fields::integer(node, "end", (start, i64::MAX), problems)?),
        None => None,
    };
    let keys = match with.get("keys") {
        Some(node) => Some(fields::integer(node, "keys", (1, i64::MAX), problems)?),
        None => None,
    };
    let rate = rate(context, problems)?;
    let mut columns = vec![
        column("value", DataType::Int64),
        column("at", DataType::Timestamp),
    ];
    columns.extend(keys.map(|_| column("key", DataType::Int64)));
    let bounded = end.is_some();
    Some(source(
        &SequenceSpec {
            start,
            end,
            rate,
            keys,
        },
        columns,
        bounded,
        None,
    ))
}

/// Rows of text files.
pub(super) fn files(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let with = &context.with;
    let path_node = with.need("path", "source files", problems);
    let path = path_node.and_then(|node| path(node, context, problems));
    let format = with.need("format", "source files", problems);
    let format = format.and_then(|node| fields::choice(node, "format", &FORMATS, problems));
    let on_error = match with.get("on-error") {
        Some(node) => fields::choice(node, "on-error", &ON_ERROR, problems),
        None => Some(OnError::Fail),
    };
    let rate = rate(context, problems);
    let discovery = match with.get("discovery-interval") {
        Some(node) => fields::duration_ms(node, "discovery-interval", 10, problems).map(Some),
        None => Some(None),
    };
    let columns = with.need("columns", "source files", problems);
    let columns = columns.and_then(|node| self::columns(node, problems))?;
    let discovery_interval_ms = discovery?;
    let (path, at) = (path?, path_node?.at);
    let spec = FilesSourceSpec {
        path: path.clone(),
        format: format?,
        on_error: on_error?,
        rate: rate?,
        columns: columns.iter().map(column_spec).collect(),
        discovery_interval_ms,
    };
    let bounded = discovery_interval_ms.is_none();
    Some(source(&spec, columns, bounded, Some((path, at))))
}

pub(super) fn source(
    spec: &impl serde::Serialize,
    columns: Vec<Column>,
    bounded: bool,
    reads: Option<(String, Place)>,
) -> Built {
    let config_json = super::config_json(spec);
    let (zombie_safe, path_at) = (true, Place::FILE);
    Built {
        config_json,
        columns,
        bounded,
        zombie_safe,
        sink: None,
        reads,
        path_at,
        keyed_by: None,
        reads_time: None,
    }
}

fn column(name: &str, data_type: DataType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
    }
}

pub(super) fn column_spec(column: &Column) -> ColumnSpec {
    ColumnSpec {
        name: column.name.clone(),
        data_type: columns::spec_type(column.data_type),
    }
}

/// Rows per second; `Some(None)` is unlimited.
pub(super) fn rate(context: &Context<'_>, problems: &mut Problems) -> Option<Option<f64>> {
    let Some(node) = context.with.get("rate") else {
        return Some(None);
    };
    let rate = fields::number(node, "rate", problems)?;
    if rate > 0.0 {
        return Some(Some(rate));
    }
    problems.none(node.at, || {
        format!(
            "rate must be above 0 rows per second, found {}",
            node.describe()
        )
    })
}

/// An absolute path of the context.
pub(super) fn path(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<String> {
    named_path(node, "path", context, problems)
}

/// An absolute path under a key of another name.
pub(super) fn named_path(
    node: &Node,
    key: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let text = fields::text(node, key, problems)?;
    match paths::absolute(text, context.working_dir) {
        Ok(path) => Some(path),
        Err(error) => problems.none(node.at, || error.message().to_owned()),
    }
}

pub(super) fn columns(node: &Node, problems: &mut Problems) -> Option<Vec<Column>> {
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() && entries.len() <= COLUMNS_MAX => entries,
        _ => {
            return problems.none(node.at, || {
                format!("columns must be a map of 1 to {COLUMNS_MAX} columns, name: type")
            });
        }
    };
    let mut columns = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.key.is_empty() {
            return problems.none(entry.key_at, || "a column needs a name".to_owned());
        }
        let data_type = column_type(&entry.node, problems);
        columns.extend(data_type.map(|data_type| column(&entry.key, data_type)));
    }
    (columns.len() == entries.len()).then_some(columns)
}

fn column_type(node: &Node, problems: &mut Problems) -> Option<DataType> {
    let name = fields::text(node, "a column's type", problems)?;
    let found = TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, data_type)| *data_type);
    found.or_else(|| {
        problems.none(node.at, || {
            suggest::unknown("type", name, TYPES.iter().map(|(known, _)| *known))
        })
    })
}
