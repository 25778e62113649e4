//! The leader is killed at each named step of a checkpoint, a savepoint, a stop, an adoption, a deployment,
//! an end of input and a cancel. Each time the output is exact, and at rest every file is live, retained or
//! in the ledger.
//!
//! Five replicas, so that the next leader can be hit before the last one is back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::failpoints::{Armed, arm, deadly, moments};
use regent_chaos::jobs::{FlightsJob, Job};
use regent_chaos::knobs;
use regent_chaos::output::committed;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::{Value, json};

/// Courses that are walked here. `cleanup` and `sweep` are walked by the tests of cleaning, `disk` by those of the
/// disk.
const WALKED: [&str; 8] = [
    "checkpoint",
    "savepoint",
    "stop",
    "last",
    "deployment",
    "adoption",
    "end",
    "cancel",
];
const KEYS: i64 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

fn replicas() -> Options {
    Options {
        jobmanagers: 5,
        failpoints: true,
        ..Options::default()
    }
}

/// Arms the moment once `alive` replicas are there and in step, and all workers are registered.
fn armed(cluster: &Cluster, course: &str, moment: &str, alive: usize) -> Armed {
    wait_until(PATIENCE, "enough replicas are in step", || {
        let shown = cluster.json(&["leader", "show"]);
        let near = |replica: &&Value| replica["trails_by"].as_u64().is_some_and(|by| by <= 10);
        let replicas = shown["replicas"].as_array()?;
        let enough = replicas.iter().filter(near).count() >= alive;
        (enough && shown["leader"].is_object()).then_some(())
    });
    cluster.wait_for_workers(2);
    arm(cluster, course, moment, deadly(moment))
}

/// An endless job whose output can be checked wherever it ends.
struct Numbers {
    name: String,
    home: PathBuf,
}

impl Numbers {
    fn new(cluster: &Cluster, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            home: cluster.home().to_path_buf(),
        }
    }

    fn out(&self, sink: &str) -> PathBuf {
        self.home.join("out").join(&self.name).join(sink)
    }

    fn write(&self) -> PathBuf {
        let (name, values, counted) = (&self.name, self.out("values"), self.out("counted"));
        let (values, counted) = (values.display(), counted.display());
        let text = format!(
            r#"name: {name}
parallelism: 2
checkpointing: {{ interval: 150ms }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 2000, keys: {KEYS} }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ nth: {{ count: "*" }} }} }}
  - {{ id: values, sink: files, inputs: [ numbers ], with: {{ path: {values}, format: csv }} }}
  - {{ id: counted, sink: files, inputs: [ counts ], with: {{ path: {counted}, format: csv }} }}
"#
        );
        let path = self.home.join(format!("{name}.yaml"));
        fs::write(&path, text).expect("the job file can be written");
        path
    }

    /// Each subtask's numbers from the first to some last one, once each; and for each key as many
    /// counts as it has numbers, 1, 2, 3 and so on.
    fn assert_exact(&self) {
        let number = |row: &[String], at: usize| row[at].parse::<i64>().expect("a number");
        let rows = committed(&self.out("values"), &["value", "at", "key"]);
        let mut by_subtask: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
        let mut per_key: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            let value = number(row, 0);
            by_subtask[usize::from(value % 2 == 1)].push(value);
            *per_key.entry(value % KEYS).or_default() += 1;
        }
        for (first, values) in (0..).zip(&mut by_subtask) {
            values.sort_unstable();
            let wanted: Vec<i64> = (0..).map(|n| 2 * n + first).take(values.len()).collect();
            assert!(*values == wanted, "{}: lost or repeated", self.name);
        }
        let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in committed(&self.out("counted"), &["key", "nth"]) {
            counts
                .entry(number(&row, 0))
                .or_default()
                .push(number(&row, 1));
        }
        for (key, mut found) in counts {
            found.sort_unstable();
            let wanted: Vec<i64> = (1..=per_key.remove(&key).unwrap_or(0)).collect();
            assert!(found == wanted, "{}: counts of key {key}", self.name);
        }
        assert!(per_key.is_empty(), "{}: {per_key:?} uncounted", self.name);
        assert!(!rows.is_empty(), "{}: nothing was committed", self.name);
    }
}

/// After rest, store and log agree.
fn assert_no_file_is_lost(cluster: &Cluster) {
    wait_until(PATIENCE, "nothing is left to clean", || {
        let left = cluster.json(&["cleanup", "list"]);
        let done = |artefact: &Value| artefact["state"] == "done";
        left.as_array()?.iter().all(done).then_some(())
    });
    let found = cluster.cli(&["cleanup", "verify"]).json();
    for kind in ["orphans", "dangling", "wrong_size"] {
        assert_eq!(found[kind], json!([]), "{found}");
    }
}

/// Waits until the job runs under the new leader and has completed a checkpoint there.
fn goes_on(job: &mut Job<'_>, before: u64) {
    wait_until(PATIENCE, "a checkpoint after the takeover", || {
        let shown = job.look();
        let newer = job.seen().checkpoints.last().copied() > Some(before);
        (newer && shown["state"] == "RUNNING").then_some(())
    });
}

#[test]
fn every_course_is_walked() {
    let courses = regent_failpoint::COURSES.iter().map(|(course, _)| *course);
    let not_here: Vec<&str> = courses.filter(|c| !WALKED.contains(c)).collect();
    assert_eq!(not_here, ["cleanup", "sweep", "disk"]);
}

