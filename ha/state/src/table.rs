//! A persistent ordered map of entities, each with the fingerprint that it adds to the state hash.

use std::borrow::Borrow;
use std::sync::Arc;

use imbl::OrdMap;

/// Entities of one kind by id. Cloning is cheap and gives a snapshot.
#[derive(Debug)]
pub(crate) struct Table<K: Ord, V> {
    rows: OrdMap<K, Row<V>>,
}

#[derive(Debug)]
struct Row<V> {
    /// What the value added to the state hash when it was last sealed; 0 if never.
    digest: u128,
    value: Arc<V>,
}

impl<V> Clone for Row<V> {
    fn clone(&self) -> Self {
        Self {
            digest: self.digest,
            value: Arc::clone(&self.value),
        }
    }
}

impl<K: Ord, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
        }
    }
}

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: OrdMap::default(),
        }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, id: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(id).map(|row| &row.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.rows.iter().map(|(id, row)| (id, &row.value))
    }

    pub(crate) fn range<R>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)>
    where
        R: std::ops::RangeBounds<K>,
    {
        self.rows.range(range).map(|(id, row)| (id, &row.value))
    }

    /// The value and what it last added to the hash.
    pub(crate) fn sealed(&self, id: &K) -> Option<(&V, u128)> {
        self.rows.get(id).map(|row| (&*row.value, row.digest))
    }

    /// Replaces a value; its fingerprint stays that of the old one until it is sealed again.
    pub(crate) fn put(&mut self, id: K, value: Arc<V>) -> Option<Arc<V>> {
        if let Some(row) = self.rows.get_mut(&id) {
            return Some(std::mem::replace(&mut row.value, value));
        }
        self.rows.insert(id, Row { digest: 0, value });
        None
    }

    /// Removes a value and tells what it added to the hash.
    pub(crate) fn remove(&mut self, id: &K) -> Option<(Arc<V>, u128)> {
        self.rows.remove(id).map(|row| (row.value, row.digest))
    }

    pub(crate) fn set_digest(&mut self, id: &K, digest: u128) {
        if let Some(row) = self.rows.get_mut(id) {
            row.digest = digest;
        }
    }
}
