//! Changes: authorised once, forwarded to the leader once, proposed under the client's request id.
//!
//! As long as the outcome is unknown the same request is tried again with the same id, which the
//! machine answers once (`docs/protocol.md` §3); so a client may lose the leader in mid-request.

use std::time::Duration;

use regent_ha::ClientProposal;
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::v1::change_request::Change;
use regent_protocol::view;
use regent_state::command::{
    CancelJob, DisposeSavepoint, ForgetArtefact, RequestSavepoint, RetryCleanup, StopJob,
};
use regent_state::ids::{ArtefactId, JobId, LogIndex, RequestId};
use regent_state::model::{Job, SavepointState};
use regent_state::{Command, RequestTag, Response};
use tokio::time::{Instant, timeout_at};

use super::authorise::{Role, authorise};
use super::wait::{self, Server};
use super::{deadline, document, errors, left_ms, read, refs, submit};
use crate::leader::rule::Rule;
use crate::node::Node;

/// Kept back from the client's timeout, so that the answer arrives within it.
const ANSWER_RESERVE: Duration = Duration::from_millis(200);

/// Carries out a change.
pub(crate) async fn change(
    node: &Node,
    request: v1::ChangeRequest,
) -> Result<v1::Document, ApiError> {
    let deadline = deadline(request.timeout_ms);
    let Some(what) = request.change.clone() else {
        return Err(ApiError::new(
            ErrorKind::Invalid,
            "the request changes nothing",
        ));
    };
    // Trusted networks only: whoever reaches the API administers it.
    authorise(Role::Admin, &what)?;
    let tag = tag(&request)?;
    let mut maybe_done = false;
    loop {
        let server = match wait::leader(node, deadline).await {
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
                };
                asked.serve(&what).await
            }
            Server::There(_) if request.forwarded => {
                return Err(ApiError::new(
                    ErrorKind::NoLeader,
                    "this replica does not lead",
                ));
            }
            Server::There(leader) => forward(node, &leader.node.api, &request, deadline).await,
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
                wait::pause().await;
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
    api: &str,
    request: &v1::ChangeRequest,
    deadline: Instant,
) -> Result<v1::Document, ApiError> {
    let forward = v1::ChangeRequest {
        forwarded: true,
        timeout_ms: left_ms(deadline),
        ..request.clone()
    };
    let asked = async {
        let mut client = node.clients.to(api)?;
        client
            .change(forward)
            .await
            .map(tonic::Response::into_inner)
    };
    match timeout_at(deadline, asked).await {
        Ok(Ok(document)) => Ok(document),
        // Without a word of Regent's own, the request may have been under way.
        Ok(Err(status)) => Err(ApiError::from_status(&status).unwrap_or_else(|| {
            let cause = read::from_leader(&status);
            ApiError::new(ErrorKind::UnknownOutcome, cause.message)
        })),
        Err(_) => Err(ApiError::new(
            ErrorKind::UnknownOutcome,
            "the leader doesn't answer",
        )),
    }
}

/// A change on the serving leader.
pub(super) struct Asked<'a> {
    pub(super) node: &'a Node,
    pub(super) rule: &'a Rule,
    pub(super) tag: RequestTag,
    pub(super) request: &'a v1::ChangeRequest,
    pub(super) deadline: Instant,
}

