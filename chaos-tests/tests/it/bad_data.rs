//! Data and places that aren't as a job file says: missing, unreadable, vanished or cut files, columns
//! that aren't there, numbers out of range, sinks that can't write. Each is told with its place: at
//! submit where that can be seen (exit 2, or 5 for a sink's path), else as the cause of FAILED.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;

const WITHIN: Duration = Duration::from_secs(60);

fn small() -> Cluster {
    Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    })
}

/// What a test changes of a job that reads numbers and sums them.
struct Change<'a> {
    name: &'a str,
    path: &'a Path,
    column: &'a str,
    out: &'a Path,
    /// More of the source's `with`.
    source: &'a str,
}

fn job_file(home: &Path, change: &Change<'_>) -> PathBuf {
    let Change {
        name,
        path,
        column,
        out,
        source,
    } = change;
    let (path, out) = (path.display(), out.display());
    let text = format!(
        "name: {name}
checkpointing: {{ interval: 200ms }}
restart-strategy: {{ type: none }}
vertices:
  - id: rows
    source: files
    with: {{ path: {path}, format: csv, columns: {{ k: utf8, {column}: int64 }}{source} }}
  - id: sums
    operator: aggregate
    inputs: [ {{ from: rows, partition: hash, by: [k] }} ]
    with: {{ group-by: [k], emit: changes, compute: {{ total: {{ sum: {column} }} }} }}
  - id: out
    sink: files
    inputs: [ sums ]
    with: {{ path: {out}, format: csv }}
"
    );
    let file = home.join(format!("{name}.yaml"));
    fs::write(&file, text).expect("the job file can be written");
    file
}

fn data(home: &Path, name: &str, text: &str) -> PathBuf {
    let path = home.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, text).expect("written");
    path
}

/// A job that is refused: its name; source, column and sink, below the test's folder; exit code, and
/// what the line must say.
type Case = (
    &'static str,
    [&'static str; 3],
    i32,
    &'static [&'static str],
);

#[rustfmt::skip]
const CASES: [Case; 8] = [
    ("missing", ["missing.csv", "n", "out"], 2, &["rows: ", "missing.csv", "No such file"]),
    ("no-files", ["nothing-in-it", "n", "out"], 2, &["rows: ", "nothing-in-it", "no file is there"]),
    ("unreadable", ["looping.csv", "n", "out"], 2, &["rows: ", "looping.csv", "symbolic links"]),
    ("empty", ["empty.csv", "n", "out"], 2, &["rows: ", "empty.csv", "no header line"]),
    ("mismatch", ["good.csv", "m", "out"], 2, &["rows: ", "good.csv", "no column m in the header line"]),
    ("not-a-folder", ["good.csv", "n", "plain"], 5, &["out: writing below", "plain: "]),
    ("below-a-file", ["good.csv", "n", "plain/below"], 5, &["out: writing below", "plain/below: "]),
    ("taken", ["good.csv", "n", "taken"], 5, &["out: ", "taken/part-1.csv", "if-exists"]),
];

/// What lies below the folder.
fn prepare(home: &Path) {
    data(home, "good.csv", "k,n\na,1\n");
    data(home, "empty.csv", "");
    data(home, "plain", "a file where a folder should be");
    data(home, "taken/part-1.csv", "k,total\n");
    let looping = home.join("looping.csv");
    symlink(&looping, &looping).expect("a link to itself");
    fs::create_dir_all(home.join("nothing-in-it")).expect("made");
}

#[test]
fn what_can_be_seen_at_submit_is_refused_with_vertex_and_path() {
    let mut cluster = small();
    let home = cluster.home().to_owned();
    prepare(&home);
    for (name, [path, column, out], code, words) in CASES {
        let change = Change {
            name,
            path: &home.join(path),
            column,
            out: &home.join(out),
            source: "",
        };
        let file = job_file(&home, &change);
        let outcome = cluster.cli(&["job", "submit", &file.display().to_string()]);
        let reason = outcome.refused(code);
        for word in words {
            assert!(reason.contains(word), "{name}: {word:?} in {reason:?}");
        }
        println!("{reason}");
    }
    let jobs = cluster.json(&["job", "list"]);
    assert_eq!(jobs, serde_json::json!([]), "nothing was stored");
    cluster.stop();
}

