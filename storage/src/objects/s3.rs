//! What is different in a bucket: clients made once per bucket, deletions in bulk, and directories that
//! are only prefixes of names.
//!
//! A directory's prefix ends with `/`, so that `chk-1` never matches `chk-10`. Failures that say "try
//! again" are tried again within one operation; whoever calls bounds it in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};

use super::access::{AccessError, Credentials, S3Access};
use super::error::map_error;
use super::{Location, LocationError, Named, ObjectError, ObjectInfo};

/// One request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Where a region isn't named.
const REGION: &str = "us-east-1";

/// The clients of buckets, made when first used.
pub(super) struct Buckets {
    access: S3Access,
    made: Mutex<BTreeMap<String, Arc<AmazonS3>>>,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let access = &self.access;
        f.debug_struct("Buckets")
            .field("access", access)
            .finish_non_exhaustive()
    }
}

impl Buckets {
    pub(super) fn new(access: S3Access) -> Self {
        let made = Mutex::default();
        Self { access, made }
    }

    pub(super) fn store(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = made.get(bucket) {
            return Ok(Arc::clone(store) as Arc<dyn ObjectStore>);
        }
        let store = Arc::new(client(&self.access, bucket)?);
        made.insert(bucket.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn client(access: &S3Access, bucket: &str) -> Result<AmazonS3, AccessError> {
    let http = access
        .endpoint
        .as_deref()
        .is_some_and(|url| url.starts_with("http://"));
    let options = ClientOptions::new()
        .with_timeout(REQUEST_LIMIT)
        .with_connect_timeout(CONNECT_LIMIT)
        .with_allow_http(http);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(access.region.as_deref().unwrap_or(REGION))
        .with_client_options(options)
        .with_retry(retries());
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(path) = &access.credentials_file {
        let credentials = Credentials::read(path)?;
        builder = builder
            .with_access_key_id(credentials.key_id)
            .with_secret_access_key(credentials.secret);
        if let Some(token) = credentials.session {
            builder = builder.with_token(token);
        }
    }
    builder.build().map_err(|error| AccessError::Refused {
        bucket: bucket.to_owned(),
        cause: error.to_string(),
    })
}

/// A few at once; what lasts longer is the caller's to try again.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(20),
    }
}

pub(super) fn object_path(location: &Location, key: &str) -> Result<ObjectPath, ObjectError> {
    ObjectPath::parse(key)
        .map_err(|_| ObjectError::Location(LocationError::NotAbsolute(location.to_string())))
}

pub(super) async fn list(
    (store, prefix): Named,
    dir: &Location,
    most: usize,
) -> Result<Vec<ObjectInfo>, ObjectError> {
    let mut found = Vec::new();
    let mut listing = store.list(Some(&prefix));
    while let Some(meta) = listing
        .try_next()
        .await
        .map_err(|e| map_error("list", dir, e))?
    {
        if found.len() >= most {
            let (location, most) = (dir.clone(), most);
            return Err(ObjectError::TooMany { location, most });
        }
        found.push(ObjectInfo {
            location: below(dir, &prefix, &meta.location)?,
            size_bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        });
    }
    Ok(found)
}

/// The location of an object that was listed below a directory.
fn below(dir: &Location, prefix: &ObjectPath, found: &ObjectPath) -> Result<Location, ObjectError> {
    let rest = found
        .as_ref()
        .strip_prefix(prefix.as_ref())
        .unwrap_or(found.as_ref());
    Ok(dir.join(rest.trim_start_matches('/'))?)
}

pub(super) async fn children(
    (store, prefix): Named,
    dir: &Location,
) -> Result<Vec<String>, ObjectError> {
    let listed = store.list_with_delimiter(Some(&prefix)).await;
    let listed = listed.map_err(|error| map_error("list", dir, error))?;
    let last = |path: &ObjectPath| path.filename().map(str::to_owned);
    Ok(listed.common_prefixes.iter().filter_map(last).collect())
}

pub(super) async fn delete((store, path): Named, location: &Location) -> Result<(), ObjectError> {
    match store.delete(&path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(map_error("delete", location, error)),
    }
}

/// In bulk, a thousand names to a request. The bucket's own listing decides that nothing is left.
pub(super) async fn delete_dir(named: Named, dir: &Location) -> Result<(), ObjectError> {
    let (store, prefix) = &named;
    let names = store.list(Some(prefix)).map_ok(|meta| meta.location);
    let mut deleted = store.delete_stream(names.boxed());
    while let Some(one) = deleted.next().await {
        match one {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(map_error("delete", dir, error)),
        }
    }
    if is_empty(named, dir).await? {
        return Ok(());
    }
    Err(ObjectError::Io {
        action: "delete",
        location: dir.clone(),
        source: "something is left, or was written meanwhile".into(),
    })
}

/// Whether nothing is below it.
pub(super) async fn is_empty((store, prefix): Named, dir: &Location) -> Result<bool, ObjectError> {
    let first = store.list(Some(&prefix)).try_next().await;
    Ok(first
        .map_err(|error| map_error("list", dir, error))?
        .is_none())
}
