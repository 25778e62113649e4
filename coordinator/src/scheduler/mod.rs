//! The scheduler: keeps what workers run equal to what the log wants. Liveness is part of it: a worker's
//! silence is one of the things seen.
//!
//! Each pass (`pass.rs`) reads a snapshot of the machine and of what was seen, plans (`plan.rs`,
//! `leftovers.rs`, `ending.rs`, all pure), and acts (`act.rs`). It keeps no retry loop: the next pass is the
//! retry. A pass looks at the jobs for which something happened or is due, so that one job's news costs the
//! same however many there are; now and then, and whenever a worker comes or goes, it looks at all.

pub(crate) mod act;
mod ending;
pub(crate) mod leftovers;
pub(crate) mod offers;
pub(crate) mod order;
mod pass;
pub(crate) mod plan;
pub(crate) mod slots;
pub(crate) mod standing;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use regent_ha::Hints;
use regent_state::Effect;
use regent_state::ids::{JobId, Run};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::checkpoints::pause_after;
use crate::leader::agenda::Agenda;
use crate::leader::rule::Rule;
use crate::leader::seen::{Moment, Seen};
use act::Hands;
use world::{Inspection, Memory};

/// Whether a worker fell silent is looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// Between two passes that nothing but time called for.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Answers of inspections that may wait.
const ANSWERS_MAX: usize = 1_024;
/// Jobs that wait for a worker to look at their paths and are looked at again in one pass.
const UNASKED_BATCH: usize = 256;

type Answer = ((JobId, Run), Inspection);

/// Which jobs a pass looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Jobs(BTreeSet<JobId>),
}

impl Scope {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Jobs(jobs) if jobs.is_empty())
    }
}

