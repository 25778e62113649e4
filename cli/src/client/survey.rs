//! Asking every known replica on its own what it knows: works without leader and without majority.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use regent_protocol::v1::{Nothing, read_request};
use regent_protocol::view::{NodeStatus, Reign};
use tokio::time::{Instant, timeout_at};

use super::call::Request;
use super::wire::{self, Tried};
use super::{Access, Client, merge};
use crate::failure::Failure;
use crate::output::words::now_ms;

/// A replica that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `host:port` that was dialled.
    pub(crate) address: String,
    /// What it said, or why it said nothing.
    pub(crate) answer: Result<NodeStatus, String>,
    /// It answered that it doesn't answer this caller.
    pub(crate) denied: bool,
    /// Wall clock here just before it was asked, and when its answer came.
    pub(crate) asked_ms: (u64, u64),
}

impl Asked {
    /// One that said nothing, for this reason.
    pub(crate) fn silent(address: String, reason: &str) -> Self {
        Self {
            address,
            answer: Err(reason.to_owned()),
            denied: false,
            asked_ms: (0, 0),
        }
    }
}

/// The answers of all replicas, the named ones and those that their answers named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey {
    pub(crate) asked: Vec<Asked>,
}

impl Survey {
    /// What was answered, in the order of the answers.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &NodeStatus> {
        self.asked.iter().filter_map(|a| a.answer.as_ref().ok())
    }

    /// Whether it is worth asking again: a caller that is denied here will be denied there.
    pub(crate) fn check_admitted(&self) -> Result<(), Failure> {
        let denied = self.asked.iter().find(|asked| asked.denied);
        match denied.map(|asked| &asked.answer) {
            Some(Err(reason)) if self.answers().next().is_none() => {
                Err(Failure::refused(reason.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `127.0.0.1:7101 connection refused, ...` for those that gave no answer.
    pub(crate) fn silence(&self) -> String {
        let silent = self.asked.iter().filter_map(|a| {
            let reason = a.answer.as_ref().err()?;
            Some(format!("{}: {reason}", a.address))
        });
        silent.collect::<Vec<_>>().join(", ")
    }
}

type Asking = FuturesUnordered<BoxFuture<'static, Asked>>;

/// Asks in parallel until all have answered or `limit` is over; learns members from the answers.
pub(super) async fn survey(access: &Access, addresses: &[String], limit: Duration) -> Survey {
    survey_until(access, addresses, Instant::now() + limit, |_| None).await
}

/// Like `survey`; after each answer `enough` may shorten the time to wait for more.
pub(super) async fn survey_until(
    access: &Access,
    addresses: &[String],
    mut until: Instant,
    enough: impl Fn(&Survey) -> Option<Instant>,
) -> Survey {
    let mut known = HashSet::new();
    let mut asking = Asking::new();
    ask_new(access, &mut asking, &mut known, addresses.iter().cloned());
    let mut survey = Survey::default();
    while let Ok(Some(asked)) = timeout_at(until, asking.next()).await {
        if let Ok(status) = &asked.answer {
            let members = status.members.iter().map(|m| m.api.clone());
            ask_new(access, &mut asking, &mut known, members);
        }
        survey.asked.push(asked);
        if let Some(sooner) = enough(&survey) {
            until = until.min(sooner);
        }
    }
    for address in known {
        if !survey.asked.iter().any(|a| a.address == address) {
            survey.asked.push(Asked::silent(address, "doesn't answer"));
        }
    }
    survey
}

fn ask_new(
    access: &Access,
    asking: &mut Asking,
    known: &mut HashSet<String>,
    addresses: impl Iterator<Item = String>,
) {
    for address in addresses.filter(|a| !a.is_empty()) {
        if known.insert(address.clone()) {
            asking.push(Box::pin(ask(access.clone(), address)));
        }
    }
}

async fn ask(access: Access, address: String) -> Asked {
    let before = now_ms();
    let answer = wire::open(&access, &address).await.map(|c| c.status);
    let denied = answer.as_ref().is_err_and(|silence| silence.denied);
    Asked {
        address,
        answer: answer.map_err(|silence| silence.reason),
        denied,
        asked_ms: (before, now_ms()),
    }
}

/// The leadership timeline as the most advanced replica has it.
pub(super) async fn leader_history(client: &Client) -> Result<Vec<Reign>, Failure> {
    let limit = client.timeout.min(Duration::from_secs(3));
    let survey = client.survey().await;
    survey.check_admitted()?;
    let mut reading: FuturesUnordered<_> = survey
        .asked
        .iter()
        .filter(|a| a.answer.is_ok())
        .map(|a| history_of(&client.endpoints.access, &a.address, limit))
        .collect();
    let mut best: Option<Vec<Reign>> = None;
    let mut problem = survey.silence();
    while let Some(read) = reading.next().await {
        match read {
            Ok(history) if best.as_ref().is_none_or(|b| newer(&history, b)) => best = Some(history),
            Ok(_) => {}
            Err(reason) => problem = reason,
        }
    }
    best.ok_or_else(|| merge::unreachable(&client.endpoints, &problem))
}

fn newer(history: &[Reign], than: &[Reign]) -> bool {
    let rank = |h: &[Reign]| (h.iter().map(|r| r.term).max(), h.len());
    rank(history) > rank(than)
}

async fn history_of(access: &Access, address: &str, limit: Duration) -> Result<Vec<Reign>, String> {
    let request = Request::Read {
        query: read_request::Query::LeaderHistory(Nothing {}),
        stale: true,
    };
    let open = wire::open(access, address).await;
    let conversation = open.map_err(|silence| silence.reason)?;
    match conversation.ask(&request, limit).await {
        Tried::Done(json) => serde_json::from_slice(&json).map_err(|e| e.to_string()),
        Tried::Refused(error) => Err(error.message),
        Tried::NotNow(reason) | Tried::Unknown(reason) => Err(reason),
    }
}
