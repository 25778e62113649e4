//! The one binary: JobManager and TaskManager processes, a local cluster, the demo, and the operator's
//! commands over the client API.
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

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    failure::install_panic_hook();
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::explain(&error),
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
