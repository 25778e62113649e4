//! `regent leader transfer`: hands leadership over while both nodes live.

use std::process::ExitCode;

use clap::Args;
use regent_protocol::v1::TransferLeader;
use regent_protocol::v1::change_request::Change;
use regent_protocol::view::{LeaderShow, Transferred};

use super::savepoint::dry_run_note;
use super::{Context, Done, leader};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::failure::Failure;
use crate::output;

/// The options of `leader transfer`.
#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Number or name of the replica that is to lead [default: of those that answer, the one that holds most of the log]
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// Only if the first of --endpoints leads; for hooks that run before a replica is stopped
    #[arg(long)]
    if_leading: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &TransferArgs, context: &Context) -> Done {
    if args.if_leading && !leads(context).await? {
        output::note("it doesn't lead: nothing to hand over");
        context.print(&None::<Transferred>, |_| String::new())?;
        return Ok(ExitCode::SUCCESS);
    }
    let to = match &args.to {
        Some(node) => target(&leader::look(context).await?.show, node)?,
        None => 0,
    };
    let mut identity = Identity::new(&args.change);
    let request = Change::TransferLeader(TransferLeader { to });
    let moved: Transferred = context.client.change(request, &mut identity).await?;
    context.print(&moved, text)?;
    dry_run_note(&args.change);
    Ok(ExitCode::SUCCESS)
}

/// Whether the first of the named replicas leads, by its own word.
async fn leads(context: &Context) -> Result<bool, Failure> {
    let addresses = &context.client.endpoints().addresses;
    let first = addresses
        .first()
        .ok_or_else(|| Failure::invalid("--endpoints names nobody"))?;
    let survey = context.client.survey().await;
    let asked = survey.asked.iter().find(|asked| asked.address == *first);
    match asked.map(|asked| &asked.answer) {
        Some(Ok(status)) => Ok(status.role == "leader"),
        Some(Err(reason)) => Err(Failure::failed(format!("{first}: {reason}"))),
        None => Err(Failure::failed(format!("{first} doesn't answer"))),
    }
}

fn text(moved: &Transferred) -> String {
    match (moved.term, moved.took_ms) {
        (Some(term), Some(took)) => format!(
            "node {} leads instead of node {}, term {term}, after {took} ms",
            moved.to, moved.from
        ),
        _ => format!(
            "node {} would lead instead of node {}",
            moved.to, moved.from
        ),
    }
}

/// The node of that number or name. A number that no replica names is left to the leader to refuse.
fn target(show: &LeaderShow, node: &str) -> Result<u64, Failure> {
    if let Some(replica) = show.replicas.iter().find(|r| r.name == node) {
        return Ok(replica.node_id);
    }
    let number = node.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        let names: Vec<&str> = show.replicas.iter().map(|r| r.name.as_str()).collect();
        Failure::invalid(format!(
            "no replica is called {node}; there are {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::ReplicaView;

    use super::*;

    #[test]
    fn a_target_is_a_name_or_a_number() {
        let replica = ReplicaView {
            node_id: 2,
            name: "jm-2".to_owned(),
            role: "follower".to_owned(),
            term: None,
            last_log_index: None,
            applied_index: None,
            trails_by: None,
            last_contact_ms: None,
        };
        let show = LeaderShow {
            leader: None,
            replicas: vec![replica],
            voters: 3,
            quorum: 2,
            tolerates: 1,
        };
        assert_eq!(target(&show, "jm-2").unwrap(), 2);
        assert_eq!(target(&show, "3").unwrap(), 3);
        for wrong in ["jm-9", "0", "-1"] {
            let failure = target(&show, wrong).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains("jm-2"), "{}", failure.message);
        }
    }
}
