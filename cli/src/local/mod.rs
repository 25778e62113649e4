//! `regent local`: a cluster of separate processes on this machine, with their supervisor.
//!
//! The supervisor owns processes and files below one directory; what the processes do is theirs. Stdout
//! carries the one line `ready` and nothing else; everything for people goes to stderr and `logs/`.

mod death;
mod directory;
mod environment;
mod form;
mod manifest;
mod plan;
mod ports;
mod supervisor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::GlobalArgs;
use crate::commands::{Done, parent_gone};
use crate::failure::Failure;
use crate::output;

pub(crate) use manifest::Manifest;
pub(crate) use plan::BASE_PORT_MAX;
pub(crate) use ports::free_base_port;

use directory::Directory;
use plan::{Plan, Wanted};
use supervisor::Supervisor;

/// What happens to a process that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    /// It starts again after 2 s, also when it was killed.
    OnFailure,
    /// It stays down; the others go on.
    Never,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints `ready` once a leader serves and all TaskManagers are registered, then runs until SIGINT or SIGTERM.
Started again on the same directory it carries on with the same jobs.

JobManager i serves clients on P+i and its peers on P+10+i; TaskManager i uses P+20+i and P+35+i.

Examples:
  regent local
  regent local --dir /tmp/c --base-port 7300 --taskmanagers 3 --restart never")]
pub(crate) struct LocalArgs {
    /// JobManagers: 1, 3 or 5 [default: 3, or as before in this directory]
    #[arg(long, value_name = "N", value_parser = parse_jobmanagers)]
    jobmanagers: Option<u16>,
    /// TaskManagers, 0 to 14 [default: 2, or as before in this directory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=14))]
    taskmanagers: Option<u16>,
    /// Slots of each TaskManager [default: 4, or as before in this directory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: Option<u16>,
    /// First of the 50 ports that may be used, on 127.0.0.1 [default: 7100, or as before]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=i64::from(BASE_PORT_MAX)))]
    base_port: Option<u16>,
    /// What to do with a process that ended by itself
    #[arg(long, value_enum, default_value = "on-failure", value_name = "WHEN")]
    restart: Restart,
    /// End when stdin does: the parent holds the other end
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

fn parse_jobmanagers(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("must be 1, 3 or 5".to_owned()),
    }
}

pub(crate) async fn run(args: LocalArgs, global: &GlobalArgs) -> Done {
    let dir = global.dir.clone();
    let dir = dir.unwrap_or_else(|| PathBuf::from("./regent-local"));
    let directory = Directory::open(&dir)?;
    let wanted = Wanted {
        jobmanagers: args.jobmanagers,
        taskmanagers: args.taskmanagers,
        slots: args.slots,
        base_port: args.base_port,
    };
    let shape = directory.settle(&wanted)?;
    let plan = Plan::new(directory.path(), &shape, &directory::program()?)?;
    let addresses = plan.ports();
    let taken = || ports::taken_port(&addresses).or_else(|| ports::taken_directory(&plan));
    ports::wait_free(taken, ports::PATIENCE).await?;
    let cluster_id = directory.prepare(&plan, &shape)?;
    directory.check_owner(&plan, cluster_id)?;
    // Signals are caught before the first child exists, so that none can be left behind.
    let asked_to_stop = stop_signal(args.parent_pipe)?;
    let restart = args.restart == Restart::OnFailure;
    let supervisor = Supervisor::start(&plan, directory.create_manifest(&plan)?, restart);
    let ended = tokio::select! {
        () = asked_to_stop => Ok(()),
        failure = form::bring_up(&plan, &directory, cluster_id) => Err(failure),
    };
    supervisor.stop().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Resolves at SIGINT, SIGTERM or, with a parent, at the end of stdin.
fn stop_signal(parent_pipe: bool) -> Result<impl Future<Output = ()>, Failure> {
    let wrong = |e: std::io::Error| Failure::failed(format!("signals can't be caught: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent_gone(), if parent_pipe => {}
        }
        output::note("stopping");
    })
}
