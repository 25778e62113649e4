//! Arbitrary histories, nonsense included: every invariant holds after each entry, what is given up
//! stays given up, ends are ends, replays agree to the byte, and nothing leaks once all is healed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;
use regent_state::{Change, Command, EntryId, Envelope, Key, Machine};

use crate::support::*;

const JOBS: u8 = 3;

/// One step of a history; what it means depends on the state it meets.
#[derive(Debug, Clone, Copy)]
struct Step {
    verb: u8,
    job: u8,
    pick: u8,
    flag: bool,
    /// Out of ten, how often this step speaks nonsense: a stale epoch, token or id.
    nonsense: bool,
    pass_ms: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nonsense = prop::bool::weighted(0.1);
    let pass = prop_oneof![4 => 0..50_u32, 1 => 0..40_000_u32];
    let step = (
        0..40_u8,
        1..=JOBS,
        any::<u8>(),
        any::<bool>(),
        nonsense,
        pass,
    );
    let step = step.prop_map(|(verb, job, pick, flag, nonsense, pass_ms)| Step {
        verb,
        job,
        pick,
        flag,
        nonsense,
        pass_ms,
    });
    prop::collection::vec(step, 1..160)
}

/// The graph of a job number, in a few tastes.
fn graph_of(step: Step) -> JobGraph {
    let mode = match step.pick % 4 {
        0 => IfExists::Refuse,
        1 => IfExists::Replace,
        _ => IfExists::Append,
    };
    let path = format!("/out/{}", step.job);
    let sink = (step.pick % 5 != 0).then(|| sink(&path, mode));
    let mut graph = graph("any", sink);
    let retention = match step.job {
        1 => Retention::NoExternalizedCheckpoints,
        2 => Retention::DeleteOnCancellation,
        _ => Retention::RetainOnCancellation,
    };
    graph.checkpointing = Some(checkpointing(1 + u32::from(step.pick % 3), retention));
    graph.restart_strategy = match step.pick % 3 {
        0 => RestartStrategy::None,
        1 => RestartStrategy::FixedDelay {
            attempts: 5,
            delay_ms: 10,
        },
        _ => RestartStrategy::FailureRate {
            max_failures: 3,
            interval_ms: 1_000,
            delay_ms: 5,
        },
    };
    graph
}

/// What a step means in this world; nothing if it makes no sense.
fn command(world: &World, step: Step) -> Option<Command> {
    let id = job_id(step.job);
    let job = world.machine.job(id);
    let token = job.and_then(|job| job.token).unwrap_or_default();
    let token = match step.nonsense {
        true => AttemptToken {
            index: LogIndex(token.index.0.wrapping_sub(1)),
            ..token
        },
        false => token,
    };
    let run = job.map(|job| job.run).unwrap_or_default();
    let pending = job.and_then(|job| job.pending.as_ref());
    Some(match step.verb {
        0..=2 => submit(world, step),
        3..=6 => world.deploy_command(step.job),
        7..=10 => Command::AttemptRunning(AttemptRunning { job: id, token }),
        11 => Command::AttemptAdopted(AttemptAdopted { job: id, token }),
        12 | 13 => failed(id, token, kind_of_failure(step.pick)),
        14 | 15 => {
            let all = world.machine.attempts(id).map(|attempt| attempt.token);
            let some = all.filter(|at| !step.flag || *at != token).collect();
            Command::AttemptsOver(AttemptsOver {
                job: id,
                run,
                tokens: some,
            })
        }
        16 if step.pick % 3 == 0 => Command::CancelJob(CancelJob { job: id }),
        17 if step.pick % 3 == 0 => {
            let target = "/sp".to_owned();
            Command::StopJob(StopJob {
                job: id,
                target,
                drain: step.flag,
            })
        }
        18 => {
            let target = "/sp".to_owned();
            Command::RequestSavepoint(RequestSavepoint { job: id, target })
        }
        19 if step.pick % 4 == 0 => Command::FailJob(FailJob {
            job: id,
            run,
            cause: "no input".to_owned(),
        }),
        20 => {
            let vertex = "out".to_owned();
            let files = vec!["old.csv".to_owned(); usize::from(step.flag)];
            Command::SinkPrepared(SinkPrepared {
                job: id,
                run,
                vertex,
                files,
            })
        }
        21 | 22 => {
            let latest = job
                .and_then(|job| job.latest.as_ref())
                .map_or(1, |latest| latest.id.0);
            let through = CheckpointId(latest + u64::from(step.nonsense));
            Command::SinksCommitted(SinksCommitted {
                job: id,
                run,
                through,
            })
        }
        23 | 24 => end(step, job?),
        25..=28 => begin(step, job?, token),
        29..=31 => complete(step, job?, token, pending),
        32 => abort(step, token, pending),
        33 | 34 => clean(world, step),
        35 => sweep(world, step),
        36 => Command::RetryCleanup(RetryCleanup { job: id }),
        37 => {
            let artefact = ArtefactId(u64::from(step.pick));
            Command::ForgetArtefact(ForgetArtefact { artefact })
        }
        38 => dispose(world, step),
        39 if step.flag => {
            let keep_at_most = u64::from(step.pick % 4);
            Command::ExpireResults(ExpireResults {
                older_than_ms: 0,
                keep_at_most,
            })
        }
        _ => {
            let reason = step.flag.then(|| "not-enough-slots".to_owned());
            Command::JobWaiting(JobWaiting {
                job: id,
                run,
                reason,
            })
        }
    })
}

