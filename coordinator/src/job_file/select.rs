//! `operator: select`: which columns pass, in which order, under which names.

use regent_protocol::spec::{SelectColumn, SelectSpec};
use regent_state::graph::Column;

use super::catalog::{Built, Context};
use super::columns;
use super::error::{Place, Problems, quoted};
use super::fields;
use super::tree::{Node, Value};

/// The named columns, each under its own name or a new one.
pub(super) fn build(context: &Context<'_>, problems: &mut Problems) -> Option<Built> {
    let rows = context.input?;
    let node = context.with.need("columns", "operator select", problems)?;
    let items = fields::list(node, "columns", problems)?;
    if items.is_empty() {
        return problems.none(node.at, || "columns needs at least one column".to_owned());
    }
    let mut selected: Vec<(SelectColumn, Column)> = Vec::with_capacity(items.len());
    for item in items {
        let Some((column, name, at)) = one(item, rows.columns, problems) else {
            continue;
        };
        if selected.iter().any(|(taken, _)| taken.name == name) {
            problems.add(at, || {
                format!(
                    "select has two columns {}; rename one: {{ {name}: other }}",
                    quoted(name)
                )
            });
            continue;
        }
        let spec = SelectColumn {
            column: column.name.clone(),
            name: name.to_owned(),
        };
        let data_type = column.data_type;
        let name = name.to_owned();
        selected.push((spec, Column { name, data_type }));
    }
    if selected.len() < items.len() {
        return None;
    }
    let (columns, output) = selected.into_iter().unzip();
    Some(Built {
        config_json: super::config_json(&SelectSpec { columns }),
        columns: output,
        bounded: rows.bounded,
        zombie_safe: true,
        sink: None,
        reads: None,
        path_at: Place::FILE,
        keyed_by: None,
        reads_time: None,
    })
}

/// `carrier`, or `{ distance: miles }`: the column, its name in the output, and where that stands.
fn one<'n>(
    node: &'n Node,
    columns: &'n [Column],
    problems: &mut Problems,
) -> Option<(&'n Column, &'n str, Place)> {
    let Value::Map(entries) = &node.value else {
        let name = fields::text(node, "a column", problems)?;
        let column = columns::find(name, node.at, columns, problems)?;
        return Some((column, name, node.at));
    };
    let [entry] = entries.as_slice() else {
        return problems.none(node.at, || {
            "a renamed column is written { column: new-name }".to_owned()
        });
    };
    let column = columns::find(&entry.key, entry.key_at, columns, problems)?;
    let name = fields::text(&entry.node, "a column's new name", problems)?;
    if name.is_empty() {
        return problems.none(entry.node.at, || "a column needs a name".to_owned());
    }
    Some((column, name, entry.node.at))
}
