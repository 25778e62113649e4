//! What the state is made of: the entities, as readers see them and as the disk keeps them.
//!
//! Plain data, frozen per version (`codec::VERSION`): fields are never reordered or removed.
//! Only `apply` changes them. What changes often is kept apart from what is large, so that a
//! completed checkpoint rewrites a few hundred bytes.

mod artefact;
mod attempt;
mod checkpoint;
mod history;
mod job;
mod meta;
mod operations;
#[cfg(test)]
mod pins;

pub use artefact::{Artefact, ArtefactKind, ArtefactState, Sweep};
pub use attempt::{Attempt, AttemptState};
pub use checkpoint::{Checkpoint, CheckpointStatus};
pub use history::{Failure, JobEvent, JobEventKind, JobHistory};
pub use job::{
    CheckpointCounters, Job, JobResult, JobState, LatestCheckpoint, PendingCheckpoint,
    RestartState, SavepointRequest, SavepointState, Wanted,
};
pub use meta::{Claim, ClaimHolder, FailoverTally, Meta, Reign, RequestAnswer, RequestRecord};
pub use operations::{Drain, MemberRole, MemberWish, Reborn};

/// The longest text (cause, error, reason) that the state keeps, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Cuts a text from outside to what the state keeps, at a character's edge.
pub(crate) fn clip(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_BYTES_MAX)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text[..end].to_owned()
}