fn submit(world: &World, step: Step) -> Command {
    let retained: Vec<_> = world
        .machine
        .artefacts()
        .filter(|artefact| artefact.state == ArtefactState::Retained)
        .collect();
    let restore = retained
        .first()
        .filter(|_| step.flag)
        .map(|artefact| RestoreFrom {
            path: artefact.path.clone(),
            allow_unclaimed_state: true,
        });
    let graph = graph_of(step);
    Command::SubmitJob(SubmitJob {
        job_id: job_id(step.job),
        graph,
        restore,
    })
}

fn kind_of_failure(pick: u8) -> FailureKind {
    match pick % 8 {
        0 | 1 => FailureKind::TaskFailure,
        2 | 3 => FailureKind::WorkerLost,
        4 => FailureKind::IncompleteAfterTakeover,
        5 => FailureKind::ChannelBroken,
        6 => FailureKind::CheckpointsFailing,
        _ => FailureKind::Unrecoverable,
    }
}

fn end(step: Step, job: &Job) -> Command {
    let outcome = match (step.nonsense, job.state) {
        (false, JobState::Failing) => Outcome::Failed,
        (false, JobState::Cancelling) => Outcome::Canceled,
        _ => Outcome::Finished,
    };
    let (run, token) = (job.run, job.token);
    Command::JobTerminated(JobTerminated {
        job: job.id,
        run,
        token,
        outcome,
    })
}

fn begin(step: Step, job: &Job, token: AttemptToken) -> Command {
    let waiting = job.waiting_savepoint().map(|waiting| waiting.request);
    let kind = match (&job.wanted, waiting, step.pick % 6) {
        (Wanted::Stop { .. }, ..) => CheckpointKind::StopSavepoint,
        (_, Some(request), 0..=2) => CheckpointKind::Savepoint { request },
        (.., 5) => CheckpointKind::Final,
        _ => CheckpointKind::Checkpoint,
    };
    Command::BeginCheckpoint(BeginCheckpoint {
        job: job.id,
        token,
        kind,
        root: ROOT.to_owned(),
    })
}

fn complete(
    step: Step,
    job: &Job,
    token: AttemptToken,
    pending: Option<&PendingCheckpoint>,
) -> Command {
    let id = pending.map_or(CheckpointId(1), |pending| pending.id);
    let path = pending.map_or_else(String::new, |pending| pending.path.clone());
    let latest = job.latest.as_ref().map(|latest| latest.id);
    Command::CompleteCheckpoint(CompleteCheckpoint {
        job: job.id,
        token,
        id,
        pointer: pointer(path, step.flag),
        sinks_committed_through: latest.filter(|_| step.pick % 2 == 0),
    })
}

