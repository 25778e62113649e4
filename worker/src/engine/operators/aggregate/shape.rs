//! What an aggregate computes, resolved against its input: where the keys are, what comes out, and
//! what its state means in words.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use regent_protocol::MAX_PARALLELISM;
use regent_protocol::spec::{AggregateSpec, ColumnType, Function};
use regent_protocol::v1::KeyGroupState;

use super::accumulator::take;
use super::groups::Groups;
use crate::engine::error::TaskError;
use crate::engine::schema::{arrow_type, find_column};

/// The fixed part of one subtask.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) key_columns: Vec<usize>,
    pub(super) key_types: Vec<ColumnType>,
    pub(super) output: SchemaRef,
    /// State of another meaning is refused by comparing this.
    layout: String,
}

impl Shape {
    pub(super) fn new(spec: &AggregateSpec, schema: &Schema) -> Result<Self, TaskError> {
        let keys: Result<Vec<_>, _> = spec
            .group_by
            .iter()
            .map(|name| find_column(schema, name))
            .collect();
        let (key_columns, key_types): (Vec<_>, Vec<_>) = keys?.into_iter().unzip();
        let computed: Vec<ColumnType> = Groups::new(spec, schema)?.output_types().collect();
        Ok(Self {
            output: output_schema(spec, &key_types, &computed),
            layout: layout(spec, schema)?,
            key_columns,
            key_types,
        })
    }

    pub(super) fn layout(&self) -> &str {
        &self.layout
    }

    /// The entries of a key group, behind the words that say what they mean.
    pub(super) fn entries<'a>(&self, group: &'a KeyGroupState) -> Result<&'a [u8], TaskError> {
        let mut bytes: &[u8] = &group.entries;
        let layout = take_text(&mut bytes).ok_or_else(|| damaged(group))?;
        if layout != self.layout {
            return Err(TaskError::Restore(format!(
                "the state is of [{layout}], this job computes [{}]",
                self.layout
            )));
        }
        Ok(bytes)
    }
}

/// The error for bytes that can't be read.
pub(super) fn damaged(group: &KeyGroupState) -> TaskError {
    TaskError::Restore(format!("key group {} is damaged", group.group))
}

/// Entries by key group while they are being gathered for a checkpoint.
pub(super) struct Gathered<'a> {
    layout: &'a str,
    groups: Vec<Vec<u8>>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(shape: &'a Shape) -> Self {
        Self {
            layout: shape.layout(),
            groups: vec![Vec::new(); MAX_PARALLELISM as usize],
        }
    }

    /// Where the next entry of a key group goes.
    pub(super) fn of(&mut self, group: u32) -> &mut Vec<u8> {
        let entries = &mut self.groups[group as usize];
        if entries.is_empty() {
            put_text(self.layout, entries);
        }
        entries
    }

    pub(super) fn finish(self) -> Vec<KeyGroupState> {
        let groups = self.groups.into_iter().enumerate();
        let filled = groups.filter(|(_, entries)| !entries.is_empty());
        let state = |(group, entries): (usize, Vec<u8>)| KeyGroupState {
            group: group as u32,
            entries: Bytes::from(entries),
        };
        filled.map(state).collect()
    }
}

fn output_schema(
    spec: &AggregateSpec,
    key_types: &[ColumnType],
    computed: &[ColumnType],
) -> SchemaRef {
    let names = spec.group_by.iter();
    let names = names.chain(spec.compute.iter().map(|compute| &compute.name));
    let types = key_types.iter().chain(computed);
    let field = |(name, kind): (&String, &ColumnType)| Field::new(name, arrow_type(*kind), true);
    let mut fields: Vec<Field> = names.zip(types).map(field).collect();
    if spec.window.is_some() {
        let time = |name| Field::new(name, arrow_type(ColumnType::Timestamp), true);
        fields.extend(["window_start", "window_end"].map(time));
    }
    Arc::new(Schema::new(fields))
}

fn layout(spec: &AggregateSpec, schema: &Schema) -> Result<String, TaskError> {
    let typed = |name: &String| -> Result<String, TaskError> {
        let (_, kind) = find_column(schema, name)?;
        Ok(format!("{name}:{}", kind.name()))
    };
    let keys: Result<Vec<String>, _> = spec.group_by.iter().map(typed).collect();
    let mut words = format!("by {}", keys?.join(","));
    for compute in &spec.compute {
        let column = match &compute.column {
            Some(name) => typed(name)?,
            None => "*".to_owned(),
        };
        let function = match compute.function {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Min => "min",
            Function::Max => "max",
            Function::Avg => "avg",
        };
        words.push_str(&format!(" {function}({column})"));
    }
    if let Some(window) = &spec.window {
        words.push_str(&format!(
            " in windows of {} ms by {}",
            window.tumbling_ms, window.time
        ));
    }
    Ok(words)
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}
