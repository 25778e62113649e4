//! What users name is held against what the log knows: no savepoint where it would be deleted with something
//! else, no sink over what another job or a user keeps; not through links either.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cleanup::{
    assert_verified, assert_workers_keep_nothing, counting, wait_for_clean, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;

const SOON: Duration = Duration::from_secs(60);

/// A job that writes there, without end.
fn writing(name: &str, out: &Path, more: &str) -> String {
    let out = out.display();
    format!(
        r#"name: {name}
checkpointing: {{ interval: 300ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 100 }} }}
  - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {out}, format: csv{more} }} }}
"#
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Refused for safety, with words that tell what is in the way.
fn refused(cluster: &Cluster, words: &[&str], why: &[&str]) {
    for rehearsed in [true, false] {
        let mut words = words.to_vec();
        words.extend(rehearsed.then_some("--dry-run"));
        let outcome = cluster.cli(&words);
        let reason = outcome.refused(5);
        for word in why {
            assert!(reason.contains(word), "{word}: {reason}");
        }
    }
}

/// A job of which this is a checkpoint, and one that writes there.
fn no_savepoint_within(cluster: &Cluster, job: &str, first: &Path, (writer, out): (&str, &Path)) {
    let root = cluster.dir().join("checkpoints");
    // A savepoint within a checkpoint, within staging, beside both in the storage's directory.
    let staged = out.join("_staging/mine");
    let linked = cluster
        .home()
        .join("link")
        .join(first.strip_prefix(&root).expect("below it"));
    for (folder, why) in [
        (first.to_path_buf(), vec!["checkpoint", job]),
        (linked, vec!["checkpoint"]),
        (staged, vec!["sink path", writer]),
        (out.to_path_buf(), vec!["sink path", writer]),
        (root.join("owner"), vec!["checkpoint directory"]),
    ] {
        let folder = shown(&folder);
        refused(cluster, &["job", "savepoint", job, &folder], &why);
        let stop = ["job", "stop", job, "--savepoint-path", &folder];
        refused(cluster, &stop, &why);
    }
}

/// A job with checkpoints, of which a savepoint is kept there.
fn no_sink_over(cluster: &Cluster, job: &str, kept: &Path) {
    let (home, root) = (cluster.home(), cluster.dir().join("checkpoints"));
    // A sink over another job's checkpoints, over a savepoint that is kept, in the storage's directory.
    for (number, (place, why)) in (0..).zip([
        (root.join(job), vec!["checkpoint", job]),
        (home.join("sp"), vec!["savepoint", job]),
        (kept.to_path_buf(), vec!["savepoint", job]),
        (root.join("out"), vec!["checkpoint directory"]),
        (home.join("link/out"), vec!["checkpoint directory"]),
    ]) {
        let name = format!("clash-{number}");
        let text = writing(&name, &place, ", if-exists: replace");
        let file = shown(&written(cluster, &name, &text));
        refused(cluster, &["job", "submit", &file], &why);
    }
}

#[test]
fn nothing_alive_is_put_where_something_is_deleted() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        ..Options::default()
    });
    let home = cluster.home().to_path_buf();
    let root = cluster.dir().join("checkpoints");
    let out = home.join("out");
    // Its first checkpoint stays for the whole test.
    let settings = "interval: 300ms, num-retained: 1000";
    let text = counting("counts", 100, settings, "type: none", "");
    let mut job = Job::submit(&cluster, &written(&cluster, "counts", &text));
    let writer = written(&cluster, "writes", &writing("writes", &out, ""));
    let mut writer = Job::submit(&cluster, &writer);
    writer.wait_for_checkpoint(SOON);
    job.wait_for_checkpoint(SOON);
    let (id, path) = (job.id.clone(), job.look());
    let first = path["checkpoints"]["latest"]["path"]
        .as_str()
        .expect("a path");
    let first = PathBuf::from(first);
    symlink(&root, home.join("link")).expect("a link");

    let kept = cluster.json(&["job", "savepoint", &id, "sp"]);
    let kept = PathBuf::from(kept["path"].as_str().expect("a path"));
    no_savepoint_within(&cluster, &id, &first, (&writer.id, &out));
    no_sink_over(&cluster, &id, &kept);
    assert_eq!(job.look()["state"], "RUNNING");
    assert_workers_keep_nothing(&cluster);
    for path in [&first, &kept] {
        assert!(
            path.join("_metadata").is_file(),
            "{} is lost",
            path.display()
        );
    }

    // What nobody is in the way of goes on as ever; and once its owner is done, so does the place.
    let usual = cluster.json(&["job", "savepoint", &id]);
    assert!(
        usual["path"]
            .as_str()
            .is_some_and(|path| path.starts_with(&shown(&root)))
    );
    for job in [&id, &writer.id] {
        assert_eq!(cluster.json(&["job", "cancel", job])["state"], "CANCELED");
        wait_for_clean(&cluster, job, SOON);
    }
    assert!(
        kept.join("_metadata").is_file(),
        "savepoints are the user's"
    );
    let again = writing("writes-again", &out, ", if-exists: append");
    let mut again = Job::submit(&cluster, &written(&cluster, "again", &again));
    again.wait_for_checkpoint(SOON);
    assert_verified(&cluster);
    assert_workers_keep_nothing(&cluster);
    cluster.stop();
}

