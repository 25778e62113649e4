//! `regent status`: the cluster on one screen. What replicas say of themselves needs no leader; the
//! replicated part is left out when it can't be read.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{LeaderShow, Overview, ReplicaView, Status};
use tokio::time::sleep;

use super::{Context, Done, status_alarms, worker};
use crate::client::{merge, nobody_answers};
use crate::failure::Failure;
use crate::output;
use crate::output::table::Table;
use crate::output::words::{count, now_ms, or_dash, plural, span};

/// A look at the replicated part that takes longer is given up; the rest is shown.
const OVERVIEW_LIMIT: Duration = Duration::from_secs(2);
/// Between two pictures of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Every replica is asked directly and at the same time, so it works without a leader and without a majority.

Examples:
  regent status
  regent status --watch
  regent status -o json | jq .leader.name")]
pub(crate) struct StatusArgs {
    /// Show it anew every second until interrupted; on a terminal in place
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(args: &StatusArgs, context: &Context) -> Done {
    if !args.watch {
        let status = look(context).await?;
        context.print(&status, text)?;
        return Ok(ExitCode::SUCCESS);
    }
    while !output::reader_is_gone() {
        match look(context).await {
            Ok(status) => output::print_next(context.format, &status, text)?,
            Err(failure) => output::note(&format!("error: {}", failure.message)),
        }
        sleep(WATCH_PAUSE).await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(context: &Context) -> Result<Status, Failure> {
    let survey = context.client.survey().await;
    let picture = merge(&survey);
    if picture.answering == 0 {
        return Err(nobody_answers(context.client.endpoints(), &survey));
    }
    let overview = match picture.show.leader {
        Some(_) => overview(context).await,
        None => None,
    };
    let attention = status_alarms::find(&survey, &picture, overview.as_ref());
    Ok(Status {
        leadership: picture.show,
        cluster_id: picture.cluster_id,
        generation: picture.generation,
        overview,
        alarms: attention.iter().map(status_alarms::line).collect(),
        attention,
    })
}

async fn overview(context: &Context) -> Option<Overview> {
    let client = context.client.with_timeout(OVERVIEW_LIMIT);
    client.read(Query::Overview(Nothing {}), false).await.ok()
}

fn text(status: &Status) -> String {
    let cluster = match (&status.cluster_id, status.generation) {
        (Some(id), Some(generation)) => format!("cluster   {id}, generation {generation}\n"),
        _ => "cluster   none\n".to_owned(),
    };
    let mut text = cluster + &heads(&status.leadership);
    if let Some(seen) = &status.overview {
        text.push_str(&figures(seen));
    }
    text.push_str(&format!("\n{}\n", replicas(&status.leadership).render()));
    match &status.overview {
        Some(seen) => text.push_str(&worker::table(&seen.workers).render()),
        None => text.push_str("jobs and workers: unknown, since no leader can be asked\n"),
    }
    if status.attention.is_empty() {
        text.push_str("\nnothing needs attention\n");
        return text;
    }
    text.push_str("\nneeds attention:\n");
    for cause in &status.attention {
        text.push_str(&format!("  {}: {}\n", cause.code, cause.text));
        if let Some(remedy) = &cause.remedy {
            text.push_str(&format!("      do: {remedy}\n"));
        }
    }
    text
}

fn heads(show: &LeaderShow) -> String {
    let leader = match &show.leader {
        Some(l) => format!(
            "{} (node {}, {}), term {}, for {}",
            l.name,
            l.node_id,
            l.api,
            l.term,
            span(now_ms().saturating_sub(l.since_ms))
        ),
        None => "nobody leads: regent leader explain".to_owned(),
    };
    format!(
        "leader    {leader}\nquorum    {}, {} needed, {} more may be lost\n",
        plural(show.voters, "voter"),
        show.quorum,
        show.tolerates
    )
}

fn figures(seen: &Overview) -> String {
    let jobs: Vec<String> = seen
        .jobs
        .iter()
        .map(|(s, n)| format!("{} {s}", count(*n)))
        .collect();
    let jobs = if jobs.is_empty() {
        "none".to_owned()
    } else {
        jobs.join(", ")
    };
    let registered = seen
        .workers
        .iter()
        .filter(|w| w.state == "registered")
        .count() as u64;
    format!(
        "jobs      {jobs}\nworkers   {registered} of {} registered, {} of {} slots free\n\
         cleanup   {} pending, {} dirty\n",
        seen.workers.len(),
        seen.slots_free,
        seen.slots_total,
        count(seen.cleanup_pending),
        count(seen.cleanup_dirty)
    )
}

fn replicas(show: &LeaderShow) -> Table {
    let mut table = Table::new(
        &["NODE", "NAME", "ROLE", ">TERM", ">APPLIED", "STANDING"],
        "no replicas",
    );
    for replica in &show.replicas {
        table.row(vec![
            replica.node_id.to_string(),
            replica.name.clone(),
            replica.role.clone(),
            or_dash(replica.term),
            or_dash(replica.applied_index),
            standing(replica),
        ]);
    }
    table
}

/// `trails by 3, heard 12ms ago`.
fn standing(replica: &ReplicaView) -> String {
    match (replica.role.as_str(), replica.trails_by) {
        ("unreachable", _) | (_, None) => "doesn't answer".to_owned(),
        ("leader", _) => format!("has {} entries", count(replica.last_log_index.unwrap_or(0))),
        (_, Some(trails)) => {
            let heard = replica.last_contact_ms.map_or_else(
                || "not heard".to_owned(),
                |ms| format!("heard {} ago", span(ms)),
            );
            format!("trails by {}, {heard}", count(trails))
        }
    }
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::Cause;

    use super::*;

    fn replica(name: &str, role: &str, trails_by: Option<u64>) -> ReplicaView {
        ReplicaView {
            node_id: 1,
            name: name.to_owned(),
            role: role.to_owned(),
            term: Some(3),
            last_log_index: Some(1_200),
            applied_index: Some(1_200),
            trails_by,
            last_contact_ms: Some(12),
        }
    }

    fn status() -> Status {
        Status {
            leadership: LeaderShow {
                leader: None,
                replicas: vec![
                    replica("jm-1", "leader", Some(0)),
                    replica("jm-2", "follower", Some(3)),
                    replica("jm-3", "unreachable", None),
                ],
                voters: 3,
                quorum: 2,
                tolerates: 0,
            },
            cluster_id: Some("c".repeat(32)),
            generation: Some(1),
            overview: Some(Overview {
                jobs: [("RUNNING".to_owned(), 2), ("FAILED".to_owned(), 1)].into(),
                slots_total: 8,
                slots_free: 5,
                ..Overview::default()
            }),
            alarms: Vec::new(),
            attention: vec![Cause::new("NoQuorumMargin", "one more loss").remedy("start jm-3")],
        }
    }

    #[test]
    fn one_screen_has_lag_in_entries_and_time_jobs_slots_and_alarms_with_remedies() {
        let text = text(&status());
        for part in [
            "quorum    3 voters, 2 needed, 0 more may be lost\n",
            "jobs      1 FAILED, 2 RUNNING\n",
            "5 of 8 slots free",
            "has 1,200 entries",
            "trails by 3, heard 12ms ago",
            "doesn't answer",
            "  NoQuorumMargin: one more loss\n      do: start jm-3\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(text.lines().count() <= 24, "one screen:\n{text}");
    }

    #[test]
    fn without_a_leader_the_rest_is_shown() {
        let bare = Status {
            overview: None,
            attention: Vec::new(),
            ..status()
        };
        let text = text(&bare);
        assert!(
            text.contains("leader    nobody leads: regent leader explain"),
            "{text}"
        );
        assert!(text.contains("unknown, since no leader can be asked"));
        assert!(text.contains("nothing needs attention"));
    }
}
