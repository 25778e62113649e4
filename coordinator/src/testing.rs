//! Fixtures of unit tests: a real machine driven by real commands, and workers as a leader sees them.

use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::FailoverTally;
use regent_state::{Command, Envelope, JobGraph, Machine, RequestTag, Response};

use crate::leader::seen::{Phase, Seen, WorkerSeen};
use crate::scheduler::standing::tasks_in_slot;
use crate::scheduler::world::Facts;
use crate::wire::{AttemptRef, TaskId};

pub(crate) const JOB: JobId = JobId([7; 16]);
pub(crate) const LEASE: Duration = Duration::from_secs(10);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn tm(number: u64, incarnation: u64) -> WorkerRef {
    WorkerRef {
        worker: format!("tm-{number}"),
        incarnation,
    }
}

/// What the sink of a test job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkKind {
    Blackhole,
    ExactlyOnce,
    /// Not safe beside a zombie.
    AtLeastOnce,
    Replace,
}

fn vertex(id: &str, kind: VertexKind, operator: &str, parallelism: u32) -> Vertex {
    Vertex {
        id: id.into(),
        kind,
        operator: operator.into(),
        parallelism,
        inputs: Vec::new(),
        config_json: "{}".into(),
        columns: Vec::new(),
        bounded: true,
        zombie_safe: true,
        sink: None,
    }
}

/// `numbers` into `out`, both of this parallelism; checkpoints each second; fixed restarts at once.
pub(crate) fn graph(parallelism: u32, sink: SinkKind) -> JobGraph {
    let source = vertex("numbers", VertexKind::Source, "sequence", parallelism);
    let operator = if sink == SinkKind::Blackhole {
        "blackhole"
    } else {
        "files"
    };
    let mut out = vertex("out", VertexKind::Sink, operator, parallelism);
    out.inputs = vec![Edge {
        from: "numbers".into(),
        partition: Partition::Forward,
    }];
    out.zombie_safe = sink != SinkKind::AtLeastOnce;
    out.sink = (sink != SinkKind::Blackhole).then(|| SinkInfo {
        path: "/out".into(),
        mode: if sink == SinkKind::Replace {
            IfExists::Replace
        } else {
            IfExists::Refuse
        },
        exactly_once: sink != SinkKind::AtLeastOnce,
    });
    JobGraph {
        name: "test".into(),
        parallelism,
        checkpointing: Some(CheckpointConfig {
            interval_ms: Some(1_000),
            timeout_ms: 5_000,
            min_pause_ms: 0,
            num_retained: 1,
            tolerable_failed: 0,
            retention: Retention::NoExternalizedCheckpoints,
        }),
        restart_strategy: RestartStrategy::FixedDelay {
            attempts: 3,
            delay_ms: 100,
        },
        vertices: vec![source, out],
    }
}

/// A machine and the leader that writes to it.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) machine: Machine,
    pub(crate) epoch: Epoch,
    pub(crate) clock_ms: u64,
    index: u64,
    requests: u8,
}

impl Env {
    /// Announced as node 1 in term 1.
    pub(crate) fn new() -> Self {
        let epoch = Epoch {
            generation: 1,
            term: 0,
            node: NodeId(1),
        };
        let mut env = Self {
            machine: Machine::new(),
            epoch,
            clock_ms: 1_000,
            index: 0,
            requests: 0,
        };
        env.new_leader();
        env
    }

    /// With a submitted job.
    pub(crate) fn with_job(graph: JobGraph) -> Self {
        let mut env = Self::new();
        let submit = SubmitJob {
            job_id: JOB,
            graph,
            restore: None,
        };
        env.client(Command::SubmitJob(submit));
        env
    }

    /// A new reign begins.
    pub(crate) fn new_leader(&mut self) {
        self.epoch.term += 1;
        let announce = AnnounceLeader {
            epoch: self.epoch,
            cluster_id: ClusterId([1; 16]),
            node_name: "jm-1".into(),
            api: "127.0.0.1:1".into(),
            cause: "test".into(),
            leaderless_ms: 0,
            failover: FailoverTally::default(),
        };
        self.leader(Command::AnnounceLeader(announce));
    }

    fn apply(
        &mut self,
        epoch: Option<Epoch>,
        request: Option<RequestTag>,
        command: Command,
    ) -> Response {
        self.index += 1;
        let envelope = Envelope {
            epoch,
            request,
            proposed_at_ms: self.clock_ms,
            wall_ms: 1_000_000 + self.clock_ms,
            actor: "test".into(),
            command,
        };
        let entry = EntryId {
            index: LogIndex(self.index),
            term: self.epoch.term,
            node: self.epoch.node,
        };
        self.machine.apply(entry, &envelope).response
    }

    /// A reconciler's command; must be accepted.
    pub(crate) fn leader(&mut self, command: Command) -> Response {
        let line = command.to_string();
        let response = self.apply(Some(self.epoch), None, command);
        assert!(response.rejection().is_none(), "{line}: {response:?}");
        response
    }

