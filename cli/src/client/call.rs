//! A request against the whole group: hedged over the replicas, repeated until the deadline, and at the
//! end an honest word on what is known.

use std::time::Duration;

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::{change_request, read_request};
use regent_protocol::view::NodeStatus;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::discover::Endpoints;
use super::identity::Identity;
use super::survey::{Survey, survey, survey_until};
use super::wire::{self, Tried};
use super::{Access, HEDGE, merge};
use crate::failure::Failure;

/// Between two tries at one replica.
const PAUSE: Duration = Duration::from_millis(150);
/// A try is given at least this long before it is abandoned and made again.
const TRY_MIN: Duration = Duration::from_secs(3);
/// With less left than this nothing is sent again: it couldn't be answered in time, and what was sent to nobody would
/// be in doubt.
const LAST_TRY: Duration = Duration::from_millis(400);
/// What may be spent after the deadline on finding out why there was no answer.
const LAST_LOOK: Duration = Duration::from_millis(600);

/// What is asked of the group.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// A document, linearizable unless `stale`.
    Read {
        query: read_request::Query,
        stale: bool,
    },
    /// A change under this identity.
    Change {
        change: change_request::Change,
        identity: Identity,
    },
}

impl Request {
    fn is_stale_read(&self) -> bool {
        matches!(self, Self::Read { stale: true, .. })
    }
}

/// What the first look at the group told.
#[derive(Debug)]
pub(super) struct Contact {
    survey: Survey,
}

impl Contact {
    /// (generation, applied index) at a replica of the cluster.
    pub(super) fn base(&self) -> (u64, u64) {
        let members = self.survey.answers().filter(|s| s.cluster_id.is_some());
        let known = members.map(|s| (s.generation, s.applied_index));
        known.max().unwrap_or_default()
    }

    /// Whom to ask, best first: the leader, those that answered, the rest.
    fn order(&self) -> Vec<String> {
        let leader = self.survey.answers().find_map(leader_address);
        let rank = |asked: &super::Asked| match &asked.answer {
            _ if Some(&asked.address) == leader.as_ref() => 0,
            Ok(status) if status.role == "leader" => 1,
            Ok(_) => 2,
            Err(_) => 3,
        };
        let mut asked: Vec<_> = self.survey.asked.iter().collect();
        asked.sort_by_key(|a| rank(a));
        asked.into_iter().map(|a| a.address.clone()).collect()
    }
}

/// Where the leader is reached, by the word of this replica.
fn leader_address(status: &NodeStatus) -> Option<String> {
    let leader = status.leader?;
    let member = status.members.iter().find(|m| m.node_id == leader)?;
    Some(member.api.clone())
}

/// Reads or changes, from finding the replicas to the answer.
pub(super) async fn call(
    endpoints: &Endpoints,
    request: Request,
    deadline: Instant,
) -> Result<Vec<u8>, Failure> {
    let contact = first_contact(endpoints, deadline).await?;
    race(endpoints, &contact, request, deadline).await
}

/// Looks for a replica that belongs to a cluster, until the deadline.
pub(super) async fn first_contact(
    endpoints: &Endpoints,
    deadline: Instant,
) -> Result<Contact, Failure> {
    loop {
        let survey = survey_until(
            &endpoints.access,
            &endpoints.addresses,
            deadline,
            |so_far| {
                let members = || so_far.answers().filter(|s| s.cluster_id.is_some());
                let knows_leader = members().any(|s| leader_address(s).is_some());
                let patience = if knows_leader { Duration::ZERO } else { HEDGE };
                members().next().map(|_| Instant::now() + patience)
            },
        )
        .await;
        if survey.answers().any(|s| s.cluster_id.is_some()) {
            return Ok(Contact { survey });
        }
        survey.check_admitted()?;
        if Instant::now() + PAUSE >= deadline {
            return Err(merge::no_leader_or_majority(endpoints, &survey, ""));
        }
        sleep(PAUSE).await;
    }
}

/// What one replica's tries report to the race.
enum Event {
    /// A request is about to be sent.
    Sending,
    /// The request came to this. `sent`: a `Sending` belongs to it.
    Tried { tried: Tried, sent: bool },
}

/// What is known of the request while the race runs.
#[derive(Debug, Default)]
struct Knowledge {
    in_flight: u32,
    may_have_happened: bool,
    last_reason: String,
}

