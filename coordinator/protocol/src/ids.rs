//! Spelling and ordering of the fencing values on the wire. Leaves their meaning to the machine.

use std::fmt;

use crate::v1::{AttemptKey, Epoch, LogToken, TaskKey};

impl Epoch {
    /// The order that receivers compare by: generation, then term, then node.
    #[must_use]
    pub fn rank(&self) -> (u64, u64, u64) {
        (self.generation, self.term, self.node)
    }
}

impl fmt::Display for LogToken {
    /// `<generation>.<index>`, the spelling in paths and file names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.index)
    }
}

impl LogToken {
    /// (generation, index): hashable and ordered.
    #[must_use]
    pub fn rank(&self) -> (u64, u64) {
        (self.generation, self.index)
    }
}

impl AttemptKey {
    /// The attempt's token as an ordered pair; zero when absent, which no real attempt has.
    #[must_use]
    pub fn token_rank(&self) -> (u64, u64) {
        self.token.as_ref().map_or((0, 0), LogToken::rank)
    }

    /// The run as an ordered pair; zero when absent.
    #[must_use]
    pub fn run_rank(&self) -> (u64, u64) {
        self.run.as_ref().map_or((0, 0), LogToken::rank)
    }
}

impl fmt::Display for TaskKey {
    /// `vertex/subtask`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.subtask)
    }
}
