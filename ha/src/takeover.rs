//! When each step of a takeover happened, by this replica's wall clock, for people and measurements. Nothing
//! is decided by these times, and they end with the process.

use std::time::SystemTime;

/// The moments of the latest takeover by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// It began to act on the old leader's silence or death; `None` if leadership was handed over.
    pub detected: Option<SystemTime>,
    /// It won the election.
    pub elected: SystemTime,
    /// Its announcement was committed and applied here: from now on it serves.
    pub announced: SystemTime,
}
