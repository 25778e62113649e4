//! Topics of a real broker process.

use std::fs;
use std::time::Duration;

use regent_chaos::cleanup::{wait_for_clean, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::kafka::{Gate, Tansu, create_topic, create_topic_directly, produce, read_all};
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};

use super::{SOON, assert_each_once, counts, hurt, number_of, numbers_in, worker_of};

const PARTITIONS: i32 = 4;

fn rows() -> u64 {
    u64::from(knobs::rounds(20_000, 1_000_000))
}

/// Enough time for all kills.
fn rate() -> u32 {
    knobs::rounds(1_200, 9_000)
}

/// A source that was held up may be ahead of its rate by so much.
const RATE_BURST: Duration = Duration::from_secs(1);

fn kills() -> u32 {
    knobs::rounds(2, 10)
}

fn head(name: &str) -> String {
    format!(
        "name: {name}\nparallelism: 2\ncheckpointing: {{ interval: 300ms }}\n\
         restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}\nvertices:\n"
    )
}

/// Of the topic that is read: for every fetch tansu lists all batches of a partition, and each message is one.
fn partitions_read() -> i32 {
    i32::try_from(knobs::rounds(4, 64)).expect("a few")
}

fn numbered(rows: std::ops::Range<u64>, partitions: i32) -> impl Iterator<Item = (i32, String)> {
    rows.map(move |n| {
        let partition = i32::try_from(n % u64::from(partitions.unsigned_abs()));
        (partition.expect("a few"), format!("{{\"n\":{n}}}"))
    })
}

#[test]
fn a_topic_becomes_files_each_message_once() {
    let mut phases = Phases::of("kafka_to_files");
    let mut chance = knobs::chance("kafka_to_files");
    let mut cluster = Cluster::start(Options::default());
    let broker = Tansu::start(&cluster.home().join("tansu.log"));
    create_topic(&broker.address, "numbers", partitions_read());
    let messages = numbered(0..rows(), partitions_read());
    produce(&broker.address, "numbers", messages);
    phases.done("cluster, broker, messages");
    let out = cluster.home().join("out");
    let text = format!(
        "{}  - {{ id: numbers, source: kafka, with: {{ brokers: '{}', topic: numbers, group: seen, \
         format: json-lines, rate: {}, columns: {{ n: int64 }} }} }}\n  \
         - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {}, format: csv }} }}\n",
        head("to-files"),
        broker.address,
        rate(),
        out.display()
    );
    let mut job = Job::submit(&cluster, &written(&cluster, "to-files", &text));
    let _longest = hurt(&cluster, &mut job, kills(), &mut chance);
    phases.done("killed");
    wait_until(SOON * 4, "all rows", || {
        job.look();
        (numbers_in(&out).count() as u64 >= rows()).then_some(())
    });
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    wait_for_clean(&cluster, &job.id, SOON);
    assert_each_once(&counts(numbers_in(&out)), rows());
    println!("{} messages, {:?}", rows(), job.seen());
    phases.done("all rows, each once");
    cluster.stop();
}

