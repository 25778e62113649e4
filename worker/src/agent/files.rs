//! The engine's checkpoint files on the object store that the configuration names. Only a translation
//! of names and errors.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_storage::objects::{Location, ObjectError, Objects, S3Access};

use super::error::WorkerError;
use crate::config::StorageConfig;
use crate::engine::{CheckpointFiles, StoreError};

/// Reading a state back while a task is restored.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// The store that `storage` names. Nothing is created: checkpoint directories are made by whoever
/// writes first.
pub(crate) fn open(storage: &StorageConfig) -> Result<Arc<dyn CheckpointFiles>, WorkerError> {
    let dir = &storage.checkpoint_dir;
    let checked: Result<Location, _> = dir.parse();
    checked.map_err(|error| WorkerError::Storage {
        message: format!("storage.checkpoint-dir: {error}"),
    })?;
    let s3 = storage.s3.clone().unwrap_or_default();
    let access = S3Access {
        endpoint: s3.endpoint,
        region: s3.region,
        credentials_file: s3.credentials_file,
    };
    let objects = Objects::with_s3(&access);
    Ok(Arc::new(ObjectFiles { objects }))
}

#[derive(Debug, Clone)]
struct ObjectFiles {
    objects: Objects,
}

impl CheckpointFiles for ObjectFiles {
    fn put_create(
        &self,
        path: String,
        bytes: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let objects = self.objects.clone();
        async move {
            let location = locate(&path)?;
            let put = objects.put_create(&location, bytes, deadline).await;
            put.map(|_| ()).map_err(|error| translate(path, error))
        }
        .boxed()
    }

    fn get(&self, path: String) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let objects = self.objects.clone();
        async move {
            let location = locate(&path)?;
            let read = objects.get(&location, READ_WITHIN).await;
            read.map_err(|error| translate(path, error))
        }
        .boxed()
    }

    fn get_range(
        &self,
        path: String,
        range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let objects = self.objects.clone();
        async move {
            let location = locate(&path)?;
            let read = objects.get_range(&location, range, READ_WITHIN).await;
            read.map_err(|error| translate(path, error))
        }
        .boxed()
    }

    fn length(&self, path: String) -> BoxFuture<'static, Result<u64, StoreError>> {
        let objects = self.objects.clone();
        async move {
            let location = locate(&path)?;
            let found = objects.head(&location, READ_WITHIN).await;
            let found = found.map_err(|error| translate(path, error))?;
            Ok(found.size_bytes)
        }
        .boxed()
    }

    fn list(
        &self,
        dir: String,
        most: usize,
    ) -> BoxFuture<'static, Result<Vec<(String, u64)>, StoreError>> {
        let objects = self.objects.clone();
        async move {
            let location = locate(&dir)?;
            let found = objects.list_at_most(&location, most, READ_WITHIN).await;
            let found = found.map_err(|error| translate(dir, error))?;
            let named = found.into_iter();
            Ok(named
                .map(|one| (one.location.to_string(), one.size_bytes))
                .collect())
        }
        .boxed()
    }
}

fn locate(path: &str) -> Result<Location, StoreError> {
    path.parse()
        .map_err(|error| StoreError::Failed(format!("{error}")))
}

fn translate(path: String, error: ObjectError) -> StoreError {
    match error {
        ObjectError::NotFound { .. } => StoreError::NotFound { path },
        ObjectError::AlreadyExists { .. } => StoreError::Conflict { path },
        ObjectError::Timeout { limit, .. } => StoreError::Deadline {
            path,
            deadline: limit,
        },
        other => StoreError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(dir: &str) -> StorageConfig {
        StorageConfig {
            checkpoint_dir: dir.to_owned(),
            shared: false,
            s3: None,
        }
    }

    #[tokio::test]
    async fn files_are_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let files = open(&storage(&root)).unwrap();
        let path = format!("file://{root}/chk-1/state");
        let put = |text: &'static str| {
            files.put_create(path.clone(), Bytes::from(text), Duration::from_secs(5))
        };
        put("one").await.unwrap();
        put("one").await.unwrap();
        assert_eq!(
            put("two").await,
            Err(StoreError::Conflict { path: path.clone() })
        );
        assert_eq!(files.get(path.clone()).await.unwrap(), "one");
        let missing = format!("{root}/chk-2/state");
        assert_eq!(
            files.get(missing.clone()).await,
            Err(StoreError::NotFound { path: missing })
        );
    }

    #[test]
    fn a_relative_directory_is_refused() {
        let error = open(&storage("checkpoints")).err().unwrap().to_string();
        assert!(
            error.starts_with("storage.checkpoint-dir: `checkpoints`"),
            "{error}"
        );
    }
}
