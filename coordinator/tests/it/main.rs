//! JobManagers in one process, with real replicas on real files, and workers that are either puppets
//! (this crate's words only) or real ones.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to panic")]

mod authorisation;
mod cluster;
mod control;
mod failover;
mod limits;
mod puppet;
mod puppet_jobs;
mod real_jobs;
