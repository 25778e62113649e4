use super::*;

#[test]
fn a_broken_session_counts_after_a_second_and_a_death_at_once() {
    let (env, _, mut seen) = running(SinkKind::ExactlyOnce);
    seen.broke("tm-2", 2, ms(500));
    let plan = planned(&env, &seen, &Memory::default(), ms(1_499));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.wake, Some(ms(1_500)));
    assert!(job_steps(&env, &seen, ms(1_500))[0].contains("worker lost"));
    seen.died(tm(2, 1), ms(600));
    assert!(job_steps(&env, &seen, ms(600))[0].contains("tm-2#1 died"));
}

#[test]
fn a_broken_channel_waits_for_the_failure_behind_it() {
    let (env, attempt, mut seen) = running(SinkKind::Blackhole);
    report_task(
        &mut seen,
        &tm(1, 1),
        attempt,
        TaskId::new("out", 0),
        failed("channel", 100),
    );
    assert!(job_steps(&env, &seen, ms(349)).is_empty());
    assert!(job_steps(&env, &seen, ms(350))[0].contains("channel broken"));
    report_task(
        &mut seen,
        &tm(2, 1),
        attempt,
        TaskId::new("numbers", 1),
        failed("task", 200),
    );
    assert!(job_steps(&env, &seen, ms(200))[0].contains("task failure"));
    // With a worker gone the cause is known: that worker, not the one that tells of it.
    let (env, attempt, mut seen) = running(SinkKind::Blackhole);
    report_task(
        &mut seen,
        &tm(1, 1),
        attempt,
        TaskId::new("out", 0),
        failed("channel", 100),
    );
    seen.broke("tm-2", 2, ms(100));
    let blamed = |seen: &Seen| {
        let plan = planned(&env, seen, &Memory::default(), ms(100));
        let Some(Step::Propose(Command::AttemptFailed(failed))) = plan.steps.first().cloned()
        else {
            panic!("{plan:?}")
        };
        failed
    };
    let failure = blamed(&seen);
    assert_eq!(failure.kind, FailureKind::WorkerLost);
    assert_eq!((failure.worker, failure.vertex), (Some(tm(2, 1)), None));
    assert_eq!(failure.cause, "worker tm-2#1 is silent; tm-1: boom");
    seen.died(tm(2, 1), ms(100));
    assert_eq!(blamed(&seen).cause, "worker tm-2#1 died; tm-1: boom");
}

#[test]
fn tasks_that_are_gone_without_a_word_are_not_started_again_beside_the_others() {
    let (env, _, mut seen) = running(SinkKind::Blackhole);
    seen.register("tm-2".into(), worker(1, 9));
    assert!(job_steps(&env, &seen, ms(0))[0].contains("holds not all"));
}

#[test]
fn a_restart_beside_possible_zombies_waits_unless_they_do_no_harm() {
    for (sink, at_once) in [
        (SinkKind::ExactlyOnce, true),
        (SinkKind::AtLeastOnce, false),
    ] {
        let (mut env, attempt, mut seen) = running(sink);
        report_task(
            &mut seen,
            &tm(1, 1),
            attempt,
            TaskId::new("out", 0),
            failed("task", 0),
        );
        seen.broke("tm-2", 2, ms(0));
        let failure = planned(&env, &seen, &Memory::default(), ms(0))
            .steps
            .remove(0);
        let Step::Propose(failure) = failure else {
            panic!("{failure}")
        };
        env.leader(failure);
        report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Canceled);
        env.clock_ms += 500;
        let deploys = |steps: &[String]| steps.iter().any(|step| step.contains("deploy job"));
        assert_eq!(
            deploys(&job_steps(&env, &seen, ms(500))),
            at_once,
            "{sink:?}"
        );
        assert!(deploys(&job_steps(&env, &seen, ms(11_000))), "{sink:?}");
    }
}
