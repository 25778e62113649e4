//! A cluster over TLS with tokens: its processes find each other, rows travel between workers, a killed leader
//! is succeeded, and everybody may do what their certificate and token say. `rotation.rs` replaces all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use regent_certificates::{Authority, Issued, Wanted};
use regent_chaos::command::{Outcome, kill, regent, run};
use regent_chaos::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
pub(crate) const JOB: &str = "\
name: over-tls
parallelism: 2
checkpointing: { interval: 200ms }
vertices:
  - id: numbers
    source: sequence
    with: { start: 0, rate: 400, keys: 16 }
  - id: sums
    operator: aggregate
    inputs: [ { from: numbers, partition: hash, by: [key] } ]
    with: { group-by: [key], emit: changes, compute: { total: { sum: value } } }
  - id: out
    sink: blackhole
    inputs: [ sums ]
";

pub(crate) struct Secured {
    home: tempfile::TempDir,
    base_port: u16,
    pub(crate) authority: Authority,
    pub(crate) running: BTreeMap<String, Child>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            kill(child);
        }
    }
}

impl Secured {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        for role in ["viewer", "operator", "admin"] {
            let path = home.path().join(format!("{role}.token"));
            fs::write(path, format!("{role}-0123456789abcdef\n")).expect("a token can be written");
        }
        let authority = Authority::new(&home.path().join("tls"));
        Self {
            home,
            base_port: regent_ports::base_port(),
            authority,
            running: BTreeMap::new(),
        }
    }

    fn port(&self, offset: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + offset)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn endpoints(&self) -> String {
        (1..=3)
            .map(|node| self.port(node))
            .collect::<Vec<_>>()
            .join(",")
    }

    fn security(&self, issued: &Issued) -> String {
        format!(
            "security:\n  tls: {{ certificate: {}, key: {}, ca: {} }}\n  tokens: {{ viewer: {}, operator: {}, admin: {} }}\n",
            issued.certificate.display(),
            issued.key.display(),
            issued.ca.display(),
            self.file("viewer.token").display(),
            self.file("operator.token").display(),
            self.file("admin.token").display(),
        )
    }

    fn manager(&self, node: u16, issued: &Issued) -> PathBuf {
        let text = format!(
            "node-id: {node}\ndata-dir: {}\nlisten: {{ api: {:?}, peer: {:?} }}\n\
             peers: [ {:?}, {:?}, {:?} ]\nstorage: {{ checkpoint-dir: {} }}\n{}",
            self.file(&format!("jm-{node}")).display(),
            self.port(node),
            self.port(10 + node),
            self.port(11),
            self.port(12),
            self.port(13),
            self.file("checkpoints").display(),
            self.security(issued),
        );
        self.write(&format!("jm-{node}.yaml"), &text)
    }

    fn worker(&self, number: u16, issued: &Issued) -> PathBuf {
        let text = format!(
            "worker-id: tm-{number}\nslots: 1\ndata-dir: {}\nlisten: {{ api: {:?}, data: {:?} }}\n\
             jobmanagers: [ {:?}, {:?}, {:?} ]\nstorage: {{ checkpoint-dir: {} }}\n{}",
            self.file(&format!("tm-{number}")).display(),
            self.port(20 + number),
            self.port(30 + number),
            self.port(1),
            self.port(2),
            self.port(3),
            self.file("checkpoints").display(),
            self.security(issued),
        );
        self.write(&format!("tm-{number}.yaml"), &text)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    fn start(&mut self, name: &str, verb: &str, config: &PathBuf) {
        let log = fs::File::create(self.file(&format!("{name}.log")));
        let mut command = regent(self.home.path());
        command.arg(verb).arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.expect("a log can be made"));
        let child = command.spawn().expect("the binary can be started");
        self.running.insert(name.to_owned(), child);
    }

    pub(crate) fn start_all(&mut self) {
        for node in 1..=3 {
            let name = format!("jm-{node}");
            let wanted = format!("regent://peer/{name}");
            let issued = self.issue(&name, &wanted);
            let config = self.manager(node, &issued);
            self.start(&name, "jobmanager", &config);
        }
        for number in 1..=2 {
            let name = format!("tm-{number}");
            let wanted = format!("regent://worker/{name}");
            let issued = self.issue(&name, &wanted);
            let config = self.worker(number, &issued);
            self.start(&name, "taskmanager", &config);
        }
    }

    /// A process's certificate, with a file of its own for the authority.
    fn issue(&self, name: &str, uri: &str) -> Issued {
        let issued = self.authority.issue(name, &Wanted::process(uri));
        let ca = self.file(&format!("{name}.ca.pem"));
        fs::copy(&issued.ca, &ca).expect("a file can be copied");
        Issued { ca, ..issued }
    }

    /// The command line under a certificate, and a token if one is named.
    fn ask(&self, uri: &str, token: Option<&str>, arguments: &[&str]) -> Outcome {
        let issued = self.authority.issue("asks", &Wanted::client(uri));
        self.ask_as(&issued, token, arguments)
    }

    pub(crate) fn ask_as(
        &self,
        issued: &Issued,
        token: Option<&str>,
        arguments: &[&str],
    ) -> Outcome {
        let mut command = regent(self.home.path());
        command
            .env("REGENT_TLS_CERTIFICATE", &issued.certificate)
            .env("REGENT_TLS_KEY", &issued.key)
            .env("REGENT_TLS_CA", &issued.ca);
        if let Some(role) = token {
            command.env("REGENT_TOKEN_FILE", self.file(&format!("{role}.token")));
        }
        command.args(["--endpoints", &self.endpoints(), "-o", "json"]);
        command.args(["--timeout", "8s"]).args(arguments);
        run(command, Duration::from_secs(20))
    }

    fn anna(&self, arguments: &[&str]) -> Outcome {
        self.ask("regent://client/anna", Some("operator"), arguments)
    }

    fn leader(&self) -> String {
        wait_until(SOON, "a leader", || {
            let shown = self.ask("regent://viewer/v", None, &["leader", "show"]);
            let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
            shown["leader"]["name"].as_str().map(str::to_owned)
        })
    }

    fn job_is(&self, job: &str, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
        wait_until(SOON, what, || {
            let shown = self.anna(&["job", "show", job]);
            let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
            enough(&shown).then_some(shown)
        })
    }
}

