//! `regent leader`: who leads and who led. Works without a leader: each replica is asked on its own.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::view::{FastFailover, LeaderShow, Reign};

use super::leader_transfer::{self, TransferArgs};
use super::{Context, Done, leader_explain, leader_watch};
use crate::client::{Picture, merge, nobody_answers};
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::words::{moment, now_ms, or_dash, plural, span};

#[derive(Debug, Args)]
pub(crate) struct LeaderArgs {
    #[command(subcommand)]
    verb: LeaderVerb,
}

#[derive(Debug, Subcommand)]
enum LeaderVerb {
    /// Who leads, and how far each replica is; `"leader": null` while nobody does
    #[command(after_help = "Example:\n  regent leader show -o json")]
    Show,
    /// Every reign, why it began, and how long nobody led before it
    #[command(after_help = "Example:\n  regent leader history")]
    History,
    /// Why each replica is or isn't the leader; when there is none, the smallest action that brings one
    #[command(after_help = "\
Asks every replica directly and at the same time: needs neither leader nor majority.

Examples:
  regent leader explain
  regent leader explain -o json | jq -r .remedy")]
    Explain,
    /// Print who leads whenever that changes, until interrupted
    #[command(after_help = "Example:\n  regent leader watch")]
    Watch,
    /// Hand leadership over; jobs go on and no write is lost
    #[command(
        after_help = "Examples:\n  regent leader transfer\n  regent leader transfer --to jm-2"
    )]
    Transfer(TransferArgs),
}

pub(crate) async fn run(args: &LeaderArgs, context: &Context) -> Done {
    match &args.verb {
        LeaderVerb::Show => show(context).await,
        LeaderVerb::History => history(context).await,
        LeaderVerb::Explain => leader_explain::run(context).await,
        LeaderVerb::Watch => leader_watch::run(context).await,
        LeaderVerb::Transfer(args) => leader_transfer::run(args, context).await,
    }
}

async fn show(context: &Context) -> Done {
    let picture = look(context).await?;
    context.print(&picture.show, leader_table)?;
    Ok(ExitCode::SUCCESS)
}

/// What all replicas together say; fails only if none says anything.
pub(super) async fn look(context: &Context) -> Result<Picture, Failure> {
    let survey = context.client.survey().await;
    let picture = merge(&survey);
    if picture.answering == 0 {
        return Err(nobody_answers(context.client.endpoints(), &survey));
    }
    Ok(picture)
}

/// The head line and a row for each replica.
pub(super) fn leader_table(show: &LeaderShow) -> String {
    let head = match &show.leader {
        Some(l) => format!(
            "{} leads (node {}, {}), term {}, for {}",
            l.name,
            l.node_id,
            l.api,
            l.term,
            span(now_ms().saturating_sub(l.since_ms))
        ),
        None => "nobody leads".to_owned(),
    };
    let group = format!(
        "{}, {} needed, {} more may be lost",
        plural(show.voters, "voter"),
        show.quorum,
        show.tolerates
    );
    format!("{head}\n{group}\n\n{}", replica_table(show).render())
}

fn replica_table(show: &LeaderShow) -> Table {
    let mut table = Table::new(
        &[
            "NODE", "NAME", "ROLE", ">TERM", ">LAST", ">APPLIED", ">TRAILS", ">CONTACT",
        ],
        "no replicas",
    );
    for replica in &show.replicas {
        table.row(vec![
            replica.node_id.to_string(),
            replica.name.clone(),
            replica.role.clone(),
            or_dash(replica.term),
            or_dash(replica.last_log_index),
            or_dash(replica.applied_index),
            or_dash(replica.trails_by),
            or_dash(replica.last_contact_ms.map(span)),
        ]);
    }
    table
}

async fn history(context: &Context) -> Done {
    let history = context.client.leader_history().await?;
    context.print(&history, |h| history_table(h))?;
    Ok(ExitCode::SUCCESS)
}

fn history_table(history: &[Reign]) -> String {
    let mut table = Table::new(
        &[
            "TERM",
            "NAME",
            "FROM",
            "TO",
            ">LEADERLESS",
            ">ADOPTED",
            ">RESTARTED",
            "FAST FAILOVER",
            "CAUSE",
        ],
        "nobody has led yet",
    );
    for reign in history {
        table.row(vec![
            reign.term.to_string(),
            reign.name.clone(),
            moment(reign.from_ms),
            or_dash(reign.to_ms.map(moment)),
            span(reign.leaderless_ms),
            reign.jobs_adopted.to_string(),
            reign.jobs_restarted.to_string(),
            fast_failover(reign.fast_failover),
            reign.cause.clone(),
        ]);
    }
    table.render()
}

/// Only what happened: "fired 1, lost 1", or a dash.
fn fast_failover(counts: FastFailover) -> String {
    let told = [
        ("fired", counts.fired),
        ("lost", counts.lost),
        ("not needed", counts.not_needed),
    ];
    let told: Vec<String> = told
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    or_dash((!told.is_empty()).then(|| told.join(", ")))
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::{LeaderHead, ReplicaView};

    use super::*;

    #[test]
    fn the_table_says_who_leads_and_who_is_away() {
        let mut show = LeaderShow {
            leader: Some(LeaderHead {
                node_id: 1,
                name: "jm-1".to_owned(),
                api: "127.0.0.1:7101".to_owned(),
                term: 3,
                since_ms: now_ms(),
            }),
            replicas: vec![ReplicaView {
                node_id: 2,
                name: "jm-2".to_owned(),
                role: "unreachable".to_owned(),
                term: None,
                last_log_index: None,
                applied_index: None,
                trails_by: None,
                last_contact_ms: None,
            }],
            voters: 3,
            quorum: 2,
            tolerates: 1,
        };
        let text = leader_table(&show);
        assert!(text.starts_with("jm-1 leads (node 1, 127.0.0.1:7101), term 3, for"));
        assert!(text.contains("2     jm-2  unreachable     -"));
        show.leader = None;
        assert!(leader_table(&show).starts_with("nobody leads\n"));
    }
}
