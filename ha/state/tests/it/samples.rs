//! One of everything that is encoded: samples for the golden files.

use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::FailoverTally;
use regent_state::model::MemberRole;
use regent_state::{Command, Envelope, RequestTag};

use crate::support::*;

pub(crate) fn envelope(command: Command) -> Envelope {
    let reconciler = command.authority() == Authority::Reconciler;
    let epoch = Epoch {
        generation: 2,
        term: 300,
        node: NodeId(3),
    };
    let tag = RequestTag {
        id: RequestId([0xaa; 16]),
        base_generation: 2,
        base_index: 70_000,
    };
    Envelope {
        epoch: reconciler.then_some(epoch),
        request: (command.authority() == Authority::Client).then_some(tag),
        proposed_at_ms: 123_456,
        wall_ms: 1_795_000_000_000,
        actor: "anna".to_owned(),
        command,
    }
}

/// A graph with one of everything.
fn rich_graph(restart_strategy: RestartStrategy) -> JobGraph {
    let mut graph = files_job("flights per carrier");
    graph.restart_strategy = restart_strategy;
    let types = [
        DataType::Int64,
        DataType::Float64,
        DataType::Utf8,
        DataType::Boolean,
        DataType::Timestamp,
    ];
    let column = |data_type| Column {
        name: format!("{data_type:?}"),
        data_type,
    };
    graph.vertices[0].columns = types.map(column).to_vec();
    graph.vertices[0].bounded = false;
    graph.vertices[1].inputs = [
        Partition::Forward,
        Partition::Hash {
            by: vec!["carrier".to_owned()],
        },
        Partition::Rebalance,
        Partition::Broadcast,
    ]
    .map(|partition| Edge {
        from: "source".to_owned(),
        partition,
    })
    .to_vec();
    graph.vertices[1].config_json = r#"{"where":{"column":"distance"}}"#.to_owned();
    graph
}

pub(crate) fn strategies() -> [RestartStrategy; 4] {
    [
        RestartStrategy::None,
        RestartStrategy::FixedDelay {
            attempts: 3,
            delay_ms: 1_000,
        },
        RestartStrategy::ExponentialDelay {
            initial_backoff_ms: 1_000,
            max_backoff_ms: 60_000,
            multiplier_permille: 1_500,
            jitter_permille: 100,
            reset_threshold_ms: 3_600_000,
        },
        RestartStrategy::FailureRate {
            max_failures: 1,
            interval_ms: 60_000,
            delay_ms: 1_000,
        },
    ]
}

fn job_commands() -> Vec<Command> {
    let (job, run) = (
        job_id(0x5a),
        Run {
            generation: 2,
            index: LogIndex(77),
        },
    );
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    let restore = RestoreFrom {
        path: "/sp/savepoint-1.5-9".to_owned(),
        allow_unclaimed_state: true,
    };
    let mut commands: Vec<Command> = strategies()
        .map(|strategy| {
            let graph = rich_graph(strategy);
            Command::SubmitJob(SubmitJob {
                job_id: job,
                graph,
                restore: Some(restore.clone()),
            })
        })
        .to_vec();
    commands.extend([
        Command::CancelJob(CancelJob { job }),
        Command::StopJob(StopJob {
            job,
            target: "/sp".to_owned(),
            drain: true,
        }),
        Command::RequestSavepoint(RequestSavepoint {
            job,
            target: "/sp".to_owned(),
        }),
        Command::FailJob(FailJob {
            job,
            run,
            cause: "no input".to_owned(),
        }),
        Command::JobWaiting(JobWaiting {
            job,
            run,
            reason: Some("no slots".to_owned()),
        }),
        Command::SinkPrepared(SinkPrepared {
            job,
            run,
            vertex: "out".to_owned(),
            files: vec!["a.csv".to_owned(), "b/c.csv".to_owned()],
        }),
    ]);
    for outcome in [Outcome::Finished, Outcome::Failed, Outcome::Canceled] {
        let token = Some(token);
        commands.push(Command::JobTerminated(JobTerminated {
            job,
            run,
            token,
            outcome,
        }));
    }
    commands
}

fn attempt_commands() -> Vec<Command> {
    let (job, run) = (
        job_id(0x5a),
        Run {
            generation: 2,
            index: LogIndex(77),
        },
    );
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    let placement = placement(2);
    let mut commands = vec![
        Command::DeployAttempt(DeployAttempt {
            job,
            prior: Some(token),
            placement,
        }),
        Command::AttemptRunning(AttemptRunning { job, token }),
        Command::AttemptAdopted(AttemptAdopted { job, token }),
        Command::AttemptsOver(AttemptsOver {
            job,
            run,
            tokens: vec![token],
        }),
    ];
    let kinds = [
        FailureKind::TaskFailure,
        FailureKind::WorkerLost,
        FailureKind::IncompleteAfterTakeover,
        FailureKind::ChannelBroken,
        FailureKind::CheckpointsFailing,
        FailureKind::Unrecoverable,
    ];
    commands.extend(kinds.map(|kind| failed(job, token, kind)));
    commands
}

