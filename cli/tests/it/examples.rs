//! The example configurations of `deploy/examples` are valid, by the program's own word.

use std::path::{Path, PathBuf};

use crate::program::{Ran, run};

fn check(file: &str) -> Ran {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    run(&["config", "check", root.join(file).to_str().unwrap()])
}

#[test]
fn example_configurations_are_valid() {
    for role in ["jobmanager", "taskmanager"] {
        let ran = check(&format!("{role}.yaml"));
        assert_eq!(ran.code, 0, "{role}: {}", ran.stderr);
        let said = format!("a valid configuration of a {role}");
        assert!(ran.stdout.contains(&said), "{}", ran.stdout);
    }
}

#[test]
fn a_job_file_is_no_configuration() {
    let ran = check("jobs/sequence-count.yaml");
    assert_eq!(ran.code, 2);
    assert_eq!(ran.stdout, "");
}
