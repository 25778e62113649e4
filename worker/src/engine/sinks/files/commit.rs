//! Committing transactions: staged files get their final names, durably, without ever replacing
//! anything, and as often as it is asked for. Used by running sinks, by restores and by orders to
//! commit without running.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use regent_protocol::v1::Transaction;

use super::objects;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::remote::is_remote;

/// Two committers may race for the same file; each loss is looked at again.
const LOOKS_MAX: usize = 4;

/// Commits the transactions and makes it durable. Blocking.
pub(crate) fn commit_all(effects: &Effects, transactions: &[Transaction]) -> Result<(), TaskError> {
    let mut directories = BTreeSet::new();
    for transaction in transactions {
        if is_remote(&transaction.final_path) {
            objects::commit_one(effects, transaction)?;
            continue;
        }
        commit_one(effects, transaction)?;
        let staged = Path::new(&transaction.staged_path).parent();
        let last = Path::new(&transaction.final_path).parent();
        directories.extend(staged.into_iter().chain(last).map(Path::to_path_buf));
    }
    for directory in directories {
        // A name that was there already may not have been durable yet.
        match sync_directory(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|e| TaskError::io("syncing", &directory, &e))?,
        }
    }
    Ok(())
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Same,
    Other,
}

/// What there is to do for one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Rename,
    Done,
    /// Staging is deleted only after the commit: the user took the file away.
    DoneButGone,
    StagedDiffers,
    FinalDiffers,
}

pub(super) fn decide(staged: Found, last: Found) -> Step {
    match (staged, last) {
        (_, Found::Other) => Step::FinalDiffers,
        (_, Found::Same) => Step::Done,
        (Found::Same, Found::Nothing) => Step::Rename,
        (Found::Other, Found::Nothing) => Step::StagedDiffers,
        (Found::Nothing, Found::Nothing) => Step::DoneButGone,
    }
}

fn commit_one(effects: &Effects, transaction: &Transaction) -> Result<(), TaskError> {
    let staged = PathBuf::from(&transaction.staged_path);
    let last = PathBuf::from(&transaction.final_path);
    for _ in 0..LOOKS_MAX {
        let found = (
            look(&staged, transaction, false)?,
            look(&last, transaction, true)?,
        );
        match decide(found.0, found.1) {
            Step::Done => return Ok(()),
            Step::DoneButGone => {
                tracing::warn!(
                    path = %last.display(),
                    "committed output is not there any more and neither is its staging"
                );
                return Ok(());
            }
            Step::FinalDiffers => return Err(differs(&transaction.final_path, "the final file")),
            Step::StagedDiffers => {
                return Err(differs(&transaction.staged_path, "the staged file"));
            }
            Step::Rename => {
                effects.allowed()?;
                match rename_without_replacing(&staged, &last) {
                    Ok(()) => return Ok(()),
                    // Another committer was faster: look at what it left.
                    Err(error) if is_race(&error) => {}
                    Err(error) => return Err(TaskError::io("renaming to", &last, &error)),
                }
            }
        }
    }
    Err(TaskError::task(format!(
        "{}: the file comes and goes while it is committed",
        last.display()
    )))
}

fn is_race(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
    )
}

pub(super) fn differs(path: &str, what: &str) -> TaskError {
    TaskError::task(format!(
        "{path}: {what} is not the one that the checkpoint lists; move it away"
    ))
}

/// Compares a file with its transaction: by length, and by content where that is asked for.
fn look(path: &Path, transaction: &Transaction, content: bool) -> Result<Found, TaskError> {
    let fail = |error: io::Error| TaskError::io("reading", path, &error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(fail(error)),
    };
    let length = file.metadata().map_err(fail)?.len();
    if length != transaction.length {
        return Ok(Found::Other);
    }
    if content && checksum(&mut file).map_err(fail)? != transaction.crc32c {
        return Ok(Found::Other);
    }
    Ok(Found::Same)
}

fn checksum(file: &mut File) -> io::Result<u32> {
    let mut buffer = vec![0; 256 * 1024];
    let mut crc = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc),
            read => crc = crc32c::crc32c_append(crc, &buffer[..read]),
        }
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems don't know the flag; a hard link doesn't replace either.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Authority;

    struct May(bool);
    impl Authority for May {
        fn may_act(&self) -> bool {
            self.0
        }
    }

    fn effects(may: bool) -> Effects {
        Effects::new(Arc::new(May(may)))
    }

    struct Place {
        dir: tempfile::TempDir,
        transaction: Transaction,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("_staging")).unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let transaction = Transaction {
            staged_path: path("_staging/part"),
            final_path: path("part"),
            length: 5,
            crc32c: crc32c::crc32c(b"hello"),
            ..Default::default()
        };
        Place { dir, transaction }
    }

    impl Place {
        fn commit(&self) -> Result<(), TaskError> {
            commit_all(&effects(true), std::slice::from_ref(&self.transaction))
        }
        fn stage(&self, content: &str) {
            fs::write(&self.transaction.staged_path, content).unwrap();
        }
        fn finalise(&self, content: &str) {
            fs::write(&self.transaction.final_path, content).unwrap();
        }
        fn last(&self) -> Option<String> {
            fs::read_to_string(&self.transaction.final_path).ok()
        }
    }

    #[test]
    fn every_combination_has_its_step() {
        use Found::{Nothing, Other, Same};
        for (staged, last, step) in [
            (Same, Nothing, Step::Rename),
            (Nothing, Same, Step::Done),
            (Same, Same, Step::Done),
            (Other, Same, Step::Done),
            (Nothing, Nothing, Step::DoneButGone),
            (Other, Nothing, Step::StagedDiffers),
            (Same, Other, Step::FinalDiffers),
            (Nothing, Other, Step::FinalDiffers),
            (Other, Other, Step::FinalDiffers),
        ] {
            assert_eq!(decide(staged, last), step);
        }
    }

    #[test]
    fn staged_becomes_final_as_often_as_asked() {
        let place = place();
        place.stage("hello");
        for _ in 0..3 {
            place.commit().unwrap();
            assert_eq!(place.last().unwrap(), "hello");
        }
        assert!(!Path::new(&place.transaction.staged_path).exists());
    }

    #[test]
    fn taken_away_by_the_user_is_done() {
        let place = place();
        place.commit().unwrap();
        assert_eq!(place.last(), None);
        fs::remove_dir(place.dir.path().join("_staging")).unwrap();
        place.commit().unwrap();
    }

    #[test]
    fn another_final_file_is_never_replaced() {
        let place = place();
        place.stage("hello");
        for other in ["hullo", "longer than that"] {
            place.finalise(other);
            let error = place.commit().unwrap_err().to_string();
            assert!(error.contains(&place.transaction.final_path), "{error}");
            assert_eq!(place.last().unwrap(), other);
        }
    }

    #[test]
    fn a_staged_file_of_another_length_is_not_published() {
        let place = place();
        place.stage("hell");
        let error = place.commit().unwrap_err().to_string();
        assert!(error.contains("_staging/part"), "{error}");
        assert_eq!(place.last(), None);
    }

    #[test]
    fn nothing_is_renamed_when_the_lease_is_over() {
        let place = place();
        place.stage("hello");
        let error = commit_all(&effects(false), std::slice::from_ref(&place.transaction));
        assert_eq!(error.unwrap_err(), TaskError::Lease);
        assert_eq!(place.last(), None);
    }
}
