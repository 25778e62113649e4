//! Many jobs that end at the same moment, with many checkpoints each: how long until the last one is clean,
//! how many log entries that takes, and what the checkpoints of running jobs notice. Prints rows; with
//! REGENT_SOAK=1 in the size that `docs/benchmarks.md` reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regent_chaos::cleanup::{assert_verified, counting, metric, stored, wait_for_rest};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(1_200);
const RUNNING_INTERVAL: Duration = Duration::from_secs(1);
const SUBMITTERS: u32 = 4;

/// Where a cluster is, for threads beside the test.
#[derive(Clone)]
struct Place {
    home: PathBuf,
    dir: PathBuf,
}

fn submit(place: &Place, name: &str, text: &str) -> String {
    let file = place.home.join(format!("{name}.yaml"));
    fs::write(&file, text).expect("the job file can be written");
    let mut command = regent(&place.home);
    command.arg("--dir").arg(&place.dir);
    command.args(["-o", "json", "--timeout", "60s", "job", "submit"]);
    command.arg(&file);
    let submitted = run(command, Duration::from_secs(62)).json();
    submitted["job_id"].as_str().expect("its id").to_owned()
}

fn submit_many(place: &Place, jobs: u32, checkpointing: &str) {
    std::thread::scope(|scope| {
        for first in 0..SUBMITTERS {
            scope.spawn(move || {
                for n in (first..jobs).step_by(SUBMITTERS as usize) {
                    let name = format!("ends-{n}");
                    let text = counting(&name, 2, checkpointing, "type: none", "");
                    submit(place, &name, &text);
                }
            });
        }
    });
}

/// Jobs of which so many checkpoints are complete.
fn full(checkpoints: &Path, artefacts: u32) -> usize {
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect::<Vec<_>>()
    };
    let complete = |run: &Path| {
        let all = folders(run).into_iter();
        all.filter(|checkpoint| checkpoint.join("_metadata").exists())
            .count()
    };
    let jobs = folders(checkpoints)
        .into_iter()
        .flat_map(|job| folders(&job));
    jobs.filter(|run| complete(run) >= artefacts as usize)
        .count()
}

/// Completed checkpoints and restarts of these jobs, in sum.
fn completed(cluster: &Cluster, jobs: &[String]) -> (u64, u64) {
    let shown: Vec<Value> = jobs
        .iter()
        .map(|job| cluster.json(&["job", "show", job]))
        .collect();
    let sum =
        |field: fn(&Value) -> &Value| shown.iter().filter_map(|one| field(one).as_u64()).sum();
    (
        sum(|one| &one["checkpoints"]["completed"]),
        sum(|one| &one["restarts"]),
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn many_jobs_end_at_once() {
    let (jobs, artefacts) = (knobs::rounds(12, 1_000), knobs::rounds(4, 20));
    let (running, interval) = (
        knobs::rounds(3, 50),
        if knobs::soak() { "5s" } else { "300ms" },
    );
    let mut phases = Phases::of("cleanup_bench");
    let mut cluster = Cluster::start(Options {
        slots: jobs,
        restart: "never",
        ..Options::default()
    });
    // One worker holds the jobs that end; the other one comes when that is full.
    cluster.kill("tm-2");
    let alone = || {
        let workers = cluster.json(&["worker", "list"]);
        let here = workers
            .as_array()?
            .iter()
            .filter(|one| one["state"] == "registered")
            .count();
        (here == 1).then_some(())
    };
    wait_until(Duration::from_secs(60), "one worker is left", alone);
    let place = Place {
        home: cluster.home().to_path_buf(),
        dir: cluster.dir(),
    };
    submit_many(
        &place,
        jobs,
        &format!("interval: {interval}, num-retained: {artefacts}"),
    );
    phases.done(&format!("{jobs} jobs submitted"));
    let checkpoints = cluster.dir().join("checkpoints");
    wait_until(LONG, "every job has its checkpoints", || {
        (full(&checkpoints, artefacts) >= jobs as usize).then_some(())
    });
    phases.done(&format!("{artefacts} checkpoints each"));
    cluster.start_by_hand("tm-2");
    cluster.wait_for_workers(2);
    let others: Vec<String> = (0..running)
        .map(|n| {
            let name = format!("runs-{n}");
            let restart = "type: fixed-delay, attempts: 1000, delay: 100ms";
            submit(
                &place,
                &name,
                &counting(&name, 2, "interval: 1s", restart, ""),
            )
        })
        .collect();
    wait_until(LONG, "the running jobs checkpoint", || {
        (completed(&cluster, &others).0 >= u64::from(running) * 2).then_some(())
    });

    let files = stored(&checkpoints).len();
    let began = Instant::now();
    let (before, _) = completed(&cluster, &others);
    let index = metric(&cluster, "regent_raft_last_log_index");
    let killed = Instant::now();
    cluster.kill("tm-1");
    let failed = "regent_jobs{state=\"FAILED\"}";
    let count = f64::from(jobs);
    wait_until(LONG, "all jobs ended", || {
        (metric(&cluster, failed) >= count).then_some(())
    });
    let ended = killed.elapsed();
    wait_until(LONG, "all jobs are clean", || {
        (metric(&cluster, "regent_jobs_dirty") == 0.0).then_some(())
    });
    let clean = killed.elapsed();
    let entries = metric(&cluster, "regent_raft_last_log_index") - index;
    // Asking all jobs takes seconds. Each is asked about as late in the second pass as in the first, so the
    // time between its two answers is that between the beginnings of the passes.
    let window = began.elapsed();
    let (after, restarts) = completed(&cluster, &others);
    assert_eq!(restarts, 0, "running jobs noticed nothing");
    let done = after - before;
    let expected = window.as_secs_f64() / RUNNING_INTERVAL.as_secs_f64() * f64::from(running);
    println!(
        "cleanup_bench: | {jobs} | {artefacts} | {:.1} | {:.1} | {entries:.0} | {done} of {expected:.0} |",
        ended.as_secs_f64(),
        clean.as_secs_f64()
    );
    phases.done(&format!(
        "{files} files; all ended after {ended:.1?}, clean after {clean:.1?}; {entries} log entries, of \
         which about {} are the {done} checkpoints of {running} running jobs in {window:.1?}",
        2 * done
    ));
    for job in &others {
        assert_eq!(cluster.json(&["job", "cancel", job])["state"], "CANCELED");
    }
    wait_for_rest(&cluster, Duration::from_secs(180));
    assert_eq!(stored(&checkpoints), [] as [PathBuf; 0]);
    assert_verified(&cluster);
    cluster.stop_by_hand();
    cluster.stop();
}
