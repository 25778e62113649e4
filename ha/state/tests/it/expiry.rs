//! Results that have had their time.

use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::response::*;

use crate::support::*;

#[test]
fn results_expire_by_age_and_by_count_and_keep_what_is_retained() {
    let mut world = World::new();
    for number in 1..=4 {
        let checkpointing = Some(checkpointing(1, Retention::RetainOnCancellation));
        let graph = JobGraph {
            checkpointing,
            ..files_job(&format!("job-{number}"))
        };
        world.start(number, &graph);
        world.checkpoint(number, false);
        end_with(&mut world, number, Outcome::Canceled);
        if number != 3 {
            world.clean();
        }
        world.pass(1_000);
    }
    let expire = |older_than_ms, keep_at_most| {
        Command::ExpireResults(ExpireResults {
            older_than_ms,
            keep_at_most,
        })
    };
    let expired = |response| match response {
        Response::ResultsExpired { expired, .. } => expired,
        other => panic!("not expired: {other:?}"),
    };
    assert_eq!(
        world.machine.dirty_jobs().count(),
        0,
        "the fourth round cleaned the third job"
    );
    assert_eq!(
        expired(world.propose(expire(0, 10))),
        0,
        "never younger than an hour"
    );
    assert_eq!(
        expired(world.propose(expire(u64::MAX, 3))),
        0,
        "not by count either: the id must be safe to repeat"
    );
    world.clock_ms = ExpireResults::AGE_MS_MIN;
    assert_eq!(
        expired(world.propose(expire(u64::MAX, 3))),
        1,
        "by count: the oldest, which is an hour old"
    );
    assert!(world.machine.job(job_id(1)).is_none());
    assert_eq!(
        expired(world.propose(expire(u64::MAX, 0))),
        0,
        "the others aren't yet"
    );
    world.clock_ms += 2_000;
    assert_eq!(expired(world.propose(expire(0, 10))), 2, "by age");
    assert!(world.machine.job(job_id(4)).is_some());
    assert_eq!(
        world.machine.artefacts().count(),
        4,
        "retained checkpoints stay"
    );
    assert_eq!(
        world.machine.checkpoints(job_id(1)).count(),
        1,
        "and can be found under the job's id"
    );
}

#[test]
fn a_dirty_result_never_expires() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    end_with(&mut world, 1, Outcome::Canceled);
    world.clock_ms = u64::MAX / 2;
    let expire = ExpireResults {
        older_than_ms: 0,
        keep_at_most: 0,
    };
    let response = world.propose(Command::ExpireResults(expire));
    assert_eq!(
        response,
        Response::ResultsExpired {
            expired: 0,
            more: false
        }
    );
}

#[test]
fn many_results_expire_in_bounded_pieces() {
    let mut world = World::new();
    let graph = blackhole_job("a");
    for number in 0..=ExpireResults::BATCH {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let job = JobId(bytes);
        let graph = graph.clone();
        let entries = [
            Command::SubmitJob(SubmitJob {
                job_id: job,
                graph,
                restore: None,
            }),
            Command::CancelJob(CancelJob { job }),
        ];
        world.write_unchecked(entries);
        let run = world.machine.job(job).unwrap().run;
        let outcome = Outcome::Canceled;
        let end = JobTerminated {
            job,
            run,
            token: None,
            outcome,
        };
        world.write_unchecked([Command::JobTerminated(end)]);
    }
    world.pass(ExpireResults::AGE_MS_MIN);
    let expire = || {
        Command::ExpireResults(ExpireResults {
            older_than_ms: 0,
            keep_at_most: 0,
        })
    };
    let batch = ExpireResults::BATCH as u64;
    let first = world.propose(expire());
    assert_eq!(
        first,
        Response::ResultsExpired {
            expired: batch,
            more: true
        }
    );
    assert_eq!(
        world.propose(expire()),
        Response::ResultsExpired {
            expired: 1,
            more: false
        }
    );
}

#[test]
fn only_more_than_the_state_may_hold_goes_at_any_age() {
    let (hour, held) = (ExpireResults::AGE_MS_MIN, ExpireResults::HELD_MAX);
    let rule = |older_than_ms, keep_at_most| ExpireResults {
        older_than_ms,
        keep_at_most,
    };
    for (rule, rank, count, age_ms, goes) in [
        (rule(0, 10), 0, 5, hour - 1, false),
        (rule(0, 10), 4, 5, hour, true),
        (rule(2 * hour, 10), 0, 10, hour, false),
        (rule(2 * hour, 10), 0, 11, hour, true),
        (rule(2 * hour, 10), 1, 11, hour, false),
        (rule(2 * hour, 10), 0, 11, hour - 1, false),
        (rule(2 * hour, 10), 0, held, 0, false),
        (rule(2 * hour, 10), 0, held + 1, 0, true),
        (rule(2 * hour, 10), 1, held + 1, 0, false),
        // Whoever configures more means it.
        (rule(2 * hour, 2 * held), 0, 2 * held, 0, false),
        (rule(2 * hour, 2 * held), 0, 2 * held + 1, 0, true),
    ] {
        let taken = rule.takes(rank, count, age_ms);
        assert_eq!(taken, goes, "{rule:?}: {rank} of {count}, {age_ms} ms old");
    }
}
