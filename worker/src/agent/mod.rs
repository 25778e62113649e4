//! The TaskManager's agent: who this worker is, who may give it orders, and for how long.
//!
//! ```text
//! watch ──► views ─┐                       ┌─► session ──► the leader
//! session ─► orders ├─► driver ◄─► plan ────┤
//! engine ─► events ─┘   (hands)   (brain)   └─► engine, lease, memory
//! ```
//!
//! Decisions are pure and tested by tables: `session_plan` (whom to follow, what to obey),
//! `fence` (epochs), `lease` (the right to act), `outbox` (what to report). The rest is dull IO
//! around them. What a task does is the engine's.

mod backoff;
mod deployment;
mod driver;
mod error;
mod fence;
mod files;
mod heartbeats;
mod http;
mod lease;
mod lease_guard;
mod memory;
mod metrics;
mod outbox;
mod session;
mod session_plan;
mod session_words;
mod start;
mod status;
mod watch;

pub use error::WorkerError;
pub use metrics::TABLE as METRICS;
pub use start::{run, run_with};

#[cfg(test)]
mod tests;
