//! Channels between tasks of different workers: one stream for each, opened by the receiver, once
//! within an attempt. A break fails the tasks at both ends at once.
//!
//! Backpressure is HTTP/2's: a receiver that doesn't take frames lets its stream's window fill. So
//! that a stream that waits (for a barrier, say) never holds up the others of its connection, a
//! connection carries few enough streams that all their windows fit into the connection's.

mod client;
mod service;

pub(crate) use client::{Connections, Subscription, pump};
pub use service::DataPlaneService;
pub(crate) use service::{Export, ExportPoint, TakeError};

use std::time::Duration;

/// How long a receiver and a sender wait for each other: the parts of a deployment arrive in any
/// order, on workers of different speed.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// Streams of one connection. Servers may limit them too (100 is the least that HTTP/2 advises).
const STREAMS_PER_CONNECTION: usize = 64;

/// Bytes that may be under way on one stream.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes that may be under way on one connection: no less than all its streams together.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * (STREAMS_PER_CONNECTION as u32 + 1);