    /// A client's command; must be accepted.
    pub(crate) fn client(&mut self, command: Command) -> Response {
        self.requests += 1;
        let line = command.to_string();
        let tag = RequestTag {
            id: RequestId([self.requests; 16]),
            base_generation: 1,
            base_index: self.index,
        };
        let response = self.apply(None, Some(tag), command);
        assert!(response.rejection().is_none(), "{line}: {response:?}");
        response
    }

    /// Deploys the job on these workers, slot by slot.
    pub(crate) fn deploy(&mut self, workers: &[WorkerRef]) -> AttemptRef {
        let job = self.machine.job(JOB).unwrap().clone();
        let place = |(slot, worker): (usize, &WorkerRef)| SlotPlacement {
            slot: u32::try_from(slot).unwrap(),
            worker: worker.clone(),
            address: "127.0.0.1:9".into(),
        };
        let placement = workers.iter().enumerate().map(place).collect();
        let deploy = DeployAttempt {
            job: JOB,
            prior: job.token,
            placement,
        };
        match self.leader(Command::DeployAttempt(deploy)) {
            Response::Deployed(deployed) => AttemptRef {
                job: JOB,
                run: job.run,
                token: deployed.token,
            },
            other => panic!("{other:?}"),
        }
    }

    /// Deploys and reports it running.
    pub(crate) fn run(&mut self, workers: &[WorkerRef]) -> AttemptRef {
        let attempt = self.deploy(workers);
        let (job, token) = (JOB, attempt.token);
        self.leader(Command::AttemptRunning(AttemptRunning { job, token }));
        attempt
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            job: Arc::clone(self.machine.job(JOB).unwrap()),
            graph: Arc::clone(self.machine.graph(JOB).unwrap()),
            attempts: self.machine.attempts(JOB).cloned().collect(),
            drained_at_ms: self
                .machine
                .current_attempt(JOB)
                .and_then(|attempt| self.machine.drained_at_ms(attempt)),
        }
    }

    /// Takes a checkpoint with or without transactions in it.
    pub(crate) fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        has_transactions: bool,
    ) -> CheckpointId {
        let token = self.machine.job(JOB).unwrap().token.unwrap();
        let begin = BeginCheckpoint {
            job: JOB,
            token,
            kind,
            root: "/chk".into(),
        };
        let Response::CheckpointBegun { id, path, .. } =
            self.leader(Command::BeginCheckpoint(begin))
        else {
            panic!("not begun");
        };
        let pointer = CheckpointPointer {
            path,
            metadata_len: 1,
            metadata_crc: 2,
            size_bytes: 3,
            duration_ms: 4,
            files: 0,
            has_transactions,
        };
        let complete = CompleteCheckpoint {
            job: JOB,
            token,
            id,
            pointer,
            sinks_committed_through: None,
        };
        self.leader(Command::CompleteCheckpoint(complete));
        id
    }
}

fn offer(kind: &str, name: &str) -> v1::OperatorOffer {
    v1::OperatorOffer {
        kind: kind.into(),
        name: name.into(),
        version: 1,
        own: false,
    }
}

/// A worker of four slots with an open session.
pub(crate) fn worker(incarnation: u64, session: u64) -> WorkerSeen {
    let offers = [
        offer("source", "sequence"),
        offer("sink", "blackhole"),
        offer("sink", "files"),
    ];
    WorkerSeen {
        incarnation,
        machine_id: "machine".into(),
        data_dir: "/data".into(),
        slots: 4,
        data_address: "127.0.0.1:9".into(),
        offers: Arc::from(offers),
        session,
        broke_at: None,
        dead: false,
        last_heard: ms(0),
        lease_from: ms(0),
        tasks: Arc::default(),
    }
}

/// These workers, registered, holding nothing.
pub(crate) fn seen(workers: &[WorkerRef]) -> Seen {
    let mut seen = Seen::default();
    for (session, of) in (1..).zip(workers) {
        seen.register(of.worker.clone(), worker(of.incarnation, session));
    }
    seen
}

/// The worker reports every subtask of this slot in this phase.
pub(crate) fn report(
    seen: &mut Seen,
    env: &Env,
    of: &WorkerRef,
    attempt: AttemptRef,
    slot: u32,
    phase: &Phase,
) {
    let graph = env.machine.graph(JOB).unwrap();
    for task in tasks_in_slot(graph, slot) {
        report_task(seen, of, attempt, task, phase.clone());
    }
}

pub(crate) fn report_task(
    seen: &mut Seen,
    of: &WorkerRef,
    attempt: AttemptRef,
    task: TaskId,
    phase: Phase,
) {
    let worker = seen.workers.get_mut(&of.worker).unwrap();
    Arc::make_mut(&mut worker.tasks)
        .entry(attempt)
        .or_default()
        .insert(task, phase);
}
