//! Which of the store's directories counts: the file `CURRENT`, replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::StateStoreError;
use crate::codec::{self, Kind};
use crate::files::{create_dir_durably, parent_of, replace_file, sync_dir};

const POINTER_NAME: &str = "CURRENT";
const DIR_PREFIX: &str = "state-";
const LOCK_NAME: &str = "LOCK";

/// Takes the store for one owner: a second one must not take its files for damaged.
pub(super) fn lock(dir: &Path) -> Result<Flock<File>, StateStoreError> {
    create_dir_durably(dir).map_err(StateStoreError::io("create", dir))?;
    let path = dir.join(LOCK_NAME);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StateStoreError::io("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => {
            let dir = dir.to_path_buf();
            Err(StateStoreError::InUse { dir })
        }
        Err((_, errno)) => Err(StateStoreError::io("lock", &path)(errno.into())),
    }
}

/// The directory that counts; a new one if there is none yet.
pub(super) fn open_current(dir: &Path) -> Result<PathBuf, StateStoreError> {
    let pointer = dir.join(POINTER_NAME);
    let number = match std::fs::read(&pointer) {
        Ok(bytes) => codec::decode::<u64>(Kind::STATE_POINTER, &[1], &bytes)
            .map_err(|e| StateStoreError::damaged(dir, format!("{}: {e}", pointer.display())))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Whatever lies there was never switched to.
            remove_others(dir, &numbered(dir, 0));
            create_dir_durably(&numbered(dir, 1)).map_err(StateStoreError::io("create", dir))?;
            switch(dir, &numbered(dir, 1))?;
            1
        }
        Err(e) => return Err(StateStoreError::io("read", &pointer)(e)),
    };
    let current = numbered(dir, number);
    match current.is_dir() {
        true => Ok(current),
        false => Err(StateStoreError::damaged(
            dir,
            format!("{} is missing", current.display()),
        )),
    }
}

/// A new directory's path, higher than any that is there.
pub(super) fn next_dir(dir: &Path) -> Result<PathBuf, StateStoreError> {
    let mut highest = 0;
    for entry in std::fs::read_dir(dir).map_err(StateStoreError::io("list", dir))? {
        let entry = entry.map_err(StateStoreError::io("list", dir))?;
        highest = highest.max(number_of(&entry.path()).unwrap_or(0));
    }
    let target = numbered(dir, highest + 1);
    create_dir_durably(&target).map_err(StateStoreError::io("create", &target))?;
    Ok(target)
}

/// Makes `target` the one that counts, durably.
pub(super) fn switch(dir: &Path, target: &Path) -> Result<(), StateStoreError> {
    let pointer = dir.join(POINTER_NAME);
    let number = number_of(target).unwrap_or(0);
    let bytes = codec::encode(Kind::STATE_POINTER, 1, &number)
        .map_err(|e| StateStoreError::damaged(dir, e.to_string()))?;
    replace_file(&pointer, &bytes).map_err(StateStoreError::io("write", &pointer))
}

/// Removes directories that don't count. Failing costs only space.
pub(super) fn remove_others(dir: &Path, current: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if number_of(&path).is_none() || path == current {
            continue;
        }
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "can't remove an old state store");
        }
    }
}

pub(super) fn discard(dir: &Path) -> Result<(), StateStoreError> {
    if !dir.exists() {
        return Ok(());
    }
    let _lock = lock(dir)?;
    match std::fs::remove_dir_all(dir) {
        Ok(()) => sync_dir(&parent_of(dir)).map_err(StateStoreError::io("sync", dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StateStoreError::io("remove", dir)(e)),
    }
}

fn numbered(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{DIR_PREFIX}{number}"))
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix(DIR_PREFIX)?
        .parse()
        .ok()
}
