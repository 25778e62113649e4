//! The pure centre of Regent: what the replicated log means.
//!
//! [`Machine::apply`] takes one committed log entry and changes the state; it is the only place
//! that does. Time, ids and randomness come in with the entry, so that replaying the log gives the
//! same bytes and the same hash on every replica. What must happen outside goes out as values:
//! changes for the store, effects that wake the leader's reconcilers.
//!
//! The rules of `docs/protocol.md` that depend on the order of events are decided here: epochs,
//! deduplication, attempt tokens, restore points, the artefact ledger, dirty and clean results.
//!
//! | a reader looks for | in |
//! | --- | --- |
//! | what an entry may carry, and what it does | [`command`], `apply` (one small file for each command) |
//! | what is answered, refused, or to be done outside | [`response`] |
//! | the state: one door, its entities, their keys and tables | `machine`, [`model`], `entity`, [`key`], `table`, [`ids`], [`graph`] |
//! | derived orders, and what readers ask | `index`, `queries` |
//! | what must always hold | `check`, `moves` |
//! | whether a path that a user names is free | `occupied`, `path` |
//! | what follows a failure, or an end | `restart`, `retention` |
//! | bytes | [`codec`], `snapshot` |
//!
//! This crate knows nothing of Raft, networks, disks, clocks or tasks. Replication is
//! `regent-ha`'s, bytes on disk `regent-storage`'s, deeds are `regent-coordinator`'s.

mod apply;
mod check;
pub mod codec;
pub mod command;
mod entity;
pub mod graph;
pub mod ids;
mod index;
pub mod key;
mod machine;
pub mod model;
mod moves;
mod occupied;
mod path;
mod queries;
pub mod response;
mod restart;
mod retention;
mod snapshot;
mod table;

pub use apply::Rebirth;
pub use check::Violation;
pub use command::{Command, Envelope, RequestTag};
pub use graph::JobGraph;
pub use ids::EntryId;
pub use key::Key;
pub use machine::Machine;
pub use occupied::Occupant;
pub use queries::SweepDue;
pub use response::{Advice, Applied, Change, Effect, Rejection, Response};
pub use snapshot::{Export, RestoreError};
