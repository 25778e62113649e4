//! Arbitrary histories: half what a leader would do next, half whatever comes, some of it nonsense.

use proptest::prelude::*;
use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;

use crate::samples::change_member;
use crate::support::*;

pub(crate) const JOBS: u8 = 3;

/// One step of a history; what it means depends on the state it meets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) verb: u8,
    pub(crate) job: u8,
    pub(crate) pick: u8,
    pub(crate) flag: bool,
    /// Does what a leader would do next, whatever the verb says.
    pub(crate) natural: bool,
    /// Speaks nonsense: a stale epoch, token or id.
    pub(crate) nonsense: bool,
    pub(crate) pass_ms: u32,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let natural = prop::bool::weighted(0.65);
    let nonsense = prop::bool::weighted(0.1);
    let pass = prop_oneof![4 => 0..50_u32, 1 => 0..40_000_u32];
    let step = (
        0..44_u8,
        1..=JOBS,
        any::<u8>(),
        any::<bool>(),
        natural,
        nonsense,
        pass,
    );
    let step = step.prop_map(|(verb, job, pick, flag, natural, nonsense, pass_ms)| Step {
        verb,
        job,
        pick,
        flag,
        natural,
        nonsense,
        pass_ms,
    });
    prop::collection::vec(step, 1..200)
}

/// Where a user puts something: mostly apart, now and then into what is there already or will be.
fn folder(world: &World, step: Step, apart: &str) -> String {
    let id = job_id(step.job);
    let job = world.machine.job(id);
    let run = job.map(|job| job.run).unwrap_or_default();
    let next = job.map_or(1, |job| job.next_checkpoint.0) + u64::from(step.flag);
    match step.pick % 13 {
        3 => format!("{ROOT}/{id}/{run}/chk-{next}"),
        5 => format!("/sp/savepoint-{run}-{next}"),
        7 => format!("/out/{}/in", 1 + step.pick % JOBS),
        9 => ROOT.to_owned(),
        11 => {
            let all: Vec<_> = world.machine.artefacts().collect();
            let chosen = all.get(usize::from(step.pick) % all.len().max(1));
            chosen.map_or_else(|| apart.to_owned(), |one| format!("{}/in", one.path))
        }
        _ => apart.to_owned(),
    }
}

/// The graph of a job number, in a few tastes.
fn graph_of(world: &World, step: Step) -> JobGraph {
    let mode = match step.pick % 4 {
        0 => IfExists::Refuse,
        1 => IfExists::Replace,
        _ => IfExists::Append,
    };
    let path = folder(world, step, &format!("/out/{}", step.job));
    let sink = (step.pick % 5 != 0).then(|| sink(&path, mode));
    let mut graph = graph("any", sink);
    let retention = match step.job {
        1 => Retention::NoExternalizedCheckpoints,
        2 => Retention::DeleteOnCancellation,
        _ => Retention::RetainOnCancellation,
    };
    graph.checkpointing = Some(checkpointing(1 + u32::from(step.pick % 3), retention));
    graph.restart_strategy = match step.pick / 4 % 4 {
        0 => RestartStrategy::None,
        1 => RestartStrategy::FixedDelay {
            attempts: 5,
            delay_ms: 10,
        },
        2 => RestartStrategy::ExponentialDelay {
            initial_backoff_ms: 5,
            max_backoff_ms: 100,
            multiplier_permille: 1_500,
            jitter_permille: 100,
            reset_threshold_ms: 500,
        },
        _ => RestartStrategy::FailureRate {
            max_failures: 3,
            interval_ms: 1_000,
            delay_ms: 5,
        },
    };
    graph
}

