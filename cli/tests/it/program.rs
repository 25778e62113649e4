//! Running the built program in a directory and an environment of its own.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    pub(crate) fn first_error_line(&self) -> &str {
        self.stderr.lines().next().unwrap_or_default()
    }
}

/// The program with these arguments, in an empty environment.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regent"));
    command.args(arguments).current_dir(dir).env_clear();
    command
}

/// Runs the program in `dir`.
pub(crate) fn run_in(dir: &Path, arguments: &[&str]) -> Ran {
    finish(command(dir, arguments))
}

/// Runs the program in an empty directory.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), arguments)
}

/// Runs a prepared command.
pub(crate) fn finish(mut command: Command) -> Ran {
    let began = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        took: began.elapsed(),
    }
}
