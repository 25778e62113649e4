//! Errors at this crate's boundaries: starting, proposing, reading, transferring, bootstrapping.
//!
//! Each says what the caller may do next; whether a command may be sent again is a method, not a guess.

use crate::types::Member;

/// Why a replica didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// Timings that would make leadership unstable.
    #[error("timing: {0}")]
    Timing(String),
    /// The data directory belongs to something else, or can't be read. The text names the remedy.
    #[error("data directory: {0}")]
    DataDir(String),
    /// Stored bytes can't be trusted; the text names file, offset and remedy.
    #[error("storage: {0}")]
    Storage(String),
    /// The peer address can't be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Raft itself refused to start.
    #[error("raft: {0}")]
    Raft(String),
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica doesn't lead (or its reign isn't announced yet). Nothing was proposed.
    #[error("not the leader{}", leader_suffix(.leader.as_ref()))]
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<Member>,
    },
    /// The leader can't reach a majority. Nothing was proposed.
    #[error("the leader can't reach a majority")]
    NoQuorum,
    /// Too many proposals are waiting. Nothing was proposed.
    #[error("busy: as many changes wait for a majority as may; nothing was done, try again")]
    Overloaded,
    /// The entry may or may not be committed, now or later. Repeat only under the same request id.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The command is too large, or isn't one that may be proposed this way. Nothing was proposed.
    #[error("command refused: {0}")]
    Refused(String),
    /// The replica is stopping or has failed. An entry handed over just before may still commit.
    #[error("the replica is shut down: {0}")]
    Shutdown(String),
}

impl ProposeError {
    /// True if the command may already be in the log: repeat it only under the same request id.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::OutcomeUnknown(_) | Self::Shutdown(_) => true,
            Self::NotLeader { .. } | Self::NoQuorum | Self::Overloaded | Self::Refused(_) => false,
        }
    }
}

fn leader_suffix(leader: Option<&Member>) -> String {
    match leader {
        Some(member) => format!("; the leader is {}", member.node.name),
        None => "; no leader is known".to_owned(),
    }
}

/// Why a linearizable read or a quorum confirmation has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader is known to ask.
    #[error("no leader is known")]
    NoLeader,
    /// Only the leader can answer this, and this replica isn't it.
    #[error("not the leader{}", leader_suffix(.leader.as_ref()))]
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<Member>,
    },
    /// A majority didn't acknowledge in time.
    #[error("a majority doesn't answer")]
    NoQuorum,
    /// The deadline passed first.
    #[error("timed out")]
    Timeout,
    /// The replica is stopping or has failed.
    #[error("the replica is shut down")]
    Shutdown,
    /// It was read and could not be written down.
    #[error("{0}")]
    Failed(String),
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica doesn't lead.
    #[error("not the leader{}", leader_suffix(.leader.as_ref()))]
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<Member>,
    },
    /// The target can't take over; nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// It was begun and another node, or nobody yet, leads.
    #[error("transfer failed: {0}")]
    Failed(String),
}

/// Why a cluster was not formed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The list of members makes no sense.
    #[error("members: {0}")]
    Members(String),
    /// A named replica doesn't answer. Nothing was changed that a repeat wouldn't carry on from.
    #[error("replica {member} doesn't answer: {cause}; start it and repeat")]
    Unreachable {
        /// Which one.
        member: String,
        /// What happened instead.
        cause: String,
    },
    /// A replica refuses: it belongs elsewhere, or is another node than named (exit code 5).
    #[error("refused for safety: {0}")]
    Refused(String),
}
