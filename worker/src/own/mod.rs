//! One's own code: sources, operators and sinks in Rust, beside the built-in ones.
//!
//! | module | does |
//! | --- | --- |
//! | [`Registry`] | names of one's own and how they are built |
//! | [`Setup`] | what one subtask is told before its first row, and where it declares its state |
//! | [`Operator`], [`Source`], [`Sink`], [`TwoPhaseSink`] | what users write |
//! | [`ValueState`], [`MapState`], [`ListState`] | state that checkpoints keep |
//! | [`Rows`], [`Due`], [`Output`] | rows with their keys, timers that are due, what goes out |
//! | [`testing`] | one operator without a cluster |
//!
//! State lies in memory and is kept by key group, so that it can be taken over at any parallelism
//! (`docs/protocol.md` §7). Threads, channels, barriers and where checkpoints go are the engine's.

mod blame;
mod columns;
mod entries;
mod keyspace;
mod list;
mod operator;
mod registry;
mod rows;
mod setup;
mod sink;
mod source;
mod state;
pub mod testing;
mod timers;
mod two_phase;

/// What batches are made of: this is the version of Arrow that the engine runs.
pub use ::arrow;
pub use blame::blamed;
pub use columns::{ColumnType, Columns};
pub use list::{Items, ListState};
pub use operator::Operator;
pub use registry::Registry;
pub use rows::{Due, Output, Rows};
pub use setup::Setup;
pub use sink::Sink;
pub use source::{Next, Source};
pub use state::{MapState, Maps, ValueState, Values};
pub use timers::{Clock, END_OF_INPUT};
pub use two_phase::{Abandoned, TransactionId, TwoPhaseSink};

pub(crate) use blame::within;
pub(crate) use operator::{RunningOperator, wall_clock};
pub(crate) use registry::{Described, Entry, Make, describe};
pub(crate) use rows::Schemas;
pub(crate) use setup::{Restored, SetupParts};
pub(crate) use sink::RunningSink;
pub(crate) use source::RunningSource;
pub(crate) use two_phase::{Beginning, RunningTwoPhase};

/// Any error: `?` turns what libraries answer into one, and text becomes one by `.into()`.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What the methods here answer. An error fails the task, with its message.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be kept as state: plain data that serde can write and read.
pub trait Datum: serde::Serialize + serde::de::DeserializeOwned + Send + 'static {}

impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> Datum for T {}

/// An error with everything that it was caused by, on one line.
pub(crate) fn in_one_line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        // Many errors repeat their cause in their own text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    line
}

#[cfg(test)]
mod tests;