#[test]
fn the_leader_dies_at_each_step_of_a_checkpoint_a_savepoint_and_an_adoption() {
    let mut phases = Phases::of("steps_checkpoint");
    let mut cluster = Cluster::start(replicas());
    let spec = Numbers::new(&cluster, "endless");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for_checkpoint(PATIENCE);
    let mut kills = 0;
    let mut savepoints = Vec::new();
    for _ in 0..knobs::rounds(1, 10) {
        for moment in moments("checkpoint") {
            strike(&cluster, &mut job, "checkpoint", moment, |_| ());
            phases.done(&format!("checkpoint.{moment}"));
            kills += 1;
        }
        for moment in moments("savepoint") {
            let id = job.id.clone();
            let taken = strike(&cluster, &mut job, "savepoint", moment, |cluster| {
                cluster.cli_beside(&["job", "savepoint", &id, "sp"])
            });
            let taken = taken.join().expect("the command ends").json();
            let path = taken["path"].as_str().unwrap_or_else(|| panic!("{taken}"));
            savepoints.push(path.to_owned());
            phases.done(&format!("savepoint.{moment}"));
            kills += 1;
        }
        for moment in moments("adoption") {
            // Two leaders die at once: all five have to be there before.
            wait_for_all(&cluster);
            strike(&cluster, &mut job, "adoption", moment, |cluster| {
                cluster.kill(&cluster.wait_for_leader());
            });
            phases.done(&format!("adoption.{moment}"));
            kills += 2;
        }
    }
    let id = job.id.clone();
    let stopped = cluster.json(&["job", "stop", &id, "--savepoint-path", "sp"]);
    assert_eq!(stopped["state"], "FINISHED", "{stopped}");
    let seen = job.seen();
    println!(
        "{kills} kills: {} adoptions seen, {} restarts",
        seen.adoptions, seen.restarts
    );
    assert_eq!(seen.restarts, 0, "the job never noticed: {seen:?}");
    spec.assert_exact();
    for savepoint in savepoints {
        let metadata = Path::new(&savepoint).join("_metadata");
        assert!(metadata.is_file(), "savepoints stay: {savepoint}");
    }
    assert_no_file_is_lost(&cluster);
    cluster.stop();
}

fn wait_for_all(cluster: &Cluster) {
    cluster.wait_until_caught_up(10);
}

/// Kills the leader at this moment of the running job, and sees the job go on.
fn strike<T>(
    cluster: &Cluster,
    job: &mut Job<'_>,
    course: &str,
    moment: &str,
    provoke: impl FnOnce(&Cluster) -> T,
) -> T {
    let armed = armed(cluster, course, moment, 4);
    let provoked = provoke(cluster);
    armed.wait();
    job.look();
    let before = job.seen().checkpoints.last().copied().unwrap_or(0);
    goes_on(job, before);
    provoked
}

#[test]
fn the_leader_dies_at_each_step_of_a_deployment_and_of_an_end_of_input() {
    let mut phases = Phases::of("steps_whole_life");
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(replicas());
    for round in 0..knobs::rounds(1, 10) {
        let pairs = |course: &'static str| moments(course).iter().map(move |m| (course, *m));
        let mut begins = pairs("deployment");
        for (course, moment) in pairs("last").chain(pairs("end")) {
            let begin = begins.next();
            let first = begin.map(|(course, moment)| armed(&cluster, course, moment, 5));
            let second = armed(&cluster, course, moment, 4);
            let spec = FlightsJob::new(cluster.home(), &format!("{course}-{moment}-{round}"), 0);
            let mut job = Job::submit_through(&cluster, &spec.write());
            first.iter().for_each(Armed::wait);
            second.wait();
            job.wait_for("FINISHED", PATIENCE);
            let result = job.result();
            assert_eq!(result["output_complete"], true, "{result}");
            spec.assert_exact(&flights);
            let begin = begin.map_or_else(String::new, |(c, m)| format!("{c}.{m}, "));
            phases.done(&format!(
                "{begin}{course}.{moment}: {:?}",
                job.seen().states
            ));
        }
        assert_eq!(begins.next(), None, "each step of a deployment had its job");
    }
    assert_no_file_is_lost(&cluster);
    cluster.stop();
}

#[test]
fn the_leader_dies_at_each_step_of_a_stop_and_of_a_cancel() {
    let mut phases = Phases::of("steps_stop_cancel");
    let mut cluster = Cluster::start(replicas());
    for round in 0..knobs::rounds(1, 10) {
        for (course, state) in [("stop", "FINISHED"), ("cancel", "CANCELED")] {
            for moment in moments(course) {
                let spec = Numbers::new(&cluster, &format!("{course}-{moment}-{round}"));
                let mut job = Job::submit(&cluster, &spec.write());
                job.wait_for_checkpoint(PATIENCE);
                let armed = armed(&cluster, course, moment, 4);
                let id = job.id.clone();
                let words = match course {
                    "stop" => vec!["job", "stop", &id, "--savepoint-path", "sp"],
                    _ => vec!["job", "cancel", &id],
                };
                let asked = cluster.cli_beside(&words);
                armed.wait();
                let answer = asked.join().expect("the command ends").json();
                assert_eq!(answer["state"], state, "{answer}");
                let complete = || (job.result()["output_complete"] == true).then_some(());
                wait_until(PATIENCE, "the output is complete", complete);
                spec.assert_exact();
                phases.done(&format!("{course}.{moment}"));
            }
        }
    }
    assert_no_file_is_lost(&cluster);
    cluster.stop();
}