fn checkpoint_commands() -> Vec<Command> {
    let (job, run) = (
        job_id(0x5a),
        Run {
            generation: 2,
            index: LogIndex(77),
        },
    );
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    let id = CheckpointId(12);
    let kinds = [
        CheckpointKind::Checkpoint,
        CheckpointKind::Savepoint {
            request: LogIndex(90),
        },
        CheckpointKind::StopSavepoint,
        CheckpointKind::Final,
    ];
    let begin = |kind| BeginCheckpoint {
        job,
        token,
        kind,
        root: ROOT.to_owned(),
    };
    let mut commands: Vec<_> = kinds
        .map(|kind| Command::BeginCheckpoint(begin(kind)))
        .to_vec();
    commands.extend([
        Command::CompleteCheckpoint(CompleteCheckpoint {
            job,
            token,
            id,
            pointer: pointer("/var/checkpoints/chk-12".to_owned(), true),
            sinks_committed_through: Some(CheckpointId(11)),
        }),
        Command::AbortCheckpoint(AbortCheckpoint {
            job,
            token,
            id,
            cause: "timed out".to_owned(),
            counts: true,
        }),
        Command::SinksCommitted(SinksCommitted {
            job,
            run,
            through: id,
        }),
    ]);
    commands
}

fn other_commands() -> Vec<Command> {
    let artefact = ArtefactId(900);
    let failed = CleanupOutcome::Failed {
        error: "busy".to_owned(),
        next_retry_ms: Some(5_000),
    };
    let sweep = SweepOutcome::Failed {
        error: "busy".to_owned(),
        next_retry_ms: 6_000,
    };
    vec![
        Command::AnnounceLeader(AnnounceLeader {
            epoch: Epoch {
                generation: 2,
                term: 300,
                node: NodeId(3),
            },
            cluster_id: cluster_id(),
            node_name: "jm-3".to_owned(),
            api: "127.0.0.1:7103".to_owned(),
            cause: "jm-1 is gone".to_owned(),
            leaderless_ms: 35,
            failover: FailoverTally {
                fired: 2,
                lost: 1,
                not_needed: 3,
            },
        }),
        Command::CleanupAttempted(CleanupAttempted {
            outcomes: vec![
                CleanupReport {
                    artefact,
                    outcome: CleanupOutcome::Gone,
                },
                CleanupReport {
                    artefact,
                    outcome: failed,
                },
            ],
        }),
        Command::CleanupSwept(CleanupSwept {
            sweeps: vec![
                SweepReport {
                    artefact,
                    last: true,
                    outcome: SweepOutcome::Gone,
                },
                SweepReport {
                    artefact,
                    last: false,
                    outcome: sweep,
                },
            ],
        }),
        Command::RetryCleanup(RetryCleanup { job: job_id(0x5a) }),
        Command::ForgetArtefact(ForgetArtefact { artefact }),
        Command::DisposeSavepoint(DisposeSavepoint {
            path: "/sp/savepoint-2.77-4".to_owned(),
        }),
        Command::ExpireResults(ExpireResults {
            older_than_ms: 3_600_000,
            keep_at_most: 1_000,
        }),
        Command::SetFeatureLevel(SetFeatureLevel { level: 4 }),
    ]
}

/// What operators ask of replicas and workers.
pub(crate) fn operator_commands() -> Vec<Command> {
    let roles = [MemberRole::Voter, MemberRole::Learner, MemberRole::Removed];
    let members = (4..)
        .zip(roles)
        .map(|(node, wanted)| change_member(node, wanted));
    let drains = [("tm-1", true), ("tm-2", true), ("tm-2", false)];
    let drains = drains.map(|(worker, drained)| {
        let worker = worker.to_owned();
        Command::DrainWorker(DrainWorker { worker, drained })
    });
    members.chain(drains).collect()
}

pub(crate) fn change_member(node: u64, wanted: MemberRole) -> Command {
    Command::ChangeMember(ChangeMember {
        node: NodeId(node),
        name: format!("jm-{node}"),
        api: format!("jm-{node}:7101"),
        peer: format!("jm-{node}:7201"),
        wanted,
    })
}

fn drained() -> Command {
    let token = AttemptToken {
        generation: 2,
        index: LogIndex(78),
    };
    failed(job_id(0x5a), token, FailureKind::Drained)
}

pub(crate) fn all_commands() -> Vec<Command> {
    let groups = [
        job_commands(),
        attempt_commands(),
        checkpoint_commands(),
        other_commands(),
        operator_commands(),
        vec![drained(), Command::ResumeJobs(ResumeJobs {})],
    ];
    groups.into_iter().flatten().collect()
}
