//! What happens when nobody answers, and that mistakes in files need nobody to be found.

use std::time::Duration;

use crate::program::{command, finish, run, run_in};

/// A port of 127.0.0.1 on which nobody listens.
fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

const JOB: &str = "\
name: numbers
vertices:
  - { id: numbers, source: sequence, with: { end: 10 } }
  - { id: out, sink: blackhole, inputs: [ numbers ] }
";

#[test]
fn reads_and_changes_are_exit_4_within_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("job.yaml"), JOB).unwrap();
    let endpoint = dead_endpoint();
    for verb in [
        &["job", "list"][..],
        &["job", "show", "x"],
        &["job", "submit", "job.yaml"],
        &["job", "cancel", "x"],
        &["checkpoint", "list", "x"],
        &["worker", "list"],
        &["cleanup", "list"],
        &["status"],
        &["leader", "show"],
        &["leader", "history"],
        &["cluster", "bootstrap"],
    ] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--endpoints", &endpoint, "--timeout", "1s", "-o", "json"]);
        let ran = run_in(dir.path(), &arguments);
        assert_eq!(ran.code, 4, "{verb:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{verb:?}");
        assert!(
            ran.took < Duration::from_secs(2),
            "{verb:?}: {:?}",
            ran.took
        );
        let line = ran.first_error_line();
        assert!(line.starts_with("error: "), "{verb:?}: {line}");
        assert!(line.contains(&endpoint), "{verb:?}: {line}");
        assert!(line.contains("connection refused"), "{verb:?}: {line}");
    }
}

#[test]
fn an_invalid_job_file_is_exit_2_without_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = dead_endpoint();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (
            "key.yaml",
            JOB.replace("vertices", "vertexes").into(),
            "vertices",
        ),
        (
            "cycle.yaml",
            JOB.replace("[ numbers ]", "[ out ]").into(),
            "out",
        ),
        ("binary.yaml", vec![0x7f, 0, 1, 0xff], "binary"),
        ("huge.yaml", vec![b'#'; 1024 * 1024 + 1], "1 MiB"),
        ("deep.yaml", "[".repeat(100_000).into(), "deep.yaml"),
    ];
    for (name, bytes, expected) in cases {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let arguments = ["job", "submit", name, "--endpoints", &endpoint];
        let ran = run_in(dir.path(), &arguments);
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        assert!(ran.first_error_line().contains(expected), "{}", ran.stderr);
        assert!(ran.first_error_line().contains(name), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn endpoints_are_found_in_the_order_of_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let place = |at: &str| {
        let endpoint = dead_endpoint();
        let at = dir.path().join(at);
        std::fs::create_dir_all(&at).unwrap();
        let manifest = format!(r#"{{"endpoints":["{endpoint}"],"processes":[]}}"#);
        std::fs::write(at.join("cluster.json"), manifest).unwrap();
        endpoint
    };
    let asked = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut all = vec!["status", "--timeout", "300ms"];
        all.extend(arguments);
        let mut status = command(dir.path(), &all);
        status.envs(environment.iter().copied());
        finish(status).first_error_line().to_owned()
    };
    assert!(asked(&[], &[]).contains("127.0.0.1:7101"));
    let usual = place("regent-local");
    assert!(asked(&[], &[]).contains(&usual));
    let here = place(".");
    assert!(asked(&[], &[]).contains(&here));
    let by_variable = place("by-variable");
    assert!(asked(&[], &[("REGENT_DIR", "by-variable")]).contains(&by_variable));
    let by_option = place("by-option");
    let environment = [("REGENT_DIR", "by-variable")];
    assert!(asked(&["--dir", "by-option"], &environment).contains(&by_option));
    let environment = [("REGENT_ENDPOINTS", "127.0.0.1:1,127.0.0.1:2")];
    let line = asked(&["--dir", "by-option"], &environment);
    assert!(
        line.contains("127.0.0.1:1:") && line.contains("127.0.0.1:2:"),
        "{line}"
    );
    let line = asked(&["--endpoints", "127.0.0.1:3"], &environment);
    assert!(
        line.contains("127.0.0.1:3:") && !line.contains("127.0.0.1:1:"),
        "{line}"
    );
}

#[test]
fn bootstrap_wants_its_replicas_named() {
    let ran = run(&["cluster", "bootstrap"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.first_error_line().contains("--endpoints"),
        "{}",
        ran.stderr
    );
}

/// A cluster's directory with one process and these lines in its log.
fn with_log(lines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let process = r#"{"name":"tm-1","role":"taskmanager","node_id":null,"pid":null,"state":"exited",
        "api":"127.0.0.1:1","data_dir":"d","command":[]}"#;
    let manifest = format!(r#"{{"endpoints":["127.0.0.1:1"],"processes":[{process}]}}"#);
    std::fs::create_dir_all(dir.path().join("logs")).unwrap();
    std::fs::write(dir.path().join("cluster.json"), manifest).unwrap();
    std::fs::write(dir.path().join("logs/tm-1.log"), lines).unwrap();
    dir
}

#[test]
fn logs_are_printed_as_they_are() {
    let dir = with_log("one\ntwo\n");
    let ran = run_in(dir.path(), &["logs", "tm-1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "one\ntwo\n"));
    let ran = run_in(dir.path(), &["logs", "tm-7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let line = ran.first_error_line();
    assert!(
        line.contains("no process tm-7") && line.contains("tm-1"),
        "{line}"
    );
    let line = run(&["logs", "tm-1"]).first_error_line().to_owned();
    assert!(
        line.contains("no local cluster is here") && line.contains("--dir"),
        "{line}"
    );
}

#[test]
fn logs_are_followed_until_the_reader_goes() {
    use std::io::{BufRead, BufReader, Write};
    let dir = with_log("one\n");
    let mut following = command(dir.path(), &["logs", "tm-1", "--follow"]);
    let mut child = following
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    let path = dir.path().join("logs/tm-1.log");
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    writeln!(log, "two").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    // Started anew.
    std::fs::write(&path, "").unwrap();
    std::thread::spawn(move || {
        // Longer than two looks: one of them finds it empty.
        let (_never, wait) = std::sync::mpsc::channel::<()>();
        let _ = wait.recv_timeout(Duration::from_millis(700));
        std::fs::write(&path, "three\n").unwrap();
    });
    assert_eq!(lines.next().unwrap().unwrap(), "three");
    drop(lines);
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("logs/tm-1.log"))
        .unwrap();
    writeln!(log, "four").unwrap();
    assert!(child.wait().unwrap().success());
}