/// What a leader would do next for this job.
fn natural(world: &World, step: Step) -> Command {
    let id = job_id(step.job);
    let Some(job) = world.machine.job(id) else {
        return submit(world, step);
    };
    let (run, token) = (job.run, job.token.unwrap_or_default());
    let last = job.latest.as_ref().filter(|_| job.uncommitted().is_some());
    let commit = last.map(|latest| {
        Command::SinksCommitted(SinksCommitted {
            job: id,
            run,
            through: latest.id,
        })
    });
    let often = step.pick % 4 != 0;
    match job.state {
        JobState::Created | JobState::Restarting if job.awaits_deployment() => {
            match job.unprepared_sinks.is_empty() {
                true => world.deploy_command(step.job),
                false => prepare(step, run),
            }
        }
        JobState::Created | JobState::Restarting if often => {
            Command::AttemptRunning(AttemptRunning { job: id, token })
        }
        JobState::Reconciling if often => {
            Command::AttemptAdopted(AttemptAdopted { job: id, token })
        }
        JobState::Created | JobState::Restarting | JobState::Reconciling => {
            failed(id, token, kind_of_failure(step.pick / 4))
        }
        JobState::Running => match (&job.pending, commit) {
            (Some(pending), _) if often => complete(step, job, token, Some(pending)),
            (Some(pending), _) => abort(step, token, Some(pending)),
            (None, Some(commit)) if job.only_commits() && often => commit,
            (None, _) if job.only_commits() && step.flag => end(step, job),
            (None, _) if job.only_commits() => failed(id, token, kind_of_failure(step.pick / 4)),
            (None, _) => begin(step, job, token),
        },
        JobState::Failing | JobState::Cancelling => end(step, job),
        JobState::Suspended if often => Command::ResumeJobs(ResumeJobs {}),
        _ if step.pick % 3 == 0 => over(world, step, token),
        _ => commit
            .filter(|_| step.flag)
            .unwrap_or_else(|| clean(world, step)),
    }
}

fn over(world: &World, step: Step, current: AttemptToken) -> Command {
    let id = job_id(step.job);
    let run = world.machine.job(id).map(|job| job.run).unwrap_or_default();
    let all = world.machine.attempts(id).map(|attempt| attempt.token);
    let tokens = all
        .filter(|token| !step.flag || *token != current)
        .collect();
    Command::AttemptsOver(AttemptsOver {
        job: id,
        run,
        tokens,
    })
}

fn prepare(step: Step, run: Run) -> Command {
    let vertex = "out".to_owned();
    let files = vec!["old.csv".to_owned(); usize::from(step.flag)];
    Command::SinkPrepared(SinkPrepared {
        job: job_id(step.job),
        run,
        vertex,
        files,
    })
}

