//! Where a split stands: the piece of state that any subtask can take over.

use bytes::Bytes;
use prost::Message;

use super::listing::FilesFound;
use crate::engine::error::TaskError;

/// A file of the source and how far it was read. Frozen: fields are added, never renumbered.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SplitPosition {
    /// Number of the split: the file's place in the sorted list of the first start.
    #[prost(uint32, tag = "1")]
    pub(super) split: u32,
    #[prost(string, tag = "2")]
    pub(super) path: String,
    /// Bytes that the file had at the first start.
    #[prost(uint64, tag = "3")]
    pub(super) length: u64,
    /// Byte offset of the next record; 0 is before the header.
    #[prost(uint64, tag = "4")]
    pub(super) offset: u64,
    /// Line of the next record, counted from 1.
    #[prost(uint64, tag = "5")]
    pub(super) line: u64,
    /// Rows emitted of this file.
    #[prost(uint64, tag = "6")]
    pub(super) rows: u64,
    /// Rows skipped of this file.
    #[prost(uint64, tag = "7")]
    pub(super) skipped: u64,
    /// Nothing is left to read.
    #[prost(bool, tag = "8")]
    pub(super) done: bool,
    /// How many splits the list of the first start had.
    #[prost(uint32, tag = "9")]
    pub(super) splits: u32,
    /// Hash of that list: tells lists apart that were taken while files came or went.
    #[prost(fixed64, tag = "10")]
    pub(super) listing: u64,
    /// Found while following a path: there was no list, and no number.
    #[prost(bool, tag = "11")]
    pub(super) followed: bool,
}

/// The positions of a first start, one for each file.
pub(super) fn from_listing(files: &FilesFound) -> Vec<SplitPosition> {
    let mut names = Vec::new();
    for file in files {
        names.extend_from_slice(file.path.as_bytes());
        names.push(0);
    }
    let listing = xxhash_rust::xxh3::xxh3_64(&names);
    let position = |(split, file): (usize, &super::listing::FileFound)| SplitPosition {
        split: split as u32,
        path: file.path.clone(),
        length: file.length,
        splits: files.len() as u32,
        listing,
        line: 1,
        ..SplitPosition::default()
    };
    files.iter().enumerate().map(position).collect()
}

/// The positions in a restored state, sorted; each split of one list must be there exactly once.
pub(super) fn from_items(items: &[Bytes]) -> Result<Vec<SplitPosition>, TaskError> {
    let decoded: Result<Vec<SplitPosition>, _> = items
        .iter()
        .map(|item| SplitPosition::decode(item.clone()))
        .collect();
    let mut positions =
        decoded.map_err(|e| TaskError::Restore(format!("a file position is damaged: {e}")))?;
    positions.sort_by_key(|p| p.split);
    let Some(first) = positions.first().cloned() else {
        return Err(TaskError::Restore(
            "no file position is in the state".into(),
        ));
    };
    if positions.iter().any(|p| p.followed) {
        return Err(TaskError::Restore(format!(
            "the state is of a source that followed its path (it read {}); it needs its \
             discovery-interval",
            first.path
        )));
    }
    if positions.iter().any(|p| p.listing != first.listing) {
        return Err(TaskError::Restore(format!(
            "subtasks saw different files at the first start (files came or went beside {}); \
             submit the job again",
            first.path
        )));
    }
    let complete = positions.len() == first.splits as usize
        && positions.iter().zip(0..).all(|(p, split)| p.split == split);
    if !complete {
        return Err(TaskError::Restore(format!(
            "the state has {} of {} file positions",
            positions.len(),
            first.splits
        )));
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::super::listing::FileFound;
    use super::*;

    fn listing(names: &[&str]) -> FilesFound {
        let file = |name: &&str| FileFound {
            path: (*name).to_owned(),
            length: 10,
        };
        names.iter().map(file).collect()
    }

    fn items(positions: &[SplitPosition]) -> Vec<Bytes> {
        positions.iter().map(|p| p.encode_to_vec().into()).collect()
    }

    #[test]
    fn every_split_once_in_any_order() {
        let positions = from_listing(&listing(&["/a", "/b", "/c"]));
        let mut shuffled = items(&positions);
        shuffled.reverse();
        assert_eq!(from_items(&shuffled).unwrap(), positions);
        assert!(from_items(&shuffled[1..]).is_err());
        assert!(from_items(&[]).is_err());
        let mut twice = shuffled.clone();
        twice.push(shuffled[0].clone());
        assert!(from_items(&twice).is_err());
    }

    #[test]
    fn lists_of_different_moments_are_told_apart() {
        let first = from_listing(&listing(&["/a", "/c"]));
        let second = from_listing(&listing(&["/a", "/b"]));
        let mixed = items(&[first[0].clone(), second[1].clone()]);
        let error = from_items(&mixed).unwrap_err();
        assert!(error.to_string().contains("different files"), "{error}");
    }
}
