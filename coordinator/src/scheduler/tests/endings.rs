use super::*;

#[test]
fn a_job_without_anything_to_commit_finishes_when_its_tasks_have() {
    let (env, attempt, mut seen) = running(SinkKind::Blackhole);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Finished);
    assert!(job_steps(&env, &seen, ms(0)).is_empty());
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Finished);
    assert_eq!(
        job_steps(&env, &seen, ms(0)),
        [format!("propose: job {JOB} has ended: FINISHED")]
    );
}

#[test]
fn an_exactly_once_job_finishes_only_after_its_last_checkpoint_is_committed() {
    let (mut env, attempt, mut seen) = running(SinkKind::ExactlyOnce);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Finished);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Finished);
    assert!(job_steps(&env, &seen, ms(0)).is_empty());
    let last = env.checkpoint(CheckpointKind::Final, true);
    assert!(
        job_steps(&env, &seen, ms(0)).is_empty(),
        "the running attempt commits it"
    );
    let run = env.machine.job(JOB).unwrap().run;
    env.leader(Command::SinksCommitted(SinksCommitted {
        job: JOB,
        run,
        through: last,
    }));
    assert_eq!(
        job_steps(&env, &seen, ms(0)),
        [format!("propose: job {JOB} has ended: FINISHED")]
    );
}

#[test]
fn a_worker_lost_between_last_checkpoint_and_commit_leads_to_a_commit_without_running() {
    let (mut env, _, mut seen) = running(SinkKind::ExactlyOnce);
    let last = env.checkpoint(CheckpointKind::Final, true);
    seen.died(tm(2, 1), ms(0));
    let Step::Propose(failure) = planned(&env, &seen, &Memory::default(), ms(0))
        .steps
        .remove(0)
    else {
        panic!()
    };
    env.leader(failure);
    let commit = format!("let tm-1#1 commit checkpoint {last}");
    assert!(job_steps(&env, &seen, ms(0)).contains(&commit));
    let with = |commit| {
        let mut memory = Memory::default();
        memory.commits.insert((JOB, last), commit);
        steps(&env, &seen, &memory, ms(100))
    };
    let ordered = Commit::Ordered {
        worker: tm(1, 1),
        session: 1,
        at: ms(0),
    };
    assert!(!with(ordered).contains(&commit));
    let elsewhere = Commit::Ordered {
        worker: tm(1, 1),
        session: 7,
        at: ms(0),
    };
    assert!(with(elsewhere).contains(&commit), "that session is gone");
    assert!(!with(Commit::Failed { again_at: ms(101) }).contains(&commit));
    assert!(with(Commit::Failed { again_at: ms(100) }).contains(&commit));
    let through = format!("propose: sinks of job {JOB} committed through checkpoint {last}");
    assert!(with(Commit::Done).contains(&through));
}

#[test]
fn output_of_a_cancelled_job_is_committed_after_its_end() {
    let (mut env, attempt, mut seen) = running(SinkKind::ExactlyOnce);
    let latest = env.checkpoint(CheckpointKind::Checkpoint, true);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Canceled);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Canceled);
    for step in planned(&env, &seen, &Memory::default(), ms(0)).steps {
        if let Step::Propose(command) = step {
            env.leader(command);
        }
    }
    assert!(env.machine.job(JOB).unwrap().is_dirty());
    let commit = format!("let tm-1#1 commit checkpoint {latest}");
    assert_eq!(job_steps(&env, &seen, ms(0)), [commit]);
    // Nobody has the operators: it stays dirty.
    seen.workers.clear();
    assert!(job_steps(&env, &seen, ms(0)).is_empty());
}

#[test]
fn committing_needs_the_sinks_only() {
    let (mut env, attempt, mut seen) = running(SinkKind::ExactlyOnce);
    let latest = env.checkpoint(CheckpointKind::Checkpoint, true);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Canceled);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Canceled);
    for step in planned(&env, &seen, &Memory::default(), ms(0)).steps {
        if let Step::Propose(command) = step {
            env.leader(command);
        }
    }
    for worker in seen.workers.values_mut() {
        worker.offers = worker
            .offers
            .iter()
            .filter(|offer| offer.kind == "sink")
            .cloned()
            .collect();
    }
    assert_eq!(
        job_steps(&env, &seen, ms(0)),
        [format!("let tm-1#1 commit checkpoint {latest}")]
    );
}
