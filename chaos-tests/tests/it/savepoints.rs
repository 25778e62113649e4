//! Savepoints: a job is stopped with one and carried on from it at another parallelism, as often as one
//! likes, and the outputs together are exact; what doesn't fit is refused, and what is needed stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::assert_exact;
use regent_chaos::reference::{flights, numbered, per_carrier};
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

/// Both outputs of the flights job, appended to by one run after the other.
struct Outputs {
    totals: PathBuf,
    numbers: PathBuf,
}

impl Outputs {
    fn new(home: &Path) -> Self {
        let at = |name: &str| home.join("out").join(name);
        Self {
            totals: at("totals"),
            numbers: at("numbers"),
        }
    }

    /// A keyed count over January's flights: totals at the end of input, and each flight numbered.
    fn job(&self, name: &str, counting: &str, interval: &str, rate: u32) -> String {
        let input = knobs::january();
        let (input, totals, numbers) = (
            input.display(),
            self.totals.display(),
            self.numbers.display(),
        );
        format!(
            r#"name: {name}
parallelism: 1
checkpointing: {{ interval: {interval} }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - id: flights
    source: files
    with: {{ path: {input}, format: csv, rate: {rate}, columns: {{ carrier: utf8, distance: int64 }} }}
  - id: by-carrier
    operator: aggregate
    inputs: [ {{ from: flights, partition: hash, by: [carrier] }} ]
    with: {{ group-by: [carrier], compute: {{ flights: {{ count: "*" }}, miles: {{ sum: distance }} }} }}
  - id: totals
    sink: files
    inputs: [ by-carrier ]
    with: {{ path: {totals}, format: csv, if-exists: append }}
  - id: {counting}
    operator: aggregate
    inputs: [ {{ from: flights, partition: hash, by: [carrier] }} ]
    with: {{ group-by: [carrier], emit: changes, compute: {{ nth: {{ count: "*" }} }} }}
  - id: numbers
    sink: files
    inputs: [ {counting} ]
    with: {{ path: {numbers}, format: csv, if-exists: append }}
"#
        )
    }
}

fn write(cluster: &Cluster, name: &str, text: &str) -> String {
    let path = cluster.home().join(format!("{name}.yaml"));
    fs::write(&path, text).expect("the job file can be written");
    path.display().to_string()
}

fn options() -> Options {
    Options {
        jobmanagers: 1,
        ..Options::default()
    }
}

fn text(document: &Value, field: &str) -> String {
    let text = document[field].as_str();
    text.unwrap_or_else(|| panic!("{field}: {document}"))
        .to_owned()
}

/// Submits from a savepoint at a parallelism; its id.
fn carry_on(cluster: &Cluster, file: &str, savepoint: &str, parallelism: u32) -> String {
    let set = format!("parallelism={parallelism}");
    let submitted = cluster.json(&[
        "job",
        "submit",
        file,
        "--set",
        &set,
        "--from-savepoint",
        savepoint,
    ]);
    text(&submitted, "job_id")
}

fn wait_for_rows(job: &mut Job<'_>, rows: u64) {
    wait_until(Duration::from_secs(20), "rows are read", || {
        let shown = job.look();
        let read = shown["vertices"][0]["records_out"].as_u64()?;
        (read >= rows).then_some(())
    });
}

#[test]
fn a_stopped_job_goes_on_at_any_parallelism() {
    let mut phases = Phases::of("savepoints");
    let mut cluster = Cluster::start(options());
    let outputs = Outputs::new(cluster.home());
    let file = write(
        &cluster,
        "counts",
        &outputs.job("counts", "numbering", "250ms", 6_000),
    );
    phases.done("ready");
    let first = cluster.json(&["job", "submit", &file]);
    let mut id = text(&first, "job_id");
    // Relative to where the command runs, which is the test's directory.
    for (parallelism, next) in [(1, 3), (3, 2), (2, 4)] {
        let mut job = Job::of(&cluster, &id);
        job.wait_for("RUNNING", Duration::from_secs(20));
        wait_for_rows(&mut job, 2_000);
        let stopped = cluster.json(&["job", "stop", &id, "--savepoint-path", "sp"]);
        assert_eq!(stopped["state"], "FINISHED", "{stopped}");
        let savepoint = text(&stopped, "path");
        let below = cluster.home().join("sp");
        assert_eq!(
            Path::new(&savepoint).parent(),
            Some(below.as_path()),
            "{savepoint}"
        );
        assert!(Path::new(&savepoint).join("_metadata").is_file());
        let result = job.result();
        assert_eq!(result["output_complete"], true, "{result}");
        let listed = cluster.json(&["checkpoint", "list", &id]);
        let listed = listed.as_array().expect("a list");
        let last = listed.last().expect("the savepoint is listed");
        assert_eq!(
            (&last["kind"], &last["path"]),
            (&"savepoint".into(), &savepoint.clone().into())
        );
        assert_eq!(last["retained"], true, "{last}");
        id = carry_on(&cluster, &file, &savepoint, next);
        phases.done(&format!("stopped at {parallelism}, goes on at {next}"));
    }
    Job::of(&cluster, &id).wait_for("FINISHED", Duration::from_secs(60));
    let flights = flights(&knobs::january());
    assert_exact(&outputs.numbers, &["carrier", "nth"], &numbered(&flights));
    assert_exact(
        &outputs.totals,
        &["carrier", "flights", "miles"],
        &per_carrier(&flights),
    );
    let verified = cluster.cli(&["cleanup", "verify"]).json();
    assert_eq!(verified["orphans"], serde_json::json!([]), "{verified}");
    phases.done("finished, exact");
    cluster.stop();
}

#[test]
fn a_savepoint_of_a_running_job_is_needed_until_it_is_not() {
    let mut cluster = Cluster::start(options());
    let outputs = Outputs::new(cluster.home());
    // No checkpoint of its own for a long time: the savepoint is the restore point.
    let slow = write(
        &cluster,
        "slow",
        &outputs.job("slow", "numbering", "10m", 200),
    );
    let id = text(&cluster.json(&["job", "submit", &slow]), "job_id");
    let mut job = Job::of(&cluster, &id);
    job.wait_for("RUNNING", Duration::from_secs(20));

    let nothing = cluster.json(&["job", "savepoint", &id, "sp", "--dry-run"]);
    assert_eq!(nothing["path"], Value::Null, "{nothing}");
    assert!(!cluster.home().join("sp").exists());

    let request = ["--request-id", "5a"];
    let ask = |cluster: &Cluster| {
        let words = ["job", "savepoint", "slow", "sp"];
        cluster.json(&[&words[..], &request[..]].concat())
    };
    let taken = ask(&cluster);
    assert_eq!(taken["state"], "RUNNING", "{taken}");
    let savepoint = text(&taken, "path");
    assert!(Path::new(&savepoint).join("_metadata").is_file());

    let dispose = |path: &str| cluster.cli(&["savepoint", "dispose", path, "--yes"]);
    let refused = dispose(&savepoint);
    assert!(refused.refused(5).contains(&id), "{refused}");
    let rehearsed = cluster.cli(&["savepoint", "dispose", &savepoint, "--dry-run"]);
    assert!(rehearsed.refused(5).contains(&id), "{rehearsed}");

    let newer = cluster.json(&["job", "savepoint", &id]);
    let newer = text(&newer, "path");
    let default = cluster.dir().join("checkpoints/savepoints");
    assert_eq!(Path::new(&newer).parent(), Some(default.as_path()));

    // More slots than there are: this one waits, and holds the older savepoint.
    let waiting = carry_on(&cluster, &slow, &savepoint, 9);
    let refused = dispose(&savepoint);
    assert!(refused.refused(5).contains(&waiting), "{refused}");
    let savepoint_of_waiting = ["job", "savepoint", &waiting];
    let unfinished = cluster.cli_within(&savepoint_of_waiting, "1s", Duration::from_secs(2));
    let again = unfinished.refused(6);
    assert!(
        again.contains("job savepoint") && again.contains("--request-id"),
        "{again}"
    );
    assert_eq!(
        cluster.json(&["job", "cancel", &waiting])["state"],
        "CANCELED"
    );

    let unconfirmed = cluster.cli(&["savepoint", "dispose", &savepoint]);
    assert!(unconfirmed.refused(2).contains("--yes"), "{unconfirmed}");
    assert_eq!(dispose(&savepoint).json()["path"], savepoint.as_str());
    let gone = || (!Path::new(&savepoint).exists()).then_some(());
    wait_until(Duration::from_secs(10), "the savepoint is gone", gone);
    // The same request again is answered as before, and takes no other.
    assert_eq!(text(&ask(&cluster), "path"), savepoint);
    assert!(Path::new(&newer).join("_metadata").is_file());

    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");
    assert!(
        Path::new(&newer).join("_metadata").is_file(),
        "savepoints are the user's"
    );
    assert_eq!(dispose(&newer).json()["path"], newer.as_str());
    cluster.stop();
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut cluster = Cluster::start(options());
    let outputs = Outputs::new(cluster.home());
    let file = write(
        &cluster,
        "counts",
        &outputs.job("counts", "numbering", "250ms", 5_000),
    );
    let id = text(&cluster.json(&["job", "submit", &file]), "job_id");
    let mut job = Job::of(&cluster, &id);
    job.wait_for("RUNNING", Duration::from_secs(20));
    wait_for_rows(&mut job, 1_000);
    let stopped = cluster.json(&["job", "stop", &id, "--savepoint-path", "sp"]);
    let savepoint = text(&stopped, "path");

    let other = Outputs::new(&cluster.home().join("other"));
    let renamed = write(
        &cluster,
        "renamed",
        &other.job("renamed", "counting", "250ms", 60_000),
    );
    let refusing = other
        .job("refusing", "numbering", "250ms", 60_000)
        .replace("if-exists: append", "if-exists: refuse");
    let refusing = write(&cluster, "refusing", &refusing);
    let from = |file: &str, path: &str| {
        let submit = ["job", "submit", file, "--from-savepoint", path];
        let dry = cluster.cli(&[&submit[..], &["--dry-run"]].concat());
        let real = cluster.cli(&submit);
        assert_eq!(
            dry.refused(5),
            real.refused(5),
            "a dry run is refused alike"
        );
        real.reason().to_owned()
    };
    let unmatched = from(&renamed, &savepoint);
    assert!(unmatched.contains("numbering"), "{unmatched}");
    assert!(unmatched.contains("--allow-unclaimed-state"), "{unmatched}");
    assert!(from(&refusing, &savepoint).contains("append"));
    assert!(from(&renamed, "nowhere").contains("nowhere"));
    let jobs = cluster.json(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(1), "{jobs}");

    // Without the state of `numbering`, flights are numbered from the savepoint on; totals are whole.
    let allowed = cluster.json(&[
        "job",
        "submit",
        &renamed,
        "--allow-unclaimed-state",
        "--from-savepoint",
        &savepoint,
    ]);
    let allowed = text(&allowed, "job_id");
    Job::of(&cluster, &allowed).wait_for("FINISHED", Duration::from_secs(30));
    let header = ["carrier", "flights", "miles"];
    assert_exact(
        &other.totals,
        &header,
        &per_carrier(&flights(&knobs::january())),
    );

    // Its input is at its end, and its state with it.
    let ended = cluster.cli(&["job", "stop", &allowed, "--savepoint-path", "sp"]);
    assert!(ended.refused(1).contains("FINISHED"), "{ended}");
    cluster.stop();
}
