//! The state as a list of (key, value), and back.

use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use crate::check::Violation;
use crate::codec::{self, DecodeError};
use crate::entity::{self, Entity, Visit};
use crate::key::Key;
use crate::machine::Machine;
use crate::table::Table;

/// A list of entities that is not a state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// A key or value can't be read.
    #[error("entity `{key}`: {source}")]
    Entity {
        /// The key as text.
        key: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The same key twice.
    #[error("entity `{0}` is there twice")]
    Twice(Key),
    /// The entities contradict each other.
    #[error("the entities contradict each other: {0}")]
    Inconsistent(#[from] Violation),
}

impl Machine {
    /// Every entity as (key, value), lazily and in a fixed order. Take a clone first and iterate
    /// over that: the clone is cheap and doesn't change.
    pub fn entities(&self) -> impl Iterator<Item = (Key, Vec<u8>)> + '_ {
        let tables = &self.tables;
        rows(&tables.meta)
            .chain(rows(&tables.jobs))
            .chain(rows(&tables.graphs))
            .chain(rows(&tables.histories))
            .chain(rows(&tables.attempts))
            .chain(rows(&tables.checkpoints))
            .chain(rows(&tables.artefacts))
            .chain(rows(&tables.claims))
            .chain(rows(&tables.requests))
            .chain(rows(&tables.reigns))
            .chain(rows(&tables.members))
            .chain(rows(&tables.drains))
            .chain(rows(&tables.rebirths))
    }

    /// The value of one entity, encoded.
    pub fn entity(&self, key: &Key) -> Option<Vec<u8>> {
        entity::visit(key.clone(), Encode(self))
    }

    /// Everything in one entity, for people.
    pub fn describe(&self, key: &Key) -> Option<String> {
        entity::visit(key.clone(), Describe(self))
    }

    /// Builds a state from its entities, in any order. Checks that each value can be read, that no
    /// key comes twice, and every invariant. Compare [`Machine::hash`] with the one stored beside.
    pub fn from_entities<K, V>(
        entities: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RestoreError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut machine = Self::new();
        for (key, value) in entities {
            machine.load(key.as_ref(), value.as_ref())?;
        }
        machine.check()?;
        Ok(machine)
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let text = String::from_utf8_lossy(key).into_owned();
        let wrong = |source| RestoreError::Entity { key: text, source };
        let key = match Key::from_bytes(key) {
            Ok(key) => key,
            Err(source) => return Err(wrong(source)),
        };
        match entity::visit(
            key.clone(),
            Load {
                machine: self,
                value,
            },
        ) {
            Ok(true) => {
                self.seal(key);
                Ok(())
            }
            Ok(false) => Err(RestoreError::Twice(key)),
            Err(source) => Err(wrong(source)),
        }
    }
}

fn rows<K: Ord + Clone, E: Entity<Id = K>>(
    table: &Table<K, E>,
) -> impl Iterator<Item = (Key, Vec<u8>)> + '_ {
    table.iter().map(|(id, value)| (E::key(id), encode(value)))
}

fn encode<E: Serialize>(value: &Arc<E>) -> Vec<u8> {
    codec::encode::<E>(value)
}

/// Takes every entity with its type, for readable exports.
pub trait Export {
    /// One entity.
    fn entity<E: Serialize>(&mut self, key: &Key, value: &E);
}

impl Machine {
    /// Shows every entity to `export`, in the order of [`Machine::entities`].
    pub fn export(&self, export: &mut impl Export) {
        let keys: Vec<Key> = self.entities().map(|(key, _)| key).collect();
        for key in keys {
            entity::visit(key.clone(), Show(self, &key, export));
        }
    }
}

struct Show<'a, X>(&'a Machine, &'a Key, &'a mut X);

impl<X: Export> Visit for Show<'_, X> {
    type Output = ();

    fn visit<E: Entity>(self, id: E::Id) {
        if let Some(value) = self.0.get::<E>(&id) {
            self.2.entity(self.1, value.as_ref());
        }
    }
}

struct Describe<'a>(&'a Machine);

impl Visit for Describe<'_> {
    type Output = Option<String>;

    fn visit<E: Entity>(self, id: E::Id) -> Self::Output {
        self.0.get::<E>(&id).map(|value| format!("{value:#?}"))
    }
}

struct Encode<'a>(&'a Machine);

impl Visit for Encode<'_> {
    type Output = Option<Vec<u8>>;

    fn visit<E: Entity>(self, id: E::Id) -> Self::Output {
        self.0.get::<E>(&id).map(encode)
    }
}

struct Load<'a> {
    machine: &'a mut Machine,
    value: &'a [u8],
}

impl Visit for Load<'_> {
    /// Whether the entity is new.
    type Output = Result<bool, DecodeError>;

    fn visit<E: Entity>(self, id: E::Id) -> Self::Output {
        let value: E = codec::decode(self.value)?;
        if self.machine.get::<E>(&id).is_some() {
            return Ok(false);
        }
        self.machine.put::<E>(id, value);
        Ok(true)
    }
}
