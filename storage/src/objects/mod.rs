//! Objects that outlive processes: checkpoints, savepoints, artefacts. Names are immutable and
//! created only if absent; every operation is repeatable and bounded in time.
//!
//! A time-out says that the answer is unknown: a write or delete already handed to the operating
//! system may still land. That is why names are never used again and why cleanup sweeps twice.
//!
//! Local files are synced, and so are the directories that got or lost a name. With the feature `s3`,
//! locations in buckets work too; what the two kinds of store do differently is in `local.rs` and
//! `s3.rs`.

mod access;
mod error;
mod local;
mod location;
pub mod owner;
#[cfg(feature = "s3")]
mod s3;

pub use access::{AccessError, S3Access};
pub use error::ObjectError;
pub use location::{Location, LocationError};

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::Semaphore;

use error::{is_timed_out, map_error};
use location::Place;

/// Whether this binary speaks to S3.
pub const S3_BUILT: bool = cfg!(feature = "s3");

/// Deletions that may hang in the operating system at once, across retries: threads that nobody can
/// take back. Reads and writes have threads of their own left.
const HANGING_MAX: usize = 64;

/// How often a write whose answer was lost is tried, and the pause between.
const WRITES_MAX: u32 = 4;
const WRITE_AGAIN: Duration = Duration::from_millis(250);

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
    hanging: Arc<Semaphore>,
    #[cfg(feature = "s3")]
    buckets: Arc<s3::Buckets>,
}

impl Default for Objects {
    fn default() -> Objects {
        Objects::new()
    }
}

/// A store and the name of an object in it.
type Named = (Arc<dyn ObjectStore>, ObjectPath);

impl Objects {
    /// Local files, and buckets with the provider's defaults.
    pub fn new() -> Objects {
        Objects::with_s3(&S3Access::default())
    }

    /// Local files, and buckets by this access.
    pub fn with_s3(access: &S3Access) -> Objects {
        #[cfg(not(feature = "s3"))]
        let _unused_without_the_feature = access;
        Objects {
            local: LocalFileSystem::new().with_fsync(true),
            hanging: Arc::new(Semaphore::new(HANGING_MAX)),
            #[cfg(feature = "s3")]
            buckets: Arc::new(s3::Buckets::new(access.clone())),
        }
    }

    fn named(&self, location: &Location) -> Result<Named, ObjectError> {
        match location.place() {
            Place::Local(path) => Ok((Arc::new(self.local.clone()), object_path(location, path)?)),
            #[cfg(feature = "s3")]
            Place::S3 { bucket, key } => {
                let store = self.buckets.store(bucket)?;
                Ok((store, s3::object_path(location, key)?))
            }
            #[cfg(not(feature = "s3"))]
            Place::S3 { .. } => Err(without_s3(location)),
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
        let (store, path) = self.named(location)?;
        let mut tries = 0;
        loop {
            let options = PutOptions {
                mode: PutMode::Create,
                ..PutOptions::default()
            };
            let payload = PutPayload::from_bytes(bytes.clone());
            tries += 1;
            match store.put_opts(&path, payload, options).await {
                Ok(_) => return Ok(Put::Created),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    self.confirm_same(location, &bytes).await?;
                    return Ok(Put::AlreadyThere);
                }
                Err(error) => {
                    let error = map_error("write", location, error);
                    let answer_lost = matches!(error, ObjectError::Io { .. });
                    if location.local_path().is_some() || !answer_lost || tries == WRITES_MAX {
                        return Err(error);
                    }
                    // Whether it was written is unknown; the same again finds out.
                    tokio::time::sleep(WRITE_AGAIN).await;
                }
            }
        }
    }

    async fn confirm_same(&self, location: &Location, bytes: &Bytes) -> Result<(), ObjectError> {
        let (store, path) = self.named(location)?;
        let read = |error| map_error("read", location, error);
        let found = store.get(&path).await.map_err(read)?;
        let same_size = found.meta.size == bytes.len() as u64;
        if !same_size || found.bytes().await.map_err(read)? != *bytes {
            return Err(ObjectError::AlreadyExists {
                location: location.clone(),
            });
        }
        match location.place() {
            // Whoever wrote it may have died before it was durable.
            Place::Local(path) => local::blocking(location, path, "sync", local::sync_object).await,
            Place::S3 { .. } => Ok(()),
        }
    }

    /// Reads an object.
    pub async fn get(&self, location: &Location, limit: Duration) -> Result<Bytes, ObjectError> {
        let read = async {
            let (store, path) = self.named(location)?;
            let found = store.get(&path).await;
            let found = found.map_err(|e| map_error("read", location, e))?;
            found
                .bytes()
                .await
                .map_err(|e| map_error("read", location, e))
        };
        self.bounded("read", location, limit, read).await
    }

