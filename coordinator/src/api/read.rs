//! Reads: linearizable by read index, or stale from this replica alone.
//!
//! Task states, figures and workers are known to the serving leader only, so most linearizable reads go
//! there whichever replica was asked. What the log alone answers, any replica answers itself, once it has
//! applied everything up to the leader's read index (which many reads share).

use std::sync::Arc;

use regent_ha::{Member, View};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::v1::read_request::Query;
use regent_security::Caller;
use regent_state::Machine;
use regent_state::model::Job;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::authorise::authorise_read;
use super::documents::{self, Live};
use super::wait::{self, Guide, Server};
use super::{deadline, document, errors, left_ms, members, past, refs, savepoints};
use crate::explain;
use crate::leader::rule::Rule;
use crate::node::{Node, wall_ms};
use crate::verify;
use crate::wire::AttemptRef;

/// Answers a read.
pub(crate) async fn read(
    node: &Node,
    caller: &Caller,
    request: v1::ReadRequest,
) -> Result<v1::Document, ApiError> {
    let deadline = deadline(request.timeout_ms);
    let Some(query) = request.query.clone() else {
        return Err(ApiError::new(
            ErrorKind::Invalid,
            "the request asks nothing",
        ));
    };
    authorise_read(caller, &query, request.forwarded)?;
    if request.stale && !matches!(query, Query::CleanupVerify(_) | Query::MembersPlan(_)) {
        let view = node.replica.stale();
        return answer(node, &view, node.ruling().as_deref(), &query).await;
    }
    let mut guide = Guide::new(node);
    loop {
        let tried = match guide.leader(deadline).await? {
            Server::Here(rule) => here(node, &rule, &query, deadline).await,
            Server::There(_) if from_log_alone(&query) => followed(node, &query, deadline).await,
            Server::There(_) if request.forwarded => Err(ApiError::new(
                ErrorKind::NoLeader,
                "this replica does not lead",
            )),
            Server::There(leader) => there(node, &guide, &leader, &request, deadline).await,
        };
        match tried {
            Err(error) if error.kind.retryable() && !request.forwarded => {
                if left_ms(deadline) <= 700 {
                    return Err(best_reason(node, error).await);
                }
                guide.again().await;
            }
            answered => return answered,
        }
    }
}

/// Whether nothing but the log is needed for the answer.
fn from_log_alone(query: &Query) -> bool {
    matches!(
        query,
        Query::JobList(_)
            | Query::JobHistory(_)
            | Query::CheckpointList(_)
            | Query::RetainedList(_)
            | Query::LeaderHistory(_)
    )
}

/// Answers from this follower's own state.
async fn followed(node: &Node, query: &Query, deadline: Instant) -> Result<v1::Document, ApiError> {
    let view = timeout_at(deadline, linearizable(node)).await;
    let late = |_| ApiError::new(ErrorKind::NoQuorum, "no answer within the timeout");
    local(&*view.map_err(late)??, None, query)
}

/// Near the deadline: the reason that counts is whether a majority answers at all.
async fn best_reason(node: &Node, last: ApiError) -> ApiError {
    match node.replica.leader() {
        Some(_) if last.kind != ErrorKind::NoLeader => last,
        Some(_) | None => wait::no_leader(node).await,
    }
}

async fn here(
    node: &Node,
    rule: &Rule,
    query: &Query,
    deadline: Instant,
) -> Result<v1::Document, ApiError> {
    let answering = async {
        match query {
            Query::CleanupVerify(_) => document(&verify::verify(node, deadline).await?),
            Query::MembersPlan(asked) => {
                linearizable(node).await?;
                members::plan(node, rule, asked).await
            }
            _ => answer(node, &*linearizable(node).await?, Some(rule), query).await,
        }
    };
    let late = || ApiError::new(ErrorKind::NoQuorum, "no answer within the timeout");
    timeout_at(deadline, answering)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn linearizable(node: &Node) -> Result<Arc<View>, ApiError> {
    node.replica
        .linearizable()
        .await
        .map_err(|error| errors::not_read(&error))
}

/// Answers from one view, and for a checkpoint's files from the store.
async fn answer(
    node: &Node,
    view: &View,
    rule: Option<&Rule>,
    query: &Query,
) -> Result<v1::Document, ApiError> {
    match query {
        Query::LogTail(of) => return document(&past::tail(node, of.count).await?),
        Query::LogShow(of) => return document(&past::show(node, of.index).await?),
        Query::StateAt(of) => return document(&past::state(node, of).await?),
        _ => {}
    }
    let Query::CheckpointShow(of) = query else {
        return local(view, rule, query);
    };
    let job = refs::resolve_owner(&view.machine, &of.job)?;
    let all = documents::checkpoint_list(&view.machine, job);
    // Of two runs with that number, the later one's.
    let found = all.into_iter().rev().find(|one| one.id == of.checkpoint_id);
    let checkpoint = found.ok_or_else(|| {
        let message = format!("job {job} has no checkpoint {}", of.checkpoint_id);
        ApiError::new(ErrorKind::Failed, message)
    })?;
    document(&savepoints::with_files(&node.objects, checkpoint).await?)
}

/// Asks the leader.
async fn there(
    node: &Node,
    guide: &Guide<'_>,
    leader: &Member,
    request: &v1::ReadRequest,
    deadline: Instant,
) -> Result<v1::Document, ApiError> {
    let forward = v1::ReadRequest {
        forwarded: true,
        timeout_ms: left_ms(deadline),
        ..request.clone()
    };
    let asked = async {
        let mut client = node.clients.to(&leader.node.api)?;
        client.read(forward).await.map(tonic::Response::into_inner)
    };
    let answered = tokio::select! {
        biased;
        answered = timeout_at(deadline, asked) => answered,
        // It died or froze with the request: the next leader is asked.
        () = guide.succeeded(leader.node_id, wait::LAST_WORD) => {
            let message = "leadership moved on before the leader answered";
            return Err(ApiError::new(ErrorKind::NoLeader, message));
        }
    };
    match answered {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(status)) => Err(from_leader(&status)),
        Err(_) => Err(ApiError::new(
            ErrorKind::NoLeader,
            "the leader doesn't answer",
        )),
    }
}

