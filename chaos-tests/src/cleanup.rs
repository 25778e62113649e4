//! Cleanup as it is seen from outside: the ledger, the metrics, the files; and a directory that nobody can
//! remove until it is made removable, whoever runs the test.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::output::all_files;
use crate::wait::wait_until;

/// A checkpointing job without files of its own: rows per second, more lines of `checkpointing`, and the
/// end of its input if it has one.
#[must_use]
pub fn counting(name: &str, rate: u32, checkpointing: &str, restart: &str, end: &str) -> String {
    format!(
        r#"name: {name}
checkpointing: {{ {checkpointing} }}
restart-strategy: {{ {restart} }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: {rate}, keys: 10{end} }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ n: {{ count: "*" }} }} }}
  - {{ id: out, sink: blackhole, inputs: [ counts ] }}
"#
    )
}

/// Writes a job file in the cluster's home.
///
/// # Panics
/// If it can't be written.
#[must_use]
pub fn written(cluster: &Cluster, name: &str, text: &str) -> PathBuf {
    let path = cluster.home().join(format!("{name}.yaml"));
    fs::write(&path, text).expect("the job file can be written");
    path
}

/// Whose storage it is; not a job's file.
#[must_use]
pub fn is_marker(file: &Path) -> bool {
    file.parent()
        .is_some_and(|folder| folder.ends_with("owner"))
}

/// Files in a storage root, its owner's marker aside.
#[must_use]
pub fn stored(root: &Path) -> Vec<PathBuf> {
    let files = all_files(root).into_iter();
    files.filter(|file| !is_marker(file)).collect()
}

/// What a TaskManager keeps in its data directory: who holds it, and the highest epoch that it has seen.
const WORKERS_OWN: [&str; 3] = ["identity", "lock", "leader-epoch"];

/// Workers keep nothing of a job on their own disks: what the ledger doesn't know needs no cleanup there.
///
/// # Panics
/// If one does, or none has a data directory.
pub fn assert_workers_keep_nothing(cluster: &Cluster) {
    let processes = cluster.manifest().processes;
    let workers = processes.iter().filter(|one| one.role == "taskmanager");
    let mut seen = 0;
    for worker in workers {
        for file in all_files(&cluster.dir().join("data").join(&worker.name)) {
            let name = file.file_name().and_then(|name| name.to_str());
            let stem = name.and_then(|name| name.split('.').next());
            let known = stem.is_some_and(|stem| WORKERS_OWN.contains(&stem));
            assert!(known, "{} is nobody's", file.display());
            seen += 1;
        }
    }
    assert!(seen > 0, "workers have a data directory");
}

/// Compares store and log.
///
/// # Panics
/// If anything doesn't fit.
pub fn assert_verified(cluster: &Cluster) {
    let outcome = cluster.cli_within(&["cleanup", "verify"], "60s", Duration::from_secs(62));
    let found: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    for kind in ["orphans", "dangling", "wrong_size"] {
        assert_eq!(found[kind], json!([]), "{kind}: {outcome}");
    }
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

/// What is still to be removed, sweeps of what is removed already aside.
#[must_use]
pub fn undone(cluster: &Cluster) -> Vec<Value> {
    let listed = cluster.json(&["cleanup", "list"]);
    let listed = listed.as_array().cloned().unwrap_or_default();
    let undone = |artefact: &Value| artefact["state"] != "done";
    listed.into_iter().filter(undone).collect()
}

/// The ledger's entry for a path that is to be removed.
#[must_use]
pub fn listed(cluster: &Cluster, path: &Path) -> Option<Value> {
    let path = path.display().to_string();
    undone(cluster)
        .into_iter()
        .find(|artefact| artefact["path"] == path.as_str())
}

/// Has the job's cleanup tried again now.
///
/// # Panics
/// If that is refused.
pub fn retry(cluster: &Cluster, job: &str) {
    let retried = cluster.json(&["cleanup", "retry", job]);
    assert_eq!(retried["job_id"], job, "{retried}");
}

/// Waits until the job's result is clean.
pub fn wait_for_clean(cluster: &Cluster, job: &str, limit: Duration) {
    wait_until(limit, &format!("job {job} is clean"), || {
        let result = cluster.json(&["job", "result", job]);
        (result["clean"] == true).then_some(())
    });
}

/// Waits until nothing is left to remove and nothing to look at again.
pub fn wait_for_rest(cluster: &Cluster, limit: Duration) {
    wait_until(limit, "nothing is left to clean or to sweep", || {
        let listed = cluster.json(&["cleanup", "list"]);
        (listed == json!([])).then_some(())
    });
}

/// A figure of the leader's metrics.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn metric(cluster: &Cluster, name: &str) -> f64 {
    let line = wait_until(Duration::from_secs(20), name, || {
        let leader = cluster.json(&["leader", "show"]);
        let text = page(leader["leader"]["api"].as_str()?, "/metrics")?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.map(str::to_owned)
    });
    line.parse().unwrap_or_else(|_| panic!("{name} {line}"))
}

/// The body of a plain HTTP GET.
#[must_use]
pub fn page(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
}

/// Adds lines to every JobManager's configuration and starts them again with it, one after the other.
///
/// # Panics
/// If a configuration can't be written or a process doesn't come back.
pub fn reconfigure(cluster: &Cluster, lines: &str) {
    let processes = cluster.manifest().processes;
    for manager in processes.iter().filter(|one| one.role == "jobmanager") {
        let path = cluster
            .dir()
            .join("conf")
            .join(format!("{}.yaml", manager.name));
        let text = fs::read_to_string(&path).expect("the configuration is there");
        fs::write(&path, text + lines).expect("the configuration can be written");
        let old = cluster.kill(&manager.name);
        let _new = cluster.wait_for_new_pid(&manager.name, old);
        let _leader = cluster.wait_for_leader();
    }
    cluster.wait_until_caught_up(10);
}

/// A directory with a tree in it that is too deep to be named, so that removing it fails for everybody,
/// root included; until the tree is moved away.
#[derive(Debug)]
pub struct Obstacle {
    top: PathBuf,
}

/// Segments of 200 bytes: their names together are longer than a path may be.
const DEPTH: usize = 24;

impl Obstacle {
    /// Puts one into a directory; `None` if that was removed meanwhile.
    #[must_use]
    pub fn put(directory: &Path) -> Option<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let segment = "x".repeat(200);
        let mut inner: OwnedFd = open(directory, flags, Mode::empty()).ok()?;
        for _ in 0..DEPTH {
            mkdirat(&inner, segment.as_str(), Mode::S_IRWXU).ok()?;
            inner = openat(&inner, segment.as_str(), flags, Mode::empty()).ok()?;
        }
        let top = directory.join(segment);
        top.exists().then_some(Self { top })
    }

    /// Makes the directory removable.
    ///
    /// # Panics
    /// If the tree can't be moved.
    pub fn take_away(self, to: &Path) {
        fs::rename(&self.top, to).expect("the tree can be moved");
        fs::remove_dir_all(to).expect("and removed there");
    }
}
