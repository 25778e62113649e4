//! Columns by name and type: what schema functions answer. Only the types that batches carry can be
//! spelled, so no schema can be one that the engine refuses.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use regent_protocol::v1::Column;

pub use regent_protocol::spec::ColumnType;

use super::Result;
use crate::engine::arrow_type;

/// The columns of rows, in order. All of them may hold nulls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns(Vec<(String, ColumnType)>);

impl Columns {
    /// These columns.
    pub fn of<N: Into<String>>(columns: impl IntoIterator<Item = (N, ColumnType)>) -> Self {
        let columns = columns.into_iter();
        Self(columns.map(|(name, kind)| (name.into(), kind)).collect())
    }

    /// These columns and one more, the last.
    #[must_use]
    pub fn and(&self, name: impl Into<String>, kind: ColumnType) -> Self {
        let mut more = self.clone();
        more.0.push((name.into(), kind));
        more
    }

    /// Only the columns of these names, in their order.
    ///
    /// # Errors
    /// A column that isn't there.
    pub fn only(&self, names: &[&str]) -> Result<Self> {
        let named = |name: &&str| Ok(((*name).to_owned(), self.type_of(name)?));
        names.iter().map(named).collect::<Result<_>>().map(Self)
    }

    /// The type of a column.
    ///
    /// # Errors
    /// There is no such column; the message lists those that are.
    pub fn type_of(&self, name: &str) -> Result<ColumnType> {
        let found = self.0.iter().find(|(known, _)| known == name);
        let missing = || format!("there is no column {name}; the columns are {self}").into();
        found.map(|(_, kind)| *kind).ok_or_else(missing)
    }

    /// Names and types in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        self.0.iter().map(|(name, kind)| (name.as_str(), *kind))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same as Arrow has it.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let field = |(name, kind): &(String, ColumnType)| Field::new(name, arrow_type(*kind), true);
        Arc::new(Schema::new(self.0.iter().map(field).collect::<Vec<_>>()))
    }

    pub(crate) fn of_wire(columns: &[Column]) -> Result<Self> {
        let typed = |column: &Column| -> Result<(String, ColumnType)> {
            let (name, text) = (&column.name, &column.data_type);
            let kind = ColumnType::parse(text);
            let kind =
                kind.ok_or_else(|| format!("column {name} has the unknown type {text:?}"))?;
            Ok((name.clone(), kind))
        };
        columns.iter().map(typed).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn to_wire(&self) -> Vec<Column> {
        let column = |(name, kind): &(String, ColumnType)| Column {
            name: name.clone(),
            data_type: kind.name().to_owned(),
        };
        self.0.iter().map(column).collect()
    }

    /// What is wrong with these columns as a schema.
    pub(crate) fn check(&self) -> Result<()> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if name.is_empty() {
                return Err("a column needs a name".into());
            }
            if self.0[..at].iter().any(|(other, _)| other == name) {
                return Err(format!("there are two columns {name}").into());
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, kind)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {}", kind.name())?;
        }
        Ok(())
    }
}
