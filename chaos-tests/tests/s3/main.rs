//! Clusters whose checkpoints lie in a bucket of a real S3 server, seen through a proxy that makes it fail.
//!
//! Needs a binary built with `--features s3` and moto's server: `make test-s3`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regent_chaos::cleanup::{
    assert_verified, reconfigure, undone, wait_for_clean, wait_for_rest, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::s3::{Fault, Kind, Moto, Proxy, Rule};
use regent_chaos::wait::{Phases, pause, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const BUCKET: &str = "regent";

/// A server, a proxy, and a cluster behind it. Dropped in this order: the cluster first.
struct Stage {
    cluster: Cluster,
    proxy: Proxy,
    moto: Moto,
    _files: tempfile::TempDir,
}

fn stage(prefix: &str) -> Stage {
    let files = tempfile::tempdir().expect("a directory");
    let moto = Moto::start(&files.path().join("moto.log"));
    moto.create_bucket(BUCKET);
    let proxy = Proxy::start(&moto.address);
    let cluster = Cluster::start(options(files.path(), &proxy, prefix));
    Stage {
        cluster,
        proxy,
        moto,
        _files: files,
    }
}

fn options(files: &Path, proxy: &Proxy, prefix: &str) -> Options {
    let credentials = files.join("credentials");
    let text = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
    fs::write(&credentials, text).expect("the credentials can be written");
    Options {
        environment: vec![
            (
                "REGENT_STORAGE__CHECKPOINT_DIR",
                format!("s3://{BUCKET}/{prefix}"),
            ),
            ("REGENT_STORAGE__S3__ENDPOINT", proxy.endpoint.clone()),
            (
                "REGENT_STORAGE__S3__CREDENTIALS_FILE",
                credentials.display().to_string(),
            ),
        ],
        ..Options::default()
    }
}

/// States that don't fit into `_metadata`; failed checkpoints are borne.
fn job(name: &str) -> String {
    format!(
        r#"name: {name}
parallelism: 2
checkpointing: {{ interval: 300ms, num-retained: 2, tolerable-failed-checkpoints: 10000 }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 5000, keys: 5000 }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ n: {{ count: "*" }} }} }}
  - {{ id: out, sink: blackhole, inputs: [ counts ] }}
"#
    )
}

fn submit<'a>(cluster: &'a Cluster, name: &str) -> Job<'a> {
    Job::submit(cluster, &written(cluster, name, &job(name)))
}

/// Waits until this many more checkpoints are complete.
fn checkpoints_go_on(job: &mut Job<'_>, more: u64) {
    let completed = |shown: &Value| shown["checkpoints"]["completed"].as_u64();
    let before = completed(&job.look()).unwrap_or_default();
    wait_until(SOON, "checkpoints go on", || {
        (completed(&job.look())? >= before + more).then_some(())
    });
}

impl Stage {
    /// Objects below the prefix, the owner's marker aside.
    fn objects(&self, prefix: &str) -> Vec<String> {
        let keys = self.moto.keys(BUCKET, &format!("{prefix}/")).into_iter();
        keys.filter(|key| !key.starts_with(&format!("{prefix}/owner/")))
            .collect()
    }
}

#[test]
fn checkpoints_and_savepoints_live_in_a_bucket() {
    let mut phases = Phases::of("s3");
    let mut stage = stage("plain");
    let cluster = &stage.cluster;
    let mut busy = submit(cluster, "busy");
    checkpoints_go_on(&mut busy, 3);
    let shown = busy.look();
    let path = shown["checkpoints"]["latest"]["path"]
        .as_str()
        .expect("a path");
    assert!(path.starts_with("s3://regent/plain/"), "{path}");
    let taken = cluster.json(&["job", "savepoint", &busy.id]);
    let savepoint = taken["path"].as_str().expect("a path").to_owned();
    assert_verified(cluster);
    phases.done("checkpoints, a savepoint, verified");

    let leader = cluster.wait_for_leader();
    let old = cluster.kill(&leader);
    checkpoints_go_on(&mut busy, 3);
    let _new = cluster.wait_for_new_pid(&leader, old);
    assert_eq!(busy.seen().restarts, 0, "{:?}", busy.seen());
    assert_eq!(
        cluster.json(&["job", "cancel", &busy.id])["state"],
        "CANCELED"
    );
    wait_for_clean(cluster, &busy.id, SOON);
    wait_for_rest(cluster, SOON);
    let key = savepoint.trim_start_matches("s3://regent/").to_owned();
    let left = stage.objects("plain");
    assert!(
        !left.is_empty() && left.iter().all(|one| one.starts_with(&key)),
        "{left:?}"
    );
    assert!(stage.proxy.bulk_deletes() > 0, "directories go in bulk");
    assert_verified(cluster);
    phases.done("leader killed, cancelled, clean");

    let file = written(cluster, "again", &job("busy"))
        .display()
        .to_string();
    let submitted = cluster.json(&["job", "submit", &file, "--from-savepoint", &savepoint]);
    let again = submitted["job_id"].as_str().expect("its id").to_owned();
    let mut again = Job::of(cluster, &again);
    again.wait_for_checkpoint(SOON);
    assert_eq!(
        cluster.json(&["job", "cancel", &again.id])["state"],
        "CANCELED"
    );
    wait_for_clean(cluster, &again.id, SOON);
    let disposed = cluster.json(&["savepoint", "dispose", &savepoint, "--yes"]);
    assert_eq!(disposed["path"], savepoint.as_str());
    wait_for_rest(cluster, SOON);
    assert_eq!(stage.objects("plain"), [] as [String; 0]);
    assert_verified(cluster);
    phases.done("carried on, disposed of, nothing is left");
    stage.cluster.stop();
}

