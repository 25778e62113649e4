//! Carries out the scheduler's steps, and remembers what was ordered. Dull on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rand::Rng;
use regent_failpoint::reach;
use regent_ha::View;
use regent_protocol::v1;
use regent_protocol::v1::leader_message::Message as Order;
use regent_state::command::Outcome;
use regent_state::ids::{CheckpointId, JobId, Run, WorkerRef};
use regent_state::{Command, Machine};
use tokio::sync::mpsc;

use super::order;
use super::pass::Plans;
use super::plan::{Plan, Step};
use super::world::{Commit, Facts, Inspection, Memory};
use crate::leader::rule::Rule;
use crate::leader::seen::Seen;
use crate::wire::{self, AttemptRef};

/// Proposals under way at once.
const PROPOSALS_MAX: usize = 64;
/// Reasons for waiting that one pass writes: many jobs may wait for the same slots, and the text
/// changes with each slot.
const WAITING_MAX: usize = 32;
/// How long a worker may look at paths.
const INSPECT_LIMIT: Duration = Duration::from_secs(5);
/// Pause after an inspection or a commit that failed.
const AGAIN_PAUSE: Duration = Duration::from_secs(3);

/// Answers of inspections on their way back.
pub(crate) type Answers = mpsc::Sender<((JobId, Run), Inspection)>;

/// The scheduler's hands and what they remember.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) rule: Arc<Rule>,
    pub(crate) memory: Memory,
    pub(crate) answers: Answers,
    /// Jobs whose paths no worker could be asked to look at, because too many are being looked at.
    pub(crate) unasked: BTreeSet<JobId>,
}

impl Hands {
    /// Forgets what can't matter any more.
    pub(crate) fn tidy(&mut self, machine: &Machine, seen: &Seen) {
        let current = |worker: &WorkerRef, session: u64| {
            seen.worker(worker)
                .is_some_and(|seen| seen.session == session)
        };
        // What is over is no more asked about.
        let may_act = |attempt: &AttemptRef| {
            let known = machine.attempt(attempt.job, attempt.token);
            known.is_some_and(|known| !known.over)
        };
        self.memory
            .ordered
            .retain(|(attempt, worker, session), _| current(worker, *session) && may_act(attempt));
        self.memory
            .cancelled
            .retain(|(_, worker, session), _| current(worker, *session));
        self.memory.inspections.retain(|(job, run), _| {
            machine
                .job(*job)
                .is_some_and(|job| job.run == *run && job.attempt == 0)
        });
        self.memory.commits.retain(|(job, _), _| {
            machine
                .job(*job)
                .is_some_and(|job| job.uncommitted().is_some())
        });
        self.rule.hub.keep_commit_problems(|job| {
            machine
                .job(job)
                .is_some_and(|job| job.uncommitted().is_some())
        });
        self.unasked
            .retain(|job| machine.job(*job).is_some_and(|job| job.attempt == 0));
    }

    /// Takes in answers about commits.
    pub(crate) fn take_commits(&mut self) {
        for done in self.rule.hub.take_commits() {
            self.note_commit(&done);
        }
    }

    fn note_commit(&mut self, done: &v1::CommitOnlyDone) {
        let Ok(job) = done.job_id.parse::<JobId>() else {
            return;
        };
        let key = (job, CheckpointId(done.checkpoint_id));
        let Some(commit) = self.memory.commits.get_mut(&key) else {
            return;
        };
        if done.error.is_empty() {
            *commit = Commit::Done;
            return;
        }
        tracing::warn!(%job, checkpoint = done.checkpoint_id, error = %done.error, "commit failed");
        self.rule.hub.note_commit_problem(job, done.error.clone());
        let again_at = self.rule.hub.now() + AGAIN_PAUSE;
        *commit = Commit::Failed { again_at };
    }

