//! Derived orders over the entities, so that finding due work never scans.
//!
//! Nothing here is stored or hashed: every entry follows from an entity and is replaced together
//! with it. Restoring a snapshot builds the indexes anew.

use imbl::{OrdMap, OrdSet};

use crate::codec;
use crate::ids::{ArtefactId, JobId, LogIndex, RequestId, Run};
use crate::model::{
    Artefact, ArtefactState, Job, RequestRecord, SavepointRequest, SavepointState, Wanted,
};
use crate::path;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Where a client's request was answered.
    pub(crate) requests: OrdMap<RequestId, LogIndex>,
    /// The ledger by owner.
    pub(crate) owned: OrdSet<(JobId, Run, ArtefactId)>,
    /// The ledger by normalised path, so that what lies below a path is found.
    pub(crate) paths: OrdMap<String, ArtefactId>,
    /// First tries at deleting, by (due time, rank).
    pub(crate) due: OrdSet<(u64, u8, ArtefactId)>,
    /// Deletions that failed before, by (due time, rank): apart, so that neither kind waits behind
    /// many of the other.
    pub(crate) due_again: OrdSet<(u64, u8, ArtefactId)>,
    /// Sweeps by due time.
    pub(crate) sweeps: OrdSet<(u64, ArtefactId)>,
    /// Jobs that have not ended.
    pub(crate) active: OrdSet<JobId>,
    /// Jobs that wait for an attempt, by (due time, age).
    pub(crate) deployable: OrdSet<(u64, Run, JobId)>,
    /// Jobs that have ended and are not clean.
    pub(crate) dirty: OrdSet<JobId>,
    /// Clean results by the clock of their end.
    pub(crate) clean: OrdSet<(u64, JobId)>,
    /// Who starts from a savepoint.
    pub(crate) pins: OrdSet<(PathDigest, JobId)>,
    /// Normalised folders of savepoints that are asked for and not taken yet, and by whom.
    pub(crate) targets: OrdSet<(String, JobId)>,
}

/// A path in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathDigest(u128);

impl PathDigest {
    pub(crate) fn of(path: &str) -> Self {
        Self(codec::digest(b"path", path::normalise(path).as_bytes()))
    }
}

impl Index {
    pub(crate) fn job(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let (before, after) = (old.map(JobPlaces::of), new.map(JobPlaces::of));
        if before == after {
            return;
        }
        if let Some(places) = before {
            places.leave(self);
        }
        if let Some(places) = after {
            places.enter(self);
        }
    }

    pub(crate) fn artefact(&mut self, old: Option<&Artefact>, new: Option<&Artefact>) {
        if let Some(artefact) = old {
            self.forget_artefact(artefact, new.is_none());
        }
        if let Some(artefact) = new {
            self.note_artefact(artefact, old.is_none());
        }
    }

    pub(crate) fn request(
        &mut self,
        at: LogIndex,
        old: Option<&RequestRecord>,
        new: Option<&RequestRecord>,
    ) {
        if let Some(record) = old {
            self.requests.remove(&record.id);
        }
        if let Some(record) = new {
            self.requests.insert(record.id, at);
        }
    }

    /// Owner and path never change, so they are touched only when the artefact comes or goes.
    fn note_artefact(&mut self, artefact: &Artefact, is_new: bool) {
        if is_new {
            if artefact.kind.owns_path() {
                self.paths
                    .insert(path::normalise(&artefact.path), artefact.id);
            }
            if let Some((job, run)) = artefact.owner {
                self.owned.insert((job, run, artefact.id));
            }
        }
        if let Some(due) = self.due_of(artefact.state) {
            due.insert((artefact.next_retry_ms, artefact.kind.rank(), artefact.id));
        }
        if let Some(due_ms) = sweep_due_ms(artefact) {
            self.sweeps.insert((due_ms, artefact.id));
        }
    }

    fn due_of(&mut self, state: ArtefactState) -> Option<&mut OrdSet<(u64, u8, ArtefactId)>> {
        match state {
            ArtefactState::Pending => Some(&mut self.due),
            ArtefactState::Retrying => Some(&mut self.due_again),
            ArtefactState::Live
            | ArtefactState::Retained
            | ArtefactState::Done
            | ArtefactState::Dirty => None,
        }
    }

