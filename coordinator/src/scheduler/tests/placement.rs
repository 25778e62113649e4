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

fn drain(env: &mut Env, worker: &str, drained: bool) {
    let worker = worker.to_owned();
    let command = regent_state::command::DrainWorker { worker, drained };
    env.client(Command::DrainWorker(command));
}

#[test]
fn nothing_is_placed_on_a_drained_worker() {
    let mut env = Env::with_job(graph(5, SinkKind::Blackhole));
    let seen = seen(&[tm(1, 1), tm(2, 1), tm(3, 1)]);
    let placed = |env: &Env| {
        let slots = Slots::count(&seen, live_attempts(&env.machine)).without_drained(&env.machine);
        let graph = env.machine.graph(JOB).unwrap();
        slots.place(JOB, graph, &seen).map(|placement| {
            let workers: std::collections::BTreeSet<_> = placement
                .into_iter()
                .map(|place| place.worker.worker)
                .collect();
            workers.into_iter().collect::<Vec<_>>()
        })
    };
    drain(&mut env, "tm-2", true);
    assert_eq!(placed(&env).unwrap(), ["tm-1", "tm-3"]);
    drain(&mut env, "tm-3", true);
    assert_eq!(
        placed(&env).unwrap_err(),
        "not-enough-slots (needs 5, free 4)"
    );
    drain(&mut env, "tm-3", false);
    assert_eq!(placed(&env).unwrap(), ["tm-1", "tm-3"]);
}

#[test]
fn tasks_leave_a_drained_worker_by_a_fresh_checkpoint_and_only_if_there_is_room() {
    let (mut env, _, full) = running(SinkKind::ExactlyOnce);
    let drained_steps = |env: &Env, seen: &Seen| {
        let memory = Memory::default();
        let world = world(env, seen, &memory, ms(0));
        let count = || {
            let slots = Slots::count(seen, live_attempts(&env.machine));
            slots.without_drained(&env.machine)
        };
        printed(&plan::plan(
            &world,
            &mut Room::counted_by(&count),
            &env.facts(),
        ))
    };
    drain(&mut env, "tm-1", true);
    assert_eq!(
        drained_steps(&env, &full),
        [""; 0],
        "an old state is not enough"
    );
    env.clock_ms += 100;
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let moved = drained_steps(&env, &full);
    assert!(moved[0].contains("drained"), "{moved:?}");
    let mut tight = full;
    tight.workers.get_mut("tm-2").unwrap().slots = 1;
    assert_eq!(drained_steps(&env, &tight), [""; 0], "no room elsewhere");
}
