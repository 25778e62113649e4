//! `leader transfer`: whom to hand over to, and what is told of it. How it is done is `regent_ha`'s.

use regent_ha::{TransferError, Transferred};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::view;

use super::change::Asked;
use super::document;

/// Hands over to that node; 0 stands for whoever can take over.
pub(super) async fn transfer(asked: &Asked<'_>, to: u64) -> Result<v1::Document, ApiError> {
    // A leader that is handing over can't confirm any more that it leads: then the same request joins that.
    if let Err(error) = asked.majority().await
        && error.kind == ErrorKind::NoQuorum
    {
        return Err(error);
    }
    let replica = &asked.node.replica;
    let status = replica.status();
    if to != 0 && !status.voters.contains(&to) {
        return Err(refused(format!(
            "node {to} has no vote, so it can't lead; see who has: regent members list"
        )));
    }
    // Also the answer to one whose first answer was lost.
    if to == status.node_id {
        return document(&view::Transferred {
            from: to,
            to,
            term: Some(status.term),
            took_ms: Some(0),
        });
    }
    if asked.request.dry_run {
        return rehearsed(status.node_id, to, &replica.successors());
    }
    let moved = match to {
        0 => replica.hand_over().await,
        node => replica.transfer_leader(node).await,
    };
    done(moved)
}

/// Whom a dry run names: it can't tell more than whether that one was heard from lately.
fn rehearsed(from: u64, to: u64, successors: &[u64]) -> Result<v1::Document, ApiError> {
    let found = match to {
        0 => successors.first().copied(),
        node => Some(node).filter(|node| successors.contains(node)),
    };
    let silent = || match to {
        0 => refused("no other voter was heard from lately; start one".to_owned()),
        node => refused(format!(
            "node {node} wasn't heard from lately; start it, or look at its host and network"
        )),
    };
    let (to, term, took_ms) = (found.ok_or_else(silent)?, None, None);
    document(&view::Transferred {
        from,
        to,
        term,
        took_ms,
    })
}

fn done(moved: Result<Transferred, TransferError>) -> Result<v1::Document, ApiError> {
    let moved = moved.map_err(|error| {
        let kind = match &error {
            TransferError::NotLeader { .. } => ErrorKind::NoLeader,
            TransferError::Refused(_) => ErrorKind::Refused,
            TransferError::Failed(_) => ErrorKind::Failed,
        };
        ApiError::new(kind, error.to_string())
    })?;
    document(&view::Transferred {
        from: moved.from,
        to: moved.to,
        term: Some(moved.term),
        took_ms: u64::try_from(moved.took.as_millis()).ok(),
    })
}

fn refused(message: String) -> ApiError {
    ApiError::new(ErrorKind::Refused, message)
}
