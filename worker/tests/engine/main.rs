//! The engine as a whole: one or two engines in one process over a real loopback data plane.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod failures;
mod graph;
mod jobs;
mod kit;
mod limits;
mod orders;
mod own;
mod rows;
mod runs;
mod two_phase;
mod windows;
