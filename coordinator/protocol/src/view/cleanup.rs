//! What clients are told of files that are to be removed, and of what the store really holds.

use serde::{Deserialize, Serialize};

/// One element of `cleanup list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactView {
    /// Owner.
    pub job_id: String,
    /// Artefact id.
    pub artefact: String,
    /// What is to be removed.
    pub path: String,
    /// `checkpoint savepoint staging scratch blob`.
    pub kind: String,
    /// `pending retrying dirty done`; in `cleanup show` also `live retained`.
    pub state: String,
    /// Deletions tried.
    pub attempts: u64,
    /// Wall clock estimate of the next try.
    pub next_retry_at_ms: Option<u64>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// `cleanup verify`: where the store and the log differ. All lists are sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Files that the log knows nothing of.
    pub orphans: Vec<Orphan>,
    /// Files that the log counts on and that aren't there.
    pub dangling: Vec<Dangling>,
    /// Files of another size than the log says.
    pub wrong_size: Vec<WrongSize>,
    /// There are more of some kind than are listed here.
    pub truncated: bool,
}

impl Verified {
    /// Store and log agree.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.orphans.is_empty() && self.dangling.is_empty() && self.wrong_size.is_empty()
    }
}

/// A file that the log knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Orphan {
    /// Where.
    pub path: String,
}

/// A file that the log counts on and that isn't there, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dangling {
    /// Where it should be.
    pub path: String,
    /// Whose.
    pub job_id: String,
    /// The artefact that it is part of.
    pub artefact: String,
}

/// A file of another size than the log says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WrongSize {
    /// Where.
    pub path: String,
    /// Bytes that should be there.
    pub expected: u64,
    /// Bytes that are there.
    pub found: u64,
}

/// `cleanup retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// 32 hex digits.
    pub job_id: String,
}

/// `cleanup forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Artefact id.
    pub artefact: String,
}

/// `savepoint dispose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposed {
    /// The savepoint's directory.
    pub path: String,
}
