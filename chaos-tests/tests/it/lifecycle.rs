//! `local` keeps what the contract says of it: start, stop, death, and what happens to its children.

use std::time::Duration;

use nix::sys::signal::Signal;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::wait::{Phases, pause, wait_until};

#[test]
fn interrupted_it_stops_everything_and_carries_on_later() {
    let mut phases = Phases::of("lifecycle");
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    manifest_is_as_promised(&cluster);
    let spec = FlightsJob::new(cluster.home(), "goes-on", 1_500);
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", Duration::from_secs(20));
    job.wait_for_checkpoint(Duration::from_secs(20));
    let id = job.id;
    cluster.stop_with(Signal::SIGINT);
    assert!(
        cluster
            .manifest()
            .processes
            .iter()
            .all(|p| p.pid.is_none() && p.state == "exited")
    );
    phases.done("stopped by SIGINT");

    cluster.start_again();
    let mut job = Job::of(&cluster, &id);
    job.wait_for("RUNNING", Duration::from_secs(30));
    job.wait_for_checkpoint(Duration::from_secs(20));
    phases.done("carried on");

    cluster.kill_local();
    cluster.nothing_is_left(Duration::from_secs(10));
    phases.done("killed: its children ended by themselves");

    cluster.start_again();
    let mut job = Job::of(&cluster, &id);
    job.wait_for("FINISHED", Duration::from_secs(60));
    spec.assert_exact(&regent_chaos::reference::flights(
        &regent_chaos::knobs::january(),
    ));
    assert_eq!(listed(&cluster, &id), 1);
    cluster.stop();
    phases.done("finished after all");
}

fn manifest_is_as_promised(cluster: &Cluster) {
    let manifest = cluster.manifest();
    assert_eq!(manifest.names("jobmanager"), ["jm-1", "jm-2", "jm-3"]);
    assert_eq!(manifest.names("taskmanager"), ["tm-1", "tm-2"]);
    assert_eq!(manifest.endpoints.len(), 3);
    let ports = cluster.base_port()..cluster.base_port() + 50;
    for process in &manifest.processes {
        assert_eq!(process.state, "running", "{process:?}");
        assert!(process.pid.is_some(), "{process:?}");
        let (host, port) = process.api.split_once(':').expect("host:port");
        assert_eq!(host, "127.0.0.1");
        assert!(
            ports.contains(&port.parse().expect("a port")),
            "{process:?}"
        );
        let log = cluster
            .dir()
            .join("logs")
            .join(format!("{}.log", process.name));
        assert!(log.is_file(), "{}", log.display());
    }
}

#[test]
fn what_was_killed_starts_again_by_default() {
    let options = Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    };
    let mut cluster = Cluster::start(options);
    for name in ["tm-1", "jm-1"] {
        let old = cluster.kill(name);
        let down = || cluster.process(name).pid.is_none().then_some(());
        wait_until(
            Duration::from_secs(2),
            "its entry says that it is down",
            down,
        );
        assert_ne!(cluster.wait_for_new_pid(name, old), old);
    }
    let _leader = cluster.wait_for_leader();
    cluster.wait_for_workers(1);
    cluster.stop();
}

#[test]
fn what_was_killed_stays_down_with_restart_never() {
    let options = Options {
        jobmanagers: 1,
        restart: "never",
        ..Options::default()
    };
    let mut cluster = Cluster::start(options);
    cluster.kill("tm-2");
    let down = || {
        let entry = cluster.process("tm-2");
        (entry.pid.is_none() && entry.state == "exited").then_some(())
    };
    wait_until(
        Duration::from_secs(2),
        "its entry says that it is down",
        down,
    );
    pause(Duration::from_secs(4));
    assert_eq!(cluster.process("tm-2").pid, None);
    assert!(cluster.local_runs());
    cluster.stop();
}