#[test]
fn files_become_a_topic_and_nothing_is_lost() {
    let mut phases = Phases::of("files_to_kafka");
    let mut chance = knobs::chance("files_to_kafka");
    let mut cluster = Cluster::start(Options::default());
    let broker = Tansu::start(&cluster.home().join("tansu.log"));
    create_topic(&broker.address, "numbers", PARTITIONS);
    let folder = cluster.home().join("in");
    fs::create_dir(&folder).expect("a folder");
    for part in 0..4 {
        let range = rows() / 4 * part..rows() / 4 * (part + 1);
        let lines: String = range.map(|n| format!("{{\"n\":{n}}}\n")).collect();
        fs::write(folder.join(format!("{part}.jsonl")), lines).expect("a file");
    }
    let text = format!(
        "{}  - {{ id: numbers, source: files, with: {{ path: {}, format: json-lines, rate: {}, \
         columns: {{ n: int64 }} }} }}\n  - {{ id: out, sink: kafka, inputs: [ numbers ], \
         with: {{ brokers: '{}', topic: numbers, format: json-lines, key: n, \
         delivery: at-least-once }} }}\n",
        head("to-topic"),
        folder.display(),
        rate(),
        broker.address,
    );
    let mut job = Job::submit(&cluster, &written(&cluster, "to-topic", &text));
    let unkept = hurt(&cluster, &mut job, kills(), &mut chance);
    phases.done("killed");
    job.wait_for("FINISHED", SOON * 4);
    let read = read_all(&broker.address, "numbers", PARTITIONS);
    let found = counts(read.iter().map(|value| number_of(value)));
    let missing = (0..rows()).filter(|n| !found.contains_key(n)).count();
    assert_eq!(missing, 0, "nothing is lost");
    assert_eq!(found.len() as u64, rows(), "nothing else is there");
    let more = read.len() as u64 - rows();
    let seen = job.seen();
    println!("{} messages, {more} sent again, {seen:?}", rows());
    // Only a restart sends again, and only what came since the last completed checkpoint.
    let since = (unkept + RATE_BURST).as_millis() as u64 * u64::from(rate()) / 1_000;
    let most = seen.restarts * since;
    assert!(
        more <= most,
        "{more} sent again, at most {most}: {} restarts, {unkept:?} since a checkpoint began",
        seen.restarts
    );
    phases.done("finished, none lost");
    cluster.stop();
}

/// tansu can't add partitions to a topic. So the broker goes away and is back with a topic that has two more and holds
/// the same messages at the same offsets: what a client sees of an addition. The source's own look finds them, in the
/// attempt that runs; a later attempt goes on in them where the checkpoint ended.
#[test]
fn partitions_that_are_added_while_the_job_runs_are_read_each_message_once() {
    const MORE_PARTITIONS: i32 = PARTITIONS + 2;
    let mut phases = Phases::of("kafka_more_partitions");
    let mut cluster = Cluster::start(Options::default());
    let gate = Gate::open();
    let first = Tansu::start_behind(&cluster.home().join("first.log"), Some(&gate.address));
    gate.lead_to(&first.address);
    create_topic(&gate.address, "numbers", PARTITIONS);
    produce(&first.address, "numbers", numbered(0..400, PARTITIONS));
    let out = cluster.home().join("out");
    let text = format!(
        "{}  - {{ id: numbers, source: kafka, with: {{ brokers: '{}', topic: numbers, \
         discovery-interval: 200ms, format: json-lines, columns: {{ n: int64 }} }} }}\n  \
         - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {}, format: csv }} }}\n",
        head("more-partitions"),
        gate.address,
        out.display()
    );
    let mut job = Job::submit(&cluster, &written(&cluster, "more-partitions", &text));
    let arrived = |rows: u64| {
        let out = out.clone();
        move || (numbers_in(&out).count() as u64 >= rows).then_some(())
    };
    wait_until(SOON, "what was there first", arrived(400));
    phases.done("read");

    let second = Tansu::start_behind(&cluster.home().join("second.log"), Some(&gate.address));
    create_topic_directly(&second.address, "numbers", MORE_PARTITIONS);
    produce(&second.address, "numbers", numbered(0..400, PARTITIONS));
    gate.lead_to(&second.address);
    drop(first);
    produce(
        &second.address,
        "numbers",
        numbered(400..1_000, MORE_PARTITIONS),
    );
    wait_until(SOON, "the new partitions' messages", arrived(1_000));
    let shown = job.look();
    assert_eq!(
        (&shown["state"], job.seen().restarts),
        (&"RUNNING".into(), 0),
        "{shown}"
    );
    phases.done("more partitions, found by the attempt that runs");

    let worker = worker_of(&mut job);
    let old = cluster.kill(&worker);
    produce(
        &second.address,
        "numbers",
        numbered(1_000..1_600, MORE_PARTITIONS),
    );
    wait_until(SOON, "what came after the worker's death", arrived(1_600));
    assert_ne!(cluster.wait_for_new_pid(&worker, old), old);
    job.look();
    assert!(job.seen().restarts > 0, "{:?}", job.seen());
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    wait_for_clean(&cluster, &job.id, SOON);
    assert_each_once(&counts(numbers_in(&out)), 1_600);
    phases.done("each once");
    cluster.stop();
}

