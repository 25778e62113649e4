//! Certificates and their authority are replaced while a cluster works: one process after the other, and
//! no request fails. Then a leader is lost, so that everything new is needed.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_certificates::{Authority, Issued, Wanted};
use regent_chaos::wait::{Phases, pause, wait_until};
use serde_json::Value;

use crate::secured::{JOB, Secured};

const SOON: Duration = Duration::from_secs(60);
const PROCESSES: [&str; 5] = ["jm-1", "jm-2", "jm-3", "tm-1", "tm-2"];
/// What a process says when it uses what its files hold now.
const RENEWED: &str = "renewed certificates or tokens are in use";

/// How often a process has said so.
fn renewals(cluster: &Secured, name: &str) -> usize {
    let log = fs::read_to_string(cluster.file(&format!("{name}.log"))).unwrap_or_default();
    log.matches(RENEWED).count()
}

fn hang_up(cluster: &Secured, name: &str) {
    let pid = cluster.running[name].id();
    let pid = Pid::from_raw(pid.try_into().expect("pids are small"));
    kill(pid, Signal::SIGHUP).expect("the process runs");
}

/// Puts files in place of each process's, one process after the other; each must say that it uses them.
fn everywhere(cluster: &Secured, processes: &[&str], replace: impl Fn(&str)) {
    for name in processes {
        let before = renewals(cluster, name);
        replace(name);
        hang_up(cluster, name);
        wait_until(SOON, &format!("{name} uses its new files"), || {
            (renewals(cluster, name) > before).then_some(())
        });
    }
}

fn ca_of(cluster: &Secured, name: &str) -> std::path::PathBuf {
    cluster.file(&format!("{name}.ca.pem"))
}

/// Issues a certificate of this authority and puts it where the process reads it.
fn issue_anew(cluster: &Secured, authority: &Authority, name: &str) {
    let role = if name.starts_with("jm") {
        "peer"
    } else {
        "worker"
    };
    let wanted = format!("regent://{role}/{name}");
    let new = authority.issue(name, &Wanted::process(&wanted));
    let place = |ending: &str| cluster.file(&format!("tls/{name}.{ending}"));
    // Seen between the two the pair doesn't fit, and the old one stays in use.
    fs::copy(&new.certificate, place("pem")).expect("a file can be copied");
    fs::copy(&new.key, place("key")).expect("a file can be copied");
}

/// Asks and changes something until it is told to end; every answer must be good.
fn keep_asking(cluster: &Secured, anna: &Mutex<Issued>, job: &str, end: &AtomicBool) -> u64 {
    let mut asked = 0;
    while !end.load(Ordering::Relaxed) {
        // Held while it is asked, so that nobody takes the certificate away meanwhile.
        let issued = anna.lock().expect("nobody panicked");
        let change = ["cleanup", "retry", job];
        drop(cluster.ask_as(&issued, None, &change).expect(0));
        drop(
            cluster
                .ask_as(&issued, None, &["job", "show", job])
                .expect(0),
        );
        drop(issued);
        asked += 2;
        pause(Duration::from_millis(20));
    }
    asked
}

fn shown(cluster: &Secured, anna: &Issued, arguments: &[&str]) -> Option<Value> {
    let shown = cluster.ask_as(anna, None, arguments);
    serde_json::from_str(&shown.stdout).ok()
}

fn leader(cluster: &Secured, anna: &Issued) -> Option<String> {
    let shown = shown(cluster, anna, &["leader", "show"])?;
    shown["leader"]["name"].as_str().map(str::to_owned)
}

fn alarms(cluster: &Secured, anna: &Issued) -> Vec<String> {
    let status = shown(cluster, anna, &["status"]).unwrap_or_default();
    let alarms = status["attention"].as_array().into_iter().flatten();
    alarms.map(|alarm| alarm["code"].to_string()).collect()
}

fn admin(authority: &Authority, name: &str, ca: &std::path::Path) -> Issued {
    let issued = authority.issue(name, &Wanted::client("regent://admin/anna"));
    Issued {
        ca: ca.to_owned(),
        ..issued
    }
}

