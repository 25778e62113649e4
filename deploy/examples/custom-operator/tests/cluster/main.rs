//! The example as users run it: a cluster of its own program, its state over a killed leader and a
//! killed worker; what is said when its code is missing, fails or panics; where it runs; and `regent new`.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod placement;
mod source_and_sink;
mod trouble;
mod two_phase;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{program, run};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::committed;

const EXAMPLE: &str = env!("CARGO_BIN_EXE_custom-operator");
const HEADER: [&str; 4] = ["value", "at", "key", "nth"];
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    Cluster::start(Options {
        program: Some(PathBuf::from(EXAMPLE)),
        ..Options::default()
    })
}

/// The example's job, shortened to `end` numbers and with its output below the test's folder.
fn write_job(home: &Path, end: u32) -> PathBuf {
    let text = include_str!("../../job.yaml")
        .replace("60000", &end.to_string())
        .replace("interval: 1s", "interval: 250ms");
    assert!(text.contains(&format!("end: {end}")), "{text}");
    let file = home.join("job.yaml");
    fs::write(&file, text).unwrap();
    file
}

/// Every number once, and those of a key numbered without gap or repetition.
fn assert_exact(home: &Path, end: u32) {
    assert_numbered(home, end, 0);
}

/// The same, numbered from behind `start`.
fn assert_numbered(home: &Path, end: u32, start: u32) {
    let rows = committed(&home.join("out/enriched"), &HEADER);
    let mut numbers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut values = Vec::new();
    for row in &rows {
        let number = |column: usize| row[column].parse::<u32>().unwrap();
        values.push(number(0));
        numbers.entry(number(2)).or_default().push(number(3));
    }
    values.sort_unstable();
    assert!(
        values.iter().copied().eq(0..end),
        "{} rows of {end}",
        rows.len()
    );
    assert_eq!(numbers.len(), 10);
    for (key, mut nth) in numbers {
        nth.sort_unstable();
        let count = nth.len() as u32;
        assert!(
            nth.into_iter().eq(start + 1..=start + count),
            "key {key} isn't numbered 1 to {count}"
        );
    }
}

#[test]
fn its_state_survives_a_killed_leader_and_a_killed_worker() {
    const END: u32 = 16_000;
    let mut cluster = cluster();
    let file = write_job(cluster.home(), END);
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(PATIENCE);
    let leader = cluster.wait_for_leader();
    cluster.kill(&leader);
    job.wait_for_another_checkpoint(PATIENCE);
    assert!(job.seen().adoptions >= 1, "{:?}", job.seen());
    assert_eq!(
        job.seen().restarts,
        0,
        "running tasks go on: {:?}",
        job.seen()
    );
    let worker = job.look()["tasks"][0]["worker"]
        .as_str()
        .unwrap()
        .to_owned();
    cluster.kill(&worker);
    job.wait_for("FINISHED", PATIENCE);
    assert!(
        job.seen().restarts >= 1,
        "state was restored: {:?}",
        job.seen()
    );
    assert_exact(cluster.home(), END);
    cluster.stop();
}

#[test]
fn a_cluster_without_the_code_says_so() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let file = write_job(cluster.home(), 10);
    let file = file.to_str().unwrap();
    let refused = cluster.cli(&["job", "submit", file]);
    let reason = refused.refused(2);
    assert!(reason.contains("job.yaml:"), "{reason}");
    assert!(reason.contains("unknown operator `enrich`"), "{reason}");
    cluster.stop();
}

#[test]
fn a_version_that_no_worker_has_is_told_with_those_there_are() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        program: Some(PathBuf::from(EXAMPLE)),
        ..Options::default()
    });
    let file = write_job(cluster.home(), 10);
    let text = fs::read_to_string(&file).unwrap();
    let second = text.replace("operator: enrich", "operator: enrich\n    version: 2");
    assert_ne!(text, second);
    fs::write(&file, second).unwrap();
    let refused = cluster.cli(&["job", "submit", file.to_str().unwrap()]);
    let reason = refused.refused(2);
    assert!(
        reason.contains("no worker offers operator enrich 2; tm-1 offers 1"),
        "{reason}"
    );
    cluster.stop();
}

