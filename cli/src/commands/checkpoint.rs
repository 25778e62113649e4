//! `regent checkpoint`: the completed checkpoints of a job, and what is kept of all jobs.

use clap::{Args, Subcommand};
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{CheckpointRef, JobRef, Nothing};
use regent_protocol::view::{CheckpointDetail, CheckpointView, RetainedView};

use super::job::{JobName, ReadArgs};
use super::{Context, Done};
use crate::output::table::{Table, pairs};
use crate::output::words::{ago, moment, now_ms, or_dash, size, span};

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    verb: CheckpointVerb,
}

#[derive(Debug, Subcommand)]
enum CheckpointVerb {
    /// Completed checkpoints of a job that exist; without a job, all that is kept of any job. Oldest first
    #[command(after_help = "\
Without JOB: savepoints and retained checkpoints of all jobs, also of those whose results have expired. They
stay until `regent savepoint dispose PATH`.

Examples:
  regent checkpoint list flights-per-carrier
  regent checkpoint list")]
    List {
        /// Job id, a unique beginning of it (at least 4 digits), or a unique name
        #[arg(value_name = "JOB")]
        job: Option<String>,
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
        CheckpointVerb::List {
            job: Some(job),
            read,
        } => {
            let query = Query::CheckpointList(JobRef { job });
            context.show(query, read.stale, list).await
        }
        CheckpointVerb::List { job: None, read } => {
            let query = Query::RetainedList(Nothing {});
            context.show(query, read.stale, list_retained).await
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

fn list_retained(kept: &Vec<RetainedView>) -> String {
    let mut table = Table::new(
        &["JOB", "NAME", ">ID", "KIND", ">SIZE", "COMPLETED", "PATH"],
        "nothing is kept",
    );
    for one in kept {
        table.row(vec![
            one.job_id.clone(),
            or_dash(one.name.clone()),
            one.id.to_string(),
            one.kind.clone(),
            or_dash(one.size_bytes.map(size)),
            or_dash(one.completed_at_ms.map(|at| ago(at, now_ms()))),
            one.path.clone(),
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
