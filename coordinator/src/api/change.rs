//! Changes: authorised once, forwarded to the leader once, proposed under the client's request id.
//!
//! As long as the outcome is unknown the same request is tried again with the same id, which the
//! machine answers once (`docs/protocol.md` §3); so a client may lose the leader in mid-request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use regent_ha::{ClientProposal, Member, ReadError};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::v1::change_request::Change;
use regent_protocol::view;
use regent_security::Caller;
use regent_state::command::{
    CancelJob, DisposeSavepoint, ForgetArtefact, RequestSavepoint, RetryCleanup, StopJob,
};
use regent_state::ids::{ArtefactId, JobId, LogIndex, RequestId};
use regent_state::model::{Job, SavepointState};
use regent_state::{Command, RequestTag, Response};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::authorise::{actor, authorise_change};
use super::rehearse::rehearse;
use super::wait::{self, Guide, Server};
use super::{
    deadline, document, errors, left_ms, members, places, read, refs, savepoints, snapshot, submit,
    transfer, workers,
};
use crate::leader::rule::Rule;
use crate::node::Node;

/// Kept back from the client's timeout, so that the answer arrives within it.
pub(super) const ANSWER_RESERVE: Duration = Duration::from_millis(200);
/// What a leader is given to say that it handed leadership over.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// Carries out a change.
pub(crate) async fn change(
    node: &Node,
    caller: &Caller,
    mut request: v1::ChangeRequest,
) -> Result<v1::Document, ApiError> {
    let deadline = deadline(request.timeout_ms);
    let Some(what) = request.change.clone() else {
        return Err(ApiError::new(
            ErrorKind::Invalid,
            "the request changes nothing",
        ));
    };
    authorise_change(caller, &what, request.forwarded)?;
    request.actor = actor(caller, &request.actor);
    let tag = tag(&request)?;
    let mut maybe_done = false;
    let mut guide = Guide::new(node);
    loop {
        let server = match guide.leader(deadline).await {
            Ok(server) => server,
            Err(error) => return Err(finally(error, maybe_done)),
        };
        let tried = match server {
            Server::Here(rule) => {
                let asked = Asked {
                    node,
                    rule: &rule,
                    tag,
                    request: &request,
                    deadline,
                    proposed: AtomicBool::new(false),
                };
                let served = asked.serve(&what).await;
                asked.confirmed(&what, served).await
            }
            Server::There(_) if request.forwarded => {
                return Err(ApiError::new(
                    ErrorKind::NoLeader,
                    "this replica does not lead",
                ));
            }
            Server::There(leader) => forward(node, &guide, &leader, &request, deadline).await,
        };
        match tried {
            Err(error) if error.kind.retryable() => {
                maybe_done |= error.kind == ErrorKind::UnknownOutcome;
                if request.forwarded || left_ms(deadline) <= 700 {
                    return Err(finally(
                        best_reason(node, error, maybe_done).await,
                        maybe_done,
                    ));
                }
                guide.again().await;
            }
            answered => return answered,
        }
    }
}

async fn best_reason(node: &Node, last: ApiError, maybe_done: bool) -> ApiError {
    if maybe_done || last.kind == ErrorKind::NoQuorum {
        return last;
    }
    wait::no_leader(node).await
}

/// Once a try may have succeeded, no later failure says that nothing happened.
fn finally(error: ApiError, maybe_done: bool) -> ApiError {
    match maybe_done {
        true => ApiError::new(ErrorKind::UnknownOutcome, error.message),
        false => error,
    }
}

fn tag(request: &v1::ChangeRequest) -> Result<RequestTag, ApiError> {
    let id: [u8; 16] = request.request_id.as_ref().try_into().map_err(|_| {
        ApiError::new(
            ErrorKind::Invalid,
            "request-id must be 32 hexadecimal digits",
        )
    })?;
    Ok(RequestTag {
        id: RequestId(id),
        base_generation: request.base_generation,
        base_index: request.base_index,
    })
}

