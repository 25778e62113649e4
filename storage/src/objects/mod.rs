//! Objects that outlive processes: checkpoints, savepoints, artefacts. Names are immutable and
//! created only if absent; every operation is repeatable and bounded in time.
//!
//! A time-out says that the answer is unknown: a write or delete already handed to the operating
//! system may still land. That is why names are never used again and why cleanup sweeps twice.
//!
//! Local files are synced, and so are the directories that got or lost a name.

mod local;
mod location;

pub use location::{Location, LocationError};

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// Why an operation didn't succeed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No such object.
    #[error("{location} doesn't exist")]
    NotFound {
        /// The object.
        location: Location,
    },
    /// The name is taken by other bytes.
    #[error("{location} already exists with other content")]
    AlreadyExists {
        /// The object.
        location: Location,
    },
    /// The process may not do that there.
    #[error("permission denied: {location}: {source}")]
    PermissionDenied {
        /// The object.
        location: Location,
        /// The store's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time: whether it was done is unknown.
    #[error("{action} {location}: no answer within {} ms", limit.as_millis())]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// On what.
        location: Location,
        /// The time allowed.
        limit: Duration,
    },
    /// More objects than were asked for at most.
    #[error("there are more than {most} files below {location}")]
    TooMany {
        /// The directory.
        location: Location,
        /// The number allowed.
        most: usize,
    },
    /// Not a usable location.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// Anything else.
    #[error("{action} {location}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        location: Location,
        /// The store's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ObjectError {
    /// True if the same operation may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            ObjectError::Timeout { .. } | ObjectError::Io { .. } => true,
            // An operator may repair it meanwhile.
            ObjectError::PermissionDenied { .. } => true,
            ObjectError::NotFound { .. }
            | ObjectError::AlreadyExists { .. }
            | ObjectError::TooMany { .. }
            | ObjectError::Location(_) => false,
        }
    }
}

/// What `put_create` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was written.
    Created,
    /// The same bytes were there already.
    AlreadyThere,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where.
    pub location: Location,
    /// How large, in bytes.
    pub size_bytes: u64,
    /// Wall time of its last change, for people.
    pub modified_ms: i64,
}

/// The door to object storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    local: LocalFileSystem,
}

impl Default for Objects {
    fn default() -> Objects {
        Objects::new()
    }
}

impl Objects {
    /// Storage as this binary was built: local files.
    pub fn new() -> Objects {
        Objects {
            local: LocalFileSystem::new().with_fsync(true),
        }
    }

    /// Writes an object if its name is free. If the name is taken by the same bytes, that is success
    /// too (a retry after a lost answer); by others, [`ObjectError::AlreadyExists`].
    pub async fn put_create(
        &self,
        location: &Location,
        bytes: Bytes,
        limit: Duration,
    ) -> Result<Put, ObjectError> {
        self.bounded(
            "write",
            location,
            limit,
            self.put_unbounded(location, bytes),
        )
        .await
    }