#[test]
fn a_faulty_store_costs_time_and_nothing_else() {
    let mut phases = Phases::of("s3_faults");
    let mut stage = stage("faulty");
    let rule = |kinds: &[Kind], every, fault| Rule {
        kinds: kinds.to_vec(),
        every,
        fault,
    };
    let table = [
        ("503s", rule(&Kind::ALL, 3, Fault::Unavailable)),
        (
            "lost answers to writes",
            rule(&[Kind::Put], 3, Fault::AnswerLost),
        ),
        (
            "lost answers to deletes",
            rule(&[Kind::Delete], 2, Fault::AnswerLost),
        ),
        (
            "silence",
            rule(
                &[Kind::Put, Kind::Delete, Kind::List],
                5,
                Fault::Silence(3_000),
            ),
        ),
        ("slow listings", rule(&[Kind::List], 1, Fault::Slow(1_500))),
        ("broken connections", rule(&Kind::ALL, 4, Fault::Down)),
    ];
    for round in 1..=knobs::rounds(1, 5) {
        for (fault, rule) in &table {
            let name = format!("job-{round}-{}", fault.replace(' ', "-"));
            let cluster = &stage.cluster;
            stage.proxy.set(Some(rule.clone()));
            let mut hurt = submit(cluster, &name);
            checkpoints_go_on(&mut hurt, 5);
            assert_eq!(
                cluster.json(&["job", "cancel", &hurt.id])["state"],
                "CANCELED"
            );
            wait_for_clean(cluster, &hurt.id, SOON);
            let hits = stage.proxy.hits();
            stage.proxy.set(None);
            assert!(hits > 0, "{fault}: nothing was hurt");
            let left = stage.objects(&format!("faulty/{}", hurt.id));
            assert_eq!(left, [] as [String; 0], "{fault}");
            phases.done(&format!("round {round}: {fault} ({hits} requests): clean"));
        }
    }
    wait_for_rest(&stage.cluster, SOON);
    assert_eq!(stage.objects("faulty"), [] as [String; 0]);
    assert_verified(&stage.cluster);
    stage.cluster.stop();
}

#[test]
fn a_store_that_refuses_or_is_down_is_cleaned_afterwards() {
    let mut phases = Phases::of("s3_down");
    let mut stage = stage("down");
    let minute = Duration::from_secs(u64::from(knobs::rounds(8, 60)));
    // Retried for ever, as by default, but not an hour apart.
    let strategy = "cleanup-strategy: { type: exponential-delay, initial-backoff: 200ms, \
                    max-backoff: 2s }\n";
    reconfigure(&stage.cluster, strategy);
    stage.cluster.wait_for_workers(2);
    let table = [
        ("denied", vec![Kind::Delete], Fault::Denied),
        ("down", Kind::ALL.to_vec(), Fault::Down),
    ];
    for (what, kinds, fault) in table {
        let cluster = &stage.cluster;
        let mut hurt = submit(cluster, what);
        checkpoints_go_on(&mut hurt, 3);
        let id = hurt.id.clone();
        stage.proxy.set(Some(Rule {
            kinds,
            every: 1,
            fault,
        }));
        assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");
        let failed = || {
            undone(cluster)
                .into_iter()
                .find(|one| one["last_error"].is_string())
        };
        let artefact = wait_until(SOON, "a deletion failed", failed);
        assert_eq!(artefact["state"], "retrying", "{artefact}");
        let leader = cluster.wait_for_leader();
        let old = cluster.kill(&leader);
        let _new = cluster.wait_for_new_pid(&leader, old);
        pause(minute);
        assert_eq!(cluster.json(&["job", "result", &id])["clean"], false);
        assert!(!undone(cluster).is_empty());
        stage.proxy.set(None);
        // Nobody asks for another try.
        wait_for_clean(cluster, &id, SOON);
        assert_eq!(stage.objects(&format!("down/{id}")), [] as [String; 0]);
        assert_eq!(cluster.json(&["job", "result", &id])["state"], "CANCELED");
        phases.done(&format!(
            "{what} for {minute:?}, leader killed: clean afterwards"
        ));
    }
    wait_for_rest(&stage.cluster, SOON);
    assert_eq!(stage.objects("down"), [] as [String; 0]);
    stage.cluster.stop();
}

