//! `regent config check` and `regent config show`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Done;
use crate::args::GlobalArgs;
use crate::output;
use crate::output::table::Table;
use crate::settings::{self, Assignment, Role, Setting};

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
    /// Every key that a process started with this file would have, defaults included
    #[command(after_help = "\
Examples:
  regent config show /etc/regent/jobmanager.yaml --origin
  REGENT_TIMING__CUSTOM__HEARTBEAT=50ms regent config show jm.yaml --origin")]
    Show {
        /// The file; its keys tell whose it is
        file: PathBuf,
        /// Say where each value comes from: the file's line, a variable, --set, or the default
        #[arg(long)]
        origin: bool,
        /// Override a key, as the process would be told to
        #[arg(long, value_name = "KEY=VALUE", value_parser = Assignment::parse)]
        set: Vec<Assignment>,
    },
}

#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    role: &'static str,
    valid: bool,
}

pub(crate) fn run(args: &ConfigArgs, global: &GlobalArgs) -> Done {
    let mut over = super::node::environment()?;
    match &args.verb {
        ConfigVerb::Check { file } => check(file, &over, global),
        ConfigVerb::Show { file, origin, set } => {
            over.extend(set.iter().cloned());
            let (_, found) = settings::settings(file, &over)?;
            output::print(global.output, &found, |found| table(found, *origin))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(file: &std::path::Path, over: &[Assignment], global: &GlobalArgs) -> Done {
    let role = settings::role_of(file)?;
    match role {
        Role::JobManager => {
            let config = settings::jobmanager(file, over)?;
            settings::check_security(file, over, || config.load_security())?;
        }
        Role::TaskManager => {
            let config = settings::taskmanager(file, over)?;
            settings::check_security(file, over, || config.load_security())?;
        }
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

fn table(found: &[Setting], origin: bool) -> String {
    let head: &[&str] = if origin {
        &["KEY", "VALUE", "ORIGIN"]
    } else {
        &["KEY", "VALUE"]
    };
    let mut table = Table::new(head, "no keys");
    for setting in found {
        let value = match &setting.value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut cells = vec![setting.key.clone(), value];
        if origin {
            cells.push(setting.origin.clone());
        }
        table.row(cells);
    }
    table.render()
}
