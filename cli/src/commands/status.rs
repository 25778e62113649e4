//! `regent status`: the cluster at a glance. What replicas say of themselves needs no leader; the
//! replicated part is left out when it can't be read.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{Overview, Status};
use tokio::time::sleep;

use super::{Context, Done, leader, worker};
use crate::args::OutputFormat;
use crate::client::Picture;
use crate::failure::Failure;
use crate::output;
use crate::output::words::plural;

/// A look at the replicated part that takes longer is given up; the rest is shown.
const OVERVIEW_LIMIT: Duration = Duration::from_secs(2);
/// Between two pictures of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regent status
  regent status --watch
  regent status -o json | jq .leader.name")]
pub(crate) struct StatusArgs {
    /// Print it again every second until interrupted
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(args: &StatusArgs, context: &Context) -> Done {
    if !args.watch {
        let status = look(context).await?;
        context.print(&status, text)?;
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        match look(context).await {
            Ok(status) => print_next(context, &status)?,
            Err(failure) => output::note(&format!("error: {}", failure.message)),
        }
        sleep(WATCH_PAUSE).await;
    }
}

/// One picture of a series: JSON one a line, YAML with separators, tables with an empty line between.
fn print_next(context: &Context, status: &Status) -> Result<(), Failure> {
    let rendered = match context.format {
        OutputFormat::Json => {
            let line = serde_json::to_string(status)
                .map_err(|e| Failure::failed(format!("the status can't be written: {e}")))?;
            format!("{line}\n")
        }
        OutputFormat::Yaml => format!("---\n{}", output::render(context.format, status, text)?),
        OutputFormat::Table => format!("{}\n", output::render(context.format, status, text)?),
    };
    output::write_stdout(&rendered)
}

async fn look(context: &Context) -> Result<Status, Failure> {
    let picture = leader::look(context).await?;
    let overview = match picture.show.leader {
        Some(_) => overview(context).await,
        None => None,
    };
    Ok(status(picture, overview))
}

async fn overview(context: &Context) -> Option<Overview> {
    let client = context.client.with_timeout(OVERVIEW_LIMIT);
    client.read(Query::Overview(Nothing {}), false).await.ok()
}

fn status(picture: Picture, overview: Option<Overview>) -> Status {
    let mut alarms = picture.alarms.clone();
    if picture.cluster_id.is_none() {
        alarms.push("no cluster yet: regent cluster bootstrap".to_owned());
    } else if !picture.majority_answers() {
        alarms.push(format!(
            "no majority: {} of {} voters answer, {} are needed",
            picture.voters_answering, picture.show.voters, picture.show.quorum
        ));
    } else if picture.show.leader.is_none() {
        alarms.push("nobody leads".to_owned());
    } else if overview.is_none() {
        alarms.push("the leader doesn't answer reads".to_owned());
    }
    let away = picture
        .show
        .replicas
        .iter()
        .filter(|r| r.role == "unreachable");
    alarms.extend(away.map(|r| format!("{} doesn't answer", r.name)));
    if let Some(seen) = &overview {
        let silent = seen.workers.iter().filter(|w| w.state != "registered");
        alarms.extend(silent.map(|w| format!("worker {} is {}", w.worker, w.state)));
        if seen.cleanup_dirty > 0 {
            alarms.push(format!(
                "{} can't be removed: regent cleanup list --dirty",
                plural(seen.cleanup_dirty, "artefact")
            ));
        }
    }
    Status {
        leadership: picture.show,
        cluster_id: picture.cluster_id,
        generation: picture.generation,
        overview,
        alarms,
    }
}

fn text(status: &Status) -> String {
    let cluster = match (&status.cluster_id, status.generation) {
        (Some(id), Some(generation)) => format!("cluster {id}, generation {generation}\n"),
        _ => "no cluster\n".to_owned(),
    };
    let mut text = cluster + &leader::leader_table(&status.leadership);
    text.push('\n');
    match &status.overview {
        Some(seen) => text.push_str(&overview_text(seen)),
        None => text.push_str("jobs and workers: unknown (nobody can be asked)\n"),
    }
    if !status.alarms.is_empty() {
        text.push_str("\nneeds attention:\n");
        for alarm in &status.alarms {
            text.push_str(&format!("  - {alarm}\n"));
        }
    }
    text
}

fn overview_text(seen: &Overview) -> String {
    let jobs: Vec<String> = seen.jobs.iter().map(|(s, n)| format!("{n} {s}")).collect();
    let jobs = if jobs.is_empty() {
        "none".to_owned()
    } else {
        jobs.join(", ")
    };
    format!(
        "{}\njobs: {jobs}\nslots: {} of {} free\ncleanup: {} pending, {} dirty\n",
        worker::table(&seen.workers).render(),
        seen.slots_free,
        seen.slots_total,
        seen.cleanup_pending,
        seen.cleanup_dirty
    )
}
