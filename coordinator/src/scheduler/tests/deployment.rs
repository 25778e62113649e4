use super::*;

#[test]
fn orders_go_out_only_after_the_entry_and_once_per_session() {
    let mut env = Env::with_job(graph(2, SinkKind::Blackhole));
    let attempt = env.deploy(&[tm(1, 1), tm(2, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    let token = attempt.token;
    let both = [
        format!("deploy {token} on tm-1#1"),
        format!("deploy {token} on tm-2#1"),
    ];
    assert_eq!(job_steps(&env, &seen, ms(0)), both);
    let mut memory = Memory::default();
    memory.ordered.insert((attempt, tm(1, 1), 1), ms(0));
    memory.ordered.insert((attempt, tm(2, 1), 2), ms(0));
    assert!(steps(&env, &seen, &memory, ms(1)).is_empty());
    // A new session of the same process that reports nothing is ordered again.
    seen.register("tm-2".into(), worker(1, 9));
    assert_eq!(steps(&env, &seen, &memory, ms(1)), both[1..]);
    // A worker that never takes the order is given up in the end.
    memory.ordered.insert((attempt, tm(2, 1), 9), ms(1));
    let late = steps(&env, &seen, &memory, ms(60_001));
    assert!(late[0].contains("did not take the deployment"), "{late:?}");
    // One that says that its tasks still start is not: what they wait for has limits of its own.
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Deploying);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Deploying);
    assert!(steps(&env, &seen, &memory, ms(600_000)).is_empty());
}

#[test]
fn an_attempt_runs_once_every_subtask_does() {
    let mut env = Env::with_job(graph(2, SinkKind::Blackhole));
    let attempt = env.deploy(&[tm(1, 1), tm(2, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Finished);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Deploying);
    assert!(job_steps(&env, &seen, ms(0)).is_empty());
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Running);
    let runs = format!("propose: attempt {} of job {JOB} runs", attempt.token);
    assert_eq!(job_steps(&env, &seen, ms(0)), [runs]);
}

#[test]
fn a_restart_waits_for_its_due_time() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.run(&[tm(1, 1)]);
    let mut seen = seen(&[tm(1, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &failed("task", 0));
    let plan = planned(&env, &seen, &Memory::default(), ms(0));
    let [Step::Propose(failure)] = plan.steps.as_slice() else {
        panic!("{plan:?}")
    };
    assert!(
        failure.to_string().contains("task failure: boom"),
        "{failure}"
    );
    env.leader(failure.clone());
    let waiting = planned(&env, &seen, &Memory::default(), ms(0));
    // The failed attempt is over: its only task has ended.
    assert_eq!(printed(&waiting), [over(attempt)]);
    assert_eq!(
        waiting.wake,
        Some(ms(101)),
        "100 ms of delay, by the machine's clock"
    );
    env.clock_ms += 101;
    let after = job_steps(&env, &seen, ms(101));
    assert_eq!(
        after[1],
        format!(
            "propose: deploy job {JOB} on 1 slots after attempt {}",
            attempt.token
        )
    );
}
