//! Situations of a job, and what is said of each: the code, the fact, and the remedy.

use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::RestartStrategy;

use super::*;
use crate::leader::seen::{Phase, Seen};
use crate::testing::*;

fn live(seen: Seen, now: Moment) -> Live {
    Live {
        seen,
        now,
        lease: LEASE,
        metrics: Vec::new(),
    }
}

fn explained(env: &Env, live: Option<&Live>) -> JobExplained {
    explain(&Known {
        machine: &env.machine,
        job: env.machine.job(JOB).unwrap(),
        live,
        clock_ms: env.clock_ms,
    })
}

/// Checks the first cause: its code, and what its text and remedy contain.
#[track_caller]
fn first(explained: &JobExplained, code: &str, text: &str, remedy: Option<&str>) {
    let cause = &explained.causes[0];
    assert_eq!(cause.code, code, "{explained:?}");
    assert!(cause.text.contains(text), "{text:?} in {cause:?}");
    match (remedy, &cause.remedy) {
        (None, None) => {}
        (Some(wanted), Some(found)) => assert!(found.contains(wanted), "{wanted:?} in {cause:?}"),
        _ => panic!("{cause:?}"),
    }
}

fn failed_once(env: &mut Env, kind: FailureKind) {
    let token = env.machine.job(JOB).unwrap().token.unwrap();
    env.leader(Command::AttemptFailed(AttemptFailed {
        job: JOB,
        token,
        cause: "numbers/0: boom".into(),
        kind,
        worker: Some(tm(1, 1)),
        vertex: None,
        subtask: None,
        jitter_permille: 0,
    }));
}

#[test]
fn without_workers_it_says_to_start_some() {
    let env = Env::with_job(graph(2, SinkKind::Blackhole));
    let explained = explained(&env, Some(&live(Seen::default(), ms(5_000))));
    first(
        &explained,
        "no-workers",
        "needs 2 slots",
        Some("regent taskmanager"),
    );
    assert!(!explained.running && !explained.stale);
    assert_eq!((explained.slots_needed, explained.slots_free), (2, Some(0)));
}

#[test]
fn too_few_slots_are_counted_and_their_holders_named() {
    let env = Env::with_job(graph(6, SinkKind::Blackhole));
    let explained = explained(&env, Some(&live(seen(&[tm(1, 1)]), ms(5_000))));
    first(
        &explained,
        "not-enough-slots",
        "needs 6 slots and 4 are free, of 4",
        Some("2 slots more"),
    );
    assert_eq!((explained.slots_needed, explained.slots_free), (6, Some(4)));
}

#[test]
fn a_missing_operator_is_named() {
    let env = Env::with_job(graph(1, SinkKind::Blackhole));
    let mut seen = seen(&[tm(1, 1)]);
    seen.workers.get_mut("tm-1").unwrap().offers = std::sync::Arc::from([]);
    let explained = explained(&env, Some(&live(seen, ms(5_000))));
    first(
        &explained,
        "no-worker-offers",
        "no worker offers source sequence",
        Some("operator"),
    );
}

#[test]
fn a_job_that_can_be_placed_is_being_deployed() {
    let env = Env::with_job(graph(2, SinkKind::Blackhole));
    let explained = explained(&env, Some(&live(seen(&[tm(1, 1)]), ms(5_000))));
    first(&explained, "being-deployed", "can be placed", None);
}

#[test]
fn a_backoff_says_how_long_and_why() {
    let mut graph = graph(1, SinkKind::Blackhole);
    graph.restart_strategy = RestartStrategy::FixedDelay {
        attempts: 3,
        delay_ms: 4_000,
    };
    let mut env = Env::with_job(graph);
    env.run(&[tm(1, 1)]);
    failed_once(&mut env, FailureKind::TaskFailure);
    env.clock_ms += 1_500;
    let explained = explained(&env, Some(&live(seen(&[tm(1, 1)]), ms(5_000))));
    first(
        &explained,
        "backoff",
        "waits for 2.5s more",
        Some("regent job history"),
    );
    assert!(explained.causes[0].text.contains("boom"), "{explained:?}");
}

#[test]
fn old_tasks_that_may_live_are_waited_for_by_their_lease() {
    let mut env = Env::with_job(graph(1, SinkKind::AtLeastOnce));
    env.run(&[tm(1, 1)]);
    failed_once(&mut env, FailureKind::WorkerLost);
    env.clock_ms += 60_000;
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    seen.broke("tm-1", 1, ms(2_000));
    let shown = explained(&env, Some(&live(seen.clone(), ms(5_000))));
    first(
        &shown,
        "old-tasks-may-live",
        "on tm-1",
        Some("end the process of tm-1"),
    );
    assert!(
        shown.causes[0].text.contains("6.0s at the latest"),
        "{shown:?}"
    );
    seen.died(tm(1, 1), ms(5_000));
    let shown = explained(&env, Some(&live(seen, ms(5_000))));
    assert_eq!(shown.causes[0].code, "being-deployed");
}

