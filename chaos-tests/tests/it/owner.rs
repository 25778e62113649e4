//! Two clusters pointed at one checkpoint directory: the second doesn't use it, and names both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regent_chaos::cleanup::{counting, is_marker, metric, stored, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::output::all_files;

fn options(storage: &Path) -> Options {
    let storage = storage.display().to_string();
    Options {
        jobmanagers: 1,
        taskmanagers: 1,
        environment: vec![("REGENT_STORAGE__CHECKPOINT_DIR", storage)],
        ..Options::default()
    }
}

fn id_of(cluster: &Cluster) -> String {
    let text = fs::read_to_string(cluster.dir().join("cluster-id")).expect("the cluster's id");
    text.trim().to_owned()
}

fn submit<'a>(cluster: &'a Cluster, name: &str) -> Job<'a> {
    let restart = "type: fixed-delay, attempts: 1000, delay: 100ms";
    let text = counting(name, 100, "interval: 200ms", restart, "");
    Job::submit(cluster, &written(cluster, name, &text))
}

#[test]
fn the_second_cluster_refuses_a_storage_that_has_an_owner() {
    let shared = tempfile::tempdir().expect("a directory");
    let mut first = Cluster::start(options(shared.path()));
    let mut job = submit(&first, "first");
    job.wait_for_checkpoint(Duration::from_secs(60));
    let id = job.id.clone();

    let mut second = Cluster::start(options(shared.path()));
    let text = counting("second", 100, "interval: 200ms", "type: none", "");
    let file = written(&second, "second", &text).display().to_string();
    let (one, two) = (id_of(&first), id_of(&second));
    assert_ne!(one, two);
    for option in [&["--dry-run"][..], &[]] {
        let outcome = second.cli(&[&["job", "submit", &file], option].concat());
        let reason = outcome.refused(5);
        for word in [
            one.as_str(),
            &two,
            &shared.path().display().to_string(),
            "another prefix",
        ] {
            assert!(reason.contains(word), "{word}: {reason}");
        }
    }
    assert_eq!(second.json(&["job", "list"]), serde_json::json!([]));
    assert!(metric(&second, "regent_storage_foreign") >= 1.0);
    let log = fs::read_to_string(second.dir().join("logs/jm-1.log")).expect("its log");
    assert!(
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains(&one))
    );
    let markers: Vec<_> = all_files(shared.path())
        .into_iter()
        .filter(|file| is_marker(file))
        .collect();
    assert_eq!(
        markers.len(),
        1,
        "the second one created nothing: {markers:?}"
    );
    assert!(
        markers[0].ends_with(format!("owner/1-{one}")),
        "{markers:?}"
    );
    second.stop();

    // The owner goes on, also after a restart.
    first.stop();
    first.start_again();
    let mut job = Job::of(&first, &id);
    job.wait_for_checkpoint(Duration::from_secs(60));
    assert_eq!(first.json(&["job", "cancel", &id])["state"], "CANCELED");
    regent_chaos::cleanup::wait_for_clean(&first, &id, Duration::from_secs(60));
    assert_eq!(stored(shared.path()), [] as [std::path::PathBuf; 0]);
    regent_chaos::cleanup::assert_verified(&first);
    first.stop();
}
