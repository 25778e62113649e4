//! Objects of a bucket for work that may wait: the engine's sources and sinks read and write files on
//! blocking threads, and these calls make objects look alike.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::error::TaskError;
use super::store::{CheckpointFiles, StoreError};

/// Writing one object, repetitions included.
const WRITE_WITHIN: Duration = Duration::from_secs(120);

/// True if a path names an object or a prefix in a bucket.
pub(crate) fn is_remote(path: &str) -> bool {
    path.starts_with("s3://")
}

/// The bucket's door. Every call waits, so it is for threads of blocking work only.
#[derive(Clone)]
pub(crate) struct Remote(Arc<dyn CheckpointFiles>);

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl Remote {
    pub(crate) fn new(files: Arc<dyn CheckpointFiles>) -> Self {
        Self(files)
    }

    /// The whole object; `None`: it isn't there.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Bytes>, TaskError> {
        match wait(self.0.get(path.to_owned())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(TaskError::task(error.to_string())),
        }
    }

    /// Writes an object unless its name is taken; false: by something else. The same bytes there
    /// already are success.
    pub(crate) fn put_create(&self, path: &str, bytes: Bytes) -> Result<bool, TaskError> {
        match wait(self.0.put_create(path.to_owned(), bytes, WRITE_WITHIN)) {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(TaskError::task(error.to_string())),
        }
    }

    /// Objects below a prefix with their lengths, by name.
    pub(crate) fn list(&self, dir: &str, most: usize) -> Result<Vec<(String, u64)>, TaskError> {
        let listed = wait(self.0.list(dir.to_owned(), most));
        listed.map_err(|error| TaskError::task(error.to_string()))
    }

    pub(crate) fn length(&self, path: &str) -> io::Result<u64> {
        wait(self.0.length(path.to_owned())).map_err(as_io)
    }

    pub(crate) fn range(&self, path: &str, range: Range<u64>) -> io::Result<Bytes> {
        wait(self.0.get_range(path.to_owned(), range)).map_err(as_io)
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    Handle::current().block_on(work)
}

fn as_io(error: StoreError) -> io::Error {
    match error {
        StoreError::NotFound { .. } => io::Error::from(io::ErrorKind::NotFound),
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A bucket in memory.

    use std::collections::BTreeMap;
    use std::future::ready;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    #[derive(Debug, Default)]
    pub(crate) struct Bucket(Mutex<BTreeMap<String, Bytes>>);

    impl Bucket {
        pub(crate) fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

    fn answer<T: Send + 'static>(answer: Result<T, StoreError>) -> Answer<T> {
        ready(answer).boxed()
    }

    impl CheckpointFiles for Bucket {
        fn put_create(&self, path: String, bytes: Bytes, _: Duration) -> Answer<()> {
            let mut objects = self.objects();
            let found = objects.entry(path.clone()).or_insert(bytes.clone()).clone();
            answer(if found == bytes {
                Ok(())
            } else {
                Err(StoreError::Conflict { path })
            })
        }

        fn get(&self, path: String) -> Answer<Bytes> {
            let found = self.objects().get(&path).cloned();
            answer(found.ok_or(StoreError::NotFound { path }))
        }

        fn get_range(&self, path: String, range: Range<u64>) -> Answer<Bytes> {
            let found = self.objects().get(&path).cloned();
            let found = found.ok_or(StoreError::NotFound { path });
            answer(found.map(|bytes| bytes.slice(range.start as usize..range.end as usize)))
        }

        fn length(&self, path: String) -> Answer<u64> {
            let found = self.objects().get(&path).map(|bytes| bytes.len() as u64);
            answer(found.ok_or(StoreError::NotFound { path }))
        }

        fn list(&self, dir: String, _: usize) -> Answer<Vec<(String, u64)>> {
            let prefix = format!("{dir}/");
            let objects = self.objects();
            let below = objects.iter().filter(|(path, _)| path.starts_with(&prefix));
            let named = below.map(|(path, bytes)| (path.clone(), bytes.len() as u64));
            answer(Ok(named.collect()))
        }
    }
}