/// The same files elsewhere.
fn copied(savepoint: &Path, copy: &Path) -> PathBuf {
    fs::create_dir(copy).expect("a folder");
    for entry in fs::read_dir(savepoint).expect("it is there").flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    copy.to_path_buf()
}

/// Nobody needs it: it goes, the log knows that it went, and what else is kept stays.
fn goes_by_any_name(cluster: &Cluster, savepoint: &Path, linked: &str) {
    let linked = cluster.json(&["savepoint", "dispose", linked, "--yes"]);
    assert_eq!(linked["path"], shown(savepoint).as_str());
    wait_until(SOON, "it is gone", || (!savepoint.exists()).then_some(()));
    let listed = cluster.json(&["checkpoint", "list"]);
    let listed: Vec<&str> = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert_eq!(listed.len(), 1, "the newer one is kept: {listed:?}");
    assert!(
        listed[0].starts_with(&shown(&cluster.home().join("newer"))),
        "{listed:?}"
    );
}

#[test]
fn links_lead_past_no_check_of_what_is_disposed_of() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let home = cluster.home().to_path_buf();
    // No checkpoint of its own for a long time: the savepoint is the restore point.
    let text = counting("counts", 100, "interval: 10m", "type: none", "");
    let file = written(&cluster, "counts", &text);
    let mut job = Job::submit(&cluster, &file);
    job.wait_for("RUNNING", SOON);
    let id = job.id.clone();
    let taken = cluster.json(&["job", "savepoint", &id, "sp"]);
    let savepoint = PathBuf::from(taken["path"].as_str().expect("a path"));
    let name = savepoint.file_name().expect("a name");
    symlink(home.join("sp"), home.join("link")).expect("a link");
    symlink(&savepoint, home.join("direct")).expect("a link");
    let copy = copied(&savepoint, &home.join("copy"));
    let ways = [
        savepoint.clone(),
        home.join("link").join(name),
        home.join("direct"),
    ];
    let dispose = |path: &Path, why: &[&str]| {
        let path = shown(path);
        refused(&cluster, &["savepoint", "dispose", &path, "--yes"], why);
    };
    for way in &ways {
        dispose(way, &["restore point", &id]);
    }
    dispose(&copy, &["copy", &shown(&savepoint)]);

    // Not the restore point any more, but pinned through a link by one that waits for slots.
    let _newer = cluster.json(&["job", "savepoint", &id, "newer"]);
    let linked = shown(&ways[1]);
    let file = shown(&file);
    let submit = [
        "job",
        "submit",
        &file,
        "--set",
        "parallelism=9",
        "--from-savepoint",
        &linked,
    ];
    let waiting = cluster.json(&submit);
    let waiting = waiting["job_id"].as_str().expect("its id").to_owned();
    for way in &ways {
        dispose(way, &["pinned", &waiting]);
    }
    let mut direct = submit;
    let other = shown(&ways[2]);
    direct[6] = &other;
    let second = cluster.json(&direct);
    for job in [
        &waiting,
        &second["job_id"].as_str().expect("its id").to_owned(),
    ] {
        dispose(&ways[0], &["pinned"]);
        assert_eq!(cluster.json(&["job", "cancel", job])["state"], "CANCELED");
    }
    assert!(savepoint.join("_metadata").is_file());

    goes_by_any_name(&cluster, &savepoint, &linked);
    dispose(&copy, &["remove its directory by hand"]);
    assert!(copy.join("_metadata").is_file());
    cluster.stop();
}