/// Asks the replicas in order, the next one whenever the earlier ones keep silent or decline, and each
/// again and again, until one answers for good or the deadline passes.
pub(super) async fn race(
    endpoints: &Endpoints,
    contact: &Contact,
    request: Request,
    deadline: Instant,
) -> Result<Vec<u8>, Failure> {
    let mut waiting = contact.order().into_iter();
    let (events, mut reports) = mpsc::channel(16);
    let mut tries = JoinSet::new();
    let mut known = Knowledge::default();
    let mut next_start = Instant::now();
    loop {
        if Instant::now() >= next_start
            && let Some(address) = waiting.next()
        {
            tries.spawn(keep_trying(
                endpoints.access.clone(),
                address,
                request.clone(),
                deadline,
                events.clone(),
            ));
            next_start = Instant::now() + HEDGE;
        }
        tokio::select! {
            report = reports.recv() => match report {
                Some(Event::Sending) => known.in_flight += 1,
                Some(Event::Tried { tried, sent }) => {
                    known.in_flight -= u32::from(sent);
                    match tried {
                        Tried::Done(json) => return Ok(json),
                        Tried::Refused(error) => return Err(error.into()),
                        Tried::NotNow(reason) => known.last_reason = reason,
                        Tried::Unknown(reason) => {
                            known.may_have_happened = true;
                            known.last_reason = reason;
                        }
                    }
                    next_start = Instant::now();
                }
                None => break,
            },
            () = sleep_until(next_start.max(Instant::now())), if waiting.len() > 0 => {}
            () = sleep_until(deadline) => break,
        }
    }
    Err(conclude(endpoints, contact, &request, &known).await)
}

/// Tries one replica until the race is over. A change is sent only to a replica that answers.
async fn keep_trying(
    access: Access,
    address: String,
    request: Request,
    deadline: Instant,
    events: mpsc::Sender<Event>,
) {
    let mut first = true;
    loop {
        let (tried, sent) = match wire::open(&access, &address).await {
            Err(silence) if silence.denied => {
                let denied = ApiError::new(ErrorKind::Denied, silence.reason);
                (Tried::Refused(denied), false)
            }
            Err(reason) => (Tried::NotNow(format!("{address}: {reason}")), false),
            Ok(conversation) if conversation.status.cluster_id.is_none() => {
                let reason = format!("{address} belongs to no cluster yet");
                (Tried::NotNow(reason), false)
            }
            Ok(conversation) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let limit = left.min(TRY_MIN.max(left.mul_f64(0.6)));
                let again = !std::mem::take(&mut first);
                let too_late = again && left < LAST_TRY;
                if too_late || limit.is_zero() || events.send(Event::Sending).await.is_err() {
                    return;
                }
                (conversation.ask(&request, limit).await, true)
            }
        };
        if events.send(Event::Tried { tried, sent }).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Says what is known when the time is over.
async fn conclude(
    endpoints: &Endpoints,
    contact: &Contact,
    request: &Request,
    known: &Knowledge,
) -> Failure {
    let is_change = matches!(request, Request::Change { identity, .. } if !identity.dry_run());
    if is_change && (known.may_have_happened || known.in_flight > 0) {
        return Failure::new(
            ErrorKind::UnknownOutcome,
            "the request was sent and no answer came in time; it may or may not be carried out. \
             Repeat the command above: the same id is carried out at most once",
        );
    }
    if request.is_stale_read() && !known.last_reason.is_empty() {
        return Failure::failed(format!("no replica answered: {}", known.last_reason));
    }
    let addresses = contact.order();
    let last_look = survey(&endpoints.access, &addresses, LAST_LOOK).await;
    merge::no_leader_or_majority(endpoints, &last_look, &known.last_reason)
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::JobRef;

    use super::super::Asked;
    use super::*;
    use crate::args::ChangeArgs;

    /// A change of which that is known when its time is over, and nobody is there.
    async fn concluded(known: Knowledge, dry_run: bool) -> u8 {
        // Nobody listens on port 1.
        let address = "127.0.0.1:1".to_owned();
        let endpoints = Endpoints {
            addresses: vec![address.clone()],
            source: "--endpoints".to_owned(),
            access: Access::default(),
        };
        let survey = Survey {
            asked: vec![Asked::silent(address, "connection refused")],
        };
        let args = ChangeArgs {
            dry_run,
            request_id: None,
            request_base: None,
        };
        let request = Request::Change {
            change: change_request::Change::CancelJob(JobRef::default()),
            identity: Identity::new(&args),
        };
        let failure = conclude(&endpoints, &Contact { survey }, &request, &known).await;
        failure.code
    }

    #[tokio::test]
    async fn what_was_sent_to_nobody_is_no_majority_and_never_unknown() {
        assert_eq!(concluded(Knowledge::default(), false).await, 4);
        let in_flight = || Knowledge {
            in_flight: 1,
            ..Knowledge::default()
        };
        assert_eq!(concluded(in_flight(), false).await, 6);
        assert_eq!(concluded(in_flight(), true).await, 4, "it changes nothing");
        let unanswered = Knowledge {
            may_have_happened: true,
            ..Knowledge::default()
        };
        assert_eq!(concluded(unanswered, false).await, 6);
    }
}
