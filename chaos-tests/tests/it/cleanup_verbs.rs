//! What an operator does about files: comparing store and log, retrying, forgetting, disposing of; and
//! handing leadership over.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::{Value, json};

fn small() -> Options {
    Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    }
}

/// What `cleanup verify` prints, whatever its exit code, which must fit.
fn verify(cluster: &Cluster) -> Value {
    let outcome = cluster.cli(&["cleanup", "verify"]);
    let found: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    let clean = ["orphans", "dangling", "wrong_size"]
        .iter()
        .all(|kind| found[kind] == json!([]));
    assert_eq!(outcome.code, Some(i32::from(!clean)), "{outcome}");
    found
}

fn paths(found: &Value, kind: &str) -> Vec<String> {
    let entries = found[kind].as_array().into_iter().flatten();
    let path = |entry: &Value| entry["path"].as_str().map(str::to_owned);
    entries.filter_map(path).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn append(path: &Path, text: &str) {
    let mut content = fs::read(path).unwrap_or_default();
    content.extend_from_slice(text.as_bytes());
    let parent = path.parent().expect("a parent");
    fs::create_dir_all(parent).expect("the directory can be made");
    fs::write(path, content).expect("the file can be written");
}

#[test]
fn store_and_log_are_compared_and_differences_named() {
    let mut phases = Phases::of("cleanup_verbs");
    let mut cluster = Cluster::start(small());
    let out = cluster.home().join("out");
    let file = cluster.home().join("busy.yaml");
    fs::write(&file, many_keys(&out)).expect("the job file can be written");
    let mut job = Job::submit(&cluster, &file);
    let id = job.id.clone();
    job.wait_for_checkpoint(Duration::from_secs(20));
    for _ in 0..knobs::rounds(10, 200) {
        let found = verify(&cluster);
        assert!(paths(&found, "orphans").is_empty(), "{found}");
        assert!(paths(&found, "dangling").is_empty(), "{found}");
        assert!(paths(&found, "wrong_size").is_empty(), "{found}");
    }
    phases.done("clean while checkpoints come and go");

    let savepoint = cluster.json(&["job", "savepoint", &id]);
    let savepoint = PathBuf::from(savepoint["path"].as_str().expect("a path"));
    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");
    let clean = || (job.result()["clean"] == true).then_some(());
    wait_until(Duration::from_secs(10), "the job is clean", clean);
    let checkpoints = cluster.dir().join("checkpoints");
    let stray = checkpoints.join("what/is/this");
    let staged = out.join("_staging/9.9-9.9/part");
    let guest = savepoint.join("guest");
    for orphan in [&stray, &staged, &guest] {
        append(orphan, "x");
    }
    let metadata = savepoint.join("_metadata");
    let whole = fs::read(&metadata).expect("the savepoint has its metadata");
    let found = verify(&cluster);
    let mut expected = vec![shown(&stray), shown(&staged), shown(&guest)];
    expected.sort();
    assert_eq!(paths(&found, "orphans"), expected, "{found}");
    assert!(paths(&found, "dangling").is_empty(), "{found}");

    fs::remove_file(&metadata).expect("removed");
    let found = verify(&cluster);
    assert_eq!(paths(&found, "dangling"), [shown(&metadata)], "{found}");
    assert_eq!(found["dangling"][0]["job_id"], id.as_str(), "{found}");
    fs::write(&metadata, &whole).expect("put back");

    let state = state_file(&savepoint);
    let before = fs::metadata(&state).expect("it is there").len();
    append(&state, "grown");
    let found = verify(&cluster);
    assert_eq!(paths(&found, "wrong_size"), [shown(&state)], "{found}");
    assert_eq!(found["wrong_size"][0]["expected"], before, "{found}");
    assert_eq!(found["wrong_size"][0]["found"], before + 5, "{found}");
    for file in [&stray, &staged, &guest] {
        assert!(file.exists(), "nothing was deleted: {}", file.display());
        fs::remove_file(file).expect("removed");
    }
    phases.done("differences are named");
    cluster.stop();
}

/// Counts so many keys that their state doesn't fit into `_metadata`.
fn many_keys(out: &Path) -> String {
    let out = out.display();
    format!(
        r#"name: busy
checkpointing: {{ interval: 100ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 20000, keys: 5000 }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ n: {{ count: "*" }} }} }}
  - {{ id: out, sink: files, inputs: [ counts ], with: {{ path: {out}, format: csv }} }}
