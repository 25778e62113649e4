//! Bytes that must survive: the Raft log, the applied state, snapshots, objects and the identity of
//! a data directory.
//!
//! | module | holds | if it is lost |
//! | --- | --- | --- |
//! | [`log`] | Raft log, vote, committed position | the replica is replaced |
//! | [`snapshot`] | whole states, as files | an older one and the log, or a leader's |
//! | [`state_store`] | the applied state, written behind | rebuilt from snapshot and log |
//! | [`objects`] | checkpoints, savepoints, artefacts | nothing here rebuilds them |
//! | [`identity`] | who this data directory belongs to, and its lock | the replica is replaced |
//! | [`latency`] | how long syncs took, for metrics | – |
//! | [`codec`] | the envelope around everything that is persisted | – |
//!
//! This crate deals in bytes and plain numbers. It knows neither Raft's types nor the state machine:
//! `regent-ha` adapts it to both. Log ids, votes and memberships pass through as opaque bytes.

pub mod codec;
mod files;
pub mod identity;
pub mod latency;
pub mod log;
pub mod objects;
pub mod snapshot;
pub mod state_store;
