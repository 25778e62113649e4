//! Arbitrary histories, nonsense included: every invariant holds after each entry, what is given up
//! stays given up, ends are ends, replays agree to the byte, and nothing leaks once all is healed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use regent_state::command::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;
use regent_state::{Change, Command, EntryId, Envelope, Key, Machine};

use crate::history::*;
use crate::samples::all_commands;
use crate::support::*;

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
        nothing_kept_lies_within_another(machine);
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

/// Deleting a directory must not reach what is alive, and no savepoint is output. Of another cluster's savepoint
/// only the files that it names are deleted.
fn nothing_kept_lies_within_another(machine: &Machine) {
    let claims: BTreeSet<&String> = machine.claims().map(|(path, _)| path).collect();
    for artefact in machine.artefacts() {
        let kept = matches!(
            artefact.state,
            ArtefactState::Live | ArtefactState::Retained
        );
        if !kept || !artefact.kind.owns_path() {
            continue;
        }
        let is_savepoint = matches!(artefact.kind, ArtefactKind::Savepoint { .. });
        let path = &artefact.path;
        for (at, _) in path.char_indices().filter(|(_, c)| *c == '/') {
            let above = &path[..at];
            let around = machine.artefact_at(above);
            let around = around.filter(|around| around.owner.is_some());
            assert!(around.is_none(), "{path} lies within {around:?}");
            let output = is_savepoint && claims.contains(&above.to_owned());
            assert!(!output, "{path} lies in the sink {above}");
        }
    }
}

fn play(steps: &[Step]) -> World {
    let mut world = World::new();
    let mut oracle = Oracle::default();
    for (number, step) in steps.iter().enumerate() {
        world.pass(u64::from(step.pass_ms));
        if step.verb == 0 && step.pick % 2 == 0 {
            world.lead(u64::from(step.job));
            oracle.watch(&world.machine);
            continue;
        }
        if step.verb == 0 && step.pick % 8 == 1 {
            world.relive();
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
    let mut tag = request(
        u8::try_from(id % 256).unwrap(),
        world.index.saturating_sub(3),
    );
    tag.base_generation = world.generation();
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

/// Everything in the state, as the store has it after following the changes from where the log begins.
fn follow(
    base: &Machine,
    log: &[(EntryId, Envelope)],
    store: &mut BTreeMap<Key, Vec<u8>>,
) -> Machine {
    let mut machine = base.clone();
    store.extend(machine.entities());
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

/// Resumes what is suspended, ends every job, proves its attempts over, commits, cleans and sweeps.
fn heal(world: &mut World) {
    if world.machine.is_suspended() {
        assert_eq!(
            world.ask(Command::ResumeJobs(ResumeJobs {})),
            Response::Done
        );
    }
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

// `PROPTEST_CASES=5000` for a long look.
proptest! {
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
        let replayed = follow(&world.base, &world.log, &mut store);
        prop_assert_eq!(replayed.hash(), world.machine.hash());
        let entities: BTreeMap<Key, Vec<u8>> = world.machine.entities().collect();
        prop_assert_eq!(&store, &entities, "the changes tell the whole state");

        // A snapshot at any point and the entries after it give the same.
        let cut = cut.index(world.log.len() + 1);
        let half = follow(&world.base, &world.log[..cut], &mut BTreeMap::new());
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

/// The name of the variant.
fn name(command: &Command) -> String {
    let shape = format!("{command:?}");
    shape.split('(').next().unwrap_or_default().to_owned()
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
        let mut machine = world.base.clone();
        for (entry, envelope) in &world.log {
            let response = machine.apply(*entry, envelope).response;
            let count = accepted.entry(name(&envelope.command)).or_default();
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
    let commands = all_commands();
    let wanted: BTreeSet<String> = commands
        .iter()
        .map(name)
        .chain(JobState::ALL.iter().map(JobState::to_string))
        .chain(["clean".to_owned(), "commit-only".to_owned()])
        .collect();
    assert_eq!(wanted.len(), 28 + 10 + 2, "{wanted:?}");
    for what in &wanted {
        let count = accepted.get(what).copied().unwrap_or(0);
        assert!(
            count >= 5,
            "{what} happened {count} times only: {accepted:?}"
        );
    }
    assert_eq!(accepted.len(), wanted.len(), "{accepted:?}");
}
