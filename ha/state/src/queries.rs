//! What readers ask: typed access, and the work that is due.
//!
//! Everything here answers from memory without a lock; take a clone of the machine for a
//! consistent view over several questions.

use std::sync::Arc;

use imbl::OrdSet;

use crate::command::ExpireResults;
use crate::graph::JobGraph;
use crate::ids::{
    ArtefactId, AttemptToken, CheckpointId, ClusterId, Epoch, JobId, LogIndex, NodeId, RequestId,
    Run,
};
use crate::index::PathDigest;
use crate::machine::Machine;
use crate::model::{
    Artefact, Attempt, Checkpoint, Claim, Drain, Job, JobHistory, MemberWish, Meta, Reborn, Reign,
};
use crate::path;

/// A sweep that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepDue {
    /// The artefact to look at again.
    pub artefact: Arc<Artefact>,
    /// Its attempt is over: report the sweep as the last one.
    pub last: bool,
}

impl Machine {
    /// The head record; `None` before the first entry.
    pub fn meta(&self) -> Option<&Arc<Meta>> {
        self.tables.meta.get(&())
    }

    /// The last announced reign.
    pub fn epoch(&self) -> Option<Epoch> {
        self.meta().and_then(|meta| meta.epoch)
    }

    /// The cluster's id, once announced.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.meta().and_then(|meta| meta.cluster_id)
    }

    /// The cluster's generation; 0 before the first announcement.
    pub fn generation(&self) -> u64 {
        self.meta().map_or(0, |meta| meta.generation)
    }

    /// The machine's clock in milliseconds.
    pub fn clock_ms(&self) -> u64 {
        self.meta().map_or(0, |meta| meta.clock_ms)
    }

    /// Index of the last applied command; other entries of the log are not seen here.
    pub fn last_index(&self) -> LogIndex {
        self.meta().map_or(LogIndex(0), |meta| meta.last_index)
    }

    /// A job, until its result expires.
    pub fn job(&self, job: JobId) -> Option<&Arc<Job>> {
        self.tables.jobs.get(&job)
    }

    /// All jobs by id.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.tables.jobs.iter().map(|(_, job)| job)
    }

    /// How many jobs there are.
    pub fn job_count(&self) -> usize {
        self.tables.jobs.len()
    }

    /// The graph of a job.
    pub fn graph(&self, job: JobId) -> Option<&Arc<JobGraph>> {
        self.tables.graphs.get(&job)
    }

    /// Events and failures of a job.
    pub fn history(&self, job: JobId) -> Option<&Arc<JobHistory>> {
        self.tables.histories.get(&job)
    }

    /// An attempt that is current, may have living tasks, or whose staging is needed.
    pub fn attempt(&self, job: JobId, token: AttemptToken) -> Option<&Arc<Attempt>> {
        self.tables.attempts.get(&(job, token))
    }

    /// The current attempt of a job.
    pub fn current_attempt(&self, job: JobId) -> Option<&Arc<Attempt>> {
        let token = self.job(job)?.token?;
        self.attempt(job, token)
    }

    /// All attempts of a job that are kept, oldest first.
    pub fn attempts(&self, job: JobId) -> impl DoubleEndedIterator<Item = &Arc<Attempt>> {
        let low = AttemptToken::default();
        let high = AttemptToken {
            generation: u64::MAX,
            index: LogIndex(u64::MAX),
        };
        self.tables
            .attempts
            .range((job, low)..=(job, high))
            .map(|(_, attempt)| attempt)
    }

    /// A pending or completed checkpoint.
    pub fn checkpoint(&self, job: JobId, run: Run, id: CheckpointId) -> Option<&Arc<Checkpoint>> {
        self.tables.checkpoints.get(&(job, run, id))
    }

    /// Checkpoints and savepoints under this job's id, oldest first: of its run, and what was retained of
    /// earlier runs whose results have expired.
    pub fn checkpoints(&self, job: JobId) -> impl DoubleEndedIterator<Item = &Arc<Checkpoint>> {
        let last = Run {
            generation: u64::MAX,
            index: LogIndex(u64::MAX),
        };
        self.checkpoints_between(job, Run::default(), last)
    }

    /// Checkpoints and savepoints of one run, oldest first.
    pub fn checkpoints_of(
        &self,
        job: JobId,
        run: Run,
    ) -> impl DoubleEndedIterator<Item = &Arc<Checkpoint>> {
        self.checkpoints_between(job, run, run)
    }

    fn checkpoints_between(
        &self,
        job: JobId,
        first: Run,
        last: Run,
    ) -> impl DoubleEndedIterator<Item = &Arc<Checkpoint>> {
        let low = (job, first, CheckpointId(0));
        let high = (job, last, CheckpointId(u64::MAX));
        self.tables
            .checkpoints
            .range(low..=high)
            .map(|(_, checkpoint)| checkpoint)
    }

    /// An entry of the artefact ledger.
    pub fn artefact(&self, id: ArtefactId) -> Option<&Arc<Artefact>> {
        self.tables.artefacts.get(&id)
    }

    /// The whole ledger, oldest first.
    pub fn artefacts(&self) -> impl DoubleEndedIterator<Item = &Arc<Artefact>> {
        self.tables.artefacts.iter().map(|(_, artefact)| artefact)
    }

    /// The ledger of a run, oldest first.
    pub fn artefacts_of(&self, job: JobId, run: Run) -> impl Iterator<Item = &Arc<Artefact>> {
        let range = (job, run, ArtefactId(0))..=(job, run, ArtefactId(u64::MAX));
        self.index
            .owned
            .range(range)
            .filter_map(|(_, _, id)| self.artefact(*id))
    }

    /// The artefact at exactly this path.
    pub fn artefact_at(&self, path: &str) -> Option<&Arc<Artefact>> {
        let id = self.index.paths.get(&path::normalise(path))?;
        self.artefact(*id)
    }

    /// The claimed sink paths.
    pub fn claims(&self) -> impl Iterator<Item = (&String, &Arc<Claim>)> {
        self.tables.claims.iter()
    }

    /// The leadership timeline, oldest first; the last one is the present leader's.
    pub fn reigns(&self) -> impl DoubleEndedIterator<Item = &Arc<Reign>> {
        self.tables.reigns.iter().map(|(_, reign)| reign)
    }

    /// The present reign.
    pub fn reign(&self) -> Option<&Arc<Reign>> {
        self.reigns().next_back()
    }

    /// Whether a client's request was answered already.
    pub fn knows_request(&self, id: RequestId) -> bool {
        self.index.requests.contains_key(&id)
    }

    /// Jobs that have not ended, by id.
    pub fn active_jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.index.active.iter().filter_map(|job| self.job(*job))
    }

    /// Jobs that wait for an attempt and are due, by due time, then by age.
    pub fn deployable(&self, now_ms: u64) -> impl Iterator<Item = &Arc<Job>> {
        let due = self
            .index
            .deployable
            .iter()
            .take_while(move |(due_ms, ..)| *due_ms <= now_ms);
        due.filter_map(|(.., job)| self.job(*job))
    }

    /// When the next job becomes due for an attempt.
    pub fn next_deployable_ms(&self) -> Option<u64> {
        self.index.deployable.get_min().map(|(due_ms, ..)| *due_ms)
    }

    /// Jobs that have ended and are not clean, by id.
    pub fn dirty_jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.index.dirty.iter().filter_map(|job| self.job(*job))
    }

    /// The results that this command drops at this moment, oldest first.
    pub fn expired(&self, command: &ExpireResults, now_ms: u64) -> impl Iterator<Item = JobId> {
        let count = self.index.clean.len() as u64;
        // By age or by count, what goes comes before everything that stays.
        let goes = move |(rank, (ended_ms, _)): &(u64, &(u64, JobId))| {
            command.takes(*rank, count, now_ms.saturating_sub(*ended_ms))
        };
        let ranked = (0..).zip(self.index.clean.iter());
        ranked.take_while(goes).map(|(_, (_, job))| *job)
    }

    /// How many results are clean.
    pub fn clean_count(&self) -> usize {
        self.index.clean.len()
    }

    /// Artefacts to delete now, by due time and rank, first tries before those that failed before;
    /// pinned ones wait. Iterate lazily: with a bound.
    pub fn due_cleanups(&self, now_ms: u64) -> impl Iterator<Item = &Arc<Artefact>> {
        self.due_first_tries(now_ms).chain(self.due_retries(now_ms))
    }

    /// Artefacts that nobody has tried to delete yet.
    pub fn due_first_tries(&self, now_ms: u64) -> impl Iterator<Item = &Arc<Artefact>> {
        self.due_in(&self.index.due, now_ms)
    }

    /// Artefacts whose deletion failed before and is due again.
    pub fn due_retries(&self, now_ms: u64) -> impl Iterator<Item = &Arc<Artefact>> {
        self.due_in(&self.index.due_again, now_ms)
    }

    fn due_in<'a>(
        &'a self,
        due: &'a OrdSet<(u64, u8, ArtefactId)>,
        now_ms: u64,
    ) -> impl Iterator<Item = &'a Arc<Artefact>> {
        due.iter()
            .take_while(move |(due_ms, ..)| *due_ms <= now_ms)
            .filter_map(|(.., id)| self.artefact(*id))
            .filter(|artefact| self.pinned_by(&artefact.path).is_none())
            .filter(|artefact| !self.is_withheld(artefact.id))
    }

    /// When the next deletion is due, pinned ones included.
    pub fn next_cleanup_ms(&self) -> Option<u64> {
        let first = |due: &OrdSet<(u64, u8, ArtefactId)>| due.get_min().map(|(due_ms, ..)| *due_ms);
        [first(&self.index.due), first(&self.index.due_again)]
            .into_iter()
            .flatten()
            .min()
    }

    /// How many artefacts wait for deletion, stuck ones not included.
    pub fn cleanup_backlog(&self) -> usize {
        self.index.due.len() + self.index.due_again.len()
    }

    /// Sweeps to take now, by due time.
    pub fn due_sweeps(&self, now_ms: u64) -> impl Iterator<Item = SweepDue> + '_ {
        let due = self
            .index
            .sweeps
            .iter()
            .take_while(move |(due_ms, _)| *due_ms <= now_ms);
        due.filter_map(|(_, id)| {
            let artefact = Arc::clone(self.artefact(*id).filter(|one| !self.is_withheld(one.id))?);
            let last = artefact.sweep.is_some_and(|sweep| sweep.attempt_over);
            Some(SweepDue { artefact, last })
        })
    }

    /// When the next sweep is due.
    pub fn next_sweep_ms(&self) -> Option<u64> {
        self.index.sweeps.get_min().map(|(due_ms, _)| *due_ms)
    }

    /// What operators want replicas to be, removed ones included.
    pub fn member_wishes(&self) -> impl Iterator<Item = (NodeId, &Arc<MemberWish>)> {
        self.tables.members.iter().map(|(node, wish)| (*node, wish))
    }

    /// The drain that stands for this worker, if one does.
    pub fn drain(&self, worker: &str) -> Option<&Arc<Drain>> {
        self.tables.drains.get(&worker.to_owned())
    }

    /// All drained workers, by id.
    pub fn drains(&self) -> impl Iterator<Item = (&String, &Arc<Drain>)> {
        self.tables.drains.iter()
    }

    /// Since when an attempt has tasks on a drained worker, in wall time; of several, the last.
    pub fn drained_at_ms(&self, attempt: &Attempt) -> Option<u64> {
        let workers = attempt.placement.iter().map(|place| &place.worker.worker);
        let drains = workers.filter_map(|worker| self.drain(worker));
        drains.map(|drain| drain.at_ms).max()
    }

    /// How this life of the state began, if it was restored or recovered.
    pub fn rebirth(&self) -> Option<&Arc<Reborn>> {
        self.tables.rebirths.get(&self.meta()?.generation)
    }

    /// Whether the jobs and artefacts of an earlier life still wait for `ResumeJobs`.
    pub fn is_suspended(&self) -> bool {
        self.rebirth().is_some_and(|reborn| !reborn.resumed)
    }

    /// Whether this job is an earlier life's, and nothing may be done about it yet.
    pub fn is_job_withheld(&self, job: &Job) -> bool {
        let generation = self.meta().map_or(0, |meta| meta.generation);
        self.is_suspended() && job.run.generation < generation
    }

    /// Whether this artefact is an earlier life's, and must not be touched yet.
    pub fn is_withheld(&self, artefact: ArtefactId) -> bool {
        let reborn = self.rebirth().filter(|reborn| !reborn.resumed);
        reborn.is_some_and(|reborn| artefact < reborn.inherited_before)
    }

    /// The job that starts from this savepoint or checkpoint, if one does.
    pub fn pinned_by(&self, path: &str) -> Option<JobId> {
        let path = PathDigest::of(path);
        let range = (path, JobId([0; 16]))..=(path, JobId([u8::MAX; 16]));
        self.index.pins.range(range).next().map(|(_, job)| *job)
    }
}