/// What a step means in this world; nothing if it makes no sense.
#[allow(clippy::too_many_lines, reason = "a plain table of verbs")]
pub(crate) fn command(world: &World, step: Step) -> Option<Command> {
    if step.natural && !step.nonsense {
        return Some(natural(world, step));
    }
    let id = job_id(step.job);
    let job = world.machine.job(id);
    let token = job.and_then(|job| job.token).unwrap_or_default();
    let token = match step.nonsense {
        true => AttemptToken {
            index: LogIndex(token.index.0.wrapping_sub(1)),
            ..token
        },
        false => token,
    };
    let run = job.map(|job| job.run).unwrap_or_default();
    let pending = job.and_then(|job| job.pending.as_ref());
    Some(match step.verb {
        0..=2 => submit(world, step),
        3..=6 => world.deploy_command(step.job),
        7..=10 => Command::AttemptRunning(AttemptRunning { job: id, token }),
        11 => Command::AttemptAdopted(AttemptAdopted { job: id, token }),
        12 | 13 => failed(id, token, kind_of_failure(step.pick)),
        14 | 15 => over(world, step, token),
        16 if step.pick % 3 == 0 => Command::CancelJob(CancelJob { job: id }),
        17 if step.pick % 3 == 0 => {
            let target = folder(world, step, "/sp");
            Command::StopJob(StopJob {
                job: id,
                target,
                drain: step.flag,
            })
        }
        18 => {
            let target = folder(world, step, "/sp");
            Command::RequestSavepoint(RequestSavepoint { job: id, target })
        }
        19 if step.pick % 4 == 0 => Command::FailJob(FailJob {
            job: id,
            run,
            cause: "no input".to_owned(),
        }),
        20 => prepare(step, run),
        21 | 22 => {
            let latest = job
                .and_then(|job| job.latest.as_ref())
                .map_or(1, |latest| latest.id.0);
            let through = CheckpointId(latest + u64::from(step.nonsense));
            Command::SinksCommitted(SinksCommitted {
                job: id,
                run,
                through,
            })
        }
        23 | 24 => end(step, job?),
        25..=28 => begin(step, job?, token),
        29..=31 => complete(step, job?, token, pending),
        32 => abort(step, token, pending),
        33 | 34 => clean(world, step),
        35 => sweep(world, step),
        36 => Command::RetryCleanup(RetryCleanup { job: id }),
        37 => {
            let all: Vec<_> = world
                .machine
                .artefacts()
                .map(|artefact| artefact.id)
                .collect();
            let chosen = all.get(usize::from(step.pick) % all.len().max(1));
            let artefact = chosen.copied().unwrap_or(ArtefactId(99));
            Command::ForgetArtefact(ForgetArtefact { artefact })
        }
        38 => dispose(world, step),
        39 if step.flag => {
            let keep_at_most = u64::from(step.pick % 4);
            Command::ExpireResults(ExpireResults {
                older_than_ms: 0,
                keep_at_most,
            })
        }
        40 => Command::SetFeatureLevel(SetFeatureLevel {
            level: u32::from(step.pick % 3),
        }),
        41 => {
            let roles = [MemberRole::Voter, MemberRole::Learner, MemberRole::Removed];
            let wanted = roles[usize::from(step.pick) % roles.len()];
            change_member(4 + u64::from(step.pick % 5), wanted)
        }
        42 => Command::DrainWorker(DrainWorker {
            worker: worker(u32::from(step.pick % 2)).worker,
            drained: step.flag,
        }),
        43 => Command::ResumeJobs(ResumeJobs {}),
        _ => {
            let reason = step.flag.then(|| "not-enough-slots".to_owned());
            Command::JobWaiting(JobWaiting {
                job: id,
                run,
                reason,
            })
        }
    })
}

fn submit(world: &World, step: Step) -> Command {
    let retained: Vec<_> = world
        .machine
        .artefacts()
        .filter(|artefact| artefact.state == ArtefactState::Retained)
        .collect();
    let restore = retained
        .first()
        .filter(|_| step.flag)
        .map(|artefact| RestoreFrom {
            path: artefact.path.clone(),
            allow_unclaimed_state: true,
        });
    let graph = graph_of(world, step);
    Command::SubmitJob(SubmitJob {
        job_id: job_id(step.job),
        graph,
        restore,
    })
}

fn kind_of_failure(pick: u8) -> FailureKind {
    match pick % 8 {
        0 | 1 => FailureKind::TaskFailure,
        2 | 3 => FailureKind::WorkerLost,
        4 => FailureKind::IncompleteAfterTakeover,
        5 => FailureKind::ChannelBroken,
        6 => FailureKind::CheckpointsFailing,
        _ => FailureKind::Unrecoverable,
    }
}

fn end(step: Step, job: &Job) -> Command {
    let outcome = match (step.nonsense, job.state) {
        (false, JobState::Failing) => Outcome::Failed,
        (false, JobState::Cancelling) => Outcome::Canceled,
        _ => Outcome::Finished,
    };
    let (run, token) = (job.run, job.token);
    Command::JobTerminated(JobTerminated {
        job: job.id,
        run,
        token,
        outcome,
    })
}

