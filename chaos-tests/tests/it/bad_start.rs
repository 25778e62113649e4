//! Processes that can't start say why in one clear line, and touch nothing.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options, alone};
use regent_chaos::command::{Outcome, kill, lines_of};

/// Nothing that can't start takes longer to say so.
const WITHIN: Duration = Duration::from_secs(15);
/// Between two lines of `local`, until the one that is waited for.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

fn small() -> Options {
    Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    }
}

/// Ends with a failure whose first line names what is wrong.
fn says(outcome: &Outcome, words: &[&str]) {
    let code = outcome.code.unwrap_or(-1);
    assert!((1..=5).contains(&code), "{outcome}");
    let reason = outcome.refused(code);
    for word in words {
        assert!(reason.contains(word), "{word:?} in {reason:?}");
    }
}

#[test]
fn a_directory_or_a_port_in_use() {
    let mut cluster = Cluster::start(small());
    let dir = cluster.dir().display().to_string();
    let other_port = regent_ports::base_port().to_string();
    let second = ["local", "--dir", &dir, "--base-port", &other_port];
    says(
        &alone(cluster.home(), &second, WITHIN),
        &["in use", "cluster"],
    );

    let port = cluster.base_port().to_string();
    let other_dir = cluster.home().join("other").display().to_string();
    let second = ["local", "--dir", &other_dir, "--base-port", &port];
    says(&alone(cluster.home(), &second, WITHIN), &["in use", "port"]);

    let _leader = cluster.wait_for_leader();
    cluster.wait_for_workers(1);
    cluster.stop();
}

#[test]
fn a_data_directory_of_another_cluster() {
    let mut one = Cluster::start(small());
    let mut two = Cluster::start(small());
    let own = one.process("jm-1").data_dir;
    let foreign = two.process("jm-1").data_dir;
    one.stop();
    two.stop();
    let aside = one.home().join("aside");
    fs::rename(&own, &aside).expect("put aside");
    copy(Path::new(&foreign), Path::new(&own));
    let mut local = one.local_command();
    local.stderr(Stdio::piped());
    let outcome = regent_chaos::command::run(local, Duration::from_secs(30));
    says(
        &outcome,
        &["cluster", "own directory back", "members remove 1"],
    );
    one.nothing_is_left(Duration::from_secs(2));
    // What it says helps.
    fs::remove_dir_all(&own).expect("removed");
    fs::rename(&aside, &own).expect("put back");
    one.start_again();
    one.stop();
}

/// The cluster works without it, so `ready` comes; which replica takes no part, and what to do, is said beside it.
#[test]
fn local_names_a_replica_whose_directory_was_emptied() {
    let mut cluster = Cluster::start(Options {
        taskmanagers: 0,
        ..Options::default()
    });
    let emptied = cluster.process("jm-2").data_dir;
    cluster.stop();
    fs::remove_dir_all(&emptied).expect("removed");
    let mut local = cluster.local_command();
    let mut child = local.stderr(Stdio::piped()).spawn().expect("it starts");
    let said = lines_of(child.stderr.take().expect("it is piped"));
    let named = std::iter::from_fn(|| said.recv_timeout(NAMED_WITHIN).ok())
        .find(|line| line.contains("jm-2 takes no part"));
    let leader = cluster.wait_for_leader();
    kill(&mut child);
    let named = named.expect("a line about jm-2");
    assert!(named.contains("members remove 2"), "{named}");
    assert_ne!(leader, "jm-2", "it must not vote under its old number");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn an_address_beyond_loopback_without_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let (api, peer) = (regent_ports::base_port(), regent_ports::base_port());
    let config = format!(
        "node-id: 1\ndata-dir: {0}/jm\nlisten: {{ api: '0.0.0.0:{api}', peer: '0.0.0.0:{peer}' }}\n\
         advertise: {{ api: 'jm-1:{api}', peer: 'jm-1:{peer}' }}\npeers: [ 'jm-1:{peer}' ]\n\
         storage: {{ checkpoint-dir: {0}/checkpoints, shared: true }}\n",
        dir.path().display()
    );
    refuses_until_allowed(dir.path(), "jobmanager", &config, "listen.api");
    let config = format!(
        "worker-id: tm-1\ndata-dir: {0}/tm\nlisten: {{ api: '0.0.0.0:{api}', data: '0.0.0.0:{peer}' }}\n\
         advertise: {{ api: 'tm-1:{api}', data: 'tm-1:{peer}' }}\njobmanagers: [ '127.0.0.1:9' ]\n\
         storage: {{ checkpoint-dir: {0}/checkpoints, shared: true }}\n",
        dir.path().display()
    );
    refuses_until_allowed(dir.path(), "taskmanager", &config, "listen.api");
}

fn refuses_until_allowed(dir: &Path, role: &str, config: &str, key: &str) {
    let file = dir.join(format!("{role}.yaml"));
    fs::write(&file, config).expect("written");
    let file = file.display().to_string();
    let outcome = alone(dir, &[role, "--config", &file], WITHIN);
    says(&outcome, &[key, "insecure-dev"]);
    assert_eq!(
        outcome.stderr.trim_end().lines().count(),
        1,
        "one line: {outcome}"
    );

    let mut command = regent_chaos::command::regent(dir);
    command.args([
        role,
        "--config",
        &file,
        "--set",
        "security.insecure-dev=true",
    ]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let ended = regent_chaos::command::wait_for(&mut child, Duration::from_secs(1));
    kill(&mut child);
    assert!(ended.is_none(), "allowed, it runs: {ended:?}");
}
