//! `regent checkpoint`: the completed checkpoints of a job.

use clap::{Args, Subcommand};
use regent_protocol::v1::CheckpointRef;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{CheckpointDetail, CheckpointView};

use super::job::{JobName, ReadArgs};
use super::{Context, Done};
use crate::output::table::{Table, pairs};
use crate::output::words::{ago, moment, now_ms, size, span};

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    verb: CheckpointVerb,
}

#[derive(Debug, Subcommand)]
enum CheckpointVerb {
    /// Completed checkpoints that exist, oldest first
    #[command(after_help = "Example:\n  regent checkpoint list flights-per-carrier")]
    List {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// One checkpoint with its files
    #[command(after_help = "Example:\n  regent checkpoint show flights-per-carrier 12 -o json")]
    Show {
        #[command(flatten)]
        job: JobName,
        /// Id of the checkpoint
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        read: ReadArgs,
    },
}

pub(crate) async fn run(args: CheckpointArgs, context: &Context) -> Done {
    match args.verb {
        CheckpointVerb::List { job, read } => {
            let query = Query::CheckpointList(job.to_ref());
            context.show(query, read.stale, list).await
        }
        CheckpointVerb::Show { job, id, read } => {
            let query = Query::CheckpointShow(CheckpointRef {
                job: job.to_ref().job,
                checkpoint_id: id,
            });
            context.show(query, read.stale, show).await
        }
    }
}

fn list(checkpoints: &Vec<CheckpointView>) -> String {
    let mut table = Table::new(
        &[
            ">ID",
            "KIND",
            ">SIZE",
            ">TOOK",
            "COMPLETED",
            "RETAINED",
            "PATH",
        ],
        "no completed checkpoints",
    );
    for checkpoint in checkpoints {
        table.row(vec![
            checkpoint.id.to_string(),
            checkpoint.kind.clone(),
            size(checkpoint.size_bytes),
            span(checkpoint.duration_ms),
            ago(checkpoint.completed_at_ms, now_ms()),
            if checkpoint.retained { "yes" } else { "no" }.to_owned(),
            checkpoint.path.clone(),
        ]);
    }
    table.render()
}

fn show(detail: &CheckpointDetail) -> String {
    let checkpoint = &detail.checkpoint;
    let head = pairs(&[
        ("checkpoint", checkpoint.id.to_string()),
        ("kind", checkpoint.kind.clone()),
        ("path", checkpoint.path.clone()),
        ("size", size(checkpoint.size_bytes)),
        ("took", span(checkpoint.duration_ms)),
        ("completed", moment(checkpoint.completed_at_ms)),
    ]);
    let mut files = Table::new(&["FILE", ">SIZE"], "no files");
    for file in &detail.files {
        files.row(vec![file.path.clone(), size(file.size_bytes)]);
    }
    format!("{head}\n{}", files.render())
}
