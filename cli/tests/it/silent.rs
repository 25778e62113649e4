//! Replicas that accept a connection and then say nothing, as frozen ones do.

use std::time::Duration;

use crate::program::run_in;

#[test]
fn a_frozen_replica_is_exit_4_and_nothing_was_sent() {
    // The kernel accepts for a listener that never does.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = frozen.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    for verb in [&["job", "list"][..], &["job", "cancel", "x"], &["status"]] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--endpoints", &endpoint, "--timeout", "1s"]);
        let ran = run_in(dir.path(), &arguments);
        assert_eq!(ran.code, 4, "{verb:?}: {}", ran.stderr);
        assert!(
            ran.took < Duration::from_secs(2),
            "{verb:?}: {:?}",
            ran.took
        );
        assert!(
            ran.first_error_line().contains("doesn't answer"),
            "{}",
            ran.stderr
        );
    }
}
