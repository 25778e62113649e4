//! Jobs that read and write Kafka topics while leaders and workers are killed.
//!
//! Needs a binary built with `--features kafka`, and tansu's broker: `make test-kafka`. What tansu can't
//! do, transactions, is shown against the broker of the harness, which keeps them by Kafka's rules.

mod topics;
mod transactions;
mod trouble;
mod windows;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use regent_chaos::cluster::Cluster;
use regent_chaos::jobs::Job;
use regent_chaos::output::committed;
use regent_chaos::wait::{pause, wait_until};

const SOON: Duration = Duration::from_secs(90);

/// Kills leaders and workers in turn, each a moment after the job has completed two checkpoints more. Answers the
/// longest time before a death in which rows came that no completed checkpoint may hold: the second of those
/// checkpoints began in it.
fn hurt(cluster: &Cluster, job: &mut Job<'_>, kills: u32, chance: &mut StdRng) -> Duration {
    let mut longest = Duration::ZERO;
    for turn in 0..kills {
        job.wait_for("RUNNING", SOON);
        let began = Instant::now();
        let before = job.look()["checkpoints"]["completed"].as_u64().unwrap_or(0);
        let restarts = job.seen().restarts;
        wait_until(SOON, "two more checkpoints", || {
            let now = job.look()["checkpoints"]["completed"].as_u64()?;
            (now > before + 1).then_some(())
        });
        pause(Duration::from_millis(chance.random_range(0..700)));
        assert_eq!(job.state(), "RUNNING", "the kill hits a running job");
        let leader = turn % 2 == 0;
        let victim = if leader {
            cluster.wait_for_leader()
        } else {
            worker_of(job)
        };
        let old = cluster.kill(&victim);
        longest = longest.max(began.elapsed());
        println!("killed {victim}");
        let _new = cluster.wait_for_new_pid(&victim, old);
        if !leader {
            wait_until(SOON, "the attempt after the worker's death", || {
                job.look();
                (job.seen().restarts > restarts).then_some(())
            });
        }
    }
    longest
}

fn worker_of(job: &mut Job<'_>) -> String {
    let shown = job.look();
    let tasks = shown["tasks"].as_array().into_iter().flatten();
    let mut workers = tasks.filter_map(|task| task["worker"].as_str());
    workers.next().expect("tasks are on workers").to_owned()
}

/// How often each number was found.
fn counts(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_default() += 1;
    }
    counts
}

fn numbers_in(path: &Path) -> impl Iterator<Item = u64> {
    let rows = committed(path, &["n"]).into_iter();
    rows.map(|row| row[0].parse().expect("a number"))
}

/// Each number below `rows` once, and nothing else.
fn assert_each_once(found: &BTreeMap<u64, u32>, rows: u64) {
    let missing: Vec<u64> = (0..rows)
        .filter(|n| !found.contains_key(n))
        .take(10)
        .collect();
    let doubled: Vec<_> = found
        .iter()
        .filter(|(_, count)| **count > 1)
        .take(10)
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert!(doubled.is_empty(), "more than once: {doubled:?}");
    assert_eq!(found.len() as u64, rows, "nothing else is there");
}

fn number_of(json: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(json).expect("a JSON object");
    value["n"].as_u64().expect("a number")
}
