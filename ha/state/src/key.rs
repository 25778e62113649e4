//! The keys of entities, as texts: `job/<id>`, `checkpoint/<job>/<run>/<id>`, `artefact/<id>`, ...
//!
//! Numbers are zero-padded, so that the order of the texts is the order of the things.

use std::fmt;
use std::str::FromStr;

use crate::codec::DecodeError;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, LogIndex, NodeId, Run};

/// The name of an entity in the store, in snapshots and in the state hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The head record.
    Meta,
    /// The hot record of a job.
    Job(JobId),
    /// Its graph.
    Graph(JobId),
    /// Its events and failures.
    History(JobId),
    /// A deployment.
    Attempt(JobId, AttemptToken),
    /// A pending or completed checkpoint.
    Checkpoint(JobId, Run, CheckpointId),
    /// An entry of the artefact ledger.
    Artefact(ArtefactId),
    /// A claimed sink path.
    Claim(String),
    /// An answered request, by the index of its entry.
    Request(LogIndex),
    /// A line of the leadership timeline.
    Reign(u64),
    /// What an operator wants a replica to be.
    Member(NodeId),
    /// A drained worker, by its id.
    Drain(String),
    /// How this life of the state began, by its generation.
    Reborn(u64),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Job(job) => write!(f, "job/{job}"),
            Self::Graph(job) => write!(f, "graph/{job}"),
            Self::History(job) => write!(f, "history/{job}"),
            Self::Attempt(job, token) => {
                write!(
                    f,
                    "attempt/{job}/{:020}.{:020}",
                    token.generation, token.index.0
                )
            }
            Self::Checkpoint(job, run, id) => {
                let (generation, index) = (run.generation, run.index.0);
                write!(
                    f,
                    "checkpoint/{job}/{generation:020}.{index:020}/{:020}",
                    id.0
                )
            }
            Self::Artefact(id) => write!(f, "artefact/{:020}", id.0),
            Self::Claim(path) => write!(f, "claim/{path}"),
            Self::Request(index) => write!(f, "request/{:020}", index.0),
            Self::Reign(number) => write!(f, "leader/{number:020}"),
            Self::Member(node) => write!(f, "member/{:020}", node.0),
            Self::Drain(worker) => write!(f, "drain/{worker}"),
            Self::Reborn(generation) => write!(f, "reborn/{generation:020}"),
        }
    }
}

impl Key {
    /// The bytes of the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// Reads the bytes of a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        std::str::from_utf8(bytes)
            .map_err(|_| DecodeError::Key(String::from_utf8_lossy(bytes).into_owned()))?
            .parse()
    }
}

impl FromStr for Key {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| DecodeError::Key(text.chars().take(200).collect()))
    }
}

/// Reads leniently; the caller compares spellings, so that each entity has exactly one key.
fn parse(text: &str) -> Option<Key> {
    if text == "meta" {
        return Some(Key::Meta);
    }
    let (family, rest) = text.split_once('/')?;
    match family {
        "job" => rest.parse().ok().map(Key::Job),
        "graph" => rest.parse().ok().map(Key::Graph),
        "history" => rest.parse().ok().map(Key::History),
        "attempt" => {
            let (job, token) = rest.split_once('/')?;
            Some(Key::Attempt(job.parse().ok()?, token.parse().ok()?))
        }
        "checkpoint" => {
            let (job, rest) = rest.split_once('/')?;
            let (run, id) = rest.split_once('/')?;
            Some(Key::Checkpoint(
                job.parse().ok()?,
                run.parse().ok()?,
                id.parse().ok()?,
            ))
        }
        "artefact" => rest.parse().ok().map(Key::Artefact),
        "claim" => Some(Key::Claim(rest.to_owned())),
        "request" => rest.parse().ok().map(Key::Request),
        "leader" => rest.parse().ok().map(Key::Reign),
        "member" => rest.parse().ok().map(|node| Key::Member(NodeId(node))),
        "drain" => Some(Key::Drain(rest.to_owned())),
        "reborn" => rest.parse().ok().map(Key::Reborn),
        _ => None,
    }
}
