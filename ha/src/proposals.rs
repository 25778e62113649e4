//! The way into the log: encode, hand to Raft under a leader's name, wait for the answer.
//!
//! Every proposal names the leader id it is meant for, so that none slips into another reign with this
//! reign's clock. How many may wait is bounded. Who may propose what is `replica.rs`'s business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::impls::ProgressResponder;
use regent_state::ids::LogIndex;
use regent_state::{Envelope, Response};
use regent_storage::latency::Latencies;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::entry;
use crate::error::ProposeError;
use crate::raft::{RaftHandle, forwarded_to};
use crate::types::{LeaderId, TypeConfig};

/// Proposals of the leader's own reconcilers that may wait; clients can't take these places.
const OWN_INFLIGHT_MAX: usize = 4_096;
/// Largest encoded command.
const COMMAND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A committed and applied proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Index of its entry.
    pub index: LogIndex,
    /// What applying it answered; a refusal is an answer.
    pub response: Response,
}

/// Milliseconds since 1970, for people.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Proposes to the local replica.
#[derive(Clone, Debug)]
pub(crate) struct Proposals {
    raft: RaftHandle,
    clients: Arc<Semaphore>,
    own: Arc<Semaphore>,
    deadline: Duration,
    /// From handing a command in to its applied answer.
    latencies: Arc<Mutex<Latencies>>,
}

impl Proposals {
    /// At most `inflight_max` proposals of clients wait at once, each at most `deadline`.
    pub(crate) fn new(raft: RaftHandle, inflight_max: usize, deadline: Duration) -> Self {
        Self {
            raft,
            clients: Arc::new(Semaphore::new(inflight_max)),
            own: Arc::new(Semaphore::new(OWN_INFLIGHT_MAX)),
            deadline,
            latencies: Arc::default(),
        }
    }

    /// How long answered proposals took, since this process started.
    pub(crate) fn latencies(&self) -> Latencies {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes one of the clients' places; hold it until the answer is there.
    pub(crate) fn client_place(&self) -> Result<SemaphorePermit<'_>, ProposeError> {
        let place = self.clients.try_acquire();
        place.map_err(|_| ProposeError::Overloaded)
    }

    /// Takes one of the reconcilers' places; hold it until the answer is there.
    pub(crate) fn own_place(&self) -> Result<SemaphorePermit<'_>, ProposeError> {
        let place = self.own.try_acquire();
        place.map_err(|_| ProposeError::Overloaded)
    }

    /// Writes an entry if `leader` still leads, and waits until it is applied here.
    pub(crate) async fn write(
        &self,
        envelope: &Envelope,
        leader: LeaderId,
    ) -> Result<Proposed, ProposeError> {
        let bytes = Bytes::from(envelope.encode());
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::Refused(format!(
                "{} bytes; the limit is {COMMAND_BYTES_MAX}",
                bytes.len()
            )));
        }
        let begun = Instant::now();
        let written = timeout(self.deadline, self.write_encoded(bytes, leader)).await;
        if let Ok(Ok(_)) = &written {
            let mut latencies = self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies.record(begun.elapsed());
        }
        written.unwrap_or_else(|_| Err(unknown(format!("no answer within {:?}", self.deadline))))
    }

    async fn write_encoded(
        &self,
        bytes: Bytes,
        leader: LeaderId,
    ) -> Result<Proposed, ProposeError> {
        let data = entry::seal_command(&bytes).map_err(|e| ProposeError::Refused(e.to_string()))?;
        let (responder, answer) = ProgressResponder::<TypeConfig, _>::complete_only();
        self.raft
            .write(data)
            .with_leader(leader)
            .responder(responder)
            .await
            .map_err(|fatal| ProposeError::Shutdown(fatal.to_string()))?;
        let answer = answer
            .await
            .map_err(|_| ProposeError::Shutdown("raft stopped".to_owned()))?;
        let written = answer.map_err(write_error)?;
        let response = written.data.0.ok_or_else(|| {
            unknown("a command's entry was answered as if it held none".to_owned())
        })?;
        Ok(Proposed {
            index: LogIndex(written.log_id.index),
            response,
        })
    }
}

fn unknown(text: String) -> ProposeError {
    ProposeError::OutcomeUnknown(text)
}

fn write_error(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => not_written(&forward),
        ClientWriteError::LogEntryDiscarded(_) => {
            unknown("leadership changed before the entry was committed".to_owned())
        }
        // Only membership changes and preconditions end here; a plain write has neither.
        other => unknown(other.to_string()),
    }
}

fn not_written(forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
    match forward.reason {
        ForwardReason::LeaseExpired => ProposeError::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ProposeError::NotLeader {
            leader: forwarded_to(forward),
        },
    }
}