    /// Reads a part of an object that has at least the first byte of it; fewer bytes come where the
    /// object ends.
    pub async fn get_range(
        &self,
        location: &Location,
        range: Range<u64>,
        limit: Duration,
    ) -> Result<Bytes, ObjectError> {
        let read = async {
            let (store, path) = self.named(location)?;
            let found = store.get_range(&path, range).await;
            found.map_err(|e| map_error("read", location, e))
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
            let (store, path) = self.named(location)?;
            let meta = store.head(&path).await;
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
        let list = async {
            match dir.place() {
                Place::Local(path) => list_local(dir, path, most, limit).await,
                #[cfg(feature = "s3")]
                Place::S3 { .. } => s3::list(self.named(dir)?, dir, most).await,
                #[cfg(not(feature = "s3"))]
                Place::S3 { .. } => Err(without_s3(dir)),
            }
        };
        let mut found = self.bounded("list", dir, limit, list).await?;
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Names of the directories directly below `dir`, sorted; none if it doesn't exist.
    pub async fn children(
        &self,
        dir: &Location,
        limit: Duration,
    ) -> Result<Vec<String>, ObjectError> {
        let list = async {
            match dir.place() {
                Place::Local(path) => local::blocking(dir, path, "list", local::children).await,
                #[cfg(feature = "s3")]
                Place::S3 { .. } => s3::children(self.named(dir)?, dir).await,
                #[cfg(not(feature = "s3"))]
                Place::S3 { .. } => Err(without_s3(dir)),
            }
        };
        let mut names = self.bounded("list", dir, limit, list).await?;
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes an object, durably. Not there is success.
    pub async fn delete(&self, location: &Location, limit: Duration) -> Result<(), ObjectError> {
        let delete = async {
            match location.place() {
                Place::Local(path) => self.delete_local(location, path, local::delete_file).await,
                #[cfg(feature = "s3")]
                Place::S3 { .. } => s3::delete(self.named(location)?, location).await,
                #[cfg(not(feature = "s3"))]
                Place::S3 { .. } => Err(without_s3(location)),
            }
        };
        self.bounded("delete", location, limit, delete).await
    }

    /// Deletes exactly this directory and what is in it (`chk-1` never matches `chk-10`), durably.
    /// Not there is success; symbolic links are removed, never followed. Ends by itself soon after
    /// the time allowed, with part of it possibly done.
    pub async fn delete_dir(&self, dir: &Location, limit: Duration) -> Result<(), ObjectError> {
        let deadline = std::time::Instant::now() + limit;
        let delete = async {
            match dir.place() {
                Place::Local(path) => {
                    let work = move |path: &Path| local::delete_tree(path, deadline);
                    self.delete_local(dir, path, work).await
                }
                #[cfg(feature = "s3")]
                Place::S3 { .. } => s3::delete_dir(self.named(dir)?, dir).await,
                #[cfg(not(feature = "s3"))]
                Place::S3 { .. } => Err(without_s3(dir)),
            }
        };
        self.bounded("delete", dir, limit, delete).await
    }

    /// Deletes a directory if it is empty, durably. Not there, or not empty, is success: the answer
    /// says whether it is gone. In a bucket, a directory is gone once nothing is in it.
    pub async fn delete_empty_dir(
        &self,
        dir: &Location,
        limit: Duration,
    ) -> Result<bool, ObjectError> {
        let delete = async {
            match dir.place() {
                Place::Local(path) => self.delete_local(dir, path, local::delete_empty_dir).await,
                #[cfg(feature = "s3")]
                Place::S3 { .. } => s3::is_empty(self.named(dir)?, dir).await,
                #[cfg(not(feature = "s3"))]
                Place::S3 { .. } => Err(without_s3(dir)),
            }
        };
        self.bounded("delete", dir, limit, delete).await
    }

    /// A place among those that may hang is held until the operating system has answered, also when
    /// nobody waits any more.
    async fn delete_local<T: Send + 'static>(
        &self,
        location: &Location,
        path: &Path,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let place = Arc::clone(&self.hanging).acquire_owned().await;
        local::blocking(location, path, "delete", move |path| {
            let _held_until_done = place;
            work(path)
        })
        .await
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

async fn list_local(
    dir: &Location,
    path: &Path,
    most: usize,
    limit: Duration,
) -> Result<Vec<ObjectInfo>, ObjectError> {
    let deadline = std::time::Instant::now() + limit;
    let list = move |path: &Path| local::list_tree(path, most, deadline);
    let listed = local::blocking(dir, path, "list", list).await?;
    let listed = listed.ok_or_else(|| ObjectError::TooMany {
        location: dir.clone(),
        most,
    })?;
    let info = |(path, metadata): (std::path::PathBuf, std::fs::Metadata)| ObjectInfo {
        location: dir.below(path),
        size_bytes: metadata.len(),
        modified_ms: metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000,
    };
    Ok(listed.into_iter().map(info).collect())
}

#[cfg(not(feature = "s3"))]
fn without_s3(location: &Location) -> ObjectError {
    ObjectError::Location(LocationError::BuiltWithout {
        location: location.to_string(),
        scheme: "s3",
    })
}

fn object_path(location: &Location, path: &Path) -> Result<ObjectPath, ObjectError> {
    ObjectPath::from_absolute_path(path).map_err(|error| ObjectError::Io {
        action: "name",
        location: location.clone(),
        source: error.into(),
    })
}