"#
    )
}

/// A state file of the savepoint.
fn state_file(savepoint: &Path) -> PathBuf {
    let files = fs::read_dir(savepoint).expect("the savepoint is there");
    let mut files = files.flatten().map(|entry| entry.path());
    let state = files.find(|path| path.extension().is_some_and(|e| e == "state"));
    state.expect("its state is in a file")
}

/// Spoils the savepoint's metadata: where that is, and what it was.
fn damage(savepoint: &str) -> (PathBuf, Vec<u8>) {
    let metadata = Path::new(savepoint).join("_metadata");
    let whole = fs::read(&metadata).expect("it is there");
    fs::write(&metadata, "nonsense, and long enough").expect("written");
    (metadata, whole)
}

#[test]
fn what_can_not_be_removed_is_retried_or_forgotten() {
    let mut cluster = Cluster::start(small());
    let spec = FlightsJob::new(cluster.home(), "short", 1_000);
    let mut job = Job::submit(&cluster, &spec.write());
    let id = job.id.clone();
    job.wait_for("RUNNING", Duration::from_secs(20));
    let savepoints: Vec<String> = (0..2)
        .map(|_| {
            let taken = cluster.json(&["job", "savepoint", &id]);
            taken["path"].as_str().expect("a path").to_owned()
        })
        .collect();
    let shown = cluster.json(&["cleanup", "show", &id]);
    let states: Vec<&str> = shown
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|artefact| artefact["state"].as_str())
        .collect();
    assert!(
        states.contains(&"live") && states.contains(&"retained"),
        "{shown}"
    );
    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");

    let damaged: Vec<(PathBuf, Vec<u8>)> = savepoints.iter().map(|path| damage(path)).collect();
    for savepoint in &savepoints {
        let disposed = cluster.json(&["savepoint", "dispose", savepoint, "--yes"]);
        assert_eq!(disposed["path"], savepoint.as_str());
    }
    let stuck = |savepoint: &str| {
        let listed = cluster.json(&["cleanup", "list"]);
        let found = listed
            .as_array()
            .into_iter()
            .flatten()
            .find(|artefact| artefact["path"] == savepoint)?;
        Some(found.clone())
    };
    for savepoint in &savepoints {
        let retrying = || stuck(savepoint).filter(|a| a["last_error"].is_string());
        let artefact = wait_until(Duration::from_secs(10), "a deletion failed", retrying);
        assert_eq!(artefact["state"], "retrying", "{artefact}");
        assert_eq!(artefact["job_id"], id.as_str(), "{artefact}");
    }

    // Mended and retried: gone.
    let (metadata, whole) = &damaged[0];
    fs::write(metadata, whole).expect("mended");
    let retried = cluster.json(&["cleanup", "retry", &id]);
    assert_eq!(retried["job_id"], id.as_str());
    let gone = || (!Path::new(&savepoints[0]).exists()).then_some(());
    wait_until(Duration::from_secs(10), "the mended one is gone", gone);

    // Given up: the files stay, and are orphans now.
    let artefact = stuck(&savepoints[1]).expect("it is still listed");
    let number = artefact["artefact"]
        .as_str()
        .expect("its number")
        .to_owned();
    let unconfirmed = cluster.cli(&["cleanup", "forget", &number]);
    assert!(unconfirmed.refused(2).contains("--yes"), "{unconfirmed}");
    let rehearsed = cluster.json(&["cleanup", "forget", &number, "--dry-run"]);
    assert_eq!(rehearsed["artefact"], number.as_str());
    assert!(stuck(&savepoints[1]).is_some(), "a dry run forgets nothing");
    let forgotten = cluster.json(&["cleanup", "forget", &number, "--yes"]);
    assert_eq!(forgotten["artefact"], number.as_str());
    assert!(stuck(&savepoints[1]).is_none());
    let unknown = cluster.cli(&["cleanup", "forget", &number, "--yes"]);
    assert!(unknown.refused(1).contains(&number), "{unknown}");
    let orphans = paths(&verify(&cluster), "orphans");
    assert!(
        orphans.contains(&damaged[1].0.display().to_string()),
        "{orphans:?}"
    );
    cluster.stop();
}