#[test]
fn a_cluster_over_tls_works_and_lets_everybody_do_what_they_may() {
    let mut cluster = Secured::new();
    cluster.start_all();
    wait_until(SOON, "the cluster is formed", || {
        let formed = cluster.ask("regent://admin/root", None, &["cluster", "bootstrap"]);
        (formed.code == Some(0)).then_some(())
    });
    let first = cluster.leader();
    everybody_may_do_what_they_may(&cluster);
    others_are_kept_out(&cluster);

    let file = cluster.write("job.yaml", JOB);
    let file = file.display().to_string();
    let job = wait_until(SOON, "the job is taken", || {
        let taken = cluster.anna(&["job", "submit", &file]);
        let taken: Value = serde_json::from_str(&taken.stdout).ok()?;
        taken["job_id"].as_str().map(str::to_owned)
    });
    let shown = cluster.job_is(&job, "rows flow between the workers", |job| {
        job["state"] == "RUNNING" && job["checkpoints"]["completed"].as_u64() > Some(1)
    });
    let workers: Vec<_> = shown["tasks"].as_array().into_iter().flatten().collect();
    assert!(
        workers.iter().any(|task| task["worker"] == "tm-1"),
        "{shown}"
    );
    assert!(
        workers.iter().any(|task| task["worker"] == "tm-2"),
        "{shown}"
    );

    kill(cluster.running.get_mut(&first).expect("the leader runs"));
    let second = cluster.leader();
    assert_ne!(first, second);
    let before = shown["checkpoints"]["latest"]["id"].as_u64();
    let shown = cluster.job_is(&job, "checkpoints go on", |job| {
        job["state"] == "RUNNING"
            && job["adoptions"].as_u64() > Some(0)
            && job["checkpoints"]["latest"]["id"].as_u64() > before.map(|id| id + 3)
    });
    assert_eq!(shown["attempt"], 1, "nothing was restarted: {shown}");
    let canceled = cluster.anna(&["job", "cancel", &job]).json();
    assert_eq!(canceled["state"], "CANCELED");

    let log = cluster.anna(&["log", "tail", "-n", "1000"]).json();
    let actors: Vec<_> = log.as_array().into_iter().flatten().collect();
    let by = |actor: &str| actors.iter().any(|entry| entry["actor"] == actor);
    assert!(by("operator:anna"), "the log names who asked: {log}");
    let bundle = cluster.file("bundle.tar").display().to_string();
    let made = cluster.ask(
        "regent://admin/root",
        None,
        &["debug", "bundle", "--out", &bundle],
    );
    let missing = made.json()["missing"].clone();
    let dead = cluster.port(first.trim_start_matches("jm-").parse().expect("a number"));
    let dead = dead.replace(':', "_");
    for name in missing.as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        assert!(
            name.contains(&dead),
            "only the dead one is missing: {missing}"
        );
    }
}