    /// Orders first, then proposals; answers the jobs for which a proposal changed something.
    pub(super) async fn carry_out(&mut self, view: &Arc<View>, plans: Plans) -> BTreeSet<JobId> {
        self.clear_leftovers(view, plans.leftovers);
        let mut proposals: Vec<(JobId, Vec<Command>)> = Vec::new();
        let mut waiting = 0;
        for (facts, plan) in plans.jobs {
            let deploys = |step: &Step| matches!(step, Step::Deploy { .. });
            let ordered = plan.steps.iter().any(deploys);
            let commands = self.obey(view, &facts, plan, &mut waiting);
            if ordered {
                reach("deployment", "ordered");
            }
            if !commands.is_empty() {
                proposals.push((facts.job.id, commands));
            }
        }
        self.propose_all(proposals).await
    }

    /// What workers hold without a title; what they may forget is told to each at once.
    fn clear_leftovers(&mut self, view: &View, plans: BTreeMap<JobId, Plan>) {
        let mut forget: BTreeMap<WorkerRef, Vec<AttemptRef>> = BTreeMap::new();
        for step in plans.into_values().flat_map(|plan| plan.steps) {
            match step {
                Step::Forget { attempts, worker } => {
                    forget.entry(worker).or_default().extend(attempts);
                }
                order => self.order(view, None, order),
            }
        }
        for (worker, attempts) in forget {
            self.order(view, None, Step::Forget { attempts, worker });
        }
    }

    /// Gives one job's orders; answers what is to be proposed for it.
    fn obey(
        &mut self,
        view: &View,
        facts: &Facts,
        plan: Plan,
        waiting: &mut usize,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        for step in plan.steps {
            match step {
                Step::Propose(Command::JobWaiting(_)) if *waiting >= WAITING_MAX => {}
                Step::Propose(command) => {
                    *waiting += usize::from(matches!(command, Command::JobWaiting(_)));
                    commands.push(with_dice(command));
                }
                order => self.order(view, Some(facts), order),
            }
        }
        commands
    }

