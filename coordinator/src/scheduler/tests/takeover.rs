use super::*;

#[test]
fn a_complete_placement_is_adopted() {
    let (env, attempt, seen) = taken_over(SinkKind::Blackhole);
    let adopt = format!("propose: adopt attempt {} of job {JOB}", attempt.token);
    assert_eq!(job_steps(&env, &seen, ms(0)), [adopt]);
}

#[test]
fn finished_subtasks_count_as_complete() {
    let (env, attempt, mut seen) = taken_over(SinkKind::ExactlyOnce);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Finished);
    let adopt = format!("propose: adopt attempt {} of job {JOB}", attempt.token);
    assert_eq!(job_steps(&env, &seen, ms(0)), [adopt]);
}

#[test]
fn an_attempt_that_was_being_deployed_is_adopted_too() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.deploy(&[tm(1, 1)]);
    env.new_leader();
    let mut seen = seen(&[tm(1, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Deploying);
    let plan = planned(&env, &seen, &Memory::default(), ms(0));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.wake, Some(ms(3_000)));
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    let adopt = format!("propose: adopt attempt {} of job {JOB}", attempt.token);
    assert_eq!(job_steps(&env, &seen, ms(0)), [adopt]);
}

#[test]
fn workers_that_have_not_come_back_are_waited_for() {
    let (env, _, mut seen) = taken_over(SinkKind::Blackhole);
    seen.workers.remove("tm-2");
    let plan = planned(&env, &seen, &Memory::default(), ms(2_999));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.wake, Some(ms(3_000)));
    let late = job_steps(&env, &seen, ms(3_000));
    assert!(late[0].contains("incomplete after takeover"), "{late:?}");
    assert!(late[0].contains("tm-2#1 did not come back"), "{late:?}");
}

#[test]
fn a_missing_subtask_is_not_waited_for() {
    let (env, attempt, mut seen) = taken_over(SinkKind::Blackhole);
    let tasks = std::sync::Arc::make_mut(&mut seen.workers.get_mut("tm-2").unwrap().tasks);
    tasks
        .get_mut(&attempt)
        .unwrap()
        .remove(&TaskId::new("out", 1));
    let at_once = job_steps(&env, &seen, ms(0));
    assert!(at_once[0].contains("tm-2#1 holds not all"), "{at_once:?}");
}

#[test]
fn another_incarnation_holds_no_tasks() {
    let (env, _, mut seen) = taken_over(SinkKind::Blackhole);
    seen.register("tm-2".into(), worker(2, 9));
    let at_once = job_steps(&env, &seen, ms(0));
    assert!(at_once[0].contains("tm-2#1 died"), "{at_once:?}");
}

#[test]
fn tasks_that_are_not_safe_beside_zombies_are_kept_until_the_lease_is_over() {
    let (mut env, attempt, mut seen) = taken_over(SinkKind::AtLeastOnce);
    seen.workers.remove("tm-2");
    let plan = planned(&env, &seen, &Memory::default(), ms(10_999));
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert_eq!(
        plan.wake,
        Some(ms(11_000)),
        "lease × 1.1 after the reign began"
    );
    // Back in time, with everything: kept.
    let mut back = seen.clone();
    back.register("tm-2".into(), worker(1, 7));
    report(&mut back, &env, &tm(2, 1), attempt, 1, &Phase::Running);
    assert!(job_steps(&env, &back, ms(10_999))[0].starts_with("propose: adopt"));
    let over = planned(&env, &seen, &Memory::default(), ms(11_000));
    let [Step::Propose(failure)] = over.steps.as_slice() else {
        panic!("{over:?}")
    };
    env.leader(failure.clone());
    // Proof of death is as good as the end of the lease.
    let (env, _, mut seen) = taken_over(SinkKind::AtLeastOnce);
    seen.died(tm(2, 1), ms(5));
    assert!(job_steps(&env, &seen, ms(5))[0].contains("tm-2#1 died"));
}

#[test]
fn without_slots_elsewhere_the_attempt_is_kept_while_it_may_come_back() {
    let (env, _, mut seen) = taken_over(SinkKind::Blackhole);
    seen.workers.remove("tm-2");
    seen.workers.get_mut("tm-1").unwrap().slots = 1;
    let plan = planned(&env, &seen, &Memory::default(), ms(3_000));
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert_eq!(plan.wake, Some(ms(11_000)));
    assert!(!job_steps(&env, &seen, ms(11_000)).is_empty());
}

#[test]
fn under_the_strategy_none_a_silent_worker_gets_the_whole_lease() {
    let mut wanted = graph(1, SinkKind::Blackhole);
    wanted.restart_strategy = RestartStrategy::None;
    let mut env = Env::with_job(wanted);
    env.run(&[tm(1, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    seen.broke("tm-1", 1, ms(0));
    assert!(job_steps(&env, &seen, ms(1_000)).is_empty());
    assert!(job_steps(&env, &seen, ms(11_000))[0].contains("worker lost"));
}

#[test]
fn a_cancelled_job_goes_on_being_cancelled_after_a_takeover() {
    let (mut env, attempt, mut seen) = taken_over(SinkKind::Blackhole);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    env.new_leader();
    assert!(job_steps(&env, &seen, ms(0)).is_empty(), "tasks still run");
    let memory = Memory::default();
    let cancels = worker_steps(&env, &seen, &memory, ms(0));
    let token = attempt.token;
    assert_eq!(
        cancels,
        [
            format!("cancel {token} on tm-1#1"),
            format!("cancel {token} on tm-2#1")
        ]
    );
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Canceled);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Canceled);
    let ended = job_steps(&env, &seen, ms(0));
    assert_eq!(
        ended.last().unwrap(),
        &format!("propose: job {JOB} has ended: CANCELED")
    );
}

#[test]
fn a_silent_worker_does_not_hold_up_a_cancel_for_long() {
    let (mut env, _, mut seen) = taken_over(SinkKind::Blackhole);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    seen.workers.clear();
    seen.register("tm-1".into(), worker(1, 1));
    assert!(job_steps(&env, &seen, ms(2_999)).is_empty());
    assert_eq!(
        job_steps(&env, &seen, ms(3_000)),
        [format!("propose: job {JOB} has ended: CANCELED")]
    );
}
