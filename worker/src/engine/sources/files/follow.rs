//! Following a path: files that appear later are read too, and the source never ends. Every subtask
//! looks for itself and takes the files whose names hash to it, so nobody has to hand them out, and a
//! restore at another parallelism finds each file's position by the same rule.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use regent_protocol::spec::FilesSourceSpec;
use xxhash_rust::xxh3::xxh3_64;

use super::listing::{self, FileFound};
use super::position::SplitPosition;
use crate::engine::error::TaskError;
use crate::engine::remote::Remote;

/// Files that one subtask remembers. Those it has read and that are gone are forgotten beyond this.
const REMEMBERED_MAX: usize = 100_000;

/// What a subtask needs to follow its path.
#[derive(Debug)]
pub(super) struct Follow {
    path: String,
    interval: Duration,
    subtask: u64,
    parallelism: u64,
    next_look: Option<Instant>,
    remote: Option<Remote>,
}

impl Follow {
    /// `None` if the source isn't to follow its path.
    pub(super) fn of(
        spec: &FilesSourceSpec,
        (subtask, parallelism): (u32, u32),
        remote: Option<Remote>,
    ) -> Option<Self> {
        Some(Self {
            path: spec.path.clone(),
            interval: Duration::from_millis(spec.discovery_interval_ms?),
            subtask: subtask.into(),
            parallelism: parallelism.into(),
            next_look: None,
            remote,
        })
    }

    fn owns(&self, path: &str) -> bool {
        xxh3_64(path.as_bytes()) % self.parallelism == self.subtask
    }

    /// This subtask's positions among those of all subtasks. Positions of a source that didn't follow
    /// its path will do: it goes on with what is new since.
    pub(super) fn restored(&self, items: &[Bytes]) -> Result<Vec<SplitPosition>, TaskError> {
        let damaged = |what: &str| TaskError::Restore(format!("the file positions: {what}"));
        let decoded: Result<Vec<SplitPosition>, _> = items
            .iter()
            .map(|item| SplitPosition::decode(item.clone()))
            .collect();
        let mut all = decoded.map_err(|e| damaged(&e.to_string()))?;
        all.sort_by(|one, other| (!one.done, &one.path).cmp(&(!other.done, &other.path)));
        let mut seen = HashSet::new();
        if let Some(twice) = all.iter().find(|one| !seen.insert(one.path.as_str())) {
            return Err(damaged(&format!("{} is there twice", twice.path)));
        }
        drop(seen);
        all.retain(|one| self.owns(&one.path));
        for one in &mut all {
            one.followed = true;
        }
        Ok(all)
    }

    /// Until when there is nothing to look for.
    pub(super) fn waits(&self, now: Instant) -> Option<Instant> {
        self.next_look.filter(|at| *at > now)
    }

    /// Looks for new files and appends them, sorted by name.
    pub(super) async fn look(&mut self, splits: &mut Vec<SplitPosition>) -> Result<(), TaskError> {
        let (path, remote) = (self.path.clone(), self.remote.clone());
        let listed =
            tokio::task::spawn_blocking(move || listing::list(&path, remote.as_ref())).await;
        let found = listed.map_err(|e| TaskError::task(format!("listing files: {e}")))??;
        self.next_look = Some(Instant::now() + self.interval);
        self.take(splits, found, REMEMBERED_MAX)
    }

    fn take(
        &self,
        splits: &mut Vec<SplitPosition>,
        mut found: Vec<FileFound>,
        remembered_max: usize,
    ) -> Result<(), TaskError> {
        found.retain(|file| self.owns(&file.path));
        check_unchanged(splits, &found)?;
        if splits.len() > remembered_max {
            let there: HashSet<&str> = found.iter().map(|file| file.path.as_str()).collect();
            splits.retain(|one| !one.done || there.contains(one.path.as_str()));
        }
        let known: HashSet<String> = splits.iter().map(|one| one.path.clone()).collect();
        let new = found.into_iter().filter(|file| !known.contains(&file.path));
        splits.extend(new.map(|file| SplitPosition {
            path: file.path,
            length: file.length,
            line: 1,
            followed: true,
            ..SplitPosition::default()
        }));
        if splits.len() > remembered_max {
            return Err(TaskError::task(format!(
                "{}: more than {remembered_max} files for one subtask; move away those that were read",
                self.path
            )));
        }
        Ok(())
    }
}

