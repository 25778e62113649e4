//! What was written by whom, what the cluster held then, and one file with everything for whoever helps.

use std::fs;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use serde_json::Value;

const NUMBERS: &str = "
name: numbers
checkpointing: { interval: 200ms }
vertices:
  - { id: numbers, source: sequence, with: { rate: 100 } }
  - { id: out, sink: blackhole, inputs: [ numbers ] }
";

/// Index of the entry whose text begins so.
fn entry<'a>(tail: &'a Value, begins: &str) -> &'a Value {
    let entries = tail.as_array().into_iter().flatten();
    let mut found = entries.filter(|e| e["text"].as_str().is_some_and(|t| t.starts_with(begins)));
    found
        .next()
        .unwrap_or_else(|| panic!("{begins:?} in {tail}"))
}

fn job_state(state: &Value, id: &str) -> Option<String> {
    let jobs = state["jobs"].as_array().into_iter().flatten();
    let mut found = jobs.filter(|job| job["job_id"] == id);
    found.next()?["state"].as_str().map(str::to_owned)
}

#[test]
fn the_log_tells_who_changed_what_and_when() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let file = cluster.home().join("numbers.yaml");
    fs::write(&file, NUMBERS).expect("written");
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(Duration::from_secs(30));
    let id = job.id.clone();
    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");

    told_by_the_log(&cluster, &id);
    bundled(&cluster);
    cluster.stop();
}

fn told_by_the_log(cluster: &Cluster, id: &str) {
    let tail = cluster.json(&["log", "tail", "-n", "1000"]);
    let submitted = entry(&tail, "submit job");
    let cancelled = entry(&tail, "cancel job");
    let (submitted_at, cancelled_at) = (
        submitted["index"].as_u64().expect("an index"),
        cancelled["index"].as_u64().expect("an index"),
    );
    assert!(
        cancelled["actor"]
            .as_str()
            .unwrap_or_default()
            .starts_with("cli"),
        "{cancelled}"
    );
    assert!(submitted_at < cancelled_at && cancelled["request_id"].is_string());

    let at = |index: u64| cluster.json(&["state", "--at", &index.to_string()]);
    assert_eq!(job_state(&at(submitted_at - 1), id), None);
    assert_eq!(job_state(&at(submitted_at), id).as_deref(), Some("CREATED"));
    assert_eq!(
        job_state(&at(cancelled_at - 1), id).as_deref(),
        Some("RUNNING")
    );
    let then = cluster.json(&["state", "--at", &cancelled_at.to_string(), "job/"]);
    assert_eq!(job_state(&then, id).as_deref(), Some("CANCELLING"));
    let entity = &then["entities"][0];
    assert_eq!(
        (&entity["key"], &entity["changed_at"]),
        (&format!("job/{id}").into(), &cancelled_at.into()),
        "{then}"
    );
    assert!(
        entity["value"]
            .as_str()
            .unwrap_or_default()
            .contains("Cancelling"),
        "{entity}"
    );

    let shown = cluster.json(&["log", "show", &cancelled_at.to_string()]);
    assert!(
        shown["changed"].to_string().contains(&format!("job/{id}")),
        "{shown}"
    );
    let ahead = cluster.cli(&["state", "--at", "99999999"]);
    assert!(ahead.refused(1).contains("is not applied here"), "{ahead}");
}

fn bundled(cluster: &Cluster) {
    let bundle = cluster.home().join("bundle.tar");
    let made = cluster.json(&["debug", "bundle", "--out", &bundle.display().to_string()]);
    assert_eq!(made["missing"], serde_json::json!([]), "{made}");
    let bytes = fs::read(&bundle).expect("the bundle is there");
    let text = String::from_utf8_lossy(&bytes);
    for part in [
        "leader-explain.json",
        "logs/jm-1.log",
        "conf/tm-1.yaml",
        "metrics/tm-1.txt",
        "regent_raft_term",
        "log-tail.json",
    ] {
        assert!(text.contains(part), "{part}");
    }
}
