//! `regent demo`: a real cluster, a real job, three kills, and a verdict that is computed and not believed.
//!
//! The cluster is a `regent local` in a temporary directory, so that what is shown is what users run. The
//! output is compared with a plain single-threaded computation over the same files.

mod reference;
mod report;
mod stage;
mod story;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::args::{GlobalArgs, OutputFormat};
use crate::commands::Done;
use crate::failure::Failure;
use crate::output;

use report::Report;
use stage::Stage;
use story::Narrator;

/// The whole story fits in this, or something is wrong.
const STORY_LIMIT: Duration = Duration::from_secs(85);

#[derive(Debug, Args)]
#[command(after_help = "\
Starts three JobManagers and two TaskManagers as separate processes on free ports, runs the example job over
real flight data, kills the leader (twice) and a TaskManager with SIGKILL, and compares the output with a
plain computation. Exit 0 only if it is exactly right.

Example:
  regent demo --keep")]
pub(crate) struct DemoArgs {
    /// Keep the directory with logs, checkpoints and output, and say where it is
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(args: &DemoArgs, global: &GlobalArgs) -> Done {
    let narrator = Narrator::new(global.output);
    let stage = Stage::set()?;
    let told = tokio::select! {
        told = timeout(STORY_LIMIT, story::tell(&stage, &narrator)) => told.unwrap_or_else(|_| {
            Err(Failure::failed(format!("the story wasn't over after {} s", STORY_LIMIT.as_secs())))
        }),
        () = interrupted() => Err(Failure::failed("interrupted")),
    };
    let keep = args.keep || told.as_ref().map_or(true, |report| !report.exact);
    let kept = stage.strike(keep).await;
    if let Some(path) = &kept {
        output::note(&format!("kept: {}", path.display()));
    }
    let report = told.inspect_err(|failure| {
        if global.output == OutputFormat::Table {
            // The verdict is the last line, also of a story that broke off.
            let _ = output::write_stdout(&format!("VERDICT: FAILED. {}\n", failure.message));
        }
    })?;
    output::print(global.output, &report, Report::text)?;
    Ok(ExitCode::from(u8::from(!report.exact)))
}

/// Resolves at SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    let term = async {
        match signal(SignalKind::terminate()) {
            Ok(mut term) => drop(term.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = term => {}
    }
}
