//! What one subtask is told before its first row, and where it declares its state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use regent_protocol::v1::KeyGroupState;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::keyspace::{KeySpace, Undeclared};
use super::list::Listed;
use super::state::Cells;
use super::{Columns, Datum, ListState, MapState, Result, ValueState, entries};

/// State of an earlier attempt, or of a savepoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restored {
    /// Version of the code that wrote it; 0 if that isn't known.
    pub(crate) version: u32,
    pub(crate) key_groups: Vec<KeyGroupState>,
    /// The items that are this subtask's.
    pub(crate) items: Vec<Bytes>,
}

/// The state that was declared: by key, and in lists.
pub(crate) type Declared = (Option<KeySpace>, Vec<Arc<dyn Listed>>);

/// What a [`Setup`] is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct SetupParts {
    pub(crate) vertex: String,
    /// Kind and name, as in `operator enrich`.
    pub(crate) what: String,
    pub(crate) version: u32,
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    pub(crate) with: Value,
    pub(crate) input: Columns,
    pub(crate) key: Vec<String>,
}

/// What a subtask is told before its first row: its configuration, its input, its place among the
/// subtasks. Here it declares its state, and finds in it what was restored.
pub struct Setup {
    parts: SetupParts,
    restored: bool,
    older: bool,
    keyspace: Option<KeySpace>,
    lists: Vec<Arc<dyn Listed>>,
    values: BTreeMap<String, Vec<(u32, Bytes)>>,
    items: BTreeMap<String, Vec<Bytes>>,
    declared: Vec<String>,
}

impl Setup {
    /// Reads the restored state as far as that is possible before states are declared.
    pub(crate) fn new(parts: SetupParts, restored: Option<Restored>) -> Result<Self> {
        let keyspace = match parts.key.as_slice() {
            [] => None,
            key => Some(KeySpace::new(&parts.input, key)?),
        };
        let mut setup = Self {
            restored: restored.is_some(),
            older: false,
            keyspace,
            lists: Vec::new(),
            values: BTreeMap::new(),
            items: BTreeMap::new(),
            declared: Vec::new(),
            parts,
        };
        if let Some(restored) = restored {
            setup.take_over(restored)?;
        }
        Ok(setup)
    }

    fn take_over(&mut self, restored: Restored) -> Result<()> {
        let (what, version) = (&self.parts.what, self.parts.version);
        if restored.version > version {
            let wrote = restored.version;
            return Err(
                format!("the state is of {what} {wrote}, and this worker has {version}").into(),
            );
        }
        self.older = restored.version < version;
        let mut found = Undeclared::new();
        for group in &restored.key_groups {
            let number = group.group;
            let keyspace = self.keyspace.as_mut();
            let keyspace = keyspace.ok_or("there is state by key, but the input has no key")?;
            let read = keyspace.restore(group, &mut found);
            read.map_err(|error| format!("key group {number}: {error}"))?;
        }
        for (name, slot, bytes) in found {
            self.values.entry(name).or_default().push((slot, bytes));
        }
        for item in restored.items {
            let (name, bytes) = entries::split_item(item)?;
            self.items.entry(name).or_default().push(bytes);
        }
        Ok(())
    }

    /// The vertex's `with`. Derive `Deserialize` for `T`; with `#[serde(deny_unknown_fields)]` a
    /// misspelt key is refused when the job is submitted.
    ///
    /// # Errors
    /// It doesn't fit; the message names the key.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        let with = match &self.parts.with {
            Value::Null => Value::Object(serde_json::Map::new()),
            with => with.clone(),
        };
        serde_json::from_value(with).map_err(|error| format!("`with`: {error}").into())
    }

    /// The columns that come in; none for a source.
    #[must_use]
    pub fn input(&self) -> &Columns {
        &self.parts.input
    }

    /// The columns that the input is partitioned by: the key of state and timers.
    #[must_use]
    pub fn key(&self) -> &[String] {
        &self.parts.key
    }

    /// Id of the vertex in the job.
    #[must_use]
    pub fn vertex(&self) -> &str {
        &self.parts.vertex
    }

    /// Number of this subtask, from 0.
    #[must_use]
    pub fn subtask(&self) -> u32 {
        self.parts.subtask
    }

    /// How many subtasks there are.
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        self.parts.parallelism
    }

    /// True if the job goes on from a checkpoint or savepoint. A list may be empty even so: its items
    /// are dealt out to all subtasks.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Declares a value for each key.
    ///
    /// # Errors
    /// The input has no key, the name is taken, or what was restored can't be read.
    pub fn value<T: Datum>(&mut self, name: &str) -> Result<ValueState<T>> {
        let (state, cells) = ValueState::new(name);
        self.declare_keyed(name, cells)?;
        Ok(state)
    }

    /// Declares a map for each key.
    ///
    /// # Errors
    /// The input has no key, the name is taken, or what was restored can't be read.
    pub fn map<K: Datum + Ord, V: Datum>(&mut self, name: &str) -> Result<MapState<K, V>> {
        let (state, cells) = MapState::new(name);
        self.declare_keyed(name, cells)?;
        Ok(state)
    }

    /// Declares a list that belongs to no key, such as a source's positions.
    ///
    /// # Errors
    /// The name is taken, or what was restored can't be read.
    pub fn list<T: Datum>(&mut self, name: &str) -> Result<ListState<T>> {
        self.claim(name)?;
        let restored = self.items.remove(name).unwrap_or_default();
        let (state, listed) = ListState::new(name, &restored)?;
        self.lists.push(listed);
        Ok(state)
    }

    fn claim(&mut self, name: &str) -> Result<()> {
        if self.declared.iter().any(|known| known == name) {
            return Err(format!("state {name} is declared twice").into());
        }
        self.declared.push(name.to_owned());
        Ok(())
    }

    fn declare_keyed(&mut self, name: &str, cells: Arc<dyn Cells>) -> Result<()> {
        self.claim(name)?;
        let what = &self.parts.what;
        let keyspace = self.keyspace.as_mut().ok_or_else(|| {
            format!("{what} keeps state by key: its input needs `partition: hash, by: [..]`")
        })?;
        for (slot, bytes) in self.values.remove(name).unwrap_or_default() {
            cells.decode(slot, &bytes)?;
        }
        keyspace.declare(cells);
        Ok(())
    }

    /// The state, when everything is declared. What was restored and isn't wanted any more may only
    /// be dropped by a later version: else a misspelt name would lose it.
    pub(crate) fn into_state(self) -> Result<Declared> {
        let unwanted = self.values.keys().chain(self.items.keys()).next();
        match unwanted {
            Some(name) if !self.older => Err(format!(
                "state {name} was restored but isn't declared; to drop it raise VERSION"
            )
            .into()),
            Some(name) => {
                tracing::warn!(
                    vertex = self.parts.vertex,
                    state = name,
                    "restored state is dropped"
                );
                Ok((self.keyspace, self.lists))
            }
            None => Ok((self.keyspace, self.lists)),
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}
