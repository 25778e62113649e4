//! Workers of different programs in one cluster: a job with code of one's own runs where that code is, though
//! others have slots to spare, and waits for it if it has to.

use std::collections::BTreeSet;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;

use crate::trouble::finite;
use crate::worker::Worker;
use crate::{EXAMPLE, assert_exact, write_job};

const PATIENCE: Duration = Duration::from_secs(60);
/// Seven seconds of them: time for another job, and for the loss of the worker.
const END: u32 = 14_000;

fn workers_of(job: &mut Job<'_>) -> BTreeSet<String> {
    let shown = job.look();
    let tasks = shown["tasks"].as_array().unwrap().iter();
    tasks
        .map(|task| task["worker"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn tasks_are_on_the_worker_that_has_their_code_and_nowhere_else() {
    // `regent` itself, which has no code of anybody's.
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        restart: "never",
        ..Options::default()
    });
    let own = Worker::of(&cluster, "tm-2", EXAMPLE);
    cluster.wait_for_workers(2);
    let file = write_job(cluster.home(), END);
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(PATIENCE);
    assert_eq!(workers_of(&mut job), BTreeSet::from(["tm-2".to_owned()]));
    let listed = cluster.json(&["worker", "list"]);
    let free = |at: usize| (listed[at]["worker"].as_str(), listed[at]["free"].as_u64());
    assert_eq!(free(0), (Some("tm-1"), Some(4)), "room that isn't used");
    assert_eq!(free(1), (Some("tm-2"), Some(2)));
    // A job of nothing but built-in names needs the slots of both.
    Job::submit(&cluster, &finite(&cluster, "plain", 6)).wait_for("FINISHED", PATIENCE);

    drop(own);
    wait_until(PATIENCE, "the reason why it waits", || {
        let shown = job.look();
        let reason = shown["reason"].as_str()?;
        reason
            .contains("no worker offers operator enrich 1")
            .then_some(())
    });
    let own = Worker::again_of(&cluster, "tm-2", EXAMPLE);
    job.wait_for("FINISHED", PATIENCE);
    assert!(job.seen().restarts >= 1, "{:?}", job.seen());
    assert_exact(cluster.home(), END);
    drop(own);
    cluster.stop();
}
