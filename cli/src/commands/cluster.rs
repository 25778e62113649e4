//! `regent cluster bootstrap`: forms a cluster of exactly the named replicas, once.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_ha::{BootstrapError, Dialer, Member, Node, Outcome};
use regent_protocol::error::ErrorKind;
use regent_protocol::view::NodeStatus;
use serde::Serialize;

use super::{Context, Done};
use crate::args::ChangeArgs;
use crate::client::Survey;
use crate::failure::Failure;
use crate::output;
use crate::output::table;

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: ClusterVerb,
}

#[derive(Debug, Subcommand)]
enum ClusterVerb {
    /// Form a cluster of the named replicas, once; all of them must answer
    #[command(after_help = "\
Safe to repeat: a cluster that is formed already stays as it is.

Example:
  regent cluster bootstrap --endpoints jm-1:7101,jm-2:7101,jm-3:7101")]
    Bootstrap {
        /// Peer addresses of the same replicas, where they don't tell them
        #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
        peers: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Serialize)]
struct Bootstrapped {
    cluster_id: Option<String>,
    already: bool,
    members: Vec<BootstrapMember>,
}

#[derive(Debug, Serialize)]
struct BootstrapMember {
    node_id: u64,
    name: String,
    peer: String,
    api: String,
}

pub(crate) async fn run(args: ClusterArgs, context: &Context) -> Done {
    let ClusterVerb::Bootstrap { peers, change } = args.verb;
    if context.client.endpoints().is_default() {
        return Err(Failure::invalid(
            "name every replica of the new cluster by --endpoints host:port,...",
        ));
    }
    let survey = context.client.survey().await;
    survey.check_admitted()?;
    let dialer = &context.client.endpoints().access.dialer;
    let members = members(&survey, dialer, &peers).await?;
    let shown = members.iter().map(shown).collect();
    let bootstrapped = if change.dry_run {
        output::note("dry run: nothing was changed");
        Bootstrapped {
            cluster_id: None,
            already: false,
            members: shown,
        }
    } else {
        let outcome = form(&members, context).await?;
        Bootstrapped {
            cluster_id: Some(outcome.cluster_id().to_string()),
            already: matches!(outcome, Outcome::AlreadyFormed(_)),
            members: shown,
        }
    };
    context.print(&bootstrapped, text)?;
    Ok(ExitCode::SUCCESS)
}

async fn form(members: &[Member], context: &Context) -> Result<Outcome, Failure> {
    let limit = context.client.timeout();
    let dialer = &context.client.endpoints().access.dialer;
    match tokio::time::timeout(limit, regent_ha::bootstrap(dialer, members, None)).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err(Failure::new(
            ErrorKind::NoQuorum,
            "not all replicas answered in time; repeating the command carries on",
        )),
    }
}

pub(crate) fn explain(error: &BootstrapError) -> Failure {
    let kind = match error {
        BootstrapError::Members(_) => ErrorKind::Invalid,
        BootstrapError::Unreachable { .. } => ErrorKind::NoQuorum,
        BootstrapError::Refused(_) => ErrorKind::Refused,
    };
    Failure::new(kind, error.to_string())
}

/// The replicas as members. All that were named must answer, or the cluster would be another one.
async fn members(
    survey: &Survey,
    dialer: &Dialer,
    peers: &[String],
) -> Result<Vec<Member>, Failure> {
    let silence = survey.silence();
    if !silence.is_empty() {
        return Err(Failure::new(
            ErrorKind::NoQuorum,
            format!("every replica must answer to form a cluster ({silence}); start it and repeat"),
        ));
    }
    let mut told = Vec::new();
    for address in peers {
        let probed = regent_ha::probe(dialer, address)
            .await
            .map_err(|e| Failure::new(ErrorKind::NoQuorum, format!("--peers: {address}: {e}")))?;
        told.push((probed.node_id, address.clone()));
    }
    let mut members: Vec<Member> = Vec::new();
    for status in survey.answers() {
        if !members.iter().any(|m| m.node_id == status.node_id) {
            members.push(member(status, &told)?);
        }
    }
    members.sort_by_key(|m| m.node_id);
    Ok(members)
}

fn member(status: &NodeStatus, told: &[(u64, String)]) -> Result<Member, Failure> {
    let by_itself = status
        .members
        .iter()
        .find(|m| m.node_id == status.node_id && !m.peer.is_empty())
        .map(|m| m.peer.clone());
    let by_option = told
        .iter()
        .find(|(id, _)| *id == status.node_id)
        .map(|(_, address)| address.clone());
    let peer = by_option.or(by_itself).ok_or_else(|| {
        Failure::invalid(format!(
            "the peer address of {} isn't known; name the peer addresses of all replicas by --peers",
            status.name
        ))
    })?;
    Ok(Member {
        node_id: status.node_id,
        node: Node {
            name: status.name.clone(),
            api: status.api.clone(),
            peer,
        },
    })
}

fn shown(member: &Member) -> BootstrapMember {
    BootstrapMember {
        node_id: member.node_id,
        name: member.node.name.clone(),
        peer: member.node.peer.clone(),
        api: member.node.api.clone(),
    }
}

fn text(bootstrapped: &Bootstrapped) -> String {
    let head = match (&bootstrapped.cluster_id, bootstrapped.already) {
        (Some(id), true) => format!("cluster {id} was formed before\n"),
        (Some(id), false) => format!("cluster {id} is formed\n"),
        (None, _) => "a cluster would be formed of\n".to_owned(),
    };
    let mut members = table::Table::new(&["NODE", "NAME", "PEER", "API"], "no members");
    for member in &bootstrapped.members {
        members.row(vec![
            member.node_id.to_string(),
            member.name.clone(),
            member.peer.clone(),
            member.api.clone(),
        ]);
    }
    head + &members.render()
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::MemberView;

    use super::*;

    #[test]
    fn a_member_needs_a_peer_address_from_itself_or_the_option() {
        let mut status = NodeStatus {
            node_id: 2,
            name: "jm-2".to_owned(),
            api: "127.0.0.1:7102".to_owned(),
            ..NodeStatus::default()
        };
        assert_eq!(member(&status, &[]).unwrap_err().code, 2);
        let told = [(2, "127.0.0.1:7112".to_owned())];
        assert_eq!(member(&status, &told).unwrap().node.peer, "127.0.0.1:7112");
        status.members.push(MemberView {
            node_id: 2,
            peer: "127.0.0.1:9".to_owned(),
            ..MemberView::default()
        });
        assert_eq!(member(&status, &[]).unwrap().node.peer, "127.0.0.1:9");
        assert_eq!(member(&status, &told).unwrap().node.peer, "127.0.0.1:7112");
    }
}
