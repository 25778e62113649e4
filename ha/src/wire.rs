//! Translates between openraft's types and the peer service's messages.
//!
//! Nothing is guessed: a missing field where Raft needs one is an error that ends the call.

// Generated code isn't ours to lint or document.
#[allow(
    clippy::too_many_lines,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all
)]
pub(crate) mod proto {
    tonic::include_proto!("regent.peer.v1");
}

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId;
use regent_storage::codec::CodecError;

use crate::entry;
use crate::types::{Entry, LeaderId, LogId, Member, Node, TypeConfig, Vote};

/// A message that doesn't say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A required field is absent.
    #[error("message lacks {0}")]
    Missing(&'static str),
    /// A field holds what can't be decoded.
    #[error("message holds a bad {0}: {1}")]
    Bad(&'static str, String),
}

/// Encodes a leader id.
pub(crate) fn leader_id_to(id: &LeaderId) -> proto::LeaderId {
    proto::LeaderId {
        term: id.term,
        node_id: id.node_id,
    }
}

fn leader_id_from(id: Option<&proto::LeaderId>) -> Result<LeaderId, WireError> {
    let id = id.ok_or(WireError::Missing("leader id"))?;
    Ok(LeaderId::new(id.term, id.node_id))
}

/// Encodes a log id.
pub(crate) fn log_id_to(id: &LogId) -> proto::LogId {
    proto::LogId {
        leader_id: Some(leader_id_to(&id.leader_id)),
        index: id.index,
    }
}

/// Encodes a log id that may be absent.
pub(crate) fn log_id_opt_to(id: Option<&LogId>) -> Option<proto::LogId> {
    id.map(log_id_to)
}

/// Decodes a log id that may be absent.
pub(crate) fn log_id_from(id: Option<&proto::LogId>) -> Result<Option<LogId>, WireError> {
    id.map(|id| Ok(LogId::new(leader_id_from(id.leader_id.as_ref())?, id.index)))
        .transpose()
}

/// Encodes a vote.
pub(crate) fn vote_to(vote: &Vote) -> proto::BallotVote {
    proto::BallotVote {
        leader_id: Some(leader_id_to(&vote.leader_id)),
        committed: vote.committed,
    }
}

/// Decodes a vote that must be there.
pub(crate) fn vote_from(vote: Option<&proto::BallotVote>) -> Result<Vote, WireError> {
    vote_opt_from(vote)?.ok_or(WireError::Missing("vote"))
}

/// Decodes a vote that may be absent.
pub(crate) fn vote_opt_from(vote: Option<&proto::BallotVote>) -> Result<Option<Vote>, WireError> {
    vote.map(|vote| {
        Ok(Vote {
            leader_id: leader_id_from(vote.leader_id.as_ref())?,
            committed: vote.committed,
        })
    })
    .transpose()
}

/// Encodes an append request.
pub(crate) fn append_to(
    caller: proto::Caller,
    request: &AppendEntriesRequest<TypeConfig>,
) -> Result<proto::AppendRequest, CodecError> {
    Ok(proto::AppendRequest {
        caller: Some(caller),
        vote: Some(vote_to(&request.vote)),
        prev_log_id: log_id_opt_to(request.prev_log_id.as_ref()),
        entries: request
            .entries
            .iter()
            .map(entry_to)
            .collect::<Result<_, _>>()?,
        leader_commit: log_id_opt_to(request.leader_commit.as_ref()),
    })
}

/// Decodes an append request.
pub(crate) fn append_from(
    request: &proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    Ok(AppendEntriesRequest {
        vote: vote_from(request.vote.as_ref())?,
        prev_log_id: log_id_from(request.prev_log_id.as_ref())?,
        entries: entries_from(request)?,
        leader_commit: log_id_from(request.leader_commit.as_ref())?,
    })
}

fn entry_to(entry: &Entry) -> Result<proto::LogEntry, CodecError> {
    Ok(proto::LogEntry {
        log_id: Some(log_id_to(&entry.log_id)),
        payload: entry::encode_payload(&entry.payload)?,
    })
}

// Raft takes it for granted that entries follow each other; a peer is not.
fn entries_from(request: &proto::AppendRequest) -> Result<Vec<Entry>, WireError> {
    let prev = request.prev_log_id.as_ref();
    let first = prev.map_or(0, |prev| prev.index.saturating_add(1));
    let mut entries = Vec::with_capacity(request.entries.len());
    for (due, sent) in (first..).zip(&request.entries) {
        let log_id = log_id_from(sent.log_id.as_ref())?.ok_or(WireError::Missing("log id"))?;
        if log_id.index != due {
            let text = format!("{} where {due} was due", log_id.index);
            return Err(WireError::Bad("entry index", text));
        }
        let entry = entry::decode_payload(log_id, &sent.payload)
            .map_err(|e| WireError::Bad("entry", e.to_string()))?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Encodes the answer to an append request.
pub(crate) fn append_reply_to(reply: AppendEntriesResponse<TypeConfig>) -> proto::AppendReply {
    use proto::append_reply::Outcome;
    let (outcome, higher_vote) = match reply {
        // The receiver never stops halfway: `Raft::append_entries` answers for the whole request.
        AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
            (Outcome::Success, None)
        }
        AppendEntriesResponse::Conflict => (Outcome::Conflict, None),
        AppendEntriesResponse::HigherVote(vote) => (Outcome::HigherVote, Some(vote_to(&vote))),
    };
    proto::AppendReply {
        outcome: outcome.into(),
        higher_vote,
    }
}

/// Decodes the answer to an append request.
pub(crate) fn append_reply_from(
    reply: &proto::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, WireError> {
    use proto::append_reply::Outcome;
    match reply.outcome() {
        Outcome::Success => Ok(AppendEntriesResponse::Success),
        Outcome::Conflict => Ok(AppendEntriesResponse::Conflict),
        Outcome::HigherVote => Ok(AppendEntriesResponse::HigherVote(vote_from(
            reply.higher_vote.as_ref(),
        )?)),
        Outcome::Unspecified => Err(WireError::Missing("append outcome")),
    }
}

/// Encodes a vote or pre-vote request.
pub(crate) fn vote_request_to(
    caller: proto::Caller,
    request: &VoteRequest<TypeConfig>,
) -> proto::VoteRequest {
    proto::VoteRequest {
        caller: Some(caller),
        vote: Some(vote_to(&request.vote)),
        last_log_id: log_id_opt_to(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

/// Decodes a vote or pre-vote request.
pub(crate) fn vote_request_from(
    request: &proto::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    let mut decoded = VoteRequest::new(
        vote_from(request.vote.as_ref())?,
        log_id_from(request.last_log_id.as_ref())?,
    );
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

/// Encodes a vote or pre-vote answer.
pub(crate) fn vote_reply_to(reply: &VoteResponse<TypeConfig>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some(vote_to(&reply.vote)),
        granted: reply.vote_granted,
        last_log_id: log_id_opt_to(reply.last_log_id.as_ref()),
    }
}

/// Decodes a vote or pre-vote answer.
pub(crate) fn vote_reply_from(
    reply: &proto::VoteReply,
) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse::new(
        vote_from(reply.vote.as_ref())?,
        log_id_from(reply.last_log_id.as_ref())?,
        reply.granted,
    ))
}

/// Encodes a leadership transfer.
pub(crate) fn transfer_to(
    caller: proto::Caller,
    request: &TransferLeaderRequest<TypeConfig>,
) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        caller: Some(caller),
        from_leader: Some(vote_to(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last_log_id: log_id_opt_to(request.last_log_id()),
    }
}

/// Decodes a leadership transfer.
pub(crate) fn transfer_from(
    request: &proto::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    Ok(TransferLeaderRequest::new(
        vote_from(request.from_leader.as_ref())?,
        request.to_node_id,
        log_id_from(request.last_log_id.as_ref())?,
    ))
}

/// Encodes the answer to a leadership transfer.
pub(crate) fn transfer_reply_to(
    reply: TransferLeaderResponse<TypeConfig>,
) -> proto::TransferLeaderReply {
    use proto::transfer_leader_reply::Outcome;
    match reply {
        Ok(()) => proto::TransferLeaderReply {
            outcome: Outcome::Accepted.into(),
            ..Default::default()
        },
        Err(TransferLeaderError::VoteChanged { expected, actual }) => proto::TransferLeaderReply {
            outcome: Outcome::VoteChanged.into(),
            expected_vote: Some(vote_to(&expected)),
            actual_vote: Some(vote_to(&actual)),
            ..Default::default()
        },
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            proto::TransferLeaderReply {
                outcome: Outcome::NotFlushed.into(),
                expected_log: log_id_opt_to(expected.as_ref()),
                actual_log: log_id_opt_to(actual.as_ref()),
                ..Default::default()
            }
        }
    }
}

/// Decodes the answer to a leadership transfer.
pub(crate) fn transfer_reply_from(
    reply: &proto::TransferLeaderReply,
) -> Result<TransferLeaderResponse<TypeConfig>, WireError> {
    use proto::transfer_leader_reply::Outcome;
    match reply.outcome() {
        Outcome::Accepted => Ok(Ok(())),
        Outcome::VoteChanged => Ok(Err(TransferLeaderError::VoteChanged {
            expected: vote_from(reply.expected_vote.as_ref())?,
            actual: vote_from(reply.actual_vote.as_ref())?,
        })),
        Outcome::NotFlushed => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: log_id_from(reply.expected_log.as_ref())?,
            actual: log_id_from(reply.actual_log.as_ref())?,
        })),
        Outcome::Unspecified => Err(WireError::Missing("transfer outcome")),
    }
}

/// Encodes a member's address.
pub(crate) fn member_to(member: &Member) -> proto::Address {
    proto::Address {
        node_id: member.node_id,
        name: member.node.name.clone(),
        api: member.node.api.clone(),
        peer: member.node.peer.clone(),
    }
}

/// Decodes a member's address.
pub(crate) fn member_from(address: &proto::Address) -> Member {
    Member {
        node_id: address.node_id,
        node: Node {
            name: address.name.clone(),
            api: address.api.clone(),
            peer: address.peer.clone(),
        },
    }
}
