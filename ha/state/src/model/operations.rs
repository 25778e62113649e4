//! What operators want of replicas and workers: it stands until they say otherwise.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ArtefactId, ClusterId};

/// What a replica is wanted to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberRole {
    /// Votes; a new one is a learner until it has caught up.
    Voter,
    /// Holds the log and has no vote.
    Learner,
    /// No member. Final: a removed number never comes back.
    Removed,
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Removed => "removed",
        })
    }
}

/// A replica that an operator added, promoted, demoted or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberWish {
    /// Its name, for people.
    pub name: String,
    /// `host:port` of its client API.
    pub api: String,
    /// `host:port` of its peer service.
    pub peer: String,
    /// What it is to be.
    pub wanted: MemberRole,
    /// Who asked last.
    pub by: String,
    /// Wall time of that, for people.
    pub at_ms: u64,
}

/// A worker where nothing may be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Who asked.
    pub by: String,
    /// Wall time of that, for people.
    pub at_ms: u64,
}

/// How this life of the state began, if not with a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reborn {
    /// The cluster that the state was of before.
    pub from_cluster: ClusterId,
    /// Its generation then.
    pub from_generation: u64,
    /// Who did it and why.
    pub cause: String,
    /// Wall time of that, for people.
    pub at_ms: u64,
    /// Artefacts of the ledger below this number are the old life's.
    pub inherited_before: ArtefactId,
    /// An operator has resumed: the old life's artefacts are this one's now.
    pub resumed: bool,
}