#[test]
fn certificates_and_their_authority_are_replaced_under_load() {
    let mut phases = Phases::of("rotation");
    let mut cluster = Secured::new();
    cluster.start_all();
    let old_ca = cluster.file("tls/ca.pem");
    let anna = admin(&cluster.authority, "anna", &old_ca);
    wait_until(SOON, "the cluster is formed", || {
        let formed = cluster.ask_as(&anna, None, &["cluster", "bootstrap"]);
        (formed.code == Some(0)).then_some(())
    });
    let file = cluster.write("job.yaml", JOB).display().to_string();
    let job = wait_until(SOON, "the job is taken", || {
        let taken = shown(&cluster, &anna, &["job", "submit", &file])?;
        taken["job_id"].as_str().map(str::to_owned)
    });
    let checkpoints = |anna: &Issued, beyond: u64| {
        wait_until(SOON, "checkpoints go on", || {
            let shown = shown(&cluster, anna, &["job", "show", &job])?;
            let latest = shown["checkpoints"]["latest"]["id"].as_u64()?;
            (shown["state"] == "RUNNING" && latest > beyond).then_some((shown, latest))
        })
    };
    let (_, begun) = checkpoints(&anna, 1);
    phases.done("it works");

    let next = Authority::new(&cluster.file("next"));
    let (end, anna) = (AtomicBool::new(false), Mutex::new(anna));
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| keep_asking(&cluster, &anna, &job, &end));
        rotate(&cluster, &next, &anna, &mut phases);
        end.store(true, Ordering::Relaxed);
        asking.join().expect("every request was answered")
    });
    let outdated = admin(&cluster.authority, "outdated", &cluster.file("next/ca.pem"));
    let anna = anna.into_inner().expect("nobody panicked");
    assert!(asked > 20, "{asked} requests");
    phases.done(&format!("{asked} requests, none failed"));

    let refused = cluster.ask_as(&outdated, None, &["job", "list"]);
    assert_ne!(refused.code, Some(0), "the old authority is out: {refused}");
    let (_, reached) = checkpoints(&anna, begun + 3);
    let first = leader(&cluster, &anna).expect("somebody leads");
    let pid = cluster.running[&first].id();
    kill(
        Pid::from_raw(pid.try_into().expect("pids are small")),
        Signal::SIGKILL,
    )
    .expect("the leader runs");
    wait_until(SOON, "another one leads", || {
        leader(&cluster, &anna).filter(|name| *name != first)
    });
    let (shown, _) = checkpoints(&anna, reached + 3);
    assert_eq!(shown["attempt"], 1, "nothing was restarted: {shown}");
    phases.done("a leader was lost, and the job goes on");
}

fn rotate(cluster: &Secured, next: &Authority, anna: &Mutex<Issued>, phases: &mut Phases) {
    let read = |path: &str| fs::read_to_string(cluster.file(path)).expect("it can be read");
    let (old_ca, next_ca) = (read("tls/ca.pem"), read("next/ca.pem"));
    let bundle = format!("{old_ca}{next_ca}");
    let put = |name: &str, text: &str| {
        fs::write(ca_of(cluster, name), text).expect("a file can be written");
    };

    // By themselves, too: nobody tells this one.
    put("jm-1", &bundle);
    wait_until(SOON, "jm-1 looks by itself", || {
        (renewals(cluster, "jm-1") > 0).then_some(())
    });
    phases.done("a process looked by itself");
    everywhere(cluster, &PROCESSES[1..], |name| put(name, &bundle));
    fs::write(cluster.file("tls/ca.pem"), &bundle).expect("a file can be written");
    phases.done("both authorities are believed");

    everywhere(cluster, &PROCESSES, |name| issue_anew(cluster, next, name));
    phases.done("certificates of the next one");
    broken_files_are_told(cluster, next, anna);
    phases.done("a broken file changed nothing");

    let mut held = anna.lock().expect("nobody panicked");
    *held = admin(next, "anna", &cluster.file("next/ca.pem"));
    drop(held);
    everywhere(cluster, &PROCESSES, |name| put(name, &next_ca));
    phases.done("the old authority is out");
}

fn broken_files_are_told(cluster: &Secured, next: &Authority, anna: &Mutex<Issued>) {
    let wanted = "\"CertificateRefused\"".to_owned();
    let raised = || {
        let issued = anna.lock().expect("nobody panicked").clone();
        alarms(cluster, &issued).contains(&wanted)
    };
    assert!(!raised());
    fs::write(cluster.file("tls/jm-2.pem"), "no PEM").expect("a file can be written");
    hang_up(cluster, "jm-2");
    wait_until(SOON, "the alarm", || raised().then_some(()));
    issue_anew(cluster, next, "jm-2");
    hang_up(cluster, "jm-2");
    wait_until(SOON, "no alarm", || (!raised()).then_some(()));
}
