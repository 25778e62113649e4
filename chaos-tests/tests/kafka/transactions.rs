//! Exactly-once into a topic, against the broker of the harness.

use regent_chaos::cleanup::{assert_verified, wait_for_clean, wait_for_rest, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::kafka::broker::Broker;
use regent_chaos::knobs;
use regent_chaos::output::all_files;
use regent_chaos::wait::{Phases, wait_until};

use super::{SOON, assert_each_once, counts, hurt, number_of};

const PARTITIONS: i32 = 4;

fn job(name: &str, end: &str, rate: u32, broker: &str, staging: &std::path::Path) -> String {
    format!(
        "name: {name}\nparallelism: 2\ncheckpointing: {{ interval: 300ms }}\n\
         restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}\nvertices:\n  \
         - {{ id: sequence, source: sequence, with: {{ {end} rate: {rate} }} }}\n  \
         - {{ id: numbers, operator: select, inputs: [ sequence ], \
         with: {{ columns: [ {{ value: n }} ] }} }}\n  \
         - {{ id: out, sink: kafka, inputs: [ numbers ], with: {{ brokers: '{broker}', \
         topic: numbers, format: json-lines, key: n, broker-timeout: 20s, staging: {} }} }}\n",
        staging.display()
    )
}

fn found(broker: &Broker) -> std::collections::BTreeMap<u64, u32> {
    counts(
        broker
            .committed("numbers")
            .iter()
            .map(|value| number_of(value)),
    )
}

#[test]
fn each_row_once_whoever_dies_and_whatever_answer_is_lost() {
    let mut phases = Phases::of("kafka_transactions");
    let mut chance = knobs::chance("kafka_transactions");
    let mut cluster = Cluster::start(Options::default());
    let broker = Broker::start();
    broker.create_topic("numbers", PARTITIONS);
    broker.lose_answers(5);
    let rows = u64::from(knobs::rounds(24_000, 400_000));
    let staging = cluster.home().join("staging");
    let end = format!("end: {rows},");
    let rate = knobs::rounds(1_200, 3_600);
    let text = job("once", &end, rate, &broker.address, &staging);
    let mut job = Job::submit(&cluster, &written(&cluster, "once", &text));
    let _longest = hurt(&cluster, &mut job, knobs::rounds(4, 10), &mut chance);
    phases.done("killed");
    job.wait_for("FINISHED", SOON * 4);
    println!("{rows} rows, {:?}, {:?}", broker.counts(), job.seen());
    assert_each_once(&found(&broker), rows);
    assert!(broker.counts().answers_lost > 0, "{:?}", broker.counts());
    assert_eq!(job.result()["output_complete"], true);
    wait_for_clean(&cluster, &job.id, SOON);
    wait_for_rest(&cluster, SOON);
    assert_eq!(
        all_files(&staging),
        [] as [std::path::PathBuf; 0],
        "staging is cleaned"
    );
    assert_verified(&cluster);
    phases.done("finished, each once");
    cluster.stop();
}

#[test]
fn what_is_cancelled_has_all_of_its_last_checkpoint_and_no_more() {
    let mut cluster = Cluster::start(Options::default());
    let broker = Broker::start();
    broker.create_topic("numbers", PARTITIONS);
    let staging = cluster.home().join("staging");
    let text = job("endless", "", 2_000, &broker.address, &staging);
    let mut job = Job::submit(&cluster, &written(&cluster, "endless", &text));
    wait_until(SOON, "committed rows", || {
        job.look();
        (found(&broker).len() > 2_000).then_some(())
    });
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    wait_for_clean(&cluster, &job.id, SOON);
    assert_eq!(job.result()["output_complete"], true);
    let found = found(&broker);
    assert!(found.values().all(|count| *count == 1), "each once");
    println!("{} rows, {:?}", found.len(), broker.counts());
    cluster.stop();
}
