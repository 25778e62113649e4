use super::*;

#[test]
fn a_job_without_slots_says_what_it_needs_once() {
    let mut env = Env::with_job(graph(6, SinkKind::Blackhole));
    let seen = seen(&[tm(1, 1)]);
    let plan = planned(&env, &seen, &Memory::default(), ms(0));
    let [Step::Propose(Command::JobWaiting(waiting))] = plan.steps.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(
        waiting.reason.as_deref(),
        Some("not-enough-slots (needs 6, free 4)")
    );
    env.leader(Command::JobWaiting(waiting.clone()));
    assert!(
        job_steps(&env, &seen, ms(0)).is_empty(),
        "the same reason isn't written again"
    );
}

#[test]
fn without_any_worker_free_is_zero_and_a_missing_operator_is_named() {
    let env = Env::with_job(graph(1, SinkKind::Blackhole));
    let plan = planned(&env, &Seen::default(), &Memory::default(), ms(0));
    assert!(
        format!("{plan:?}").contains("not-enough-slots (needs 1, free 0)"),
        "{plan:?}"
    );
    let mut seen = seen(&[tm(1, 1)]);
    seen.workers.get_mut("tm-1").unwrap().offers = std::sync::Arc::from([]);
    let plan = planned(&env, &seen, &Memory::default(), ms(0));
    assert!(
        format!("{plan:?}").contains("no worker offers source sequence"),
        "{plan:?}"
    );
}

#[test]
fn paths_are_inspected_before_the_first_attempt_only() {
    let env = Env::with_job(graph(2, SinkKind::ExactlyOnce));
    let seen = seen(&[tm(1, 1)]);
    assert_eq!(job_steps(&env, &seen, ms(0)), ["let tm-1#1 inspect paths"]);
    let asked = |inspection| {
        let mut memory = Memory::default();
        memory
            .inspections
            .insert((JOB, env.machine.job(JOB).unwrap().run), inspection);
        steps(&env, &seen, &memory, ms(10))
    };
    assert!(asked(Inspection::Asked).is_empty());
    assert!(asked(Inspection::Unanswered { again_at: ms(11) }).is_empty());
    assert_eq!(
        asked(Inspection::Unanswered { again_at: ms(10) }),
        ["let tm-1#1 inspect paths"]
    );
    let bad = inspected(&env, &["out: /out holds files"], &[]);
    assert_eq!(
        steps(&env, &seen, &bad, ms(0)),
        [format!("propose: fail job {JOB}: out: /out holds files")]
    );
    let good = inspected(&env, &[], &[]);
    assert_eq!(
        steps(&env, &seen, &good, ms(0)),
        [format!("propose: deploy job {JOB} on 2 slots")]
    );
}

#[test]
fn files_to_be_replaced_are_listed_before_the_first_attempt() {
    let mut env = Env::with_job(graph(1, SinkKind::Replace));
    let seen = seen(&[tm(1, 1)]);
    let memory = inspected(
        &env,
        &[],
        &["/out/a.csv", "/out/b/c.csv", "/elsewhere/x", "/outside"],
    );
    let plan = planned(&env, &seen, &memory, ms(0));
    let [Step::Propose(Command::SinkPrepared(prepared))] = plan.steps.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(prepared.files, ["a.csv", "b/c.csv"]);
    env.leader(Command::SinkPrepared(prepared.clone()));
    assert_eq!(
        steps(&env, &seen, &memory, ms(0)),
        [format!("propose: deploy job {JOB} on 1 slots")]
    );
}

#[test]
fn subtasks_are_spread_evenly_over_workers_with_room() {
    let env = Env::with_job(graph(5, SinkKind::Blackhole));
    let mut seen = seen(&[tm(1, 1), tm(2, 1), tm(3, 1)]);
    seen.workers.get_mut("tm-2").unwrap().slots = 1;
    let slots = Slots::count(&seen, live_attempts(&env.machine));
    let graph = env.machine.graph(JOB).unwrap();
    let placement = slots.place(JOB, graph, &seen).unwrap();
    let workers: Vec<&str> = placement.iter().map(|p| p.worker.worker.as_str()).collect();
    assert_eq!(workers, ["tm-1", "tm-3", "tm-1", "tm-3", "tm-1"]);
    assert_eq!(
        placement.iter().map(|p| p.slot).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
}

#[test]
fn slots_of_others_and_leftovers_count_as_used_but_not_ones_own() {
    let (env, _, seen) = taken_over(SinkKind::Blackhole);
    let slots = Slots::count(&seen, live_attempts(&env.machine));
    assert_eq!(slots.totals(), (8, 6));
    let graph = env.machine.graph(JOB).unwrap();
    let wide = crate::testing::graph(8, SinkKind::Blackhole);
    let other = regent_state::ids::JobId([9; 16]);
    assert!(slots.place(other, &wide, &seen).is_err());
    assert!(
        slots.place(JOB, &wide, &seen).is_ok(),
        "its own old slots are freed first"
    );
    assert!(slots.place(other, graph, &seen).is_ok());
}
