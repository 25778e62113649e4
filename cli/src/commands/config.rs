//! `regent config check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Done;
use crate::args::GlobalArgs;
use crate::output;
use crate::settings::{self, Role};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Check a JobManager's or TaskManager's configuration file, with the environment's overrides
    #[command(after_help = "Example:\n  regent config check /etc/regent/jobmanager.yaml")]
    Check {
        /// The file; its keys tell whose it is
        file: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    role: &'static str,
    valid: bool,
}

pub(crate) fn run(args: &ConfigArgs, global: &GlobalArgs) -> Done {
    let ConfigVerb::Check { file } = &args.verb;
    let role = settings::role_of(file)?;
    let over = super::node::environment()?;
    match role {
        Role::JobManager => drop(settings::jobmanager(file, &over)?),
        Role::TaskManager => drop(settings::taskmanager(file, &over)?),
    }
    let checked = Checked {
        file: file.display().to_string(),
        role: role.name(),
        valid: true,
    };
    output::print(global.output, &checked, |c| {
        format!("{}: a valid configuration of a {}", c.file, c.role)
    })?;
    Ok(ExitCode::SUCCESS)
}