#[test]
fn an_endless_source_reads_on_and_a_bad_message_is_named() {
    let mut cluster = Cluster::start(Options::default());
    let broker = Tansu::start(&cluster.home().join("tansu.log"));
    create_topic(&broker.address, "numbers", PARTITIONS);
    produce(&broker.address, "numbers", numbered(0..100, PARTITIONS));
    let out = cluster.home().join("out");
    let text = |name: &str, on_error: &str| {
        format!(
            "{}  - {{ id: numbers, source: kafka, with: {{ brokers: '{}', topic: numbers, \
             format: json-lines, on-error: {on_error}, columns: {{ n: int64 }} }} }}\n  \
             - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {}/{name}, \
             format: csv }} }}\n",
            head(name).replace(
                "type: fixed-delay, attempts: 1000, delay: 100ms",
                "type: none"
            ),
            broker.address,
            out.display()
        )
    };
    let mut skips = Job::submit(
        &cluster,
        &written(&cluster, "skips", &text("skips", "skip")),
    );
    let mut fails = Job::submit(
        &cluster,
        &written(&cluster, "fails", &text("fails", "fail")),
    );
    let arrived = |name: &'static str, rows: u64| {
        let path = out.join(name);
        move || (numbers_in(&path).count() as u64 >= rows).then_some(())
    };
    wait_until(SOON, "the first rows", arrived("skips", 100));
    wait_until(SOON, "the first rows", arrived("fails", 100));
    produce(
        &broker.address,
        "numbers",
        [(1, "no JSON".to_owned())].into_iter(),
    );
    produce(&broker.address, "numbers", numbered(100..200, PARTITIONS));
    wait_until(SOON, "later rows", arrived("skips", 200));
    assert_each_once(&counts(numbers_in(&out.join("skips"))), 200);
    fails.wait_for("FAILED", SOON);
    let shown = fails.look().to_string();
    assert!(
        shown.contains("partition 1 offset 25: not a JSON object"),
        "{shown}"
    );
    assert_eq!(
        cluster.json(&["job", "cancel", &skips.id])["state"],
        "CANCELED"
    );
    wait_for_clean(&cluster, &skips.id, SOON);
    assert_eq!(skips.state(), "CANCELED");
    cluster.stop();
}

#[test]
fn a_broker_that_is_gone_fails_the_job_when_its_time_is_over() {
    let mut cluster = Cluster::start(Options::default());
    let broker = Tansu::start(&cluster.home().join("tansu.log"));
    create_topic(&broker.address, "numbers", PARTITIONS);
    produce(&broker.address, "numbers", numbered(0..100, PARTITIONS));
    let text = format!(
        "{}  - {{ id: numbers, source: kafka, with: {{ brokers: '{}', topic: numbers, \
         broker-timeout: 4s, format: json-lines, columns: {{ n: int64 }} }} }}\n  \
         - {{ id: out, sink: blackhole, inputs: [ numbers ] }}\n",
        head("gone").replace(
            "type: fixed-delay, attempts: 1000, delay: 100ms",
            "type: none"
        ),
        broker.address,
    );
    let mut job = Job::submit(&cluster, &written(&cluster, "gone", &text));
    job.wait_for_checkpoint(SOON);
    let address = broker.address.clone();
    drop(broker);
    job.wait_for("FAILED", SOON);
    let shown = job.look().to_string();
    assert!(shown.contains(&address), "{shown}");
    assert!(shown.contains("broker-timeout"), "{shown}");
    cluster.stop();
}