async fn forward(
    node: &Node,
    guide: &Guide<'_>,
    leader: &Member,
    request: &v1::ChangeRequest,
    deadline: Instant,
) -> Result<v1::Document, ApiError> {
    let forward = v1::ChangeRequest {
        forwarded: true,
        timeout_ms: left_ms(deadline),
        ..request.clone()
    };
    let last_word = match request.change {
        // Whoever hands leadership over answers after it is gone.
        Some(Change::TransferLeader(_)) => HANDED_OVER,
        _ => wait::LAST_WORD,
    };
    let answered = tokio::select! {
        biased;
        answered = timeout_at(deadline, pass_on(node, leader, forward)) => answered,
        // It died or froze with the request: the next leader is asked under the same id.
        () = guide.succeeded(leader.node_id, last_word) => {
            let message = "leadership moved on before the leader answered";
            return Err(ApiError::new(ErrorKind::UnknownOutcome, message));
        }
    };
    answered.unwrap_or_else(|_| {
        Err(ApiError::new(
            ErrorKind::UnknownOutcome,
            "the leader doesn't answer",
        ))
    })
}

async fn pass_on(
    node: &Node,
    leader: &Member,
    request: v1::ChangeRequest,
) -> Result<v1::Document, ApiError> {
    let api = &leader.node.api;
    if !matches!(request.change, Some(Change::TransferLeader(_))) {
        let forwarder = node.clients.forwarder(api);
        let forwarder = forwarder.map_err(|status| read::from_leader(&status))?;
        return forwarder.forward(request).await;
    }
    // Answered by one that leads no more: not on the stream, which goes where the leader goes. Trying it
    // again could hand leadership over twice.
    let asked = async {
        let mut client = node.clients.to(api)?;
        client.change(request).await
    };
    match asked.await {
        Ok(document) => Ok(document.into_inner()),
        // Without a word of Regent's own, the request may have been under way.
        Err(status) => Err(ApiError::from_status(&status).unwrap_or_else(|| {
            let cause = read::from_leader(&status);
            ApiError::new(ErrorKind::UnknownOutcome, cause.message)
        })),
    }
}

/// A change on the serving leader.
pub(super) struct Asked<'a> {
    pub(super) node: &'a Node,
    pub(super) rule: &'a Rule,
    pub(super) tag: RequestTag,
    pub(super) request: &'a v1::ChangeRequest,
    pub(super) deadline: Instant,
    /// Something was handed to the log: the answer to that counts, whatever happens afterwards.
    pub(super) proposed: AtomicBool,
}

