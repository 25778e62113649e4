//! Waiting for the leader, and telling "nobody leads" from "a majority doesn't answer".

use std::time::Duration;

use futures::future::join_all;
use regent_ha::{Leadership, Member, NodeId, Phase};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::NodeStatusRequest;
use tokio::time::{Instant, timeout_at};

use crate::node::Node;

/// Between two looks for a leader.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long another replica may take to show that it is there.
const REACH_LIMIT: Duration = Duration::from_millis(500);
/// Kept back from the client's timeout for finding out why there is no leader.
const REASON_RESERVE: Duration = Duration::from_millis(600);

/// Whoever can serve what only the leader can.
#[derive(Debug)]
pub(crate) enum Server {
    /// This replica.
    Here(std::sync::Arc<crate::leader::rule::Rule>),
    /// Another one.
    There(Member),
}

/// The leader, as soon as one is known; an error shortly before `deadline`.
pub(crate) async fn leader(node: &Node, deadline: Instant) -> Result<Server, ApiError> {
    let give_up = deadline.checked_sub(REASON_RESERVE).unwrap_or(deadline);
    loop {
        if let Some(rule) = node.ruling() {
            return Ok(Server::Here(rule));
        }
        let me = node.replica.node_id();
        match node.replica.leader() {
            Some(leader) if leader.node_id != me => return Ok(Server::There(leader)),
            // Elected, and its announcement is under way; or nobody known.
            Some(_) | None => {}
        }
        if Instant::now() >= give_up {
            return Err(no_leader(node).await);
        }
        pause().await;
    }
}

/// What the leader answers, or why nothing can be expected of it any more: the time is over (`late`), or
/// somebody else leads. Without the latter a request would hang on a leader that was frozen or cut off.
pub(crate) async fn answered<T>(
    node: &Node,
    leader: NodeId,
    deadline: Instant,
    asked: impl Future<Output = T>,
) -> Result<T, &'static str> {
    let mut leadership = node.replica.leadership();
    let succeeded = leadership.wait_for(|now| match now {
        Leadership::None => false,
        Leadership::Leading(_) => true,
        Leadership::Following { leader: now, .. } => now.node_id != leader,
    });
    tokio::select! {
        biased;
        answer = timeout_at(deadline, asked) => answer.map_err(|_| "the leader doesn't answer"),
        _ = succeeded => Err("another replica leads before this was answered"),
    }
}

/// A short wait before the next try.
pub(crate) async fn pause() {
    tokio::time::sleep(LOOK_AGAIN).await;
}

/// Why nothing can be served: nobody leads, or a majority doesn't answer.
pub(crate) async fn no_leader(node: &Node) -> ApiError {
    let status = node.replica.status();
    match &status.phase {
        Phase::Empty => {
            let message =
                "this replica belongs to no cluster yet; form one: regent cluster bootstrap";
            return ApiError::new(ErrorKind::NoLeader, message);
        }
        Phase::Refused(reason) => return ApiError::new(ErrorKind::Refused, reason.clone()),
        Phase::Member => {}
    }
    let me = node.replica.node_id();
    let voters: Vec<&Member> = status
        .members
        .iter()
        .filter(|member| status.voters.contains(&member.node_id))
        .collect();
    let others = voters.iter().filter(|member| member.node_id != me);
    let answers = join_all(others.map(|member| answers(node, &member.node.api))).await;
    let own = usize::from(voters.iter().any(|member| member.node_id == me));
    let reached = own + answers.into_iter().filter(|answered| *answered).count();
    let quorum = voters.len() / 2 + 1;
    if reached >= quorum {
        let message = format!("no leader: {reached} of {} replicas answer", voters.len());
        return ApiError::new(ErrorKind::NoLeader, message);
    }
    let message = format!(
        "no majority: {reached} of {} replicas answer, {quorum} are needed; start the others",
        voters.len()
    );
    ApiError::new(ErrorKind::NoQuorum, message)
}

async fn answers(node: &Node, api: &str) -> bool {
    let Ok(mut client) = node.clients.to(api) else {
        return false;
    };
    let asked = client.node_status(NodeStatusRequest {});
    matches!(tokio::time::timeout(REACH_LIMIT, asked).await, Ok(Ok(_)))
}
