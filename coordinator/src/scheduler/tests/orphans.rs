use super::*;

#[test]
fn extra_tasks_of_the_live_attempt_are_cancelled() {
    let (env, attempt, mut seen) = taken_over(SinkKind::Blackhole);
    seen.register("tm-3".into(), worker(1, 3));
    report(&mut seen, &env, &tm(3, 1), attempt, 0, &Phase::Running);
    let extras = worker_steps(&env, &seen, &Memory::default(), ms(0));
    assert_eq!(extras, [format!("cancel {} on tm-3#1", attempt.token)]);
    let mut memory = Memory::default();
    memory.cancelled.insert((attempt, tm(3, 1), 3), ms(0));
    assert!(worker_steps(&env, &seen, &memory, ms(4_999)).is_empty());
    assert_eq!(
        worker_steps(&env, &seen, &memory, ms(5_000)),
        extras,
        "asked again"
    );
}

#[test]
fn tasks_of_unknown_jobs_are_cancelled_then_forgotten() {
    let (env, attempt, mut seen) = taken_over(SinkKind::Blackhole);
    let stranger = AttemptRef {
        job: regent_state::ids::JobId([9; 16]),
        ..attempt
    };
    report(&mut seen, &env, &tm(1, 1), stranger, 0, &Phase::Running);
    let memory = Memory::default();
    let cancel = format!("cancel {} on tm-1#1", stranger.token);
    assert_eq!(worker_steps(&env, &seen, &memory, ms(0)), [cancel]);
    report(&mut seen, &env, &tm(1, 1), stranger, 0, &Phase::Canceled);
    assert_eq!(
        worker_steps(&env, &seen, &memory, ms(0)),
        ["let tm-1#1 forget 1 attempts"]
    );
}

#[test]
fn an_attempt_is_over_only_when_nobody_can_act_for_it() {
    let (mut env, attempt, mut seen) = running(SinkKind::ExactlyOnce);
    report_task(
        &mut seen,
        &tm(1, 1),
        attempt,
        TaskId::new("out", 0),
        failed("task", 0),
    );
    let Step::Propose(failure) = planned(&env, &seen, &Memory::default(), ms(0))
        .steps
        .remove(0)
    else {
        panic!()
    };
    env.leader(failure);
    let is_over = |seen: &Seen, memory: &Memory, now| {
        steps(&env, seen, memory, ms(now)).contains(&over(attempt))
    };
    let memory = Memory::default();
    assert!(!is_over(&seen, &memory, 0), "tasks still run");
    for (n, slot) in [(1, 0), (2, 1)] {
        report(&mut seen, &env, &tm(n, 1), attempt, slot, &Phase::Canceled);
    }
    assert!(is_over(&seen, &memory, 0));
    // An order on its way may still start tasks.
    let mut fresh = crate::testing::seen(&[tm(1, 1), tm(2, 1)]);
    let mut ordered = Memory::default();
    ordered.ordered.insert((attempt, tm(2, 1), 2), ms(0));
    assert!(!is_over(&fresh, &ordered, 0));
    assert!(is_over(&fresh, &memory, 0));
    // A silent worker may act until its lease is over.
    fresh.broke("tm-2", 2, ms(0));
    assert!(!is_over(&fresh, &memory, 10_999));
    assert!(is_over(&fresh, &memory, 11_000));
    // Finished tasks hold transactions, so they are not ended.
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Finished);
    assert!(!is_over(&seen, &memory, 0));
}

/// A task that reads a large state says nothing until it runs. Were its attempt over when another of its
/// tasks has failed, it would begin, and write, after what it writes to was swept.
#[test]
fn an_attempt_with_a_task_that_has_said_nothing_yet_is_cancelled_and_not_over() {
    let mut env = Env::with_job(graph(1, SinkKind::ExactlyOnce));
    let attempt = env.deploy(&[tm(1, 1)]);
    let mut seen = crate::testing::seen(&[tm(1, 1)]);
    let mut memory = Memory::default();
    memory.ordered.insert((attempt, tm(1, 1), 1), ms(0));
    let out = TaskId::new("out", 0);
    report_task(&mut seen, &tm(1, 1), attempt, out, failed("task", 0));
    let Step::Propose(failure) = planned(&env, &seen, &memory, ms(0)).steps.remove(0) else {
        panic!()
    };
    env.leader(failure);
    let is_over = |seen: &Seen| steps(&env, seen, &memory, ms(0)).contains(&over(attempt));
    assert!(!is_over(&seen));
    let cancel = format!("cancel {} on tm-1#1", attempt.token);
    assert_eq!(worker_steps(&env, &seen, &memory, ms(0)), [cancel]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Canceled);
    assert!(is_over(&seen));
    assert!(worker_steps(&env, &seen, &memory, ms(0)).is_empty());
}

#[test]
fn ended_tasks_are_forgotten_only_once_the_log_knows() {
    let (mut env, attempt, mut seen) = running(SinkKind::Blackhole);
    for (n, slot) in [(1, 0), (2, 1)] {
        report(
            &mut seen,
            &env,
            &tm(n, 1),
            attempt,
            slot,
            &failed("task", 0),
        );
    }
    let memory = Memory::default();
    assert!(
        worker_steps(&env, &seen, &memory, ms(0)).is_empty(),
        "the failure isn't written yet"
    );
    let Step::Propose(failure) = planned(&env, &seen, &memory, ms(0)).steps.remove(0) else {
        panic!()
    };
    assert!(matches!(env.leader(failure), Response::AttemptFailed(_)));
    assert!(
        worker_steps(&env, &seen, &memory, ms(0)).is_empty(),
        "its end isn't written yet"
    );
    let run = attempt.run;
    let over = AttemptsOver {
        job: JOB,
        run,
        tokens: vec![attempt.token],
    };
    env.leader(Command::AttemptsOver(over));
    assert_eq!(
        worker_steps(&env, &seen, &memory, ms(0)),
        [
            "let tm-1#1 forget 1 attempts",
            "let tm-2#1 forget 1 attempts"
        ]
    );
}

#[test]
fn titles() {
    let (env, attempt, _) = running(SinkKind::Blackhole);
    let job = env.machine.job(JOB).unwrap();
    let known = env.machine.attempt(JOB, attempt.token).unwrap();
    let title = |worker: WorkerRef| leftovers::title(Some(job), Some(known), &worker);
    assert_eq!(title(tm(1, 1)), leftovers::Title::Wanted);
    assert_eq!(title(tm(1, 2)), leftovers::Title::Unwanted);
    assert_eq!(
        leftovers::title(Some(job), None, &tm(1, 1)),
        leftovers::Title::Unknown
    );
}

#[test]
fn an_order_that_nobody_wants_any_more_is_cancelled_even_if_it_was_never_reported() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.deploy(&[tm(1, 1)]);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    let seen = crate::testing::seen(&[tm(1, 1)]);
    let mut memory = Memory::default();
    memory.ordered.insert((attempt, tm(1, 1), 1), ms(0));
    let cancel = format!("cancel {} on tm-1#1", attempt.token);
    assert_eq!(worker_steps(&env, &seen, &memory, ms(0)), [cancel]);
    assert!(
        job_steps(&env, &seen, ms(0)).len() == 2,
        "without the order it would be over"
    );
    assert!(steps(&env, &seen, &memory, ms(0)).is_empty());
    memory.cancelled.insert((attempt, tm(1, 1), 1), ms(59_999));
    assert_eq!(
        worker_steps(&env, &seen, &memory, ms(60_000)),
        ["end the session of tm-1#1"]
    );
}