#[test]
fn a_mistyped_savepoint_costs_nothing() {
    let mut cluster = Cluster::start(small());
    let empty = cluster.home().join("empty");
    let foreign = cluster.home().join("foreign");
    for dir in [&empty, &foreign] {
        fs::create_dir(dir).expect("made");
    }
    fs::write(foreign.join("_metadata"), "of somebody else").expect("written");
    let missing = cluster.home().join("missing");
    for path in [&empty, &foreign, &missing, &PathBuf::from("/")] {
        for option in ["--yes", "--dry-run"] {
            let outcome = cluster.cli(&["savepoint", "dispose", &shown(path), option]);
            let code = if path == Path::new("/") { 2 } else { 5 };
            let reason = outcome.refused(code);
            assert!(reason.contains(&shown(path)), "{reason}");
        }
    }
    assert!(empty.is_dir() && foreign.join("_metadata").is_file());
    assert_eq!(cluster.json(&["cleanup", "list"]), json!([]));
    cluster.stop();
}

#[test]
fn leadership_is_handed_over_under_a_running_job() {
    let mut cluster = Cluster::start(Options::default());
    let spec = FlightsJob::new(cluster.home(), "handed-over", 4_000);
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", Duration::from_secs(20));
    job.wait_for_checkpoint(Duration::from_secs(20));
    let number = |name: &str| name.trim_start_matches("jm-").parse::<u64>().expect("jm-N");

    let before = cluster.wait_for_leader();
    let would = cluster.json(&["leader", "transfer", "--dry-run"]);
    assert_eq!(
        (&would["from"], &would["term"]),
        (&json!(number(&before)), &Value::Null)
    );
    assert_eq!(cluster.wait_for_leader(), before);
    let moved = cluster.json(&["leader", "transfer"]);
    assert_eq!(moved["from"], number(&before), "{moved}");
    assert!(
        moved["term"].is_u64() && moved["took_ms"].is_u64(),
        "{moved}"
    );
    let after = cluster.wait_for_leader();
    assert_eq!(moved["to"], number(&after), "{moved}");
    assert_ne!(before, after);

    cluster.wait_until_caught_up(10);
    let back = cluster.json(&["leader", "transfer", "--to", &before]);
    assert_eq!((&back["from"], &back["to"]), (&moved["to"], &moved["from"]));
    assert_eq!(cluster.wait_for_leader(), before);
    let again = cluster.json(&["leader", "transfer", "--to", &before]);
    assert_eq!(again["to"], number(&before), "it leads already: {again}");
    let nobody = cluster.cli(&["leader", "transfer", "--to", "99"]);
    assert!(nobody.refused(5).contains("99"), "{nobody}");
    let unnamed = cluster.cli(&["leader", "transfer", "--to", "jm-99"]);
    assert!(unnamed.refused(2).contains("jm-99"), "{unnamed}");

    job.wait_for("FINISHED", Duration::from_secs(60));
    let seen = job.seen();
    assert_eq!((seen.adoptions, seen.restarts), (2, 0), "{seen:?}");
    spec.assert_exact(&flights(&knobs::january()));
    cluster.stop();
}
