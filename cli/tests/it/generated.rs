//! Pages that are made from the code. With REGENT_FIX=1 they are written; else they must be as written.

use std::path::{Path, PathBuf};

use regent_protocol::metrics::markdown;

fn metrics_page() -> String {
    format!(
        "\
# Metrics

Made from the tables in the code (`coordinator/src/metrics/table.rs`, `worker/src/agent/metrics.rs`) by `make fix`; a test compares.

Every process serves `/metrics` on its `api` address in Prometheus' text format. Counters start at 0 with each process. Told by `all`: each JobManager from its own copy of the state, so the
same number comes from three replicas; take the maximum, or the one where `regent_leader_serving` is 1. Told by `leader`: only while it leads.

Where Flink has the same thing it has Flink's name, with `regent_` for the `flink_` of Flink's Prometheus reporter. At most 1,000 active jobs, the youngest ones, have series of their own.

## JobManager

{}
## TaskManager

{}
## Worth an alert

| when | what it means |
| --- | --- |
| `max(regent_leader_serving) == 0` for 1 m | nobody leads: `regent leader explain` |
| `count(up{{job=\"jobmanager\"}} == 1) <= (max(regent_raft_voters) + 1) / 2` | no other replica may be lost |
| `increase(regent_raft_elections_total[10m]) > 6` | leadership flaps |
| `histogram_quantile(0.99, rate(regent_log_sync_seconds_bucket[5m])) > 0.5` | the disk under a log is slow |
| `regent_log_disk_full == 1` or `regent_log_failed == 1` | a replica can't store anything |
| `regent_tls_files_refused == 1` for 5 m | renewed certificates or tokens can't be used: `regent status` |
| `regent_tls_certificate_ends_seconds - time() < 3 * 86400` | a certificate ends soon |
| `regent_state_diverged == 1` | replicas hold different states: stop the one that is wrong and report it |
| `regent_jobs_not_running > 0` for 5 m | a job is declared and doesn't run: `regent job explain` |
| `regent_jobmanager_job_lastCheckpointAge > 600000` | a job takes no checkpoints |
| `regent_cleanup_dirty > 0` | files can't be removed: `regent cleanup list --dirty` |
| `max(regent_tasks_stuck) > 0` | a task doesn't end, and its slot is lost until its worker restarts: `regent job explain` |
| `rate(regent_worker_leases_lost_total[10m]) > 0` | workers lose contact with the leader |
",
        markdown(regent_coordinator::METRICS),
        markdown(regent_worker::METRICS)
    )
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn check(name: &str, wanted: &str) {
    let path = docs().join(name);
    if std::env::var_os("REGENT_FIX").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = wanted.lines().zip(found.lines()).find(|(a, b)| a != b);
    assert!(
        found == wanted,
        "docs/{name} isn't what the code says: run `make fix`; first difference: {differs:?}"
    );
}

#[test]
fn generated_metrics_page_is_what_the_code_says() {
    check("metrics.md", &metrics_page());
}

#[test]
fn generated_tables_of_the_job_file_are_what_the_code_says() {
    let page = std::fs::read_to_string(docs().join("job-file.md")).unwrap();
    let filled = regent_coordinator::job_file::reference::fill_in(&page);
    check("job-file.md", &filled.unwrap());
}
