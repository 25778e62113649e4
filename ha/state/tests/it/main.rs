//! Tests of the state machine through its one door, in the words of the domain.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::manual_is_multiple_of,
    reason = "remainders choose between cases here"
)]

mod answers;
mod cleanup;
mod costs;
mod endings;
mod expiry;
mod fixtures;
mod golden;
mod history;
mod jobs;
mod leadership;
mod occupied;
mod operations;
mod properties;
mod rebirth;
mod requests;
mod samples;
mod sinks;
mod support;
mod takeover;
