//! `config check` and the refusals of `jobmanager` and `taskmanager` before they start.

use std::path::Path;

use crate::program::{Ran, command, finish, run_in};

const JOBMANAGER: &str = "\
node-id: 1
data-dir: /tmp/never-created
listen: { api: 127.0.0.1:7101, peer: 127.0.0.1:7201 }
storage: { checkpoint-dir: /tmp/never-created/checkpoints }
";

const TASKMANAGER: &str = "\
worker-id: tm-1
data-dir: /tmp/never-created
listen: { api: 127.0.0.1:7121, data: 127.0.0.1:7136 }
jobmanagers: [ 127.0.0.1:7101 ]
storage: { checkpoint-dir: /tmp/never-created/checkpoints }
";

fn check(text: &str) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), text);
    run_in(dir.path(), &["config", "check", "c.yaml", "-o", "json"])
}

fn write(dir: &Path, text: &str) {
    std::fs::write(dir.join("c.yaml"), text).unwrap();
}

#[test]
fn the_role_is_told_by_the_keys() {
    for (text, role) in [(JOBMANAGER, "jobmanager"), (TASKMANAGER, "taskmanager")] {
        let ran = check(text);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(json["role"], role);
        assert_eq!(json["valid"], true);
    }
}

#[test]
fn mistakes_are_named_with_file_line_key_and_the_nearest_name() {
    for (text, line) in [
        (
            JOBMANAGER.replace("data-dir", "datadir"),
            "error: c.yaml:2:10: datadir: unknown key `datadir`; did you mean `data-dir`?",
        ),
        (
            TASKMANAGER.replace("data: 127", "dta: 127"),
            "error: c.yaml:3:37: listen.dta: unknown key `dta`; did you mean `data`?",
        ),
        (
            "colour: red\n".to_owned(),
            "error: c.yaml: neither a JobManager's configuration (node-id) nor a TaskManager's (worker-id)",
        ),
    ] {
        let ran = check(&text);
        assert_eq!(ran.code, 2);
        assert_eq!(ran.first_error_line(), line);
        assert_eq!(ran.stdout, "");
    }
    let missing = check(&JOBMANAGER.replace("node-id: 1\n", "timing: lan\n"));
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("node-id"), "{}", missing.stderr);
}

#[test]
fn the_environment_overrides_the_file_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), JOBMANAGER);
    let mut wrong = command(dir.path(), &["config", "check", "c.yaml"]);
    wrong.env("REGENT_LISTEN__PORT", "1");
    let ran = finish(wrong);
    assert_eq!(ran.code, 2);
    let line = "error: REGENT_LISTEN__PORT: listen.port: unknown key";
    assert!(ran.first_error_line().starts_with(line), "{}", ran.stderr);
    let mut right = command(dir.path(), &["config", "check", "c.yaml"]);
    right
        .env("REGENT_LISTEN__API", "127.0.0.1:9")
        .env("REGENT_ENDPOINTS", "a:1")
        .env("REGENT_LOG", "info");
    assert_eq!(finish(right).code, 0);
}

#[test]
fn other_hosts_are_refused_without_tls() {
    for (verb, text) in [("jobmanager", JOBMANAGER), ("taskmanager", TASKMANAGER)] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &text.replace("api: 127.0.0.1", "api: 0.0.0.0"));
        let ran = run_in(dir.path(), &[verb, "--config", "c.yaml"]);
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        let line = ran.first_error_line();
        assert!(line.contains("listen.api"), "{line}");
        assert!(line.contains("--insecure-dev"), "{line}");
    }
}

#[test]
fn overrides_on_the_command_line_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), TASKMANAGER);
    let ran = run_in(
        dir.path(),
        &["taskmanager", "--config", "c.yaml", "--set", "slots=many"],
    );
    assert_eq!(ran.code, 2);
    let line = ran.first_error_line();
    assert!(line.starts_with("error: --set slots: slots: "), "{line}");
    let ran = run_in(dir.path(), &["taskmanager", "--config", "nowhere.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nowhere.yaml"), "{}", ran.stderr);
}