/// Submits the job of that name over this path.
fn submit<'c>(cluster: &'c Cluster, name: &str, path: &Path, source: &str) -> Job<'c> {
    let home = cluster.home();
    let out = home.join(format!("out-{name}"));
    let change = Change {
        name,
        path,
        column: "n",
        out: &out,
        source,
    };
    Job::submit(cluster, &job_file(home, &change))
}

/// The job fails in this vertex, with these words in its cause; `job submit --wait` says so with exit 1.
fn assert_fails(job: &mut Job<'_>, vertex: &str, words: &[&str]) {
    job.wait_for("FAILED", WITHIN);
    let shown = job.look();
    let failure = shown["failures"]
        .as_array()
        .and_then(|all| all.last())
        .expect("a failure");
    assert_eq!(failure["vertex"], vertex, "{failure}");
    assert_eq!(failure["worker"], "tm-1", "{failure}");
    let cause = failure["cause"].as_str().unwrap_or_default();
    for word in words {
        assert!(cause.contains(word), "{word:?} in {cause:?}");
    }
    assert_eq!(job.result()["cause"], failure["cause"]);
    println!("{vertex}: {cause}");
}

#[test]
fn what_goes_wrong_later_fails_the_job_with_its_place() {
    let mut cluster = small();
    let home = cluster.home().to_owned();
    let big = i64::MAX;
    let overflow = data(&home, "overflow.csv", &format!("k,n\na,{big}\nb,1\na,1\n"));
    let mut job = submit(&cluster, "overflow", &overflow, "");
    assert_fails(
        &mut job,
        "sums",
        &["sum(n) went beyond the range of int64 while adding 1"],
    );

    let range = data(&home, "range.csv", "k,n\na,1\na,9223372036854775808\n");
    let mut job = submit(&cluster, "range", &range, "");
    assert_fails(&mut job, "rows", &["range.csv:3: ", "9223372036854775808"]);

    let text = data(&home, "text.csv", "k,n\na,1\nb,far\n");
    let mut job = submit(&cluster, "text", &text, "");
    assert_fails(&mut job, "rows", &["text.csv:3: ", "far"]);

    // The first rows are committed; then nothing can be made in the sink's staging any more.
    let flowing = data(
        &home,
        "flowing.csv",
        &format!("k,n\n{}", "a,1\n".repeat(20_000)),
    );
    let mut job = submit(&cluster, "unwritable", &flowing, ", rate: 500");
    job.wait_for_checkpoint(WITHIN);
    let staging = home.join("out-unwritable/_staging");
    wait_until(WITHIN, "a file where the staging was", || {
        // The sink may make a file in it at the same moment.
        fs::remove_dir_all(&staging).ok();
        fs::write(&staging, "in the way").ok()
    });
    assert_fails(&mut job, "out", &["out-unwritable/"]);

    let file = home.join("overflow.yaml").display().to_string();
    let waited = cluster.cli(&["job", "submit", &file, "--wait"]).expect(1);
    let told = waited.stderr.lines().last().unwrap_or_default();
    assert!(
        told.starts_with("error: job overflow is FAILED: sum(n) went beyond the range of int64"),
        "{told}"
    );
    cluster.stop();
}

#[test]
fn files_that_go_away_while_others_are_read_fail_the_job_by_name() {
    let mut cluster = small();
    let home = cluster.home().to_owned();
    // Two files: the second one goes away, or is cut, while the first is read.
    let rows = "a,1\n".repeat(1_500);
    for (name, words) in [
        ("vanishes", "vanished: it had"),
        ("shrinks", "shrank: it had"),
    ] {
        data(&home, &format!("{name}/1.csv"), &format!("k,n\n{rows}"));
        let second = data(&home, &format!("{name}/2.csv"), &format!("k,n\n{rows}"));
        let mut job = submit(&cluster, name, &home.join(name), ", rate: 500");
        job.wait_for_checkpoint(WITHIN);
        match name {
            "vanishes" => fs::remove_file(&second).expect("removed"),
            _ => fs::write(&second, "k,n\n").expect("cut"),
        }
        assert_fails(&mut job, "rows", &[&second.display().to_string(), words]);
    }
    cluster.stop();
}