fn abort(step: Step, token: AttemptToken, pending: Option<&PendingCheckpoint>) -> Command {
    Command::AbortCheckpoint(AbortCheckpoint {
        job: job_id(step.job),
        token,
        id: pending.map_or(CheckpointId(3), |pending| pending.id),
        cause: "declined".to_owned(),
        counts: step.flag,
    })
}

fn clean(world: &World, step: Step) -> Command {
    let take = if step.nonsense {
        0
    } else {
        1 + usize::from(step.pick % 4)
    };
    let due = world.machine.due_cleanups(world.clock_ms).take(take);
    let outcome = |id: u64| match (step.flag, (id + u64::from(step.pick)) % 3) {
        (true, 0) => {
            let next_retry_ms = (step.pick % 2 == 0).then_some(world.clock_ms + 100);
            CleanupOutcome::Failed {
                error: "busy".to_owned(),
                next_retry_ms,
            }
        }
        _ => CleanupOutcome::Gone,
    };
    let report = |artefact: ArtefactId| CleanupReport {
        artefact,
        outcome: outcome(artefact.0),
    };
    let mut outcomes: Vec<_> = due.map(|artefact| report(artefact.id)).collect();
    if step.nonsense {
        outcomes.push(report(ArtefactId(u64::from(step.pick))));
    }
    Command::CleanupAttempted(CleanupAttempted { outcomes })
}

fn sweep(world: &World, step: Step) -> Command {
    let due = world.machine.due_sweeps(world.clock_ms);
    let mut sweeps: Vec<_> = due
        .map(|due| SweepReport {
            artefact: due.artefact.id,
            last: due.last ^ step.nonsense,
            outcome: match step.flag {
                true => SweepOutcome::Gone,
                false => SweepOutcome::Failed {
                    error: "busy".to_owned(),
                    next_retry_ms: world.clock_ms + 5,
                },
            },
        })
        .collect();
    if step.nonsense {
        let (artefact, outcome) = (ArtefactId(u64::from(step.pick)), SweepOutcome::Gone);
        sweeps.push(SweepReport {
            artefact,
            last: true,
            outcome,
        });
    }
    Command::CleanupSwept(CleanupSwept { sweeps })
}

fn dispose(world: &World, step: Step) -> Command {
    let all: Vec<_> = world
        .machine
        .artefacts()
        .filter(|each| each.kind.owns_path())
        .collect();
    let chosen = all.get(usize::from(step.pick) % all.len().max(1));
    let path = chosen.map_or_else(
        || "/foreign/sp".to_owned(),
        |artefact| artefact.path.clone(),
    );
    Command::DisposeSavepoint(DisposeSavepoint { path })
}

/// Sees every entry and remembers what may never change again.
#[derive(Default)]
struct Oracle {
    /// Paths ever declared by a run of ours: never used again.
    paths: BTreeMap<String, ArtefactId>,
    given_up: BTreeSet<ArtefactId>,
    ended: BTreeMap<(JobId, Run), (JobState, Option<String>)>,
    completed: BTreeMap<(JobId, Run), CheckpointId>,
    clock_ms: u64,
}

impl Oracle {
    fn watch(&mut self, machine: &Machine) {
        for artefact in machine.artefacts() {
            let gone = !matches!(
                artefact.state,
                ArtefactState::Live | ArtefactState::Retained
            );
            if gone {
                self.given_up.insert(artefact.id);
            }
            let revived = !gone && self.given_up.contains(&artefact.id);
            assert!(!revived, "artefact {} came back to life", artefact.id);
            if artefact.kind.owns_path() && artefact.owner.is_some() {
                let first = self
                    .paths
                    .entry(artefact.path.clone())
                    .or_insert(artefact.id);
                assert_eq!(*first, artefact.id, "{} was used again", artefact.path);
            }
        }
        for job in machine.jobs() {
            self.watch_job(job);
        }
        assert!(machine.clock_ms() >= self.clock_ms, "the clock went back");
        self.clock_ms = machine.clock_ms();
    }

