//! A client of the leader's door: it owns a running job, and begins and completes its checkpoints, one after the
//! other, as the leader's checkpoint coordinator would. Evicted checkpoints are reported as deleted, many
//! in one entry, as the cleaner does; so the ledger doesn't grow.

use regent_state::command::{
    AttemptRunning, BeginCheckpoint, CheckpointKind, CheckpointPointer, CleanupAttempted,
    CleanupOutcome, CleanupReport, CompleteCheckpoint, DeployAttempt, SlotPlacement, SubmitJob,
};
use regent_state::graph::{
    CheckpointConfig, Edge, Partition, RestartStrategy, Retention, Vertex, VertexKind,
};
use regent_state::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, WorkerRef};
use regent_state::{Command, JobGraph, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::Outcome;
use crate::load::Span;
use crate::member::{Inside, packed, unpacked};
use crate::proto::door::door_client::DoorClient;
use crate::proto::door::{self, Measured, Proposal};

/// Deleted checkpoints reported in one entry.
const REPORTED_TOGETHER: usize = 32;

/// What the next write is.
#[derive(Debug)]
enum Next {
    Begin,
    Complete { id: CheckpointId, path: String },
}

#[derive(Debug)]
pub(crate) struct CheckpointClient {
    client: Way,
    job: JobId,
    token: AttemptToken,
    next: Next,
    evicted: Vec<ArtefactId>,
}

impl CheckpointClient {
    /// Connects and brings a job of its own to RUNNING.
    pub(crate) async fn connect(member: &str) -> Outcome<Self> {
        Self::with_job(Way::Stream(DoorStream::open(member).await?)).await
    }

    /// The same inside the leader's process.
    pub(crate) async fn inside(inside: Inside) -> Outcome<Self> {
        Self::with_job(Way::Inside(inside)).await
    }

    async fn with_job(mut client: Way) -> Outcome<Self> {
        let job = JobId(rand::random());
        let submit = SubmitJob {
            job_id: job,
            graph: graph(),
            restore: None,
        };
        client.propose(Command::SubmitJob(submit)).await?;
        let deploy = DeployAttempt {
            job,
            prior: None,
            placement: vec![SlotPlacement {
                slot: 0,
                worker: WorkerRef {
                    worker: "tm-1".to_owned(),
                    incarnation: 1,
                },
                address: "127.0.0.1:1".to_owned(),
            }],
        };
        let Response::Deployed(deployed) = client.propose(Command::DeployAttempt(deploy)).await?
        else {
            return Err("the attempt was not deployed".into());
        };
        let token = deployed.token;
        let running = AttemptRunning { job, token };
        client.propose(Command::AttemptRunning(running)).await?;
        Ok(Self {
            client,
            job,
            token,
            next: Next::Begin,
            evicted: Vec::new(),
        })
    }

    pub(crate) async fn write(&mut self) -> Outcome<()> {
        if self.evicted.len() >= REPORTED_TOGETHER {
            return self.report_deleted().await;
        }
        match std::mem::replace(&mut self.next, Next::Begin) {
            Next::Begin => self.begin().await,
            Next::Complete { id, path } => self.complete(id, path).await,
        }
    }

    async fn begin(&mut self) -> Outcome<()> {
        let command = BeginCheckpoint {
            job: self.job,
            token: self.token,
            kind: CheckpointKind::Checkpoint,
            root: "/var/lib/regent/checkpoints".to_owned(),
        };
        match self
            .client
            .propose(Command::BeginCheckpoint(command))
            .await?
        {
            Response::CheckpointBegun { id, path, .. } => {
                self.next = Next::Complete { id, path };
                Ok(())
            }
            other => Err(format!("begun? {other:?}").into()),
        }
    }

    async fn complete(&mut self, id: CheckpointId, path: String) -> Outcome<()> {
        let command = CompleteCheckpoint {
            job: self.job,
            token: self.token,
            id,
            pointer: CheckpointPointer {
                path,
                metadata_len: 4_711,
                metadata_crc: 0x1234_5678,
                size_bytes: 1 << 20,
                duration_ms: 42,
                files: 2,
                has_transactions: false,
            },
            sinks_committed_through: None,
        };
        match self
            .client
            .propose(Command::CompleteCheckpoint(command))
            .await?
        {
            Response::CheckpointCompleted { evicted, .. } => {
                self.evicted.extend(evicted);
                Ok(())
            }
            other => Err(format!("completed? {other:?}").into()),
        }
    }

    async fn report_deleted(&mut self) -> Outcome<()> {
        let report = |artefact| CleanupReport {
            artefact,
            outcome: CleanupOutcome::Gone,
        };
        let outcomes = self.evicted.drain(..).map(report).collect();
        let command = CleanupAttempted { outcomes };
        self.client
            .propose(Command::CleanupAttempted(command))
            .await?;
        Ok(())
    }
}

/// How a client's commands get to the leader.
#[derive(Debug)]
enum Way {
    Stream(DoorStream),
    Inside(Inside),
}

impl Way {
    async fn propose(&mut self, command: Command) -> Outcome<Response> {
        let answer = match self {
            Self::Stream(stream) => stream.propose(command).await?,
            Self::Inside(inside) => inside.propose(command).await?,
        };
        match answer {
            Response::Rejected(why) => Err(format!("rejected: {why}").into()),
            answer => Ok(answer),
        }
    }
}

/// Has the leader run clients inside its process.
pub(crate) async fn repeat_inside(
    members: &[String],
    clients: usize,
    span: Span,
) -> Outcome<Measured> {
    let load = door::Load {
        clients: u32::try_from(clients)?,
        warm_up_ms: u64::try_from(span.warm_up.as_millis())?,
        measured_ms: u64::try_from(span.measured.as_millis())?,
    };
    let mut address = members[0].clone();
    for _ in 0..members.len() {
        let channel = super::connect(&address).await?;
        let mut client = DoorClient::new(channel).max_decoding_message_size(64 << 20);
        match client.repeat(load).await {
            Ok(measured) => return Ok(measured.into_inner()),
            Err(status) if status.code() == Code::FailedPrecondition => {
                address = status.message().to_owned();
            }
            Err(status) => return Err(status.into()),
        }
    }
    Err("no member leads".into())
}

/// One client's stream to the leader's door.
#[derive(Debug)]
struct DoorStream {
    proposals: mpsc::Sender<Proposal>,
    outcomes: Streaming<door::Outcome>,
}

impl DoorStream {
    /// To the leader, whichever member is asked first.
    async fn open(member: &str) -> Outcome<Self> {
        match Self::open_at(member).await {
            Err(status) if status.code() == Code::FailedPrecondition => {
                Ok(Self::open_at(status.message()).await?)
            }
            other => Ok(other?),
        }
    }

    async fn open_at(address: &str) -> Result<Self, Status> {
        let channel = super::connect(address).await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let (proposals, queue) = mpsc::channel(1);
        let opened = DoorClient::new(channel)
            .propose(ReceiverStream::new(queue))
            .await?;
        Ok(Self {
            proposals,
            outcomes: opened.into_inner(),
        })
    }

    async fn propose(&mut self, command: Command) -> Outcome<Response> {
        let command = packed(&command)?;
        self.proposals.send(Proposal { command }).await?;
        let outcome = self.outcomes.message().await?.ok_or("the door closed")?;
        unpacked(&outcome.response)
    }
}

fn graph() -> JobGraph {
    let vertex = |id: &str, kind, operator: &str, inputs| Vertex {
        id: id.to_owned(),
        kind,
        operator: operator.to_owned(),
        parallelism: 1,
        inputs,
        config_json: "{}".to_owned(),
        columns: Vec::new(),
        bounded: false,
        zombie_safe: true,
        sink: None,
    };
    let forward = Edge {
        from: "in".to_owned(),
        partition: Partition::Forward,
    };
    JobGraph {
        name: "benchmark".to_owned(),
        parallelism: 1,
        checkpointing: Some(CheckpointConfig {
            interval_ms: Some(10_000),
            timeout_ms: 600_000,
            min_pause_ms: 0,
            num_retained: 1,
            tolerable_failed: 0,
            retention: Retention::NoExternalizedCheckpoints,
        }),
        restart_strategy: RestartStrategy::None,
        vertices: vec![
            vertex("in", VertexKind::Source, "sequence", Vec::new()),
            vertex("out", VertexKind::Sink, "blackhole", vec![forward]),
        ],
    }
}