#[test]
fn the_page_teaches_this_program() {
    let root = knobs::root();
    let page = fs::read_to_string(root.join("docs/own-code.md")).unwrap();
    for file in [
        "src/main.rs",
        "src/tests.rs",
        "job.yaml",
        "src/bin/two-phase.rs",
        "src/bin/source-and-sink.rs",
    ] {
        let path = root.join("deploy/examples/custom-operator").join(file);
        let text = fs::read_to_string(path).unwrap();
        // The page shows the program and not where its tests are.
        let shown = text.split("\n#[cfg(test)]").next().unwrap().trim();
        assert!(
            page.contains(shown),
            "docs/own-code.md shows another {file}:\n{shown}"
        );
    }
}

#[test]
fn a_new_project_is_the_example() {
    let home = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        let mut command = program(Path::new(EXAMPLE), home.path());
        command.args(["new", name]);
        run(command, PATIENCE)
    };
    let _ = new("my-job").expect(0);
    let written = |file: &str| fs::read_to_string(home.path().join("my-job").join(file)).unwrap();
    assert_eq!(written("src/main.rs"), include_str!("../../src/main.rs"));
    assert_eq!(written("src/tests.rs"), include_str!("../../src/tests.rs"));
    assert_eq!(written("job.yaml"), include_str!("../../job.yaml"));
    let reason = new("my-job").refused(5).to_owned();
    assert_eq!(
        reason,
        "error: my-job exists already; take another name, or remove it"
    );
    new("2nd").refused(2);
    // Cargo reads it as it is: its package, its dependency on this checkout, no workspace around it.
    let manifest = home.path().join("my-job/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["read-manifest", "--manifest-path"])
        .arg(&manifest);
    let read = cargo.output().unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let read: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(read["name"], "my-job");
    let package = knobs::root().join("cli").canonicalize().unwrap();
    assert_eq!(read["dependencies"][0]["path"], package.to_str().unwrap());
    if knobs::soak() {
        edit(&home.path().join("my-job"));
        let program = build_and_test(home.path());
        survives(&program, home.path());
    }
}

/// The edit that the page teaches: a configuration.
fn edit(project: &Path) {
    let page = fs::read_to_string(knobs::root().join("docs/own-code.md")).unwrap();
    let (_, taught) = page.split_once("### Making it yours").unwrap();
    let (_, taught) = taught.split_once("```rust\n").unwrap();
    let (taught, _) = taught.split_once("```").unwrap();
    let main = project.join("src/main.rs");
    let text = fs::read_to_string(&main).unwrap();
    let (head, rest) = text.split_once("/// Numbers the rows").unwrap();
    let (_, rest) = rest.split_once("impl Operator for Enrich").unwrap();
    let rest = rest.replace("get_or_insert(0)", "get_or_insert(self.start)");
    fs::write(
        &main,
        format!("{head}{taught}\nimpl Operator for Enrich{rest}"),
    )
    .unwrap();
    let job = project.join("job.yaml");
    let text = fs::read_to_string(&job).unwrap();
    let edited = text.replace(
        "operator: enrich\n",
        "operator: enrich\n    with: { start: 1000 }\n",
    );
    assert_ne!(text, edited);
    fs::write(&job, edited).unwrap();
}

/// What was written and edited compiles and passes its test, with the versions that this repository is
/// built of. Answers the program.
fn build_and_test(home: &Path) -> PathBuf {
    let project = home.join("my-job");
    fs::copy(knobs::root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let target = knobs::root().join("target/new-project");
    for verb in ["test", "build"] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([verb, "--offline"]).current_dir(&project);
        cargo.env("CARGO_TARGET_DIR", &target);
        let built = cargo.output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
    }
    target.canonicalize().unwrap().join("debug/my-job")
}

/// A `local` cluster of that program runs its job over a killed leader, with its state.
fn survives(program: &Path, home: &Path) {
    const END: u32 = 12_000;
    let mut cluster = Cluster::start(Options {
        program: Some(program.to_owned()),
        ..Options::default()
    });
    let text = fs::read_to_string(home.join("my-job/job.yaml")).unwrap();
    let file = cluster.home().join("job.yaml");
    fs::write(&file, text.replace("60000", &END.to_string())).unwrap();
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(PATIENCE);
    let leader = cluster.wait_for_leader();
    cluster.kill(&leader);
    job.wait_for("FINISHED", PATIENCE * 2);
    let seen = job.seen();
    assert!(seen.adoptions >= 1 && seen.restarts == 0, "{seen:?}");
    assert_numbered(cluster.home(), END, 1_000);
    cluster.stop();
}