/// A file that was read to its end must stay as it was: what is written to it afterwards would never be
/// read, and a job that goes on would have lost it without a word.
fn check_unchanged(splits: &[SplitPosition], found: &[FileFound]) -> Result<(), TaskError> {
    let lengths: HashMap<&str, u64> = found.iter().map(|f| (f.path.as_str(), f.length)).collect();
    let changed = splits.iter().filter(|one| one.done).find_map(|one| {
        let length = *lengths.get(one.path.as_str())?;
        (length != one.offset).then_some((one, length))
    });
    let Some((split, length)) = changed else {
        return Ok(());
    };
    Err(TaskError::task(format!(
        "{}: it had {} bytes when it was read, and has {length} now; a followed file is read once, so write \
         each under a name that begins with `.` and rename it when it is whole. To go on, move it away, and \
         what was not read of it back in under a new name",
        split.path, split.offset
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(subtask: u64, parallelism: u64) -> Follow {
        Follow {
            path: "/d".into(),
            interval: Duration::from_secs(1),
            subtask,
            parallelism,
            next_look: None,
            remote: None,
        }
    }

    fn found(names: &[&str]) -> Vec<FileFound> {
        let file = |name: &&str| FileFound {
            path: (*name).to_owned(),
            length: 10,
        };
        names.iter().map(file).collect()
    }

    fn read(split: &mut SplitPosition) {
        (split.done, split.offset) = (true, split.length);
    }

    #[test]
    fn a_file_that_changes_after_it_was_read_is_told() {
        let mut splits = Vec::new();
        let follow = follow(0, 1);
        follow.take(&mut splits, found(&["/a", "/b"]), 10).unwrap();
        read(&mut splits[0]);
        for length in [11, 9] {
            let mut changed = found(&["/a", "/b"]);
            // What isn't read yet may grow.
            (changed[0].length, changed[1].length) = (length, 99);
            let error = follow
                .take(&mut splits, changed, 10)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("/a: it had 10 bytes"), "{error}");
            assert!(error.contains(&format!("has {length} now")), "{error}");
        }
        follow.take(&mut splits, found(&["/b", "/c"]), 10).unwrap();
        assert_eq!(names(&splits), ["/a", "/b", "/c"], "moved away");
    }

    fn names(splits: &[SplitPosition]) -> Vec<&str> {
        splits.iter().map(|one| one.path.as_str()).collect()
    }

    #[test]
    fn only_what_is_new_is_taken() {
        let mut splits = Vec::new();
        let follow = follow(0, 1);
        follow.take(&mut splits, found(&["/b", "/c"]), 10).unwrap();
        read(&mut splits[0]);
        follow
            .take(&mut splits, found(&["/a", "/b", "/c", "/d"]), 10)
            .unwrap();
        assert_eq!(names(&splits), ["/b", "/c", "/a", "/d"]);
    }

    #[test]
    fn what_is_read_and_gone_is_forgotten_when_it_is_too_much() {
        let mut splits = Vec::new();
        let follow = follow(0, 1);
        follow
            .take(&mut splits, found(&["/a", "/b", "/c"]), 3)
            .unwrap();
        splits.iter_mut().for_each(read);
        let error = follow
            .take(&mut splits, found(&["/a", "/b", "/c", "/d"]), 3)
            .unwrap_err();
        assert!(error.to_string().contains("move away"), "{error}");
        splits.iter_mut().for_each(read);
        follow.take(&mut splits, found(&["/d", "/e"]), 3).unwrap();
        assert_eq!(names(&splits), ["/d", "/e"]);
    }

    #[test]
    fn every_file_has_one_owner_at_every_parallelism() {
        let names: Vec<String> = (0..50).map(|n| format!("/d/{n}")).collect();
        for parallelism in [1, 2, 7, 128] {
            for name in &names {
                let owners = (0..parallelism).filter(|s| follow(*s, parallelism).owns(name));
                assert_eq!(owners.count(), 1);
            }
        }
    }

    #[test]
    fn restored_positions_go_to_their_owners_done_ones_first() {
        let position = |path: &str, done: bool| SplitPosition {
            path: path.into(),
            done,
            ..SplitPosition::default()
        };
        let all = [
            position("/a", false),
            position("/b", true),
            position("/c", false),
        ];
        let items: Vec<Bytes> = all.iter().map(|p| p.encode_to_vec().into()).collect();
        let one = follow(0, 1).restored(&items).unwrap();
        assert_eq!(names(&one), ["/b", "/a", "/c"]);
        let spread: usize = (0..4)
            .map(|s| follow(s, 4).restored(&items).unwrap().len())
            .sum();
        assert_eq!(spread, 3);
        let twice = [items[0].clone(), items[0].clone()];
        assert!(follow(0, 1).restored(&twice).is_err());
    }
}