fn everybody_may_do_what_they_may(cluster: &Secured) {
    let cancel = ["job", "cancel", "00000000000000000000000000000000"];
    let denied = [
        (
            "regent://client/anna",
            None,
            &["job", "list"][..],
            "viewer or operator or admin",
        ),
        (
            "regent://client/anna",
            Some("viewer"),
            &cancel[..],
            "operator or admin",
        ),
        ("regent://viewer/v", None, &cancel[..], "operator or admin"),
        (
            "regent://client/anna",
            Some("operator"),
            &["snapshot", "save", "x.snap"][..],
            "admin",
        ),
        (
            "regent://worker/tm-1",
            Some("admin"),
            &["leader", "show"][..],
            "you are worker:tm-1",
        ),
    ];
    for (uri, token, arguments, words) in denied {
        let outcome = cluster.ask(uri, token, arguments);
        let reason = outcome.refused(5);
        assert!(reason.contains(words), "{uri} {arguments:?}: {reason}");
    }
    let jobs = cluster
        .ask("regent://viewer/v", None, &["job", "list"])
        .json();
    assert_eq!(jobs, Value::Array(Vec::new()));
    let save = ["snapshot", "save", "x.snap"];
    drop(
        cluster
            .ask("regent://client/anna", Some("admin"), &save)
            .expect(0),
    );
}

/// Of another authority, or without any.
fn others_are_kept_out(cluster: &Secured) {
    let elsewhere = Authority::new(&cluster.file("elsewhere"));
    let foreign = elsewhere.issue("asks", &Wanted::client("regent://admin/root"));
    let outcome = cluster.ask_as(&foreign, None, &["job", "list"]);
    let reason = outcome.refused(4);
    assert!(reason.contains("isn't signed by the authority"), "{reason}");
    let ours = cluster
        .authority
        .issue("asks", &Wanted::client("regent://admin/root"));
    let mixed = Issued {
        ca: ours.ca,
        ..foreign
    };
    let outcome = cluster.ask_as(&mixed, None, &["job", "list"]);
    assert!(
        outcome.refused(2).contains("isn't signed by the authority"),
        "{outcome}"
    );
    let mut plain = regent(cluster.home.path());
    plain.args([
        "--endpoints",
        &cluster.endpoints(),
        "--timeout",
        "2s",
        "job",
        "list",
    ]);
    let outcome = run(plain, Duration::from_secs(20));
    assert!(!outcome.refused(4).is_empty());
}

#[test]
fn wrong_certificates_are_said_before_anything_starts() {
    let cluster = Secured::new();
    let issue = |name: &str, wanted: &Wanted<'_>| cluster.authority.issue(name, wanted);
    let peer = Wanted::process("regent://peer/jm-1");
    let old = Wanted {
        valid_for: -(Wanted::process("").valid_for),
        ..peer.clone()
    };
    let elsewhere = Wanted {
        hosts: &["jm-1"],
        ..peer.clone()
    };
    let worker = issue("w", &Wanted::process("regent://worker/tm-1"));
    let good = issue("g", &peer);
    let table = [
        (issue("o", &old), "expired"),
        (issue("e", &elsewhere), "isn't valid for `127.0.0.1`"),
        (worker.clone(), "the certificate of a worker"),
        (
            Issued {
                key: worker.key,
                ..good.clone()
            },
            "doesn't belong to the certificate",
        ),
        (
            Issued {
                ca: cluster.file("none"),
                ..good.clone()
            },
            "No such file",
        ),
    ];
    for (issued, words) in table {
        let config = cluster.manager(1, &issued).display().to_string();
        for arguments in [
            &["config", "check", &config][..],
            &["jobmanager", "--config", &config][..],
        ] {
            let mut command = regent(cluster.home.path());
            command.args(arguments).stdin(Stdio::null());
            let outcome = run(command, Duration::from_secs(20));
            let reason = outcome.refused(2);
            assert!(reason.contains(words), "{arguments:?}: {reason}");
            assert!(
                reason.contains("jm-1.yaml:"),
                "the place is named: {reason}"
            );
        }
    }
    let config = cluster.manager(1, &good).display().to_string();
    let mut command = regent(cluster.home.path());
    command.args(["config", "check", &config]);
    drop(run(command, Duration::from_secs(20)).expect(0));
}
