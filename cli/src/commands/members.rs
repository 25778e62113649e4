//! `regent members`: who the replicas are, and changing that while the cluster works.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::error::ErrorKind;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{MemberChange, MemberVerb, MembersPlan};
use regent_protocol::view::{MarginView, MemberView, MembersChanged, MembersPlanned};

use super::confirm::confirm;
use super::savepoint::dry_run_note;
use super::{Context, Done, leader};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::failure::Failure;
use crate::output::table::Table;

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    #[command(subcommand)]
    verb: MembersVerb,
}

#[derive(Debug, Subcommand)]
enum MembersVerb {
    /// The members and their addresses; works without a leader
    #[command(after_help = "Example:\n  regent members list -o json")]
    List,
    /// What a change would do step by step, and how many losses are tolerated after each step
    #[command(after_help = "\
Without options: what is still to be done of earlier changes.

Example, replacing the dead jm-2:
  regent members plan --add jm-4:7201 --remove jm-2")]
    Plan(PlanArgs),
    /// Add a new replica: a learner first, a voter by itself once it has caught up
    #[command(after_help = "\
Start the replica first, with an empty data directory and a node-id that was never used: it says that it
waits to be added.

Example:
  regent members add jm-4:7201")]
    Add {
        /// Address of its peer service
        #[arg(value_name = "HOST:PORT")]
        peer: String,
        /// Keep it a learner: it holds the log and has no vote
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Give a learner a vote, once it has caught up
    #[command(after_help = "Example:\n  regent members promote jm-4")]
    Promote(MemberArgs),
    /// Make a voter a learner
    #[command(after_help = "Example:\n  regent members demote jm-4")]
    Demote(MemberArgs),
    /// Take a replica out for good: its number never comes back
    #[command(after_help = "Example:\n  regent members remove jm-2 --yes")]
    Remove(MemberArgs),
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// Peer address of a replica to add; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    add: Vec<String>,
    /// Number or name of a learner to promote; may be repeated
    #[arg(long, value_name = "NODE")]
    promote: Vec<String>,
    /// Number or name of a voter to demote; may be repeated
    #[arg(long, value_name = "NODE")]
    demote: Vec<String>,
    /// Number or name of a member to remove; may be repeated
    #[arg(long, value_name = "NODE")]
    remove: Vec<String>,
}

#[derive(Debug, Args)]
struct MemberArgs {
    /// Number or name of the member
    #[arg(value_name = "NODE")]
    member: String,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(crate) async fn run(args: &MembersArgs, context: &Context) -> Done {
    match &args.verb {
        MembersVerb::List => list(context).await,
        MembersVerb::Plan(args) => plan(args, context).await,
        MembersVerb::Add {
            peer,
            learner,
            change,
        } => {
            let verb = match learner {
                true => MemberVerb::AddLearner,
                false => MemberVerb::Add,
            };
            ask(verb, peer, change, context).await
        }
        MembersVerb::Promote(args) => {
            ask(MemberVerb::Promote, &args.member, &args.change, context).await
        }
        MembersVerb::Demote(args) => {
            ask(MemberVerb::Demote, &args.member, &args.change, context).await
        }
        MembersVerb::Remove(args) => {
            let what = format!(
                "remove {} for good; its number never comes back",
                args.member
            );
            confirm(context, &args.change, &what)?;
            ask(MemberVerb::Remove, &args.member, &args.change, context).await
        }
    }
}

async fn list(context: &Context) -> Done {
    let picture = leader::look(context).await?;
    let survey = context.client.survey().await;
    let cluster = picture.cluster_id;
    let answers = survey
        .answers()
        .filter(|s| cluster.is_none() || s.cluster_id == cluster);
    let best = answers.max_by_key(|s| (s.generation, s.term, s.applied_index));
    let mut members = best.map(|s| s.members.clone()).unwrap_or_default();
    members.sort_by_key(|member| member.node_id);
    context.print(&members, |m| table(m).render())?;
    Ok(ExitCode::SUCCESS)
}

fn table(members: &[MemberView]) -> Table {
    let mut table = Table::new(&["NODE", "NAME", "ROLE", "PEER", "API"], "no members");
    for member in members {
        table.row(vec![
            member.node_id.to_string(),
            member.name.clone(),
            member.role.clone(),
            member.peer.clone(),
            member.api.clone(),
        ]);
    }
    table
}

async fn plan(args: &PlanArgs, context: &Context) -> Done {
    let of = |verb: MemberVerb, members: &[String]| {
        let changes = members.iter().map(|member| MemberChange {
            verb: verb.into(),
            member: member.clone(),
        });
        changes.collect::<Vec<_>>()
    };
    let changes = [
        of(MemberVerb::Add, &args.add),
        of(MemberVerb::Promote, &args.promote),
        of(MemberVerb::Demote, &args.demote),
        of(MemberVerb::Remove, &args.remove),
    ];
    let changes = changes.concat();
    let query = Query::MembersPlan(MembersPlan { changes });
    context.show(query, false, planned_text).await
}

fn planned_text(planned: &MembersPlanned) -> String {
    let mut text = format!("now: {}\n", margin_text(&planned.before));
    for (number, step) in planned.steps.iter().enumerate() {
        text.push_str(&format!(
            "{}. {}: {}\n",
            number + 1,
            step.step,
            margin_text(&step.after)
        ));
    }
    match planned.steps.is_empty() {
        true => text.push_str("nothing is to be done"),
        false => text.push_str(&format!("then: {}", margin_text(&planned.after))),
    }
    text
}

fn margin_text(margin: &MarginView) -> String {
    format!(
        "{} of {} voters answer, {} needed, {} more may be lost",
        margin.answering, margin.voters, margin.quorum, margin.tolerates
    )
}

async fn ask(verb: MemberVerb, member: &str, change: &ChangeArgs, context: &Context) -> Done {
    let mut identity = Identity::new(change);
    let request = Change::Member(MemberChange {
        verb: verb.into(),
        member: member.to_owned(),
    });
    let changed: MembersChanged = context.client.change(request, &mut identity).await?;
    if !changed.done {
        return Err(unfinished(&changed));
    }
    context.print(&changed, |changed| changed_text(changed, change.dry_run))?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

/// It is noted and will be done, but wasn't within the timeout.
fn unfinished(changed: &MembersChanged) -> Failure {
    let waits_for = changed
        .waits_for
        .as_deref()
        .unwrap_or("the change is being completed");
    Failure::new(
        ErrorKind::Failed,
        format!(
            "{} is noted and not done yet ({waits_for}); the leader carries on by itself: regent members plan \
             shows how far it is, and repeating the command waits for it",
            changed.name
        ),
    )
}

fn changed_text(changed: &MembersChanged, dry_run: bool) -> String {
    let is = if dry_run { "would be" } else { "is" };
    format!(
        "{} (node {}) {is} {}\nbefore: {}\nafter:  {}\n\n{}",
        changed.name,
        changed.node_id,
        changed.role,
        margin_text(&changed.before),
        margin_text(&changed.after),
        table(&changed.members).render()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_each_step_and_what_is_tolerated_after_it() {
        let margin = |voters, tolerates| MarginView {
            voters,
            quorum: voters / 2 + 1,
            answering: voters,
            tolerates,
        };
        let mut planned = MembersPlanned {
            before: margin(3, 1),
            after: margin(3, 1),
            steps: Vec::new(),
        };
        assert!(planned_text(&planned).ends_with("nothing is to be done"));
        planned.steps.push(regent_protocol::view::MemberStep {
            step: "give node 4 a vote".to_owned(),
            waits: false,
            after: margin(4, 1),
        });
        let text = planned_text(&planned);
        assert!(text.contains("1. give node 4 a vote: 4 of 4 voters answer, 3 needed, 1 more"));
    }
}
