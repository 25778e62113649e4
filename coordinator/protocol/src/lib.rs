//! The wire between Regent's processes: generated protobuf types and services, the operators'
//! configuration types, and the JSON documents that clients read.
//!
//! This crate decides nothing. What a message means is written in `proto/*.proto`; the order of
//! messages that keeps a cluster correct is `docs/protocol.md`; the peer protocol of the Raft group
//! is the replication crate's own.

pub mod error;
pub mod ids;
pub mod metadata;
pub mod metrics;
pub mod probe;
pub mod spec;
pub mod units;
pub mod view;

/// Generated messages, clients and servers of `proto/*.proto`.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    missing_debug_implementations
)]
#[allow(unreachable_pub, clippy::disallowed_methods, clippy::disallowed_types)]
pub mod v1 {
    tonic::include_proto!("regent.v1");
}

/// The services and messages of [`v1`] as an encoded `FileDescriptorSet`, for tools that read any of them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Number of key groups: the maximum parallelism, frozen since it decides where keyed state lies.
pub const MAX_PARALLELISM: u32 = 128;

/// Task states of at most this many bytes travel inside the acknowledgement and `_metadata`.
pub const INLINE_STATE_BYTES: usize = 16 * 1024;

/// What is said of a job with Kafka by binaries that can't run it.
pub const WITHOUT_KAFKA: &str = "built without kafka: cargo build --features kafka";

/// Largest message that a client, worker or JobManager sends or accepts (bytes).
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
