//! `regent cleanup list`: what is still to be removed, and why it isn't yet.

use clap::{Args, Subcommand};
use regent_protocol::v1::CleanupList;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::ArtefactView;

use super::job::ReadArgs;
use super::{Context, Done};
use crate::output::table::Table;
use crate::output::words::{now_ms, or_dash, span};

#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    #[command(subcommand)]
    verb: CleanupVerb,
}

#[derive(Debug, Subcommand)]
enum CleanupVerb {
    /// Artefacts that are given up and not removed yet
    #[command(after_help = "Example:\n  regent cleanup list --dirty")]
    List {
        /// Only those whose retries are used up
        #[arg(long)]
        dirty: bool,
        #[command(flatten)]
        read: ReadArgs,
    },
}

pub(crate) async fn run(args: &CleanupArgs, context: &Context) -> Done {
    let CleanupVerb::List { dirty, read } = &args.verb;
    let query = Query::CleanupList(CleanupList { dirty: *dirty });
    context.show(query, read.stale, table).await
}

fn table(artefacts: &Vec<ArtefactView>) -> String {
    let mut table = Table::new(
        &[
            "ARTEFACT",
            "JOB",
            "KIND",
            "STATE",
            ">ATTEMPTS",
            ">NEXT TRY",
            "PATH",
            "LAST ERROR",
        ],
        "nothing to clean up",
    );
    let now = now_ms();
    for artefact in artefacts {
        let due = artefact
            .next_retry_at_ms
            .map(|at| format!("in {}", span(at.saturating_sub(now))));
        table.row(vec![
            artefact.artefact.clone(),
            artefact.job_id.clone(),
            artefact.kind.clone(),
            artefact.state.clone(),
            artefact.attempts.to_string(),
            or_dash(due),
            artefact.path.clone(),
            or_dash(artefact.last_error.clone()),
        ]);
    }
    table.render()
}
