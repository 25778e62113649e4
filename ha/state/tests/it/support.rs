//! A cluster of one machine: given words of the domain, it writes entries, applies them, checks
//! every invariant after each, and keeps the log for replaying.

use std::sync::Arc;

pub(crate) use crate::fixtures::*;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;
use regent_state::{Command, EntryId, Envelope, Machine, Rebirth, RequestTag};

pub(crate) const ROOT: &str = "/var/checkpoints";

/// A machine with its log.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) log: Vec<(EntryId, Envelope)>,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) clock_ms: u64,
    pub(crate) effects: Vec<Effect>,
    /// The state before the log: empty, or what a new life began with.
    pub(crate) base: Machine,
    /// How often the state was reborn.
    pub(crate) lives: u64,
}

pub(crate) fn job_id(number: u8) -> JobId {
    JobId([number; 16])
}

pub(crate) fn cluster_id() -> ClusterId {
    ClusterId([7; 16])
}

pub(crate) fn request(number: u8, base_index: u64) -> RequestTag {
    RequestTag {
        id: RequestId([number; 16]),
        base_generation: 1,
        base_index,
    }
}

impl World {
    /// A cluster whose node 1 leads.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        world.lead(1);
        world
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch {
            generation: self.generation(),
            term: self.term,
            node: NodeId(self.node),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        1 + self.lives
    }

    /// A majority is lost and the state recovered: a new life of the same jobs, with a log of its own.
    pub(crate) fn relive(&mut self) {
        self.index += 1;
        self.lives += 1;
        let rebirth = Rebirth {
            cluster_id: cluster_id(),
            generation: self.generation(),
            entry: EntryId {
                index: LogIndex(self.index),
                term: self.term,
                node: NodeId(self.node),
            },
            wall_ms: 1_700_000_000_000 + self.clock_ms,
            cause: "recovered".to_owned(),
        };
        self.base = self.machine.reborn(&rebirth).expect("a state that was led");
        self.machine = self.base.clone();
        self.log.clear();
        self.lead(1);
    }

    /// Writes an entry and checks every invariant after it.
    pub(crate) fn write(
        &mut self,
        epoch: Option<Epoch>,
        request: Option<RequestTag>,
        command: Command,
    ) -> Response {
        let response = self.append(epoch, request, command);
        if let Err(violation) = self.machine.check() {
            let (entry, envelope) = self.log.last().expect("an entry was written");
            panic!("after entry {entry}: {}: {violation}", envelope.command);
        }
        response
    }