#[test]
fn a_prefix_with_another_owner_is_refused() {
    let mut first = stage("shared");
    let mut busy = submit(&first.cluster, "busy");
    busy.wait_for_checkpoint(SOON);
    let files = tempfile::tempdir().expect("a directory");
    let mut second = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..options(files.path(), &first.proxy, "shared")
    });
    let file = written(&second, "second", &job("second"))
        .display()
        .to_string();
    let outcome = second.cli(&["job", "submit", &file]);
    assert!(
        outcome.refused(5).contains("s3://regent/shared"),
        "{outcome}"
    );
    assert_eq!(second.json(&["job", "list"]), json!([]));
    assert_eq!(first.moto.keys(BUCKET, "shared/owner/").len(), 1);
    second.stop();
    first.cluster.stop();
}

/// Files of numbered rows as objects below a prefix.
fn upload(moto: &Moto, prefix: &str, files: u64, rows: u64) {
    for file in 0..files {
        let mut text = "n,text\n".to_owned();
        for n in rows / files * file..rows / files * (file + 1) {
            text.push_str(&format!("{n},number {n}\n"));
        }
        moto.put(BUCKET, &format!("{prefix}/part-{file}.csv"), &text);
    }
    moto.put(
        BUCKET,
        &format!("{prefix}/_hidden.csv"),
        "not,for\nanybody,1\n",
    );
    moto.put(
        BUCKET,
        &format!("{prefix}/deep/part.csv"),
        "not,for\nanybody,1\n",
    );
}

/// A job that copies the rows of one prefix to another.
fn copying(name: &str, from: &str, to: &str, rate: u32) -> String {
    format!(
        "name: {name}\nparallelism: 2\ncheckpointing: {{ interval: 400ms, \
         tolerable-failed-checkpoints: 10000 }}\n\
         restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}\nvertices:\n  \
         - {{ id: numbers, source: files, with: {{ path: 's3://{BUCKET}/{from}', format: csv, \
         rate: {rate}, columns: {{ n: int64 }} }} }}\n  \
         - {{ id: out, sink: files, inputs: [ numbers ], \
         with: {{ path: 's3://{BUCKET}/{to}', format: csv }} }}\n"
    )
}

/// The committed numbers below a prefix, sorted, and how many objects hold them.
fn copied(moto: &Moto, to: &str) -> (Vec<u64>, usize) {
    let keys = moto.keys(BUCKET, &format!("{to}/")).into_iter();
    let keys: Vec<String> = keys.filter(|key| !key.contains("/_staging/")).collect();
    let mut numbers = Vec::new();
    for key in &keys {
        let content = moto.get(BUCKET, key);
        let mut lines = content.lines();
        assert_eq!(lines.next(), Some("n"), "{key}");
        numbers.extend(lines.map(|line| line.parse::<u64>().expect("a number")));
    }
    numbers.sort_unstable();
    (numbers, keys.len())
}

#[test]
fn rows_go_from_bucket_to_bucket_each_once() {
    let mut phases = Phases::of("s3_files");
    let mut stage = stage("files-checkpoints");
    let cluster = &stage.cluster;
    let rows = u64::from(knobs::rounds(8_000, 60_000));
    upload(&stage.moto, "in", 8, rows);
    let text = copying("copy", "in", "out/copy", knobs::rounds(800, 3_000));
    let mut job = Job::submit(cluster, &written(cluster, "copy", &text));
    // Writes and reads fail now and then as well.
    stage.proxy.set(Some(Rule {
        kinds: vec![Kind::Put, Kind::Get],
        every: 7,
        fault: Fault::AnswerLost,
    }));
    for turn in 0..knobs::rounds(3, 8) {
        job.wait_for("RUNNING", SOON);
        checkpoints_go_on(&mut job, 2);
        let victim = match turn % 2 {
            0 => "tm-1".to_owned(),
            _ => cluster.wait_for_leader(),
        };
        let old = cluster.kill(&victim);
        let _new = cluster.wait_for_new_pid(&victim, old);
    }
    stage.proxy.set(None);
    phases.done("killed");
    job.wait_for("FINISHED", SOON * 2);
    let (numbers, objects) = copied(&stage.moto, "out/copy");
    assert_eq!(numbers.len() as u64, rows);
    assert!(numbers.iter().copied().eq(0..rows), "each once");
    println!("{rows} rows in {objects} objects, {:?}", job.seen());
    wait_for_clean(cluster, &job.id, SOON);
    wait_for_rest(cluster, SOON);
    assert_eq!(
        stage.moto.keys(BUCKET, "out/copy/_staging/"),
        [] as [String; 0]
    );
    assert_verified(cluster);
    phases.done("finished, each once, staging cleaned");

    let again = written(cluster, "again", &text).display().to_string();
    let outcome = cluster.cli(&["job", "submit", &again]);
    assert!(
        outcome.refused(5).contains("holds output already"),
        "{outcome}"
    );
    let text = text.replace("format: csv } }\n", "format: csv, if-exists: replace } }\n");
    let mut replaces = Job::submit(cluster, &written(cluster, "replaces", &text));
    replaces.wait_for("FINISHED", SOON * 2);
    wait_for_clean(cluster, &replaces.id, SOON);
    let (numbers, _) = copied(&stage.moto, "out/copy");
    assert!(numbers.iter().copied().eq(0..rows), "replaced: each once");
    phases.done("refused, replaced");
    stage.cluster.stop();
}
