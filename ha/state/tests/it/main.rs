//! Tests of the state machine through its one door, in the words of the domain.

mod cleanup;
mod golden;
mod jobs;
mod leadership;
mod properties;
mod requests;
mod sinks;
mod support;
mod takeover;
