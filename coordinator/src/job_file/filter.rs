//! `operator: filter`: its predicate, checked against the columns that come in.

use regent_protocol::spec::{CompareOp, FilterSpec, Predicate};
use regent_state::graph::{Column, DataType};

use super::catalog::{Built, Context};
use super::columns;
use super::error::{Place, Problems};
use super::fields::{self, Fields};
use super::tree::Node;

/// An operator of `where`, by its spelling.
#[derive(Debug, Clone, Copy)]
enum Op {
    Compare(CompareOp),
    IsNull,
    NotNull,
    In,
}

const OPS: [(&str, Op); 9] = [
    ("=", Op::Compare(CompareOp::Eq)),
    ("!=", Op::Compare(CompareOp::Ne)),
    ("<", Op::Compare(CompareOp::Lt)),
    ("<=", Op::Compare(CompareOp::Le)),
    (">", Op::Compare(CompareOp::Gt)),
    (">=", Op::Compare(CompareOp::Ge)),
    ("is-null", Op::IsNull),
    ("not-null", Op::NotNull),
    ("in", Op::In),
];

const COMPARISON_KEYS: [&str; 3] = ["column", "op", "value"];
const ALL_KEYS: [&str; 6] = ["column", "op", "value", "all", "any", "not"];

/// Rows for which `where` holds pass unchanged.
pub(super) fn build(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let rows = context.input?;
    let node = context.with.need("where", "operator filter", problems)?;
    let predicate = predicate(node, rows.columns, problems)?;
    Some(Built {
        config_json: super::config_json(&FilterSpec { predicate }),
        columns: rows.columns.to_vec(),
        bounded: rows.bounded,
        zombie_safe: true,
        sink: None,
        reads: None,
        path_at: Place::FILE,
        keyed_by: None,
        reads_time: None,
    })
}

/// Recursion is bounded by the depth that the tree may have.
fn predicate(node: &Node, columns: &[Column], problems: &mut Problems) -> Option<Predicate> {
    let map = Fields::open(node, "where", &ALL_KEYS, problems)?;
    let combined = ["all", "any", "not"]
        .into_iter()
        .find_map(|key| map.entry(key));
    let Some(entry) = combined else {
        return comparison(&map, columns, problems);
    };
    if let Some(other) = ALL_KEYS
        .iter()
        .find(|key| **key != entry.key && map.get(key).is_some())
    {
        let at = map.entry(other).map_or(node.at, |other| other.key_at);
        return problems.none(at, || {
            format!(
                "`{}` stands alone; put `{other}` inside or around it",
                entry.key
            )
        });
    }
    match entry.key.as_str() {
        "not" => {
            let part = predicate(&entry.node, columns, problems)?;
            Some(Predicate::Not(Box::new(part)))
        }
        "all" => parts(&entry.node, "all", columns, problems).map(Predicate::All),
        _ => parts(&entry.node, "any", columns, problems).map(Predicate::Any),
    }
}

fn parts(
    node: &Node,
    key: &str,
    columns: &[Column],
    problems: &mut Problems,
) -> Option<Vec<Predicate>> {
    let items = fields::list(node, key, problems)?;
    if items.is_empty() {
        return problems.none(node.at, || format!("`{key}` needs at least one condition"));
    }
    let parts: Vec<Predicate> = items
        .iter()
        .filter_map(|item| predicate(item, columns, problems))
        .collect();
    (parts.len() == items.len()).then_some(parts)
}

fn comparison(map: &Fields<'_>, columns: &[Column], problems: &mut Problems) -> Option<Predicate> {
    debug_assert!(COMPARISON_KEYS.iter().all(|key| ALL_KEYS.contains(key)));
    let column_node = map.need("column", "a condition", problems);
    let op_node = map.need("op", "a condition", problems);
    let name = column_node.and_then(|node| fields::text(node, "column", problems));
    let column = column_node.zip(name);
    let column = column.and_then(|(node, name)| columns::find(name, node.at, columns, problems));
    let op = op_node.and_then(|node| fields::choice(node, "op", &OPS, problems));
    let (column, op, op_at) = (column?, op?, op_node?.at);
    let name = column.name.clone();
    match op {
        Op::IsNull | Op::NotNull if map.get("value").is_some() => {
            let at = map.get("value").map_or(op_at, |value| value.at);
            problems.none(at, || "is-null and not-null take no value".to_owned())
        }
        Op::IsNull => Some(Predicate::IsNull { column: name }),
        Op::NotNull => Some(Predicate::NotNull { column: name }),
        Op::In => in_list(map, column, problems),
        Op::Compare(op) => {
            ordered_if_needed(op, op_at, column, problems)?;
            let value = map.need("value", "a comparison", problems)?;
            let value = columns::literal(value, column, problems)?;
            Some(Predicate::Compare {
                column: name,
                op,
                value,
            })
        }
    }
}

fn ordered_if_needed(
    op: CompareOp,
    at: Place,
    column: &Column,
    problems: &mut Problems,
) -> Option<()> {
    let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
    if equality || column.data_type != DataType::Boolean {
        return Some(());
    }
    problems.none(at, || {
        format!(
            "column `{}` is boolean, which has no order; use `=` or `!=`",
            column.name
        )
    })
}

fn in_list(map: &Fields<'_>, column: &Column, problems: &mut Problems) -> Option<Predicate> {
    let node = map.need("value", "the operator `in`", problems)?;
    let items = fields::list(node, "the value of `in`", problems)?;
    if items.is_empty() {
        return problems.none(node.at, || "`in` needs at least one value".to_owned());
    }
    let values: Vec<_> = items
        .iter()
        .filter_map(|item| columns::literal(item, column, problems))
        .collect();
    (values.len() == items.len()).then(|| Predicate::In {
        column: column.name.clone(),
        values,
    })
}