    async fn put_unbounded(&self, location: &Location, bytes: Bytes) -> Result<Put, ObjectError> {
        let path = object_path(location)?;
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.local.put_opts(&path, payload, options).await {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. }) => {
                self.confirm_same(location, &path, &bytes).await?;
                Ok(Put::AlreadyThere)
            }
            Err(error) => Err(map_error("write", location, error)),
        }
    }

    async fn confirm_same(
        &self,
        location: &Location,
        path: &ObjectPath,
        bytes: &Bytes,
    ) -> Result<(), ObjectError> {
        let read = |error| map_error("read", location, error);
        let found = self.local.get(path).await.map_err(read)?;
        let same_size = found.meta.size == bytes.len() as u64;
        if !same_size || found.bytes().await.map_err(read)? != *bytes {
            return Err(ObjectError::AlreadyExists {
                location: location.clone(),
            });
        }
        // Whoever wrote it may have died before it was durable.
        local::blocking(location, "sync", local::sync_object).await
    }

    /// Reads an object.
    pub async fn get(&self, location: &Location, limit: Duration) -> Result<Bytes, ObjectError> {
        let read = async {
            let path = object_path(location)?;
            let found = self.local.get(&path).await;
            let found = found.map_err(|e| map_error("read", location, e))?;
            found
                .bytes()
                .await
                .map_err(|e| map_error("read", location, e))
        };
        self.bounded("read", location, limit, read).await
    }

    /// An object's size, without reading it.
    pub async fn head(
        &self,
        location: &Location,
        limit: Duration,
    ) -> Result<ObjectInfo, ObjectError> {
        let head = async {
            let path = object_path(location)?;
            let meta = self.local.head(&path).await;
            let meta = meta.map_err(|e| map_error("read", location, e))?;
            Ok(ObjectInfo {
                location: location.clone(),
                size_bytes: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            })
        };
        self.bounded("read", location, limit, head).await
    }

    /// All objects below `dir`, by name; none if it doesn't exist. Never one beside it. Names what
    /// a crash left unfinished too (`name#1`), so that cleanup can see it.
    pub async fn list(
        &self,
        dir: &Location,
        limit: Duration,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.list_at_most(dir, usize::MAX, limit).await
    }

    /// Like [`Objects::list`], but [`ObjectError::TooMany`] instead of more than `most` objects.
    pub async fn list_at_most(
        &self,
        dir: &Location,
        most: usize,
        limit: Duration,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        let deadline = std::time::Instant::now() + limit;
        let list = local::blocking(dir, "list", move |path| {
            local::list_tree(path, most, deadline)
        });
        let listed = self.bounded("list", dir, limit, list).await?;
        let listed = listed.ok_or_else(|| ObjectError::TooMany {
            location: dir.clone(),
            most,
        })?;
        let mut found: Vec<ObjectInfo> = listed
            .into_iter()
            .map(|(path, metadata)| ObjectInfo {
                location: dir.below(path),
                size_bytes: metadata.len(),
                modified_ms: metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000,
            })
            .collect();
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Deletes an object, durably. Not there is success.
    pub async fn delete(&self, location: &Location, limit: Duration) -> Result<(), ObjectError> {
        let delete = local::blocking(location, "delete", local::delete_file);
        self.bounded("delete", location, limit, delete).await
    }

    /// Deletes exactly this directory and what is in it (`chk-1` never matches `chk-10`), durably.
    /// Not there is success; symbolic links are removed, never followed. Ends by itself soon after
    /// the time allowed, with part of it possibly done.
    pub async fn delete_dir(&self, dir: &Location, limit: Duration) -> Result<(), ObjectError> {
        let deadline = std::time::Instant::now() + limit;
        let delete = local::blocking(dir, "delete", move |path| {
            local::delete_tree(path, deadline)
        });
        self.bounded("delete", dir, limit, delete).await
    }

    /// Deletes a directory if it is empty, durably. Not there, or not empty, is success: the answer
    /// says whether it is gone.
    pub async fn delete_empty_dir(
        &self,
        dir: &Location,
        limit: Duration,
    ) -> Result<bool, ObjectError> {
        let delete = local::blocking(dir, "delete", local::delete_empty_dir);
        self.bounded("delete", dir, limit, delete).await
    }

    async fn bounded<T>(
        &self,
        action: &'static str,
        location: &Location,
        limit: Duration,
        work: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, ObjectError> {
        match tokio::time::timeout(limit, work).await {
            // Work on our own files looks at the clock by itself.
            Ok(Err(ObjectError::Io { source, .. })) if is_timed_out(source.as_ref()) => {
                Err(ObjectError::Timeout {
                    action,
                    location: location.clone(),
                    limit,
                })
            }
            Ok(result) => result,
            Err(_) => Err(ObjectError::Timeout {
                action,
                location: location.clone(),
                limit,
            }),
        }
    }
}

fn object_path(location: &Location) -> Result<ObjectPath, ObjectError> {
    ObjectPath::from_absolute_path(location.local_path()).map_err(|error| ObjectError::Io {
        action: "name",
        location: location.clone(),
        source: error.into(),
    })
}

fn map_error(action: &'static str, location: &Location, error: object_store::Error) -> ObjectError {
    let location = location.clone();
    match error {
        object_store::Error::NotFound { .. } => ObjectError::NotFound { location },
        object_store::Error::AlreadyExists { .. } => ObjectError::AlreadyExists { location },
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ObjectError::PermissionDenied {
            location,
            source: error.into(),
        },
        // Local files hide the system's answer within "generic".
        other => match io_kind(&other) {
            Some(std::io::ErrorKind::PermissionDenied) => ObjectError::PermissionDenied {
                location,
                source: other.into(),
            },
            _ => ObjectError::Io {
                action,
                location,
                source: other.into(),
            },
        },
    }
}

fn is_timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    io_kind(error) == Some(std::io::ErrorKind::TimedOut)
}

/// The kind of the innermost IO error.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}