#[test]
fn a_deployment_names_the_worker_that_is_silent() {
    let mut env = Env::with_job(graph(2, SinkKind::Blackhole));
    env.deploy(&[tm(1, 1), tm(2, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    seen.broke("tm-2", 2, ms(4_500));
    let explained = explained(&env, Some(&live(seen, ms(5_000))));
    first(
        &explained,
        "deploying",
        "tm-2 has not reported; it is waited for 500ms",
        Some("job show"),
    );
}

#[test]
fn a_deployment_names_the_tasks_that_still_start() {
    let mut env = Env::with_job(graph(2, SinkKind::Blackhole));
    let attempt = env.deploy(&[tm(1, 1), tm(2, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    let told = |seen: &Seen| explained(&env, Some(&live(seen.clone(), ms(5_000))));
    let two = "numbers/1 on tm-2, out/1 on tm-2 start";
    first(&told(&seen), "deploying", two, Some("job show"));
    let (out, phase) = (TaskId::new("out", 1), Phase::Deploying);
    report_task(&mut seen, &tm(2, 1), attempt, out, phase);
    report_task(
        &mut seen,
        &tm(2, 1),
        attempt,
        TaskId::new("numbers", 1),
        Phase::Running,
    );
    first(
        &told(&seen),
        "deploying",
        "deployed: out/1 on tm-2 start",
        Some("job show"),
    );
}

#[test]
fn a_running_job_runs_and_failing_checkpoints_are_told() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.run(&[tm(1, 1)]);
    let mut seen = seen(&[tm(1, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    let explained = explained(&env, Some(&live(seen, ms(5_000))));
    first(&explained, "running", "attempt 1", None);
    assert!(explained.running);
    assert_eq!(explained.causes.len(), 1);
}

#[test]
fn after_a_takeover_the_silent_worker_is_named() {
    let mut env = Env::with_job(graph(2, SinkKind::Blackhole));
    env.run(&[tm(1, 1), tm(2, 1)]);
    env.new_leader();
    let explained = explained(&env, Some(&live(seen(&[tm(1, 1)]), ms(1_000))));
    first(
        &explained,
        "reconciling",
        "tm-2 has not reported; it is waited for 2.0s",
        Some("adopted"),
    );
}

#[test]
fn cancelling_canceled_and_failed_say_so() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    let seen = seen(&[tm(1, 1)]);
    let shown = explained(&env, Some(&live(seen.clone(), ms(5_000))));
    first(&shown, "cancelling", "tasks are being stopped", None);
    let job = env.machine.job(JOB).unwrap().clone();
    env.leader(Command::JobTerminated(JobTerminated {
        job: JOB,
        run: job.run,
        token: job.token,
        outcome: Outcome::Canceled,
    }));
    let shown = explained(&env, Some(&live(seen, ms(5_000))));
    first(&shown, "canceled", "by its user", None);

    let mut graph = graph(1, SinkKind::Blackhole);
    graph.restart_strategy = RestartStrategy::None;
    let mut env = Env::with_job(graph);
    env.run(&[tm(1, 1)]);
    failed_once(&mut env, FailureKind::TaskFailure);
    let shown = explained(&env, None);
    first(&shown, "failing", "boom", None);
    let job = env.machine.job(JOB).unwrap().clone();
    env.leader(Command::JobTerminated(JobTerminated {
        job: JOB,
        run: job.run,
        token: job.token,
        outcome: Outcome::Failed,
    }));
    let shown = explained(&env, None);
    first(&shown, "failed", "boom", Some("submit it again"));
}

#[test]
fn files_that_cant_be_removed_are_named_with_the_error() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.run(&[tm(1, 1)]);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let given_up = env
        .machine
        .artefacts()
        .find(|a| a.state.is_due_work())
        .unwrap()
        .id;
    env.leader(Command::CleanupAttempted(CleanupAttempted {
        outcomes: vec![CleanupReport {
            artefact: given_up,
            outcome: CleanupOutcome::Failed {
                error: "permission denied".into(),
                next_retry_ms: None,
            },
        }],
    }));
    let mut seen = seen(&[tm(1, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    let explained = explained(&env, Some(&live(seen, ms(5_000))));
    assert_eq!(explained.causes[0].code, "running");
    let dirty = &explained.causes[1];
    assert_eq!(dirty.code, "dirty-cleanup");
    assert!(
        dirty
            .text
            .contains("permission denied; retries are used up"),
        "{dirty:?}"
    );
    assert!(
        dirty
            .remedy
            .as_ref()
            .unwrap()
            .contains("regent cleanup retry")
    );
}

#[test]
fn without_a_leader_it_says_what_is_stored_and_what_nobody_knows() {
    let env = Env::with_job(graph(2, SinkKind::Blackhole));
    let explained = explained(&env, None);
    assert!(explained.stale);
    assert_eq!(explained.slots_free, None);
    first(&explained, "waiting", "waits to be deployed", None);
    assert_eq!(explained.causes[1].code, "no-leader-asked");
    assert_eq!(
        explained.causes[1].remedy.as_deref(),
        Some("regent leader explain")
    );
}