    fn watch_job(&mut self, job: &Job) {
        let key = (job.id, job.run);
        if let Some(result) = &job.result {
            let now = (job.state, result.cause.clone());
            let first = self.ended.entry(key).or_insert_with(|| now.clone());
            assert_eq!(*first, now, "the end of {} has changed", job.id);
        }
        assert!(
            job.is_terminal() || !self.ended.contains_key(&key),
            "{} runs again",
            job.id
        );
        if let Some(latest) = &job.latest {
            let last = self.completed.insert(key, latest.id);
            assert!(
                last <= Some(latest.id),
                "the restore point of {} went back",
                job.id
            );
        }
    }
}

fn play(steps: &[Step]) -> World {
    let mut world = World::new();
    let mut oracle = Oracle::default();
    for (number, step) in steps.iter().enumerate() {
        world.pass(u64::from(step.pass_ms));
        if step.verb == 40 - 1 && step.pick % 2 == 0 || step.pick == 255 {
            world.lead(u64::from(step.job));
            oracle.watch(&world.machine);
            continue;
        }
        let Some(command) = command(&world, *step) else {
            continue;
        };
        let before = world.machine.clone();
        let response = write(&mut world, *step, number, command);
        if let Some(rejection) = response.rejection() {
            refused_leaves_nothing(&before, &world.machine, rejection);
        }
        oracle.watch(&world.machine);
    }
    world
}

fn write(world: &mut World, step: Step, number: usize, command: Command) -> Response {
    let epoch = world.epoch();
    let stale = Epoch {
        term: epoch.term.wrapping_sub(1),
        ..epoch
    };
    let reconciler = command.authority() == Authority::Reconciler;
    if reconciler {
        let epoch = if step.nonsense && step.flag {
            stale
        } else {
            epoch
        };
        return world.write(Some(epoch), None, command);
    }
    // Nonsense repeats an earlier request id.
    let id = if step.nonsense { number / 2 } else { number };
    let tag = request(
        u8::try_from(id % 256).unwrap(),
        world.index.saturating_sub(3),
    );
    world.write(None, step.flag.then_some(tag), command)
}

fn refused_leaves_nothing(before: &Machine, after: &Machine, rejection: &Rejection) {
    if matches!(rejection, Rejection::JobIdConflict { .. }) {
        return; // A dirty job's cleanup starts again.
    }
    let kept = |machine: &Machine| -> Vec<(Key, Vec<u8>)> {
        let all = machine.entities();
        all.filter(|(key, _)| !matches!(key, Key::Meta | Key::Request(_)))
            .collect()
    };
    assert_eq!(
        kept(before),
        kept(after),
        "refused, yet something changed: {rejection}"
    );
}

/// Everything in the state, as the store has it after following the changes.
fn follow(log: &[(EntryId, Envelope)], store: &mut BTreeMap<Key, Vec<u8>>) -> Machine {
    let mut machine = Machine::new();
    for (entry, envelope) in log {
        for change in machine.apply(*entry, envelope).changes {
            match change {
                Change::Put(key, value) => store.insert(key, value),
                Change::Delete(key) => store.remove(&key),
            };
        }
    }
    machine
}