    /// Writes entries without the whole check, where many are needed.
    pub(crate) fn write_unchecked(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            let reconciler = command.authority() == Authority::Reconciler;
            let epoch = reconciler.then(|| self.epoch());
            assert_eq!(self.append(epoch, None, command).rejection(), None);
        }
    }

    fn append(
        &mut self,
        epoch: Option<Epoch>,
        request: Option<RequestTag>,
        command: Command,
    ) -> Response {
        self.index += 1;
        let entry = EntryId {
            index: LogIndex(self.index),
            term: self.term,
            node: NodeId(self.node),
        };
        let envelope = Envelope {
            epoch,
            request,
            proposed_at_ms: self.clock_ms,
            wall_ms: 1_700_000_000_000 + self.clock_ms,
            actor: "tester".to_owned(),
            command,
        };
        let applied = self.machine.apply(entry, &envelope);
        self.effects = applied.effects;
        self.log.push((entry, envelope));
        applied.response
    }

    /// The leader's reconcilers propose.
    pub(crate) fn propose(&mut self, command: Command) -> Response {
        let epoch = self.epoch();
        self.write(Some(epoch), None, command)
    }

    /// A client asks, without a request id.
    pub(crate) fn ask(&mut self, command: Command) -> Response {
        self.write(None, None, command)
    }

    /// A new leader announces itself.
    pub(crate) fn lead(&mut self, node: u64) -> Announced {
        self.term += 1;
        self.node = node;
        let command = AnnounceLeader {
            epoch: self.epoch(),
            cluster_id: cluster_id(),
            node_name: format!("jm-{node}"),
            api: format!("127.0.0.1:{}", 7100 + node),
            cause: "the last leader is gone".to_owned(),
            leaderless_ms: 50,
            failover: FailoverTally {
                fired: 1,
                ..FailoverTally::default()
            },
        };
        match self.write(None, None, Command::AnnounceLeader(command)) {
            Response::Announced(announced) => announced,
            other => panic!("not announced: {other:?}"),
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.clock_ms += ms;
    }

    pub(crate) fn submit(&mut self, number: u8, graph: &JobGraph) -> Response {
        let graph = graph.clone();
        let command = SubmitJob {
            job_id: job_id(number),
            graph,
            restore: None,
        };
        self.ask(Command::SubmitJob(command))
    }

    pub(crate) fn job(&self, number: u8) -> Arc<Job> {
        Arc::clone(self.machine.job(job_id(number)).expect("the job exists"))
    }

    pub(crate) fn state(&self, number: u8) -> JobState {
        self.job(number).state
    }

    pub(crate) fn token(&self, number: u8) -> AttemptToken {
        self.job(number).token.expect("the job was deployed")
    }

    pub(crate) fn deploy_command(&self, number: u8) -> Command {
        let slots = self
            .machine
            .graph(job_id(number))
            .map_or(1, |graph| graph.slots_needed());
        let prior = self.machine.job(job_id(number)).and_then(|job| job.token);
        let placement = placement(slots);
        Command::DeployAttempt(DeployAttempt {
            job: job_id(number),
            prior,
            placement,
        })
    }

    pub(crate) fn deploy(&mut self, number: u8) -> Deployed {
        let command = self.deploy_command(number);
        match self.propose(command) {
            Response::Deployed(deployed) => deployed,
            other => panic!("not deployed: {other:?}"),
        }
    }

    pub(crate) fn runs(&mut self, number: u8) {
        let (job, token) = (job_id(number), self.token(number));
        let command = Command::AttemptRunning(AttemptRunning { job, token });
        assert_eq!(self.propose(command), Response::Done);
    }

    /// Submitted, deployed, running.
    pub(crate) fn start(&mut self, number: u8, graph: &JobGraph) {
        assert_eq!(self.submit(number, graph).rejection(), None);
        self.deploy(number);
        self.runs(number);
    }

    pub(crate) fn adopt(&mut self, number: u8) -> Response {
        let (job, token) = (job_id(number), self.token(number));
        self.propose(Command::AttemptAdopted(AttemptAdopted { job, token }))
    }

    pub(crate) fn fail(&mut self, number: u8, kind: FailureKind) -> Verdict {
        match self.propose(failed(job_id(number), self.token(number), kind)) {
            Response::AttemptFailed(verdict) => verdict,
            other => panic!("not taken: {other:?}"),
        }
    }

    pub(crate) fn over(&mut self, number: u8) -> Response {
        let job = self.job(number);
        let tokens = self
            .machine
            .attempts(job.id)
            .map(|attempt| attempt.token)
            .collect();
        self.propose(Command::AttemptsOver(AttemptsOver {
            job: job.id,
            run: job.run,
            tokens,
        }))
    }

    pub(crate) fn try_begin(&mut self, number: u8, kind: CheckpointKind) -> Response {
        let (job, token) = (job_id(number), self.token(number));
        let root = ROOT.to_owned();
        self.propose(Command::BeginCheckpoint(BeginCheckpoint {
            job,
            token,
            kind,
            root,
        }))
    }

    pub(crate) fn begin(&mut self, number: u8, kind: CheckpointKind) -> (CheckpointId, String) {
        match self.try_begin(number, kind) {
            Response::CheckpointBegun { id, path, .. } => (id, path),
            other => panic!("not begun: {other:?}"),
        }
    }

    pub(crate) fn complete(
        &mut self,
        number: u8,
        (id, path): (CheckpointId, String),
        has_transactions: bool,
    ) -> Response {
        let (job, token) = (job_id(number), self.token(number));
        self.propose(Command::CompleteCheckpoint(CompleteCheckpoint {
            job,
            token,
            id,
            pointer: pointer(path, has_transactions),
            sinks_committed_through: None,
        }))
    }

    /// Begun and completed.
    pub(crate) fn checkpoint(&mut self, number: u8, has_transactions: bool) -> CheckpointId {
        self.complete_kind(number, CheckpointKind::Checkpoint, has_transactions)
    }

    pub(crate) fn complete_kind(
        &mut self,
        number: u8,
        kind: CheckpointKind,
        has_transactions: bool,
    ) -> CheckpointId {
        let begun = self.begin(number, kind);
        let id = begun.0;
        let response = self.complete(number, begun, has_transactions);
        assert_eq!(response.rejection(), None);
        id
    }

    pub(crate) fn abort(&mut self, number: u8, counts: bool) -> bool {
        let job = self.job(number);
        let pending = job.pending.as_ref().expect("a checkpoint is pending");
        let command = AbortCheckpoint {
            job: job.id,
            token: pending.token,
            id: pending.id,
            cause: "timed out".to_owned(),
            counts,
        };
        match self.propose(Command::AbortCheckpoint(command)) {
            Response::CheckpointAborted { too_many } => too_many,
            other => panic!("not aborted: {other:?}"),
        }
    }

    pub(crate) fn committed(&mut self, number: u8, through: CheckpointId) -> Response {
        let job = self.job(number);
        let command = SinksCommitted {
            job: job.id,
            run: job.run,
            through,
        };
        self.propose(Command::SinksCommitted(command))
    }

    pub(crate) fn cancel(&mut self, number: u8) -> Response {
        self.ask(Command::CancelJob(CancelJob {
            job: job_id(number),
        }))
    }

    pub(crate) fn end(&mut self, number: u8, outcome: Outcome) -> Response {
        let job = self.job(number);
        let command = JobTerminated {
            job: job.id,
            run: job.run,
            token: job.token,
            outcome,
        };
        self.propose(Command::JobTerminated(command))
    }

    /// The cleaner deletes everything that is due, and takes all sweeps.
    pub(crate) fn clean(&mut self) {
        let due = self.machine.due_cleanups(self.clock_ms);
        let gone = |artefact: &Arc<Artefact>| CleanupReport {
            artefact: artefact.id,
            outcome: CleanupOutcome::Gone,
        };
        let outcomes: Vec<_> = due.map(gone).collect();
        self.propose(Command::CleanupAttempted(CleanupAttempted { outcomes }));
        let sweeps: Vec<_> = self
            .machine
            .due_sweeps(self.clock_ms)
            .map(|due| SweepReport {
                artefact: due.artefact.id,
                last: due.last,
                outcome: SweepOutcome::Gone,
            })
            .collect();
        self.propose(Command::CleanupSwept(CleanupSwept { sweeps }));
    }

    pub(crate) fn cleanup_fails(&mut self, artefact: ArtefactId, next_retry_ms: Option<u64>) {
        let error = "directory not empty".to_owned();
        let outcome = CleanupOutcome::Failed {
            error,
            next_retry_ms,
        };
        let outcomes = vec![CleanupReport { artefact, outcome }];
        self.propose(Command::CleanupAttempted(CleanupAttempted { outcomes }));
    }

    /// The ledger of a job's present run: (kind, state), oldest first.
    pub(crate) fn ledger(&self, number: u8) -> Vec<(String, ArtefactState)> {
        let job = self.job(number);
        let artefacts = self.machine.artefacts_of(job.id, job.run);
        artefacts
            .map(|artefact| (artefact.kind.to_string(), artefact.state))
            .collect()
    }

    pub(crate) fn artefact_at(&self, path: &str) -> Arc<Artefact> {
        Arc::clone(
            self.machine
                .artefact_at(path)
                .expect("the path is in the ledger"),
        )
    }

    pub(crate) fn is_clean(&self, number: u8) -> bool {
        self.job(number)
            .result
            .as_ref()
            .is_some_and(|result| result.clean)
    }
}

/// Ends a job with this outcome, from RUNNING, with everything committed.
pub(crate) fn end_with(world: &mut World, number: u8, outcome: Outcome) {
    let job = world.job(number);
    match outcome {
        Outcome::Finished => {
            world.complete_kind(number, CheckpointKind::Final, false);
        }
        Outcome::Canceled => {
            world.cancel(number);
        }
        Outcome::Failed => {
            let cause = "broken".to_owned();
            world.propose(Command::FailJob(FailJob {
                job: job.id,
                run: job.run,
                cause,
            }));
        }
    }
    assert_eq!(world.end(number, outcome).rejection(), None);
    world.over(number);
}
