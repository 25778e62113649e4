//! Names for things and moments: jobs, requests, nodes, epochs, runs, tokens, checkpoints.
//!
//! Every identifier is its own type, so that none can be passed for another. Spellings in paths
//! and file names are frozen (`protocol.md` §1). Nothing here invents an identifier: ids come in
//! with an entry or are derived from its log index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text that does not spell the identifier it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self).ok_or_else(|| ParseIdError::new(text, $expected))
            }
        }
    };
}

hex_id!(
    /// A job, named by its client. Spelled as 32 hexadecimal digits.
    JobId,
    "job id (32 hexadecimal digits)"
);
hex_id!(
    /// One intention of a client; the same id again is the same intention.
    RequestId,
    "request id (32 hexadecimal digits)"
);
hex_id!(
    /// A cluster, named once by its bootstrap.
    ClusterId,
    "cluster id (32 hexadecimal digits)"
);

/// One write for all digits: keys are spelled by every entry.
fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(32);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    f.write_str(&text)
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_number(text)
                    .map(Self)
                    .ok_or_else(|| ParseIdError::new(text, stringify!($name)))
            }
        }
    };
}

number_id!(
    /// A JobManager replica. Never used again after its removal.
    NodeId
);
number_id!(
    /// A position in the replicated log.
    LogIndex
);
number_id!(
    /// A checkpoint or savepoint of a run. Strictly increasing within the run, across attempts.
    CheckpointId
);
number_id!(
    /// An entry of the artefact ledger. Never used again within a cluster.
    ArtefactId
);

/// Accepts digits only, so that `+1` or ` 1` are not second spellings of a name.
fn parse_number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A reign: which leader, in which term, of which generation of the cluster. Ordered; a receiver
/// refuses whatever is lower than the highest it has seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Starts at 1; rises with each restore from a snapshot.
    pub generation: u64,
    /// The Raft term.
    pub term: u64,
    /// The leader of that term.
    pub node: NodeId,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.generation, self.term, self.node)
    }
}

impl FromStr for Epoch {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_epoch(text).ok_or_else(|| ParseIdError::new(text, "epoch (generation.term.node)"))
    }
}

fn parse_epoch(text: &str) -> Option<Epoch> {
    let (generation, rest) = text.split_once('.')?;
    let (term, node) = rest.split_once('.')?;
    let node = NodeId(parse_number(node)?);
    Some(Epoch {
        generation: parse_number(generation)?,
        term: parse_number(term)?,
        node,
    })
}

macro_rules! indexed_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name {
            /// The generation in which the entry was written.
            pub generation: u64,
            /// The entry's log index.
            pub index: LogIndex,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.generation, self.index)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.split_once('.')
                    .and_then(|(generation, index)| {
                        let generation = parse_number(generation)?;
                        Some(Self { generation, index: LogIndex(parse_number(index)?) })
                    })
                    .ok_or_else(|| ParseIdError::new(text, $expected))
            }
        }
    };
}

indexed_id!(
    /// One life of a job: the entry of its `SubmitJob`. It is in every path and acknowledgement, so
    /// that a job id that becomes free again can't meet its past. Spelled `<generation>.<index>`.
    Run,
    "run (generation.index)"
);
indexed_id!(
    /// One deployment of a run: the entry of its `DeployAttempt`; the fencing token of its tasks.
    /// Spelled `<generation>.<index>`.
    AttemptToken,
    "attempt token (generation.index)"
);

/// A worker process: its name and which of its starts is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerRef {
    /// The configured worker id, such as `tm-1`.
    pub worker: String,
    /// Rises with every start of that worker.
    pub incarnation: u64,
}

impl fmt::Display for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.worker, self.incarnation)
    }
}

/// Which entry is applied, and who led when it was appended: openraft's log id in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Position in the log.
    pub index: LogIndex,
    /// Term of the leader that appended the entry.
    pub term: u64,
    /// The leader that appended the entry.
    pub node: NodeId,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (term {}, node {})", self.index, self.term, self.node)
    }
}