/// What the leader said, or that it could not be reached.
pub(crate) fn from_leader(status: &Status) -> ApiError {
    ApiError::from_status(status).unwrap_or_else(|| {
        ApiError::new(
            ErrorKind::NoLeader,
            format!("the leader can't be reached: {}", status.message()),
        )
    })
}

fn live(rule: &Rule, job: Option<&Job>) -> Live {
    // Also of an attempt that the machine keeps no more: its job has ended.
    let attempt = job.and_then(|job| {
        let (job, run, token) = (job.id, job.run, job.token?);
        Some(AttemptRef { job, run, token })
    });
    let metrics = attempt.map_or_else(Vec::new, |one| rule.hub.metrics_of(&one));
    Live {
        seen: rule.hub.seen(),
        now: rule.hub.now(),
        lease: rule.lease(),
        metrics,
    }
}

fn job<'a>(machine: &'a Machine, text: &str) -> Result<&'a Arc<Job>, ApiError> {
    let id = refs::resolve(machine, text)?;
    let gone = || ApiError::new(ErrorKind::Failed, format!("there is no job {id}"));
    machine.job(id).ok_or_else(gone)
}

/// Puts the answer together from one view.
fn local(view: &View, rule: Option<&Rule>, query: &Query) -> Result<v1::Document, ApiError> {
    let machine = &view.machine;
    let live_of = |job: Option<&Job>| rule.map(|rule| live(rule, job));
    match query {
        Query::JobList(_) => document(&documents::job_list(machine)),
        Query::JobShow(of) => {
            let job = job(machine, &of.job)?;
            document(&documents::job_detail(
                machine,
                job,
                live_of(Some(job)).as_ref(),
            ))
        }
        Query::JobResult(of) => {
            let job = job(machine, &of.job)?;
            let problem = rule.and_then(|rule| rule.hub.commit_problem(job.id));
            document(&documents::job_result(machine, job, problem))
        }
        Query::JobHistory(of) => document(&documents::job_history(machine, job(machine, &of.job)?)),
        Query::CheckpointList(of) => document(&documents::checkpoint_list(
            machine,
            refs::resolve_owner(machine, &of.job)?,
        )),
        Query::RetainedList(_) => document(&documents::retained_list(machine)),
        Query::WorkerList(_) => match live_of(None) {
            Some(live) => document(&documents::worker_list(machine, &live)),
            None => document(&Vec::<regent_protocol::view::WorkerView>::new()),
        },
        Query::JobExplain(of) => {
            let job = job(machine, &of.job)?;
            let live = live_of(Some(job));
            let known = explain::Known {
                machine,
                job,
                live: live.as_ref(),
                clock_ms: rule.map_or_else(|| machine.clock_ms(), Rule::clock_ms),
            };
            document(&explain::explain(&known))
        }
        Query::CleanupList(of) => {
            let clock_ms = rule.map_or_else(|| machine.clock_ms(), Rule::clock_ms);
            document(&documents::cleanup_list(
                machine,
                of.dirty,
                clock_ms,
                wall_ms(),
            ))
        }
        Query::CleanupShow(of) => {
            let clock_ms = rule.map_or_else(|| machine.clock_ms(), Rule::clock_ms);
            let job = refs::resolve_owner(machine, &of.job)?;
            document(&documents::cleanup_show(machine, job, clock_ms, wall_ms()))
        }
        // These need the store, the log, or other replicas; they are answered before.
        Query::CleanupVerify(_)
        | Query::CheckpointShow(_)
        | Query::MembersPlan(_)
        | Query::LogTail(_)
        | Query::LogShow(_)
        | Query::StateAt(_) => Err(ApiError::new(
            ErrorKind::Invalid,
            "this can't be answered from the log alone",
        )),
        Query::LeaderHistory(_) => document(&documents::leader_history(machine)),
        Query::Overview(_) => document(&documents::overview(
            machine,
            live_of(None).as_ref(),
            wall_ms(),
        )),
    }
}
