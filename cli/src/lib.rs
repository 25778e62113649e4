//! The one binary: JobManager and TaskManager processes, a local cluster, the demo, and the operator's
//! commands over the client API; and the library for programs with sources, operators and sinks of
//! one's own, each of which is this binary and more:
//!
//! ```no_run
//! # use regent::{Operator, Output, Result, Rows, Setup};
//! # struct Enrich;
//! # impl Enrich {
//! #     fn new(_: &mut Setup) -> Result<Self> {
//! #         Ok(Self)
//! #     }
//! # }
//! # impl Operator for Enrich {
//! #     fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
//! #         out.emit(rows.columns().to_vec())
//! #     }
//! # }
//! fn main() -> std::process::ExitCode {
//!     regent::main(|registry| registry.operator("enrich", Enrich::new))
//! }
//! ```
//!
//! This crate decides nothing about jobs or replication: it reads options and configuration, starts the
//! other crates, asks them, and prints. What scripts rely on (verbs, exit codes, JSON shapes) is the user
//! contract.

mod args;
mod bundle;
mod client;
mod commands;
mod demo;
mod drill;
mod explain;
mod failure;
mod local;
mod logging;
mod output;
mod settings;

use std::process::ExitCode;

use clap::Parser;

pub use regent_worker::own::{
    Abandoned, Clock, ColumnType, Columns, Datum, Due, END_OF_INPUT, Error, Items, ListState,
    MapState, Maps, Next, Operator, Output, Registry, Result, Rows, Setup, Sink, Source,
    TransactionId, TwoPhaseSink, ValueState, Values, arrow, testing,
};

/// Runs the program with the process's own arguments, and with the sources, operators and sinks that
/// `register` adds to the built-in ones.
#[must_use]
pub fn main(register: impl FnOnce(&mut Registry)) -> ExitCode {
    failure::install_panic_hook();
    let mut own = Registry::default();
    register(&mut own);
    if let Some(problem) = own.problems().first() {
        return failure::Failure::invalid(problem).report();
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::explain(&error),
    };
    match commands::run(cli, own) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
