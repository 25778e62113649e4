//! What a handler may touch: the entities, the entry's time, and the lists that go out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::Envelope;
use crate::entity::Entity;
use crate::graph::JobGraph;
use crate::ids::{AttemptToken, CheckpointId, EntryId, JobId, Run};
use crate::key::Key;
use crate::machine::Machine;
use crate::model::{
    Attempt, Checkpoint, Failure, Job, JobEvent, JobEventKind, JobHistory, Meta, clip,
};
use crate::response::{Applied, Change, Effect, Rejection, Response};

/// One entry being applied.
pub(crate) struct Context<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) entry: EntryId,
    /// The head record; written back when the entry is done.
    pub(crate) meta: Meta,
    /// Who asked, for people.
    pub(crate) actor: &'a str,
    touched: BTreeSet<Key>,
    effects: BTreeSet<Effect>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(machine: &'a mut Machine, entry: EntryId, envelope: &'a Envelope) -> Self {
        let mut meta = machine
            .meta()
            .map(|meta| Meta::clone(meta))
            .unwrap_or_default();
        meta.clock_ms = meta.clock_ms.max(envelope.proposed_at_ms);
        meta.wall_ms = envelope.wall_ms;
        meta.last_index = entry.index;
        let (touched, effects) = (BTreeSet::new(), BTreeSet::new());
        Self {
            machine,
            entry,
            meta,
            actor: &envelope.actor,
            touched,
            effects,
        }
    }

    /// The machine's clock: the only time that decides anything.
    pub(crate) fn now_ms(&self) -> u64 {
        self.meta.clock_ms
    }

    /// Wall time, for people.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.meta.wall_ms
    }

    /// The name of what this entry begins: a run.
    pub(crate) fn new_run(&self) -> Run {
        Run {
            generation: self.meta.generation,
            index: self.entry.index,
        }
    }

    /// The name of what this entry begins: an attempt.
    pub(crate) fn new_token(&self) -> AttemptToken {
        AttemptToken {
            generation: self.meta.generation,
            index: self.entry.index,
        }
    }

    pub(crate) fn get<E: Entity>(&self, id: &E::Id) -> Option<Arc<E>> {
        self.machine.get::<E>(id).cloned()
    }

    pub(crate) fn put<E: Entity>(&mut self, id: E::Id, value: E) {
        self.touched.insert(E::key(&id));
        self.machine.put::<E>(id, value);
    }

    pub(crate) fn remove<E: Entity>(&mut self, id: &E::Id) {
        if self.machine.get::<E>(id).is_some() {
            self.touched.insert(E::key(id));
            self.machine.remove::<E>(id);
        }
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.insert(effect);
    }

    /// A copy of the job to work on; hand it back with [`Context::put_job`].
    pub(crate) fn job(&self, job: JobId) -> Result<Job, Rejection> {
        let found = self.machine.job(job).ok_or(Rejection::UnknownJob(job))?;
        Ok(Job::clone(found))
    }

    /// The same, if it is still this run.
    pub(crate) fn job_of_run(&self, job: JobId, run: Run) -> Result<Job, Rejection> {
        let job = self.job(job)?;
        if job.run != run {
            return Err(Rejection::WrongRun {
                job: job.id,
                current: job.run,
            });
        }
        Ok(job)
    }

    /// The same, if this is its current attempt and that has not ended.
    pub(crate) fn job_at(&self, job: JobId, token: AttemptToken) -> Result<Job, Rejection> {
        let job = self.job(job)?;
        let (given, current) = (Some(token), job.token);
        if given != current {
            return Err(Rejection::WrongToken {
                job: job.id,
                given,
                current,
            });
        }
        if !job.is_current(token) {
            return Err(Rejection::AttemptEnded { job: job.id, token });
        }
        Ok(job)
    }

    pub(crate) fn put_job(&mut self, job: Job) {
        self.put::<Job>(job.id, job);
    }

    pub(crate) fn graph(&self, job: JobId) -> Result<Arc<JobGraph>, Rejection> {
        self.get::<JobGraph>(&job).ok_or(Rejection::UnknownJob(job))
    }

    /// The attempts of a run that are kept, oldest first.
    pub(crate) fn attempts(&self, job: &Job) -> Vec<Arc<Attempt>> {
        self.machine.attempts(job.id).cloned().collect()
    }

    /// The completed checkpoints of a run, oldest first.
    pub(crate) fn completed(&self, job: &Job) -> Vec<Arc<Checkpoint>> {
        let all = self.machine.checkpoints_of(job.id, job.run);
        all.filter(|checkpoint| checkpoint.is_completed())
            .cloned()
            .collect()
    }

    pub(crate) fn drop_checkpoint(&mut self, job: &Job, id: CheckpointId) {
        self.remove::<Checkpoint>(&(job.id, job.run, id));
    }

    /// Adds to the job's history.
    pub(crate) fn event(&mut self, job: &Job, kind: JobEventKind, cause: Option<&str>) {
        let event = JobEvent {
            at_ms: self.wall_ms(),
            kind,
            attempt: job.attempt,
            cause: cause.map(clip),
        };
        self.change_history(job.id, |history| {
            if history.events.len() >= JobHistory::EVENTS_MAX {
                // The first tells who submitted the job and when: it stays.
                history.events.remove(1);
            }
            history.events.push(event);
        });
    }

    /// Adds to the job's failures.
    pub(crate) fn failure(&mut self, job: JobId, failure: Failure) {
        self.change_history(job, |history| {
            if history.failures.len() >= JobHistory::FAILURES_MAX {
                history.failures.remove(0);
            }
            history.failures.push(failure);
        });
    }

    fn change_history(&mut self, job: JobId, change: impl FnOnce(&mut JobHistory)) {
        let old = self.machine.history(job);
        let mut history = old
            .map(|history| JobHistory::clone(history))
            .unwrap_or_default();
        change(&mut history);
        self.put::<JobHistory>(job, history);
    }

    /// Writes the head record, brings the hash up to date and lists what is different.
    pub(crate) fn finish(mut self, response: Response) -> Applied {
        let meta = std::mem::take(&mut self.meta);
        self.put::<Meta>((), meta);
        let touched = std::mem::take(&mut self.touched);
        if cfg!(debug_assertions) {
            self.check_touched(&touched);
        }
        let changes: Vec<Change> = touched
            .into_iter()
            .map(|key| self.machine.seal(key))
            .collect();
        Applied {
            response,
            changes,
            effects: self.effects.into_iter().collect(),
        }
    }

    /// A broken invariant is our mistake: tests and simulation stop at the entry that broke it.
    fn check_touched(&self, touched: &BTreeSet<Key>) {
        for key in touched {
            if let Key::Job(job) = key
                && let Err(violation) = self.machine.check_job(*job)
            {
                panic!("entry {} broke an invariant: {violation}", self.entry);
            }
        }
    }
}
