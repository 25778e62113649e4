//! The example configurations of `deploy/examples` are valid, by the program's own word.

use std::path::Path;
use std::process::{Command, Output};

fn check(file: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_regent"));
    command
        .args(["config", "check"])
        .arg(root.join("deploy/examples").join(file));
    command.output().expect("the program starts")
}

#[test]
fn example_configurations_are_valid() {
    for (file, role) in [
        ("jobmanager.yaml", "jobmanager"),
        ("taskmanager.yaml", "taskmanager"),
    ] {
        let output = check(file);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{file}: {stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            stdout.contains(&format!("configuration of a {role}")),
            "{stdout}"
        );
    }
}

#[test]
fn a_job_file_is_no_configuration() {
    let output = check("jobs/sequence-count.yaml");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
