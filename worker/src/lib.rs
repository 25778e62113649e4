//! The TaskManager: runs the subtasks that the leading JobManager places on this machine.
//!
//! | module | does | leaves to others |
//! | --- | --- | --- |
//! | [`config`] | the typed configuration of a TaskManager and its rules | reading files, environment and overrides (the command line) |
//! | [`agent`] | identity, leader discovery, the session, fencing, the lease, HTTP | what a task does |
//! | [`own`] | what users write: sources, operators and sinks of their own | when their methods are called |
//! | [`engine`] | tasks, operators, connectors, exchange, barriers, state | who may give orders |
//!
//! The direction is one way: the leader orders, the agent checks that the order is the present
//! leader's and that the lease holds, the engine acts, and its events go back as reports. Which
//! order of steps keeps output exact is written in `docs/protocol.md`.

pub mod agent;
pub mod config;
pub mod engine;
pub mod own;

pub use agent::{METRICS, WorkerError, run, run_with};
pub use config::TaskManagerConfig;
