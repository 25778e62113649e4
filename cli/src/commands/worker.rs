//! `regent worker`: the TaskManagers, and emptying one before it is taken away.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{DrainWorker, Nothing};
use regent_protocol::view::{WorkerDrained, WorkerView};

use super::job::ReadArgs;
use super::savepoint::dry_run_note;
use super::{Context, Done};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::output::table::Table;
use crate::output::words::{or_dash, span};

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(subcommand)]
    verb: WorkerVerb,
}

#[derive(Debug, Subcommand)]
enum WorkerVerb {
    /// TaskManagers, their slots and when they were last heard of
    #[command(after_help = "Example:\n  regent worker list -o json")]
    List {
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Move a worker's tasks elsewhere by a fresh checkpoint, and place nothing there
    #[command(after_help = "\
Returns when nothing runs there any more, or at the timeout. Without room elsewhere the tasks stay until
there is.

Example:
  regent worker drain tm-1 --timeout 1m")]
    Drain(DrainArgs),
    /// Offer a drained worker again
    #[command(after_help = "Example:\n  regent worker undrain tm-1")]
    Undrain(DrainArgs),
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// Id of the worker
    #[arg(value_name = "WORKER")]
    worker: String,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(crate) async fn run(args: &WorkerArgs, context: &Context) -> Done {
    match &args.verb {
        WorkerVerb::List { read } => list(read, context).await,
        WorkerVerb::Drain(args) => drain(args, true, context).await,
        WorkerVerb::Undrain(args) => drain(args, false, context).await,
    }
}

async fn drain(args: &DrainArgs, drained: bool, context: &Context) -> Done {
    let mut identity = Identity::new(&args.change);
    let worker = args.worker.clone();
    let request = Change::DrainWorker(DrainWorker { worker, drained });
    let answer: WorkerDrained = context.client.change(request, &mut identity).await?;
    context.print(&answer, drained_text)?;
    dry_run_note(&args.change);
    Ok(ExitCode::SUCCESS)
}

fn drained_text(answer: &WorkerDrained) -> String {
    let worker = &answer.worker;
    match (answer.drained, answer.tasks) {
        (false, _) => format!("{worker} is offered again"),
        (true, 0) => {
            format!("{worker} is drained: nothing runs there and nothing will be placed there")
        }
        (true, tasks) => format!(
            "{worker} takes nothing new; {tasks} tasks are still there and move as soon as a checkpoint is \
             complete and there is room elsewhere"
        ),
    }
}

async fn list(read: &ReadArgs, context: &Context) -> Done {
    let query = Query::WorkerList(Nothing {});
    context
        .show(query, read.stale, |w: &Vec<WorkerView>| table(w).render())
        .await
}

/// A row for each worker.
pub(super) fn table(workers: &[WorkerView]) -> Table {
    let mut table = Table::new(
        &[
            "WORKER",
            "ADDRESS",
            ">SLOTS",
            ">FREE",
            ">TASKS",
            "STATE",
            ">HEARTBEAT",
        ],
        "no workers",
    );
    for worker in workers {
        table.row(vec![
            worker.worker.clone(),
            worker.address.clone(),
            worker.slots.to_string(),
            worker.free.to_string(),
            worker.tasks.to_string(),
            worker.state.clone(),
            or_dash(
                worker
                    .last_heartbeat_ms
                    .map(|ms| format!("{} ago", span(ms))),
            ),
        ]);
    }
    table
}