/// Ends every job, proves its attempts over, commits, cleans and sweeps.
fn heal(world: &mut World) {
    for number in 1..=JOBS {
        let Some(job) = world.machine.job(job_id(number)).cloned() else {
            continue;
        };
        if !job.is_terminal() {
            let outcome = if job.state == JobState::Failing {
                Outcome::Failed
            } else {
                world.cancel(number);
                Outcome::Canceled
            };
            assert_eq!(world.end(number, outcome).rejection(), None);
        }
        world.over(number);
        if let Some(latest) = &job.latest {
            assert_eq!(world.committed(number, latest.id).rejection(), None);
        }
        world.ask(Command::RetryCleanup(RetryCleanup { job: job.id }));
    }
    for _ in 0..4 {
        world.pass(60_000);
        world.clean();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_every_invariant_and_heals_without_a_leak(steps in steps()) {
        let mut world = play(&steps);
        heal(&mut world);
        for job in world.machine.jobs() {
            prop_assert!(job.result.as_ref().is_some_and(|result| result.clean), "{job:?}");
        }
        for artefact in world.machine.artefacts() {
            let stuck = artefact.disposed && artefact.state == ArtefactState::Dirty;
            let kept = artefact.state == ArtefactState::Retained;
            prop_assert!(kept || stuck, "leaked: {artefact:?}");
        }
        prop_assert_eq!(world.machine.claims().count(), 0);
    }

    #[test]
    fn replays_agree_to_the_byte(steps in steps(), cut in any::<prop::sample::Index>()) {
        let world = play(&steps);
        let mut store = BTreeMap::new();
        let replayed = follow(&world.log, &mut store);
        prop_assert_eq!(replayed.hash(), world.machine.hash());
        let entities: BTreeMap<Key, Vec<u8>> = world.machine.entities().collect();
        prop_assert_eq!(&store, &entities, "the changes tell the whole state");

        // A snapshot at any point and the entries after it give the same.
        let cut = cut.index(world.log.len() + 1);
        let half = follow(&world.log[..cut], &mut BTreeMap::new());
        let entities = half.entities().map(|(key, value)| (key.to_bytes(), value));
        let mut restored = Machine::from_entities(entities).unwrap();
        prop_assert_eq!(restored.hash(), half.hash());
        for (entry, envelope) in &world.log[cut..] {
            restored.apply(*entry, envelope);
        }
        prop_assert_eq!(restored.hash(), world.machine.hash());
        prop_assert!(restored.entities().eq(world.machine.entities()));
        prop_assert!(restored.check().is_ok());
    }

    #[test]
    fn entries_survive_their_encoding(steps in steps()) {
        for (_, envelope) in play(&steps).log {
            let bytes = envelope.encode();
            prop_assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
            prop_assert!(Envelope::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn damaged_entries_are_refused_or_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Envelope::decode(&bytes);
        let _ = Response::decode(&bytes);
        let _ = Key::from_bytes(&bytes);
        let _ = Machine::from_entities([(bytes.clone(), bytes)]);
    }
}

/// The properties are worth little if most steps are refused: every command is accepted somewhere,
/// and every state is reached.
#[test]
fn histories_reach_everywhere() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..150 {
        let tree = steps().new_tree(&mut runner).unwrap();
        let world = play(&tree.current());
        let mut machine = Machine::new();
        for (entry, envelope) in &world.log {
            let response = machine.apply(*entry, envelope).response;
            let shape = format!("{:?}", envelope.command);
            let name = shape.split('(').next().unwrap_or_default().to_owned();
            let count = accepted.entry(name).or_default();
            *count += u32::from(response.rejection().is_none());
            for job in machine.jobs() {
                *accepted.entry(job.state.to_string()).or_default() += 1;
                let clean = job.result.as_ref().is_some_and(|result| result.clean);
                *accepted.entry("clean".to_owned()).or_default() += u32::from(clean);
                let commits = u32::from(job.only_commits() && job.attempt > 1);
                *accepted.entry("commit-only".to_owned()).or_default() += commits;
            }
        }
    }
    for (what, count) in &accepted {
        assert!(
            *count >= 5,
            "{what} happened {count} times only: {accepted:?}"
        );
    }
    // 24 commands (feature levels have a test of their own), 9 states, and two more.
    assert_eq!(accepted.len(), 24 + 9 + 2, "{accepted:?}");
}