    fn forget_artefact(&mut self, artefact: &Artefact, is_gone: bool) {
        if is_gone {
            if artefact.kind.owns_path() {
                self.paths.remove(&path::normalise(&artefact.path));
            }
            if let Some((job, run)) = artefact.owner {
                self.owned.remove(&(job, run, artefact.id));
            }
        }
        if let Some(due) = self.due_of(artefact.state) {
            due.remove(&(artefact.next_retry_ms, artefact.kind.rank(), artefact.id));
        }
        if let Some(due_ms) = sweep_due_ms(artefact) {
            self.sweeps.remove(&(due_ms, artefact.id));
        }
    }
}

/// When an artefact is to be swept next; `None` if it is not deleted yet, owes no sweep, or waits
/// for the end of its attempt.
fn sweep_due_ms(artefact: &Artefact) -> Option<u64> {
    let sweep = artefact
        .sweep
        .filter(|_| artefact.state == ArtefactState::Done)?;
    let open = !sweep.after_deadline || sweep.attempt_over;
    open.then_some(sweep.due_ms)
}

/// Where a job stands in the indexes.
#[derive(PartialEq, Eq)]
struct JobPlaces {
    job: JobId,
    run: Run,
    active: bool,
    deployable_ms: Option<u64>,
    dirty: bool,
    clean_ms: Option<u64>,
    pin: Option<PathDigest>,
    targets: Vec<String>,
}

impl JobPlaces {
    fn of(job: &Job) -> Self {
        let clean = job.result.as_ref().filter(|result| result.clean);
        let pin = job.restore.as_ref().filter(|_| job.pinned);
        Self {
            job: job.id,
            run: job.run,
            active: !job.is_terminal(),
            deployable_ms: job.awaits_deployment().then_some(job.restart.due_ms),
            dirty: job.is_dirty(),
            clean_ms: clean.map(|result| result.ended_clock_ms),
            pin: pin.map(|restore| PathDigest::of(&restore.path)),
            targets: targets(job),
        }
    }

    fn enter(&self, index: &mut Index) {
        if self.active {
            index.active.insert(self.job);
        }
        if let Some(due_ms) = self.deployable_ms {
            index.deployable.insert((due_ms, self.run, self.job));
        }
        if self.dirty {
            index.dirty.insert(self.job);
        }
        if let Some(ended_ms) = self.clean_ms {
            index.clean.insert((ended_ms, self.job));
        }
        if let Some(pin) = self.pin {
            index.pins.insert((pin, self.job));
        }
        for target in &self.targets {
            index.targets.insert((target.clone(), self.job));
        }
    }

    fn leave(&self, index: &mut Index) {
        if self.active {
            index.active.remove(&self.job);
        }
        if let Some(due_ms) = self.deployable_ms {
            index.deployable.remove(&(due_ms, self.run, self.job));
        }
        if self.dirty {
            index.dirty.remove(&self.job);
        }
        if let Some(ended_ms) = self.clean_ms {
            index.clean.remove(&(ended_ms, self.job));
        }
        if let Some(pin) = self.pin {
            index.pins.remove(&(pin, self.job));
        }
        for target in &self.targets {
            index.targets.remove(&(target.clone(), self.job));
        }
    }
}

/// Where savepoints of this job will lie, of those that are not taken yet.
fn targets(job: &Job) -> Vec<String> {
    if job.is_terminal() {
        return Vec::new();
    }
    let waits = |asked: &&SavepointRequest| asked.state == SavepointState::Waiting;
    let asked = job.savepoints.iter().filter(waits);
    let asked = asked.map(|asked| asked.target.as_str());
    let stop = match &job.wanted {
        Wanted::Stop { target, .. } => Some(target.as_str()),
        Wanted::Run | Wanted::Cancel | Wanted::Fail => None,
    };
    asked.chain(stop).map(path::normalise).collect()
}