impl Asked<'_> {
    async fn serve(&self, what: &Change) -> Result<v1::Document, ApiError> {
        match what {
            Change::SubmitJob(asked) => Box::pin(submit::submit(self, asked)).await,
            Change::CancelJob(asked) => self.cancel(&asked.job).await,
            Change::StopJob(asked) => self.stop(asked).await,
            Change::Savepoint(asked) => self.savepoint(asked).await,
            Change::TransferLeader(asked) => self.transfer(asked.to).await,
            Change::CleanupRetry(asked) => {
                let job = self.resolve(&asked.job)?;
                let command = Command::RetryCleanup(RetryCleanup { job });
                self.simple(command, &serde_json::json!({ "job_id": job.to_string() }))
                    .await
            }
            Change::CleanupForget(asked) => {
                let artefact = ArtefactId(asked.artefact);
                let command = Command::ForgetArtefact(ForgetArtefact { artefact });
                let answer = serde_json::json!({ "artefact": artefact.to_string() });
                self.simple(command, &answer).await
            }
            Change::DisposeSavepoint(asked) => {
                let path = asked.path.clone();
                let answer = serde_json::json!({ "path": path });
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
        let proposal = ClientProposal {
            request: Some(self.tag),
            actor: self.actor(),
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

    fn actor(&self) -> String {
        match self.request.actor.as_str() {
            "" => "client".to_owned(),
            actor => actor.chars().take(128).collect(),
        }
    }

    fn resolve(&self, text: &str) -> Result<JobId, ApiError> {
        refs::resolve(&self.rule.view().machine, text)
    }

    async fn simple(
        &self,
        command: Command,
        answer: &serde_json::Value,
    ) -> Result<v1::Document, ApiError> {
        if !self.request.dry_run {
            self.propose(command).await?;
        }
        document(answer)
    }

    async fn cancel(&self, text: &str) -> Result<v1::Document, ApiError> {
        let job = self.resolve(text)?;
        if !self.request.dry_run {
            self.propose(Command::CancelJob(CancelJob { job })).await?;
            self.wait_for(job, Job::is_terminal).await;
        }
        self.changed(job, |_| None)
    }

    async fn stop(&self, asked: &v1::StopJob) -> Result<v1::Document, ApiError> {
        let job = self.resolve(&asked.job)?;
        let target = self.target(&asked.savepoint_path)?;
        if !self.request.dry_run {
            self.propose(Command::StopJob(StopJob {
                job,
                target,
                drain: asked.drain,
            }))
            .await?;
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
        let target = self.target(&asked.path)?;
        if self.request.dry_run {
            return self.changed(job, |_| None);
        }
        let command = Command::RequestSavepoint(RequestSavepoint { job, target });
        let Response::SavepointRequested { request, .. } = self.propose(command).await? else {
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
    fn target(&self, path: &str) -> Result<String, ApiError> {
        if path.is_empty() {
            let root = self
                .rule
                .config
                .storage
                .checkpoint_dir
                .trim_end_matches('/');
            return Ok(format!("{root}/savepoints"));
        }
        let location: Result<regent_storage::objects::Location, _> = path.parse();
        location
            .map(|location| location.to_string())
            .map_err(|error| ApiError::new(ErrorKind::Invalid, error.to_string()))
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

    async fn transfer(&self, to: u64) -> Result<v1::Document, ApiError> {
        let status = self.node.replica.status();
        let to = match to {
            0 => best_target(&status)
                .ok_or_else(|| ApiError::new(ErrorKind::Refused, "no other voter can take over"))?,
            node => node,
        };
        if self.request.dry_run {
            return document(&serde_json::json!({ "from": status.node_id, "to": to }));
        }
        let moved = self.node.replica.transfer_leader(to).await;
        let moved = moved.map_err(|error| {
            let kind = match &error {
                regent_ha::TransferError::NotLeader { .. } => ErrorKind::NoLeader,
                regent_ha::TransferError::Refused(_) => ErrorKind::Refused,
                regent_ha::TransferError::Failed(_) => ErrorKind::Failed,
            };
            ApiError::new(kind, error.to_string())
        })?;
        document(&serde_json::json!({
            "from": moved.from,
            "to": moved.to,
            "term": moved.term,
            "took_ms": u64::try_from(moved.took.as_millis()).unwrap_or(u64::MAX),
        }))
    }
}

fn savepoint_state(job: &Job, request: LogIndex) -> Option<&SavepointState> {
    job.savepoints
        .iter()
        .find(|asked| asked.request == request)
        .map(|asked| &asked.state)
}

/// The voter that holds most of the log, of those heard lately.
fn best_target(status: &regent_ha::Status) -> Option<u64> {
    let voters = status
        .peers
        .iter()
        .filter(|peer| status.voters.contains(&peer.node_id));
    voters
        .max_by_key(|peer| peer.matched_index)
        .map(|peer| peer.node_id)
}