/// The scheduler of one reign.
struct Scheduler {
    rule: Arc<Rule>,
    hands: Hands,
    agenda: Agenda<Moment>,
    /// Everything is to be looked at next.
    all: bool,
    /// When everything is looked at, whatever hints got lost.
    next_full: Instant,
    /// Jobs for which there is no room: any pass may have made some.
    blocked: BTreeSet<JobId>,
    /// The sessions that were open at the last pass over everything, and which of them spoke.
    sessions: Vec<(u64, bool)>,
}

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>) {
    let mut effects = rule.effects();
    let mut changes = rule.hub.changes();
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let mut scheduler = Scheduler::new(Arc::clone(&rule), answers);
    let mut batch = Vec::new();
    loop {
        let wake = scheduler.step().await;
        tokio::select! {
            () = rule.stop.cancelled() => return,
            changed = changes.next() => scheduler.note(changed),
            changed = relevant(&mut effects) => scheduler.note(changed),
            _ = answered.recv_many(&mut batch, ANSWERS_MAX) => scheduler.answered(batch.drain(..)),
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Waits for a hint that concerns the scheduler.
async fn relevant(effects: &mut regent_ha::EffectHints) -> Hints<JobId> {
    loop {
        let changed = concerned(&effects.next().await);
        if !changed.is_empty() {
            return changed;
        }
    }
}

/// The jobs that hints of what was applied call to look at.
fn concerned(hints: &Hints) -> Hints<JobId> {
    let mut changed = Hints {
        about: BTreeSet::new(),
        overflowed: hints.overflowed,
    };
    for effect in &hints.about {
        match effect {
            Effect::LeaderAnnounced(_) | Effect::Workers => changed.overflowed = true,
            Effect::Schedule(job) | Effect::JobEnded(job) => {
                changed.about.insert(*job);
            }
            Effect::Checkpoints(_)
            | Effect::Cleanup
            | Effect::CleanupStuck(_)
            | Effect::Members => {}
        }
    }
    changed
}

/// Each worker's session, and whether it is open and not silent.
fn sessions(seen: &Seen) -> Vec<(u64, bool)> {
    let workers = seen.workers.values();
    workers
        .map(|worker| (worker.session, worker.present()))
        .collect()
}

/// How long until the next look at a job. A proposal of the last pass that changed something calls for one at
/// once: not every change is hinted at.
fn ahead(agenda: &Agenda<Moment>, now: Moment) -> Duration {
    if agenda.is_touched() {
        return Duration::ZERO;
    }
    // A moment that has passed was planned for already; something else will wake the next pass.
    let due = agenda.next_due().map(|at| at.saturating_sub(now));
    due.unwrap_or(TICK).clamp(PAUSE_MIN, TICK)
}

impl Scheduler {
    fn new(rule: Arc<Rule>, answers: act::Answers) -> Self {
        let hands = Hands {
            rule: Arc::clone(&rule),
            memory: Memory::default(),
            answers,
            unasked: BTreeSet::new(),
        };
        Self {
            rule,
            hands,
            agenda: Agenda::default(),
            all: true,
            next_full: Instant::now(),
            blocked: BTreeSet::new(),
            sessions: Vec::new(),
        }
    }

    fn note(&mut self, changed: Hints<JobId>) {
        self.all |= changed.overflowed;
        self.agenda.touch(changed.about);
    }

    fn answered(&mut self, answers: impl Iterator<Item = Answer>) {
        for (job, inspection) in answers {
            self.agenda.touch([job.0]);
            self.hands.memory.inspections.insert(job, inspection);
        }
    }

    /// What the next pass looks at.
    fn scope(&mut self, seen: &Seen) -> Scope {
        let due = self.agenda.take(self.rule.hub.now());
        let silent = sessions(seen) != self.sessions;
        if self.all || silent || Instant::now() >= self.next_full {
            return Scope::All;
        }
        let mut jobs = due;
        if !jobs.is_empty() {
            jobs.extend(self.blocked.iter().copied());
            jobs.extend(self.hands.unasked.iter().take(UNASKED_BATCH).copied());
        }
        Scope::Jobs(jobs)
    }

    /// Makes a pass if there is something to look at; answers when to look again.
    async fn step(&mut self) -> Instant {
        let seen = self.rule.hub.seen();
        let scope = self.scope(&seen);
        if !scope.is_empty() {
            self.pass(scope, seen).await;
        }
        let now = Instant::now();
        let ahead = ahead(&self.agenda, self.rule.hub.now());
        (now + ahead).min(self.next_full.max(now + PAUSE_MIN))
    }

    /// Plans and acts once.
    async fn pass(&mut self, scope: Scope, seen: Seen) {
        let full = scope == Scope::All;
        let begun = Instant::now();
        let view = self.rule.view();
        if full {
            self.all = false;
            self.sessions = sessions(&seen);
            self.agenda = Agenda::default();
            self.hands.tidy(&view.machine, &seen);
        }
        self.hands.take_commits();
        let plans = pass::plan_all(&self.rule, &view.machine, &seen, &self.hands.memory, &scope);
        if full {
            self.next_full = begun + pause_after(begun.elapsed());
        }
        self.remember(&scope, &plans);
        let changed = self.hands.carry_out(&view, plans).await;
        self.agenda.touch(changed);
    }

    /// When each job is to be looked at next, and which of them have no room.
    fn remember(&mut self, scope: &Scope, plans: &pass::Plans) {
        match scope {
            Scope::All => self.blocked.clear(),
            Scope::Jobs(jobs) => self.blocked.retain(|job| !jobs.contains(job)),
        }
        for (job, wake) in plans.wakes() {
            self.agenda.set_due(job, Some(wake));
        }
        self.blocked.extend(plans.blocked());
    }
}

#[cfg(test)]
mod hints {
    use super::*;

    #[test]
    fn only_news_of_jobs_and_workers_call_for_a_pass() {
        let job = JobId([7; 16]);
        let hints = |effects: &[Effect], overflowed| Hints {
            about: effects.iter().copied().collect(),
            overflowed,
        };
        let of = |effects: &[Effect]| concerned(&hints(effects, false));
        assert_eq!(
            of(&[Effect::Checkpoints(job), Effect::Cleanup]),
            Hints::default()
        );
        let one = of(&[Effect::Schedule(job), Effect::JobEnded(job)]);
        assert_eq!((one.overflowed, one.about), (false, BTreeSet::from([job])));
        assert!(of(&[Effect::Workers]).overflowed);
        assert!(concerned(&hints(&[], true)).overflowed);
    }

    #[test]
    fn what_a_pass_changed_is_looked_at_again_at_once() {
        let (job, now) = (JobId([7; 16]), Duration::from_secs(9));
        let mut agenda = Agenda::default();
        assert_eq!(ahead(&agenda, now), TICK);
        agenda.set_due(job, Some(now + Duration::from_millis(40)));
        assert_eq!(ahead(&agenda, now), Duration::from_millis(40));
        agenda.set_due(job, Some(Duration::ZERO));
        assert_eq!(ahead(&agenda, now), PAUSE_MIN);
        agenda.touch([job]);
        assert_eq!(ahead(&agenda, now), Duration::ZERO);
    }
}
