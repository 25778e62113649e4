//! `regent worker list`.

use clap::{Args, Subcommand};
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::WorkerView;

use super::job::ReadArgs;
use super::{Context, Done};
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
}

pub(crate) async fn run(args: &WorkerArgs, context: &Context) -> Done {
    let WorkerVerb::List { read } = &args.verb;
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