fn begin(step: Step, job: &Job, token: AttemptToken) -> Command {
    let waiting = job.waiting_savepoint().map(|waiting| waiting.request);
    let kind = match (&job.wanted, waiting, step.pick % 6) {
        (Wanted::Stop { .. }, ..) => CheckpointKind::StopSavepoint,
        (_, Some(request), 0..=2) => CheckpointKind::Savepoint { request },
        (.., 5) => CheckpointKind::Final,
        _ => CheckpointKind::Checkpoint,
    };
    Command::BeginCheckpoint(BeginCheckpoint {
        job: job.id,
        token,
        kind,
        root: ROOT.to_owned(),
    })
}

fn complete(
    step: Step,
    job: &Job,
    token: AttemptToken,
    pending: Option<&PendingCheckpoint>,
) -> Command {
    let id = pending.map_or(CheckpointId(1), |pending| pending.id);
    let path = pending.map_or_else(String::new, |pending| pending.path.clone());
    let latest = job.latest.as_ref().map(|latest| latest.id);
    Command::CompleteCheckpoint(CompleteCheckpoint {
        job: job.id,
        token,
        id,
        pointer: pointer(path, step.flag),
        sinks_committed_through: latest.filter(|_| step.pick % 2 == 0),
    })
}

fn abort(step: Step, token: AttemptToken, pending: Option<&PendingCheckpoint>) -> Command {
    Command::AbortCheckpoint(AbortCheckpoint {
        job: job_id(step.job),
        token,
        id: pending.map_or(CheckpointId(3), |pending| pending.id),
        cause: "declined".to_owned(),
        counts: step.flag,
    })
}

fn clean(world: &World, step: Step) -> Command {
    let take = if step.nonsense {
        0
    } else {
        1 + usize::from(step.pick % 4)
    };
    let due = world.machine.due_cleanups(world.clock_ms).take(take);
    let outcome = |id: u64| match (step.flag, (id + u64::from(step.pick)) % 3) {
        (true, 0) => {
            let next_retry_ms = (step.pick % 2 == 0).then_some(world.clock_ms + 100);
            CleanupOutcome::Failed {
                error: "busy".to_owned(),
                next_retry_ms,
            }
        }
        _ => CleanupOutcome::Gone,
    };
    let report = |artefact: ArtefactId| CleanupReport {
        artefact,
        outcome: outcome(artefact.0),
    };
    let mut outcomes: Vec<_> = due.map(|artefact| report(artefact.id)).collect();
    if step.nonsense {
        outcomes.push(report(ArtefactId(u64::from(step.pick))));
    }
    Command::CleanupAttempted(CleanupAttempted { outcomes })
}

fn sweep(world: &World, step: Step) -> Command {
    let due = world.machine.due_sweeps(world.clock_ms);
    let mut sweeps: Vec<_> = due
        .map(|due| SweepReport {
            artefact: due.artefact.id,
            last: due.last ^ step.nonsense,
            outcome: match step.flag {
                true => SweepOutcome::Gone,
                false => SweepOutcome::Failed {
                    error: "busy".to_owned(),
                    next_retry_ms: world.clock_ms + 5,
                },
            },
        })
        .collect();
    if step.nonsense {
        let (artefact, outcome) = (ArtefactId(u64::from(step.pick)), SweepOutcome::Gone);
        sweeps.push(SweepReport {
            artefact,
            last: true,
            outcome,
        });
    }
    Command::CleanupSwept(CleanupSwept { sweeps })
}

fn dispose(world: &World, step: Step) -> Command {
    let all: Vec<_> = world
        .machine
        .artefacts()
        .filter(|each| each.kind.owns_path())
        .collect();
    let chosen = all.get(usize::from(step.pick) % all.len().max(1));
    let path = chosen.map_or_else(
        || "/foreign/sp".to_owned(),
        |artefact| artefact.path.clone(),
    );
    Command::DisposeSavepoint(DisposeSavepoint { path })
}
