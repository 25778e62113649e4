//! What `object_store` leaves to us on local files: durable deletes, whole directories, and syncing
//! what somebody else wrote. Blocking code on tokio's blocking threads.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Location, ObjectError};
use crate::files::{parent_of, sync_dir};

/// Runs a blocking file operation on the location's path.
pub(super) async fn blocking<T: Send + 'static>(
    location: &Location,
    path: &Path,
    action: &'static str,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, ObjectError> {
    let path = path.to_path_buf();
    let result = match tokio::task::spawn_blocking(move || work(&path)).await {
        Ok(result) => result,
        Err(join) => Err(io::Error::other(join)),
    };
    result.map_err(|error| from_io(action, location, error))
}

fn from_io(action: &'static str, location: &Location, error: io::Error) -> ObjectError {
    let location = location.clone();
    match error.kind() {
        io::ErrorKind::NotFound => ObjectError::NotFound { location },
        io::ErrorKind::PermissionDenied => ObjectError::PermissionDenied {
            location,
            source: error.into(),
        },
        _ => ObjectError::Io {
            action,
            location,
            source: error.into(),
        },
    }
}

/// Makes an existing file and its name durable.
pub(super) fn sync_object(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_dir(&parent_of(path))
}

pub(super) fn delete_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// True if the directory is gone.
pub(super) fn delete_empty_dir(path: &Path) -> io::Result<bool> {
    match std::fs::remove_dir(path) {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

/// Everything below a directory that isn't one itself; links are named, never followed. `None`: there
/// is more than `most`.
pub(super) fn list_tree(
    dir: &Path,
    most: usize,
    deadline: Instant,
) -> io::Result<Option<Vec<(PathBuf, Metadata)>>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(next) = todo.pop() {
        let entries = match std::fs::read_dir(&next) {
            Ok(entries) => entries,
            // Deleted while we looked.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            check_deadline(deadline)?;
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => todo.push(entry.path()),
                Ok(_) if found.len() >= most => return Ok(None),
                Ok(metadata) => found.push((entry.path(), metadata)),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Some(found))
}

/// Names of the directories directly in this one.
pub(super) fn children(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

fn check_deadline(deadline: Instant) -> io::Result<()> {
    match Instant::now() < deadline {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Removes a directory tree (or a single file), without following links. Stops at the deadline.
pub(super) fn delete_tree(path: &Path, deadline: Instant) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        empty_and_remove(path, deadline)?;
    } else {
        ignore_gone(std::fs::remove_file(path))?;
    }
    // One sync is enough: removals below were ordered before this one.
    sync_parent(path)
}

/// Depth is bounded by the file system's path length; each level removes its own.
fn empty_and_remove(dir: &Path, deadline: Instant) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        check_deadline(deadline)?;
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty_and_remove(&entry.path(), deadline)?;
        } else {
            ignore_gone(std::fs::remove_file(entry.path()))?;
            regent_failpoint::reach("cleanup", "one-deleted");
        }
    }
    ignore_gone(std::fs::remove_dir(dir))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    ignore_gone(sync_dir(&parent_of(path)))
}

fn ignore_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

/// A file where a directory was expected means that nothing can be below it.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