    /// One job's proposals in order, jobs beside each other.
    async fn propose_all(&self, proposals: Vec<(JobId, Vec<Command>)>) -> BTreeSet<JobId> {
        let rule = &self.rule;
        let in_order = |(job, commands): (JobId, Vec<Command>)| async move {
            let mut changed = false;
            for command in commands {
                let (course, before, after) = moments(&command);
                reach(course, before);
                let done = rule.propose("scheduler", command).await.is_ok();
                if done {
                    reach(course, after);
                }
                changed |= done;
            }
            changed.then_some(job)
        };
        let answers = futures::stream::iter(proposals).map(in_order);
        answers
            .buffer_unordered(PROPOSALS_MAX)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    fn order(&mut self, view: &View, facts: Option<&Facts>, step: Step) {
        tracing::debug!(%step, "order");
        match (step, facts) {
            (Step::Deploy { attempt, worker }, Some(facts)) => {
                self.deploy(view, facts, attempt, worker);
            }
            (Step::Cancel { attempt, worker }, _) => self.cancel(attempt, worker),
            (Step::Forget { attempts, worker }, _) => self.forget(&attempts, &worker),
            (Step::Disconnect { worker }, _) => {
                tracing::warn!(%worker, "says nothing of what it was ordered; its session ends");
                self.rule.hub.disconnect(&worker);
            }
            (Step::Inspect { worker }, Some(facts)) => self.inspect(facts, &worker),
            (Step::CommitOnly { checkpoint, worker }, Some(facts)) => {
                self.commit_only(view, facts, checkpoint, worker);
            }
            (Step::Deploy { .. } | Step::Inspect { .. } | Step::CommitOnly { .. }, None)
            | (Step::Propose(_), _) => {}
        }
    }

    fn deploy(&mut self, view: &View, facts: &Facts, attempt: AttemptRef, worker: WorkerRef) {
        let live = facts.live().filter(|live| live.token == attempt.token);
        let deploy = live.and_then(|live| order::deploy(&view.machine, &facts.job, live));
        let Some(deploy) = deploy else { return };
        if let Some(session) = self.rule.hub.send(&worker, Order::Deploy(deploy)) {
            let now = self.rule.hub.now();
            self.memory.ordered.insert((attempt, worker, session), now);
            reach("deployment", "one-ordered");
        }
    }

    fn cancel(&mut self, attempt: AttemptRef, worker: WorkerRef) {
        let order = v1::CancelAttempt {
            attempt: Some(wire::attempt_to(attempt)),
        };
        if let Some(session) = self.rule.hub.send(&worker, Order::Cancel(order)) {
            let now = self.rule.hub.now();
            self.memory
                .cancelled
                .insert((attempt, worker, session), now);
        }
    }

    fn forget(&mut self, attempts: &[AttemptRef], worker: &WorkerRef) {
        let keys = attempts
            .iter()
            .map(|attempt| wire::attempt_to(*attempt))
            .collect();
        let order = Order::Forget(v1::ForgetEnded { attempts: keys });
        if self.rule.hub.send(worker, order).is_some() {
            self.rule.hub.forgotten(worker, attempts);
        }
    }

    fn inspect(&mut self, facts: &Facts, worker: &WorkerRef) {
        let key = (facts.job.id, facts.job.run);
        let asked = self.rule.hub.inspect(worker, order::vertices(&facts.graph));
        let Some(asked) = asked else {
            self.unasked.insert(key.0);
            return;
        };
        self.unasked.remove(&key.0);
        let unanswered = Inspection::Unanswered {
            again_at: self.rule.hub.now() + INSPECT_LIMIT + AGAIN_PAUSE,
        };
        self.memory.inspections.insert(key, Inspection::Asked);
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let inspection = match tokio::time::timeout(INSPECT_LIMIT, asked).await {
                Ok(Ok(found)) => answered(found),
                Ok(Err(_)) | Err(_) => unanswered,
            };
            // The reign may be over; then nobody waits for the answer.
            answers.send((key, inspection)).await.ok();
        });
    }

    fn commit_only(&mut self, view: &View, facts: &Facts, id: CheckpointId, worker: WorkerRef) {
        let Some(order) = order::commit_only(&view.machine, &facts.job, id) else {
            return;
        };
        if let Some(session) = self.rule.hub.send(&worker, Order::CommitOnly(order)) {
            let at = self.rule.hub.now();
            let commit = Commit::Ordered {
                worker,
                session,
                at,
            };
            self.memory.commits.insert((facts.job.id, id), commit);
            reach("cancel", "commit-ordered");
        }
    }
}

fn answered(found: v1::PathsInspected) -> Inspection {
    let problem = |problem: v1::PathProblem| format!("{}: {}", problem.vertex, problem.message);
    Inspection::Answered {
        problems: found.problems.into_iter().map(problem).collect(),
        existing: found.existing_files,
    }
}

/// The dangerous moments before a command is proposed and after it is applied: (course, before, after).
fn moments(command: &Command) -> (&'static str, &'static str, &'static str) {
    match command {
        Command::DeployAttempt(_) => ("deployment", "planned", "placed"),
        Command::AttemptRunning(_) => ("deployment", "all-run", "running"),
        Command::AttemptAdopted(_) => ("adoption", "complete", "adopted"),
        Command::JobTerminated(ends) if ends.outcome == Outcome::Finished => {
            ("end", "all-over", "terminated")
        }
        Command::JobTerminated(_) => ("cancel", "stopped", "terminated"),
        // Of a job whose tasks are gone; while they are there their coordinator reports it.
        Command::SinksCommitted(_) => ("cancel", "committed", "reported"),
        _ => ("", "", ""),
    }
}

/// Chance enters here: the planner is pure, and the log wants it with the entry.
fn with_dice(command: Command) -> Command {
    match command {
        Command::AttemptFailed(mut failed) => {
            failed.jitter_permille = rand::rng().random_range(-1_000..=1_000);
            Command::AttemptFailed(failed)
        }
        other => other,
    }
}
