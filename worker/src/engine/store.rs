//! Where the engine puts checkpoint files and finds them again, as it needs them: a seam, so that
//! the tasks don't depend on which object store is configured and tests can make it slow or broken.

use std::future::ready;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

/// Why a checkpoint file could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("{path} does not exist")]
    NotFound {
        /// Full path of the file.
        path: String,
    },
    /// Another content has that name already.
    #[error("{path} exists with another content")]
    Conflict {
        /// Full path of the file.
        path: String,
    },
    /// The write took longer than its deadline.
    #[error("writing {path} took longer than {deadline:?}")]
    Deadline {
        /// Full path of the file.
        path: String,
        /// What it was given.
        deadline: Duration,
    },
    /// Anything else; the text names the path.
    #[error("{0}")]
    Failed(String),
}

/// Immutable files of checkpoints. Names are full paths or URLs, as orders carry them.
pub trait CheckpointFiles: Send + Sync + 'static {
    /// Writes the file durably unless that name exists; the same content there already is success.
    /// Gives up after `deadline`. Dropping the future cancels the write as far as that's possible.
    fn put_create(
        &self,
        path: String,
        bytes: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>>;

    /// The whole file.
    fn get(&self, path: String) -> BoxFuture<'static, Result<Bytes, StoreError>>;

    /// A part of a file that has at least its first byte; fewer bytes come where the file ends.
    fn get_range(
        &self,
        path: String,
        _range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        only_checkpoints(path)
    }

    /// Length in bytes.
    fn length(&self, path: String) -> BoxFuture<'static, Result<u64, StoreError>> {
        only_checkpoints(path)
    }

    /// Files below a directory with their lengths, sorted by name; an error if they are more than
    /// `most`.
    fn list(
        &self,
        dir: String,
        _most: usize,
    ) -> BoxFuture<'static, Result<Vec<(String, u64)>, StoreError>> {
        only_checkpoints(dir)
    }
}

/// The answer of stores that jobs can't read from or write to.
fn only_checkpoints<T: Send + 'static>(path: String) -> BoxFuture<'static, Result<T, StoreError>> {
    let error = StoreError::Failed(format!("{path}: this store holds checkpoints only"));
    ready(Err(error)).boxed()
}
