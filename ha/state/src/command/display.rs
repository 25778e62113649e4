//! One line per command, so that logs and failure messages read as sentences.

use std::fmt::{self, Display, Formatter};

use super::*;

impl Display for Envelope {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (by {}", self.command, self.actor)?;
        if let Some(epoch) = self.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if let Some(request) = self.request {
            write!(f, ", request {}", request.id)?;
        }
        f.write_str(")")
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnnounceLeader(c) => {
                write!(
                    f,
                    "announce leader {} in epoch {}: {}",
                    c.node_name, c.epoch, c.cause
                )
            }
            Self::SubmitJob(c) => submit_job(c, f),
            Self::DeployAttempt(c) => deploy_attempt(c, f),
            Self::AttemptRunning(c) => write!(f, "attempt {} of job {} runs", c.token, c.job),
            Self::AttemptAdopted(c) => write!(f, "adopt attempt {} of job {}", c.token, c.job),
            Self::AttemptFailed(c) => attempt_failed(c, f),
            Self::AttemptsOver(c) => attempts_over(c, f),
            Self::CancelJob(c) => write!(f, "cancel job {}", c.job),
            Self::StopJob(c) => stop_job(c, f),
            Self::RequestSavepoint(c) => write!(f, "savepoint of job {} in {}", c.job, c.target),
            Self::FailJob(c) => write!(f, "fail job {}: {}", c.job, c.cause),
            Self::JobWaiting(c) => job_waiting(c, f),
            Self::SinkPrepared(c) => sink_prepared(c, f),
            Self::SinksCommitted(c) => sinks_committed(c, f),
            Self::JobTerminated(c) => write!(f, "job {} has ended: {}", c.job, c.outcome),
            Self::BeginCheckpoint(c) => write!(f, "begin a {} of job {}", c.kind, c.job),
            Self::CompleteCheckpoint(c) => {
                write!(f, "complete checkpoint {} of job {}", c.id, c.job)
            }
            Self::AbortCheckpoint(c) => abort_checkpoint(c, f),
            Self::CleanupAttempted(c) => cleanup_attempted(c, f),
            Self::CleanupSwept(c) => write!(f, "swept {} artefacts", c.sweeps.len()),
            Self::RetryCleanup(c) => write!(f, "retry the cleanup of job {}", c.job),
            Self::ForgetArtefact(c) => write!(f, "forget artefact {}", c.artefact),
            Self::DisposeSavepoint(c) => write!(f, "dispose savepoint {}", c.path),
            Self::ExpireResults(c) => {
                let age = c.older_than_ms;
                write!(
                    f,
                    "expire results older than {age} ms or beyond {}",
                    c.keep_at_most
                )
            }
            Self::SetFeatureLevel(c) => write!(f, "set feature level {}", c.level),
            Self::ChangeMember(c) => {
                write!(
                    f,
                    "make node {} ({}, {}) {}",
                    c.node.0, c.name, c.peer, c.wanted
                )
            }
            Self::ResumeJobs(_) => f.write_str("resume suspended jobs"),
            Self::DrainWorker(c) => match c.drained {
                true => write!(f, "drain worker {}", c.worker),
                false => write!(f, "offer worker {} again", c.worker),
            },
        }
    }
}

fn submit_job(c: &SubmitJob, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "submit job {} `{}`", c.job_id, c.graph.name)?;
    match &c.restore {
        Some(restore) => write!(f, " from {}", restore.path),
        None => Ok(()),
    }
}

fn deploy_attempt(c: &DeployAttempt, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "deploy job {} on {} slots", c.job, c.placement.len())?;
    match c.prior {
        Some(prior) => write!(f, " after attempt {prior}"),
        None => Ok(()),
    }
}

fn attempt_failed(c: &AttemptFailed, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "attempt {} of job {} failed, {}: {}",
        c.token, c.job, c.kind, c.cause
    )
}

fn attempts_over(c: &AttemptsOver, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "job {} is done with attempts", c.job)?;
    c.tokens.iter().try_for_each(|token| write!(f, " {token}"))
}

fn stop_job(c: &StopJob, f: &mut Formatter<'_>) -> fmt::Result {
    let drain = if c.drain { ", drained" } else { "" };
    write!(
        f,
        "stop job {} with a savepoint in {}{drain}",
        c.job, c.target
    )
}

fn job_waiting(c: &JobWaiting, f: &mut Formatter<'_>) -> fmt::Result {
    match &c.reason {
        Some(reason) => write!(f, "job {} waits: {reason}", c.job),
        None => write!(f, "job {} waits for nothing", c.job),
    }
}

fn sink_prepared(c: &SinkPrepared, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "sink {} of job {} replaces {} files",
        c.vertex,
        c.job,
        c.files.len()
    )
}

fn sinks_committed(c: &SinksCommitted, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "sinks of job {} committed through checkpoint {}",
        c.job, c.through
    )
}

fn abort_checkpoint(c: &AbortCheckpoint, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "abort checkpoint {} of job {}: {}", c.id, c.job, c.cause)
}

fn cleanup_attempted(c: &CleanupAttempted, f: &mut Formatter<'_>) -> fmt::Result {
    let gone = c
        .outcomes
        .iter()
        .filter(|o| o.outcome == CleanupOutcome::Gone)
        .count();
    write!(
        f,
        "cleaned {gone} artefacts, {} failed",
        c.outcomes.len() - gone
    )
}

impl Display for CheckpointKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Savepoint { .. } => "savepoint",
            Self::StopSavepoint => "stop savepoint",
            Self::Final => "final checkpoint",
        })
    }
}

impl Display for FailureKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TaskFailure => "task failure",
            Self::WorkerLost => "worker lost",
            Self::IncompleteAfterTakeover => "incomplete after takeover",
            Self::ChannelBroken => "channel broken",
            Self::CheckpointsFailing => "checkpoints failing",
            Self::Unrecoverable => "unrecoverable",
            Self::Drained => "drained",
        })
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        })
    }
}