impl Asked<'_> {
    /// What needs the storage is refused while that is another cluster's.
    fn check_storage(&self, what: &Change) -> Result<(), ApiError> {
        let needs_it = matches!(
            what,
            Change::SubmitJob(_)
                | Change::StopJob(_)
                | Change::Savepoint(_)
                | Change::DisposeSavepoint(_)
        );
        match self.rule.ownership.refusal().filter(|_| needs_it) {
            Some(text) => Err(ApiError::new(ErrorKind::Refused, text)),
            None => Ok(()),
        }
    }

    /// What this replica answers from what it knows counts only while it leads. Without a majority the answer is
    /// that, and not what a leader of yesterday would have refused.
    async fn confirmed(
        &self,
        what: &Change,
        served: Result<v1::Document, ApiError>,
    ) -> Result<v1::Document, ApiError> {
        let by_own_knowledge = match &served {
            // It asks for a majority before it begins; afterwards this replica may lead no more.
            _ if matches!(what, Change::TransferLeader(_)) => false,
            Ok(_) => self.request.dry_run,
            Err(error) => matches!(error.kind, ErrorKind::Failed | ErrorKind::Refused),
        };
        if !by_own_knowledge || self.proposed.load(Ordering::Relaxed) {
            return served;
        }
        self.majority().await?;
        served
    }

    /// Completes after a majority acknowledged a round begun after this call.
    pub(super) async fn majority(&self) -> Result<(), ApiError> {
        let until = self.deadline.checked_sub(ANSWER_RESERVE);
        let until = until.unwrap_or(self.deadline);
        let confirmed = timeout_at(until, self.node.replica.confirm_quorum()).await;
        let confirmed = confirmed.unwrap_or(Err(ReadError::Timeout));
        confirmed.map_err(|error| errors::not_read(&error))
    }

    async fn serve(&self, what: &Change) -> Result<v1::Document, ApiError> {
        self.check_storage(what)?;
        match what {
            Change::SubmitJob(asked) => Box::pin(submit::submit(self, asked)).await,
            Change::CancelJob(asked) => self.cancel(&asked.job).await,
            Change::StopJob(asked) => self.stop(asked).await,
            Change::Savepoint(asked) => self.savepoint(asked).await,
            Change::TransferLeader(asked) => transfer::transfer(self, asked.to).await,
            Change::CleanupRetry(asked) => {
                let job = refs::resolve_owner(&self.rule.view().machine, &asked.job)?;
                let command = Command::RetryCleanup(RetryCleanup { job });
                self.simple(
                    command,
                    &view::Retried {
                        job_id: job.to_string(),
                    },
                )
                .await
            }
            Change::CleanupForget(asked) => {
                let artefact = ArtefactId(asked.artefact);
                let command = Command::ForgetArtefact(ForgetArtefact { artefact });
                let answer = view::Forgotten {
                    artefact: artefact.to_string(),
                };
                self.simple(command, &answer).await
            }
            Change::Member(asked) => members::change(self, asked).await,
            Change::DrainWorker(asked) => workers::drain(self, asked).await,
            Change::ResumeJobs(_) => snapshot::resume(self).await,
            Change::DisposeSavepoint(asked) => {
                let path = self.disposable(&asked.path).await?;
                let answer = view::Disposed { path: path.clone() };
                self.simple(
                    Command::DisposeSavepoint(DisposeSavepoint { path }),
                    &answer,
                )
                .await
            }
        }
    }

    /// Proposes, and sorts refusals from answers.
    pub(super) async fn propose(&self, command: Command) -> Result<Response, ApiError> {
        self.proposed.store(true, Ordering::Relaxed);
        let proposal = ClientProposal {
            request: Some(self.tag),
            actor: self.request.actor.clone(),
            command,
        };
        let proposed = timeout_at(self.deadline, self.node.replica.propose_client(proposal)).await;
        match proposed {
            Ok(Ok(proposed)) => proposed
                .response
                .into_result()
                .map_err(|refused| errors::rejected(&refused)),
            Ok(Err(error)) => Err(errors::not_proposed(&error)),
            Err(_) => Err(ApiError::new(
                ErrorKind::UnknownOutcome,
                "no answer in time",
            )),
        }
    }

    fn resolve(&self, text: &str) -> Result<JobId, ApiError> {
        refs::resolve(&self.rule.view().machine, text)
    }

    async fn simple(
        &self,
        command: Command,
        answer: &impl Serialize,
    ) -> Result<v1::Document, ApiError> {
        self.carry_out(command).await?;
        document(answer)
    }

    /// Proposes, or in a dry run finds out whether it would be accepted: then there is no answer.
    pub(super) async fn carry_out(&self, command: Command) -> Result<Option<Response>, ApiError> {
        if self.request.dry_run {
            return rehearse(self.rule, self.tag, command).map(|()| None);
        }
        self.propose(command).await.map(Some)
    }

    /// By the name that the ledger has for it. What that doesn't know must hold a `_metadata` of Regent: a slip
    /// of the pen must not hand anything to the cleaner.
    async fn disposable(&self, path: &str) -> Result<String, ApiError> {
        let path = savepoints::canonical(path)?;
        let view = self.rule.view();
        let machine = &view.machine;
        // What was asked before is answered as before, though the files may be gone by now.
        if machine.knows_request(self.tag.id) {
            return Ok(path);
        }
        places::disposable(&self.rule.objects, machine, &path).await
    }

    async fn cancel(&self, text: &str) -> Result<v1::Document, ApiError> {
        let job = self.resolve(text)?;
        let command = Command::CancelJob(CancelJob { job });
        if self.carry_out(command).await?.is_some() {
            self.wait_for(job, Job::is_terminal).await;
        }
        self.changed(job, |_| None)
    }

    async fn stop(&self, asked: &v1::StopJob) -> Result<v1::Document, ApiError> {
        let job = self.resolve(&asked.job)?;
        let target = self.target(&asked.savepoint_path).await?;
        let command = Command::StopJob(StopJob {
            job,
            target,
            drain: asked.drain,
        });
        if self.carry_out(command).await?.is_some() {
            self.wait_for(job, Job::is_terminal).await;
        }
        self.changed(job, |job| {
            let last = job
                .latest
                .as_ref()
                .filter(|latest| Some(latest.id) == job.final_checkpoint);
            last.filter(|latest| latest.kind.is_savepoint())
                .map(|latest| latest.path.clone())
        })
    }

    async fn savepoint(&self, asked: &v1::TakeSavepoint) -> Result<v1::Document, ApiError> {
        let job = self.resolve(&asked.job)?;
        let target = self.target(&asked.path).await?;
        let command = Command::RequestSavepoint(RequestSavepoint { job, target });
        let answer = self.carry_out(command).await?;
        let Some(Response::SavepointRequested { request, .. }) = answer else {
            return self.changed(job, |_| None);
        };
        self.wait_for(job, |job| {
            savepoint_state(job, request) != Some(&SavepointState::Waiting)
        })
        .await;
        let view = self.rule.view();
        let state = view
            .machine
            .job(job)
            .and_then(|job| savepoint_state(job, request));
        match state {
            Some(SavepointState::Failed { cause }) => Err(ApiError::new(
                ErrorKind::Failed,
                format!("savepoint failed: {cause}"),
            )),
            Some(SavepointState::Completed { path }) => self.changed(job, |_| Some(path.clone())),
            Some(SavepointState::Waiting) | None => self.changed(job, |_| None),
        }
    }

    /// Where a savepoint goes: what the user named, else the storage's own directory for them.
    async fn target(&self, path: &str) -> Result<String, ApiError> {
        let root = self.root();
        if path.is_empty() {
            return Ok(format!("{root}/savepoints"));
        }
        let path = savepoints::canonical(path)?;
        let view = self.rule.view();
        // What was asked before is answered as before, whatever lies there by now.
        if !view.machine.knows_request(self.tag.id) {
            places::check_savepoint_folder(&view.machine, root, &path).await?;
        }
        Ok(path)
    }

    /// The storage's directory.
    pub(super) fn root(&self) -> &str {
        let root = &self.rule.config.storage.checkpoint_dir;
        root.trim_end_matches('/')
    }

    /// Waits until the job is so, or the client's timeout is near. Followers' views advance too, so
    /// losing leadership meanwhile does no harm.
    async fn wait_for(&self, job: JobId, done: impl Fn(&Job) -> bool) {
        let until = self
            .deadline
            .checked_sub(ANSWER_RESERVE)
            .unwrap_or(self.deadline);
        let mut views = self.node.replica.views();
        let reached = views.wait_for(|view| view.machine.job(job).is_none_or(|job| done(job)));
        // At the timeout the present state is the answer.
        timeout_at(until, reached).await.map(drop).ok();
    }

    fn changed(
        &self,
        job: JobId,
        path: impl Fn(&Job) -> Option<String>,
    ) -> Result<v1::Document, ApiError> {
        let view = self.node.replica.stale();
        let Some(found) = view.machine.job(job) else {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!("there is no job {job}"),
            ));
        };
        document(&view::JobChanged {
            job_id: job.to_string(),
            state: found.state.to_string(),
            path: path(found),
        })
    }
}

fn savepoint_state(job: &Job, request: LogIndex) -> Option<&SavepointState> {
    job.savepoints
        .iter()
        .find(|asked| asked.request == request)
        .map(|asked| &asked.state)
}
