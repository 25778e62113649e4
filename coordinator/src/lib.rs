//! The JobManager: API doors in, and the leader's hands out.
//!
//! Everything goes one way: client → API → Raft log → state machine → reconcilers → workers. Nobody
//! reaches back over the state machine: reconcilers read snapshots of it and *propose*; what matters of
//! a worker's report becomes a command like any other. `docs/protocol.md` says which order of steps
//! keeps jobs correct.
//!
//! | a reader looks for | in |
//! | --- | --- |
//! | configuration and its rules | [`config`] |
//! | YAML to a checked job graph | [`job_file`] |
//! | starting and stopping | [`run`] |
//! | what clients ask | `api` |
//! | probes and metrics | `http`, `metrics` |
//! | workers' sessions | `gateway` |
//! | what a reign holds | `leader` |
//! | placement, adoption, losses, endings | `scheduler` |
//! | triggering and completing checkpoints | `checkpoints` |
//! | working the artefact ledger off | `cleaner`; expiry of results: `janitor` |
//! | members as operators want them | `members` |
//! | comparing store and log | `verify` |
//! | why a job isn't running | `explain` |
//!
//! Deliberately absent: consensus and leadership (`regent-ha`), what entries mean (`regent-state`), what
//! operators do with rows (`regent-worker`), reading files and the environment (the command line).

mod api;
mod checkpoints;
mod cleaner;
pub mod config;
mod error;
mod explain;
mod gateway;
mod http;
mod janitor;
pub mod job_file;
mod leader;
mod members;
mod metrics;
mod node;
mod run;
mod scheduler;
#[cfg(test)]
mod testing;
mod verify;
mod wire;

pub use config::JobManagerConfig;
pub use error::JobManagerError;
pub use metrics::TABLE as METRICS;
pub use run::{JobManager, run};
