//! A disk that is full for real: the data of every replica lies on a small file system of its own, and the
//! leader's is filled to the last block. It must not stay a leader that stores nothing: another one leads,
//! what was acknowledged is kept, the operator is told the cause and the remedy, and with space it is back.
//!
//! The file systems live in a mount namespace of the cluster, so that nothing of them is left.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{kill, program, regent, run};
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of each replica: the log's segments and reserve, the state, and snapshots find room, and little else.
const SIZE: &str = "160m";
/// A log segment of 16 MiB is full after some twenty of the jobs below.
const SUBMITS_MAX: usize = 120;

fn unshare() -> &'static str {
    match geteuid().is_root() {
        true => "unshare --mount",
        false => "unshare --user --map-root-user --mount",
    }
}

/// Whether file systems can be mounted here.
fn may_mount() -> bool {
    let tried = format!("{} mount -t tmpfs none /mnt", unshare());
    let tried = Command::new("sh").args(["-c", &tried]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A program that is `regent`, and mounts before it becomes `regent local --dir DIR ...`.
fn on_small_disks(dir: &Path) -> PathBuf {
    let path = dir.join("regent-on-small-disks");
    let binary = knobs::binary().display().to_string();
    let text = format!(
        "#!/bin/sh\n\
         if [ \"$1\" != local ]; then exec '{binary}' \"$@\"; fi\n\
         exec {} sh -c '\n\
         for node in 1 2 3; do\n\
         mkdir -p \"$0/data/jm-$node\"\n\
         mount -t tmpfs -o size={SIZE} none \"$0/data/jm-$node\" || exit 9\n\
         done\n\
         exec \"{binary}\" \"$@\"' \"$3\" \"$@\"\n",
        unshare()
    );
    fs::write(&path, text).expect("a script can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("and made executable");
    path
}

/// A file of the cluster's own mount namespace.
fn inside(cluster: &Cluster, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{path}", cluster.local_pid()))
}

/// Takes all the space that is left; the file that holds it.
fn fill(cluster: &Cluster, replica: &str) -> PathBuf {
    let data = cluster.process(replica).data_dir;
    let path = inside(cluster, &format!("{data}/filler"));
    let mut filler = fs::File::create(&path).expect("the data directory can be written");
    let mut block = vec![1_u8; 1 << 20];
    while !block.is_empty() {
        // What fits in part is written in part; then smaller pieces are tried.
        match filler.write(&block) {
            Ok(written) if written > 0 => {}
            Ok(_) | Err(_) => block.truncate(block.len() / 2),
        }
    }
    path
}

/// A job of nearly a megabyte that waits for slots, so that the log fills.
fn bulky(cluster: &Cluster, number: usize) -> String {
    let values: Vec<String> = (0..40_000_u64)
        .map(|value| (1_000_000_000_000_000_000 + value).to_string())
        .collect();
    let text = format!(
        "name: bulky-{number}\nparallelism: 64\nvertices:\n  \
         - {{ id: numbers, source: sequence, with: {{ rate: 1 }} }}\n  \
         - id: some\n    operator: filter\n    inputs: [ numbers ]\n    \
         with: {{ where: {{ column: value, op: in, value: [{}] }} }}\n  \
         - {{ id: out, sink: blackhole, inputs: [ some ] }}\n",
        values.join(", ")
    );
    let path = cluster.home().join("bulky.yaml");
    fs::write(&path, text).expect("the job file can be written");
    path.display().to_string()
}

/// Submits until somebody else leads; the ids that were acknowledged, and who leads then.
fn submit_until_another_leads(cluster: &Cluster, full: &str) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    let deadline = Instant::now() + 2 * PATIENCE;
    for number in 0..SUBMITS_MAX {
        let file = bulky(cluster, number);
        let taken = cluster.cli(&["job", "submit", &file]);
        if taken.code == Some(0) {
            let id = taken.json()["job_id"].as_str().map(str::to_owned);
            acknowledged.push(id.expect("an id"));
        }
        let leader = cluster.leader().filter(|name| name != full);
        if let Some(leader) = leader {
            return (acknowledged, leader);
        }
        assert!(Instant::now() < deadline, "{full} leads with a full disk");
    }
    panic!("{full} took {SUBMITS_MAX} jobs with a full disk");
}

fn text(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = regent(cluster.home());
    command.arg("--dir").arg(cluster.dir()).args(arguments);
    run(command, Duration::from_secs(25)).expect(0).stdout
}

#[test]
fn a_leader_whose_disk_is_full_gives_way_and_comes_back_with_space() {
    if !may_mount() {
        println!("skipped: no file system can be mounted here (needs root, or user namespaces)");
        return;
    }
    let mut phases = Phases::of("full disk");
    let scripts = tempfile::tempdir().expect("a temporary directory can be made");
    let mut cluster = Cluster::start(Options {
        program: Some(on_small_disks(scripts.path())),
        taskmanagers: 1,
        restart: "never",
        ..Options::default()
    });
    let full = cluster.wait_for_leader();
    let filler = fill(&cluster, &full);
    phases.done(&format!("{full}'s disk is full"));
    let (acknowledged, next) = submit_until_another_leads(&cluster, &full);
    phases.done(&format!("{next} leads after {} jobs", acknowledged.len()));
    assert!(!acknowledged.is_empty(), "what was begun has room");
    the_operator_is_told(&cluster, &full);
    phases.done("told");

    fs::remove_file(&filler).expect("the filler can be removed");
    let back = Started(command(&cluster, &full).spawn().expect("it can be started"));
    cluster.wait_until_caught_up(10);
    phases.done(&format!("{full} is back"));
    let jobs = cluster.json(&["job", "list"]);
    let jobs: Vec<&str> = jobs
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|job| job["job_id"].as_str())
        .collect();
    for id in &acknowledged {
        assert!(jobs.contains(&id.as_str()), "{id} was acknowledged");
    }
    wait_until(PATIENCE, "everything is healthy", || {
        let told = cluster.json(&["leader", "explain"]);
        (told["situation"] == "healthy").then_some(())
    });
    phases.done("healthy");
    // Nobody but this test stops what it started beside the cluster.
    drop(back);
    cluster.stop();
}

/// Who is asked tells that the process has ended, the log of the process why, and so does a start in vain.
fn the_operator_is_told(cluster: &Cluster, full: &str) {
    let start = format!("start {full}");
    let told: Value = wait_until(PATIENCE, "the remedy is to start it", || {
        let told = cluster.json(&["leader", "explain"]);
        (told["situation"] == "degraded" && told["remedy"] == start.as_str()).then_some(told)
    });
    let replicas = told["replicas"].as_array().into_iter().flatten();
    let mut of = replicas.filter(|replica| replica["name"] == full);
    let why = of.next().expect("it is a member")["why"].to_string();
    assert!(why.contains("the last line of its log says why"), "{why}");
    let screen = text(cluster, &["leader", "explain"]);
    assert!(screen.contains(&format!("  do: {start}\n")), "{screen}");

    let data = cluster.process(full).data_dir;
    let log = cluster.dir().join(format!("logs/{full}.log"));
    let log = fs::read_to_string(log).expect("its log");
    let last = log.lines().last().unwrap_or_default();
    for words in [
        "no space left for the log in",
        &data,
        "free space",
        "start this JobManager again",
    ] {
        assert!(last.contains(words), "{words}: {last}");
    }
    let again = run(command(cluster, full), PATIENCE);
    assert_eq!(again.code, Some(5), "{again}");
    assert!(again.stderr.contains("No space left on device"), "{again}");
    assert!(again.stderr.contains(&data), "{again}");
}

/// What starts a process of the cluster where its file systems are.
fn command(cluster: &Cluster, name: &str) -> Command {
    let mut command = program(Path::new("nsenter"), cluster.home());
    let pid = cluster.local_pid().to_string();
    command.args(["--target", &pid, "--mount"]);
    if !geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.arg("--").args(cluster.process(name).command);
    command.stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A process that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}
