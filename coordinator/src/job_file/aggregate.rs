//! `operator: aggregate`: keys, functions and the types of their results. Windows are `window.rs`'s.

use regent_protocol::spec::{AggregateSpec, ComputeSpec, Emit, Function};
use regent_state::graph::{Column, DataType};

use super::catalog::{Built, Context, Rows};
use super::columns::{self, type_name};
use super::error::{Place, Problems, quoted};
use super::fields::{self, Fields};
use super::tree::{Entry, Node, Value};
use super::window;

const FUNCTIONS: [(&str, Function); 5] = [
    ("count", Function::Count),
    ("sum", Function::Sum),
    ("min", Function::Min),
    ("max", Function::Max),
    ("avg", Function::Avg),
];
const FUNCTION_NAMES: [&str; 5] = ["count", "sum", "min", "max", "avg"];
const EMITS: [(&str, Emit); 2] = [("final", Emit::Final), ("changes", Emit::Changes)];

/// One row for each key: the key's columns, then the computed ones.
pub(super) fn build(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let rows = context.input?;
    let window = match context.with.get("window") {
        Some(node) => window::read(node, rows.columns, problems).map(Some),
        None => Some(None),
    };
    let group_by = context
        .with
        .need("group-by", "operator aggregate", problems);
    let group_by = group_by.and_then(|node| self::group_by(node, rows.columns, problems));
    let compute = context.with.need("compute", "operator aggregate", problems);
    let keys = group_by.as_deref().unwrap_or_default();
    let compute = compute.and_then(|node| self::compute(node, keys, rows.columns, problems));
    let emit = emit(context, rows, problems);
    let (window, keys, (compute, computed)) = (window?, group_by?, compute?);
    let mut columns: Vec<Column> = keys.iter().cloned().chain(computed).collect();
    if window.is_some() {
        columns.extend(window::added(context.with.at, &columns, problems)?);
    }
    let names: Vec<String> = keys.iter().map(|column| column.name.clone()).collect();
    let spec = AggregateSpec {
        group_by: names.clone(),
        emit: emit?,
        compute,
        window: window.as_ref().map(|window| window.spec.clone()),
    };
    Some(Built {
        config_json: super::config_json(&spec),
        columns,
        bounded: rows.bounded,
        zombie_safe: true,
        sink: None,
        reads: None,
        path_at: Place::FILE,
        keyed_by: Some(names),
        reads_time: window.map(|window| window.reads),
    })
}

fn group_by(node: &Node, columns: &[Column], problems: &mut Problems) -> Option<Vec<Column>> {
    let names = column_names(node, "group-by", problems)?;
    let found: Vec<Column> = names
        .iter()
        .filter_map(|(name, at)| columns::find(name, *at, columns, problems).cloned())
        .collect();
    (found.len() == names.len()).then_some(found)
}

/// A list of different column names, not empty.
pub(super) fn column_names<'n>(
    node: &'n Node,
    what: &str,
    problems: &mut Problems,
) -> Option<Vec<(&'n str, Place)>> {
    let items = fields::list(node, what, problems)?;
    if items.is_empty() {
        return problems.none(node.at, || format!("{what} needs at least one column"));
    }
    let mut names: Vec<(&str, Place)> = Vec::with_capacity(items.len());
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        let name = fields::text(item, "a column's name", problems)?;
        if !seen.insert(name) {
            return problems.none(item.at, || format!("{what} names {} twice", quoted(name)));
        }
        names.push((name, item.at));
    }
    Some(names)
}

fn emit(context: &Context<'_>, rows: Rows<'_>, problems: &mut Problems) -> Option<Emit> {
    let Some(node) = context.with.get("emit") else {
        if rows.bounded || windowed(context) {
            return Some(Emit::Final);
        }
        let unnamed =
            || "the input never ends, so `emit` must be named: `emit: changes`".to_owned();
        return problems.none(context.with.at, unnamed);
    };
    match fields::choice(node, "emit", &EMITS, problems)? {
        Emit::Final if !rows.bounded && !windowed(context) => problems.none(node.at, || {
            "the input never ends, so `emit: final` would emit nothing; use `emit: changes`"
                .to_owned()
        }),
        emit => Some(emit),
    }
}

/// A window has a last row even if its input never ends.
fn windowed(context: &Context<'_>) -> bool {
    context.with.get("window").is_some()
}

/// The computed columns: what the worker computes, and their schema.
fn compute(
    node: &Node,
    keys: &[Column],
    columns: &[Column],
    problems: &mut Problems,
) -> Option<(Vec<ComputeSpec>, Vec<Column>)> {
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            return problems.none(node.at, || {
                "compute must be a map with at least one column, name: { function: column }"
                    .to_owned()
            });
        }
    };
    let computed: Vec<(ComputeSpec, Column)> = entries
        .iter()
        .filter_map(|entry| one(entry, keys, columns, problems))
        .collect();
    (computed.len() == entries.len()).then(|| computed.into_iter().unzip())
}

fn one(
    entry: &Entry,
    keys: &[Column],
    columns: &[Column],
    problems: &mut Problems,
) -> Option<(ComputeSpec, Column)> {
    let name = &entry.key;
    if name.is_empty() || keys.iter().any(|key| key.name == *name) {
        return problems.none(entry.key_at, || {
            format!(
                "computed column {} needs a name that group-by doesn't have",
                quoted(name)
            )
        });
    }
    let what = format!("computed column {}", quoted(name));
    let map = Fields::open(&entry.node, &what, &FUNCTION_NAMES, problems)?;
    let mut given = FUNCTIONS
        .iter()
        .filter_map(|(name, f)| Some((*f, map.get(name)?)));
    let (Some((function, argument)), None) = (given.next(), given.next()) else {
        map.missing(problems, || {
            format!(
                "{what} needs exactly one function: {}",
                FUNCTION_NAMES.join(", ")
            )
        });
        return None;
    };
    let (column, data_type) = result(function, argument, columns, problems)?;
    let spec = ComputeSpec {
        name: name.clone(),
        function,
        column,
    };
    Some((
        spec,
        Column {
            name: name.clone(),
            data_type,
        },
    ))
}

/// The input column (`None` for `*`) and the type of the result.
fn result(
    function: Function,
    argument: &Node,
    columns: &[Column],
    problems: &mut Problems,
) -> Option<(Option<String>, DataType)> {
    let name = fields::text(argument, "a function's column", problems)?;
    if name == "*" {
        if function == Function::Count {
            return Some((None, DataType::Int64));
        }
        return problems.none(argument.at, || "only count takes `*`".to_owned());
    }
    let column = columns::find(name, argument.at, columns, problems)?;
    match result_type(function, column.data_type) {
        Some(data_type) => Some((Some(column.name.clone()), data_type)),
        None => problems.none(argument.at, || {
            let word = FUNCTIONS
                .iter()
                .find(|(_, f)| *f == function)
                .map_or("it", |(word, _)| word);
            let (name, data_type) = (quoted(name), type_name(column.data_type));
            format!("{word} doesn't apply to column {name}, which is {data_type}")
        }),
    }
}

fn result_type(function: Function, of: DataType) -> Option<DataType> {
    let numeric = matches!(of, DataType::Int64 | DataType::Float64);
    match function {
        Function::Count => Some(DataType::Int64),
        Function::Sum => numeric.then_some(of),
        Function::Avg => numeric.then_some(DataType::Float64),
        Function::Min | Function::Max => (of != DataType::Boolean).then_some(of),
    }
}
