//! Objects on local files.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use regent_storage::objects::{Location, LocationError, ObjectError, Objects, Put, S3_BUILT};

use crate::names;

const LIMIT: Duration = Duration::from_secs(10);

fn root(dir: &Path) -> Location {
    dir.canonicalize()
        .unwrap()
        .display()
        .to_string()
        .parse()
        .unwrap()
}

async fn put(objects: &Objects, location: &Location, text: &str) -> Result<Put, ObjectError> {
    objects
        .put_create(location, Bytes::from(text.to_owned()), LIMIT)
        .await
}

#[tokio::test]
async fn an_object_is_created_once_and_the_same_again_is_success() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let at = root(dir.path()).join("job/chk-1/op-0 ä%20#x").unwrap();
    assert_eq!(put(&objects, &at, "state").await.unwrap(), Put::Created);
    assert_eq!(
        put(&objects, &at, "state").await.unwrap(),
        Put::AlreadyThere
    );
    for other in ["statE", "longer state", ""] {
        let error = put(&objects, &at, other).await.unwrap_err();
        assert!(
            matches!(error, ObjectError::AlreadyExists { .. }),
            "{error}"
        );
    }
    assert_eq!(objects.get(&at, LIMIT).await.unwrap(), "state");
    assert_eq!(objects.head(&at, LIMIT).await.unwrap().size_bytes, 5);
    assert_eq!(std::fs::read(at.local_path().unwrap()).unwrap(), b"state");
    assert_eq!(
        names(&dir.path().join("job/chk-1")).len(),
        1,
        "no staging files stay"
    );
}

#[tokio::test]
async fn what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let at = root(dir.path()).join("no/such").unwrap();
    assert!(matches!(
        objects.get(&at, LIMIT).await,
        Err(ObjectError::NotFound { .. })
    ));
    assert!(matches!(
        objects.head(&at, LIMIT).await,
        Err(ObjectError::NotFound { .. })
    ));
    assert_eq!(objects.list(&at, LIMIT).await.unwrap(), vec![]);
    objects.delete(&at, LIMIT).await.unwrap();
    objects.delete_dir(&at, LIMIT).await.unwrap();
    assert!(objects.delete_empty_dir(&at, LIMIT).await.unwrap());
}

#[tokio::test]
async fn listing_is_by_segment_and_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let root = root(dir.path());
    for name in [
        "chk-1/b",
        "chk-1/a",
        "chk-1/deep/er/c",
        "chk-10/a",
        "chk-1x",
    ] {
        put(&objects, &root.join(name).unwrap(), name)
            .await
            .unwrap();
    }
    let found = objects
        .list(&root.join("chk-1").unwrap(), LIMIT)
        .await
        .unwrap();
    let names: Vec<String> = found.iter().map(|info| info.location.to_string()).collect();
    let expected: Vec<String> = ["chk-1/a", "chk-1/b", "chk-1/deep/er/c"]
        .map(|name| root.join(name).unwrap().to_string())
        .into();
    assert_eq!(names, expected);
    assert_eq!(found[0].size_bytes, 7);
    // What a killed writer leaves is seen, and can be deleted.
    std::fs::write(dir.path().join("chk-10/b#1"), b"half").unwrap();
    let found = objects
        .list(&root.join("chk-10").unwrap(), LIMIT)
        .await
        .unwrap();
    assert!(found[1].location.to_string().ends_with("/chk-10/b#1"));
    objects.delete(&found[1].location, LIMIT).await.unwrap();
    assert_eq!(crate::names(&dir.path().join("chk-10")), vec!["a"]);
    assert!(found[0].modified_ms > 0);
}

#[tokio::test]
async fn a_url_stays_a_url() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let url: Location = format!("file://{}", root(dir.path())).parse().unwrap();
    put(&objects, &url.join("a").unwrap(), "x").await.unwrap();
    let found = objects.list(&url, LIMIT).await.unwrap();
    assert_eq!(found[0].location.to_string(), format!("{url}/a"));
}

#[tokio::test]
async fn deleting_a_directory_takes_exactly_its_tree() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let root = root(dir.path());
    for name in ["chk-1/a", "chk-1/deep/er/c", "chk-10/a", "chk-1x", "kept/k"] {
        put(&objects, &root.join(name).unwrap(), name)
            .await
            .unwrap();
    }
    std::fs::create_dir_all(dir.path().join("chk-1/empty/er")).unwrap();
    std::fs::write(dir.path().join("chk-1/a#7"), b"left by a crash").unwrap();
    symlink(dir.path().join("kept"), dir.path().join("chk-1/link")).unwrap();
    let chk_1 = root.join("chk-1").unwrap();
    objects.delete_dir(&chk_1, LIMIT).await.unwrap();
    assert_eq!(names(dir.path()), vec!["chk-10", "chk-1x", "kept"]);
    assert_eq!(
        names(&dir.path().join("kept")),
        vec!["k"],
        "links are not followed"
    );
    objects.delete_dir(&chk_1, LIMIT).await.unwrap();
    objects
        .delete(&root.join("chk-10/a").unwrap(), LIMIT)
        .await
        .unwrap();
    let chk_10 = root.join("chk-10").unwrap();
    assert!(objects.delete_empty_dir(&chk_10, LIMIT).await.unwrap());
    assert!(
        !objects
            .delete_empty_dir(&root.join("kept").unwrap(), LIMIT)
            .await
            .unwrap()
    );
    assert_eq!(names(dir.path()), vec!["chk-1x", "kept"]);
}

#[tokio::test]
async fn refusals_have_their_types() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::new();
    let root = root(dir.path());
    put(&objects, &root.join("file").unwrap(), "x")
        .await
        .unwrap();
    // A file where a directory is needed.
    let below = root.join("file/below").unwrap();
    assert!(matches!(
        put(&objects, &below, "y").await,
        Err(ObjectError::Io { .. })
    ));
    objects.delete(&below, LIMIT).await.unwrap();
    let s3 = "s3://bucket/x".parse::<Location>();
    let as_built = match &s3 {
        Ok(at) => S3_BUILT && at.local_path().is_none(),
        Err(LocationError::BuiltWithout { scheme: "s3", .. }) => !S3_BUILT,
        Err(_) => false,
    };
    assert!(as_built, "{s3:?}");
}

#[tokio::test]
async fn permission_denied_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(closed.join("probe"), b"").is_ok() {
        // Root may write anywhere: nothing to see here.
        return;
    }
    let objects = Objects::new();
    let at = root(dir.path()).join("closed/new").unwrap();
    let error = put(&objects, &at, "x").await.unwrap_err();
    assert!(
        matches!(error, ObjectError::PermissionDenied { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let objects = Objects::new();
    let at = root(dir.path()).join("fifo").unwrap();
    // Opening a pipe that nobody writes to blocks, as a dead network file system does.
    let limit = Duration::from_millis(50);
    let error = objects.get(&at, limit).await.unwrap_err();
    assert!(matches!(error, ObjectError::Timeout { .. }), "{error}");
    assert!(error.retryable());
    assert_eq!(
        error.to_string(),
        format!("read {at}: no answer within 50 ms")
    );
    // Lets the blocked thread go, so that the runtime can end.
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    let error = objects
        .delete_dir(&root(dir.path()), Duration::ZERO)
        .await
        .unwrap_err();
    assert!(matches!(error, ObjectError::Timeout { .. }), "{error}");
}
