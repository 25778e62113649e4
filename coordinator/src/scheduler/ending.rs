//! The ways a job ends: finished, cancelled, failed; and output that is committed after the end. Pure.
//!
//! `docs/protocol.md` §6: FINISHED means that all output is visible. CANCELED and FAILED are written
//! as soon as the tasks have ended; what the latest checkpoint lists is committed before staging goes.

use std::time::Duration;

use regent_state::Command;
use regent_state::command::{JobTerminated, Outcome, SinksCommitted};
use regent_state::model::{JobState, Wanted};

use super::leftovers;
use super::offers::offers_sinks;
use super::plan::{Plan, Step};
use super::standing::{BROKEN_GRACE, UNHEARD_GRACE, expected};
use super::world::{Commit, Facts, World};
use crate::leader::seen::{Moment, Presence};

/// A `CommitOnly` that was not answered is ordered again after this long.
const COMMIT_AGAIN: Duration = Duration::from_secs(30);

fn terminate(facts: &Facts, outcome: Outcome, plan: &mut Plan) {
    plan.propose(Command::JobTerminated(JobTerminated {
        job: facts.job.id,
        run: facts.job.run,
        token: facts.job.token,
        outcome,
    }));
}

/// CANCELLING and FAILING: once no worker that can be heard holds a task, the job has ended.
pub(crate) fn plan_stop(world: &World<'_>, facts: &Facts, plan: &mut Plan) {
    let mut wait = false;
    if let Some(attempt) = facts.current().filter(|attempt| !attempt.over) {
        let key = facts.reference(attempt.token);
        for (worker, placed) in expected(&facts.graph, attempt) {
            let holds = || leftovers::holds(world, &worker, &key, &placed);
            let until = match world.seen.presence(&worker) {
                Presence::Present if holds() => Moment::MAX,
                Presence::Present | Presence::Dead | Presence::Superseded => Moment::ZERO,
                Presence::Broken { since } => since + BROKEN_GRACE,
                Presence::Unheard => UNHEARD_GRACE,
            };
            if until > world.now {
                wait = true;
                plan.wake_at(until);
            }
        }
    }
    if !wait {
        let failing = facts.job.state == JobState::Failing;
        terminate(
            facts,
            if failing {
                Outcome::Failed
            } else {
                Outcome::Canceled
            },
            plan,
        );
    }
}

/// The last checkpoint is completed and committed: all output is visible. Answers whether it is so.
pub(crate) fn plan_finish(facts: &Facts, plan: &mut Plan) -> bool {
    let visible = facts.job.only_commits() && facts.job.uncommitted().is_none();
    if visible {
        terminate(facts, Outcome::Finished, plan);
    }
    visible
}

/// Every task has finished: without anything to commit, so has the job.
pub(crate) fn plan_all_finished(facts: &Facts, plan: &mut Plan) {
    let stops = matches!(facts.job.wanted, Wanted::Stop { .. });
    let last_checkpoint = facts.graph.has_exactly_once_sink() || stops;
    let running = facts.job.state == JobState::Running;
    if !last_checkpoint && running {
        terminate(facts, Outcome::Finished, plan);
    }
}

/// Output that is listed and not committed, and no attempt is there to commit it.
pub(crate) fn plan_commit(world: &World<'_>, facts: &Facts, plan: &mut Plan) {
    let job = &facts.job;
    let Some(latest) = job.uncommitted() else {
        return;
    };
    match world.memory.commits.get(&(job.id, latest.id)) {
        Some(Commit::Done) => plan.propose(Command::SinksCommitted(SinksCommitted {
            job: job.id,
            run: job.run,
            through: latest.id,
        })),
        Some(Commit::Failed { again_at }) if *again_at > world.now => plan.wake_at(*again_at),
        Some(Commit::Ordered {
            worker,
            session,
            at,
        }) if under_way(world, worker, *session, *at) => {
            plan.wake_at(*at + COMMIT_AGAIN);
        }
        None | Some(Commit::Failed { .. } | Commit::Ordered { .. }) => {
            let mut present = world
                .seen
                .workers
                .iter()
                .filter(|(_, worker)| worker.present());
            let able = present.find(|(_, worker)| offers_sinks(&facts.graph, Some(worker)));
            if let Some((name, worker)) = able {
                let (worker, incarnation) = (name.clone(), worker.incarnation);
                let worker = regent_state::ids::WorkerRef {
                    worker,
                    incarnation,
                };
                plan.steps.push(Step::CommitOnly {
                    checkpoint: latest.id,
                    worker,
                });
            }
        }
    }
}

fn under_way(
    world: &World<'_>,
    worker: &regent_state::ids::WorkerRef,
    session: u64,
    at: Moment,
) -> bool {
    let same = |seen: &crate::leader::seen::WorkerSeen| seen.present() && seen.session == session;
    world.seen.worker(worker).is_some_and(same) && world.now < at + COMMIT_AGAIN
}
