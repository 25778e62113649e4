//! The client side of the API: finds the replicas, follows the leader, tries again safely, and says
//! within the timeout what is known.
//!
//! Every replica is asked on its own, so that a dead or frozen one costs a hedge delay and not the whole
//! timeout. A change carries an id and a base that stay the same over all tries; a replica is sent a
//! change only after it has answered a status request in the same connection, so that "nothing was
//! sent" is known and not guessed.

mod access;
mod call;
pub(crate) mod discover;
mod identity;
mod merge;
mod survey;
mod wire;

use std::time::Duration;

use regent_protocol::v1::{change_request, read_request};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::failure::Failure;

pub(crate) use access::{Access, AccessArgs};
pub(crate) use call::Request;
pub(crate) use discover::Endpoints;
pub(crate) use identity::{Identity, random_hex};
pub(crate) use merge::{Picture, merge, nobody_answers};
pub(crate) use survey::{Asked, Survey};
pub(crate) use wire::{Conversation, Tried, open, report_death};

/// A replica that hasn't answered after this long is left alone to answer, and the next one is asked too.
const HEDGE: Duration = Duration::from_millis(300);

/// A status request is answered from memory; a replica that takes longer doesn't count as answering.
const STATUS_TIMEOUT: Duration = Duration::from_millis(1_000);

/// A client of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoints: Endpoints,
    timeout: Duration,
}

impl Client {
    /// A client that asks these replicas and gives each command this long.
    pub(crate) fn new(endpoints: Endpoints, timeout: Duration) -> Self {
        Self { endpoints, timeout }
    }

    /// The same cluster with another timeout.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self::new(self.endpoints.clone(), timeout)
    }

    /// How long a command may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where this client asks.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Asks every known replica what it knows by itself. Needs neither leader nor majority.
    pub(crate) async fn survey(&self) -> Survey {
        let limit = self.timeout.min(Duration::from_millis(1_500));
        survey::survey(&self.endpoints.access, &self.endpoints.addresses, limit).await
    }

    /// Reads a document: linearizable, or what the nearest replica has.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        query: read_request::Query,
        stale: bool,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.timeout;
        let request = Request::Read { query, stale };
        decode(&call::call(&self.endpoints, request, deadline).await?)
    }

    /// Asks for a change. The identity gets its base from the first replica that answers.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        change: change_request::Change,
        identity: &mut Identity,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.timeout;
        let contact = call::first_contact(&self.endpoints, deadline).await?;
        identity.learn(contact.base());
        let request = Request::Change {
            change,
            identity: identity.clone(),
        };
        let answer = call::race(&self.endpoints, &contact, request, deadline).await;
        decode(&answer.map_err(|failure| identity.explain(failure))?)
    }

    /// Has any replica that reads linearizably send the state as a file; `begin` makes a new file for each
    /// try.
    pub(crate) async fn save_snapshot<F>(&self, begin: F) -> Result<(), Failure>
    where
        F: Fn() -> std::io::Result<std::fs::File>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut problem = String::new();
        loop {
            let survey = self.survey().await;
            survey.check_admitted()?;
            for asked in survey.asked.iter().filter(|asked| asked.answer.is_ok()) {
                let mut file = begin().map_err(|e| Failure::failed(e.to_string()))?;
                let saving = wire::save_snapshot(&self.endpoints.access, &asked.address, |piece| {
                    std::io::Write::write_all(&mut file, piece)
                });
                match tokio::time::timeout_at(deadline, saving).await {
                    Ok(Ok(())) => {
                        return file.sync_all().map_err(|e| Failure::failed(e.to_string()));
                    }
                    Ok(Err(silence)) if silence.denied => {
                        return Err(Failure::refused(silence.reason));
                    }
                    Ok(Err(silence)) => problem = format!("{}: {silence}", asked.address),
                    Err(_) => problem = format!("{} didn't send it in time", asked.address),
                }
            }
            if Instant::now() >= deadline {
                return Err(merge::no_leader_or_majority(
                    &self.endpoints,
                    &survey,
                    &problem,
                ));
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Reads `leader history` from whichever replica knows most; needs no leader.
    pub(crate) async fn leader_history(
        &self,
    ) -> Result<Vec<regent_protocol::view::Reign>, Failure> {
        survey::leader_history(self).await
    }
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|e| {
        Failure::failed(format!(
            "the answer isn't understood ({e}); the JobManager and this program differ in version"
        ))
    })
}
