//! Documents about changing the members.

use serde::{Deserialize, Serialize};

use super::MemberView;

/// How much the group stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarginView {
    /// Voters.
    pub voters: u64,
    /// How many of them are needed.
    pub quorum: u64,
    /// How many of them answer.
    pub answering: u64,
    /// How many more may be lost.
    pub tolerates: u64,
}

/// One step of a change of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStep {
    /// What is done, as a sentence.
    pub step: String,
    /// It can't be done now; the sentence says why.
    pub waits: bool,
    /// The group after it.
    pub after: MarginView,
}

/// `members plan`: what a change would do, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersPlanned {
    /// The group now.
    pub before: MarginView,
    /// The group once every step is done.
    pub after: MarginView,
    /// The steps in their order; empty if nothing is to be done.
    pub steps: Vec<MemberStep>,
}

/// `members add|promote|demote|remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersChanged {
    /// Which node.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// What it is now: `voter`, `learner` or `removed`.
    pub role: String,
    /// It is as it was asked to be; false while it catches up or waits.
    pub done: bool,
    /// What is still to happen, if anything.
    pub waits_for: Option<String>,
    /// The group before.
    pub before: MarginView,
    /// The group after.
    pub after: MarginView,
    /// The members after.
    pub members: Vec<MemberView>,
}

/// `worker drain|undrain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDrained {
    /// Worker id.
    pub worker: String,
    /// Whether nothing may be placed there.
    pub drained: bool,
    /// Tasks that are still there.
    pub tasks: u64,
}
