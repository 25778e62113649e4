//! Many jobs that end at the same moment, with many checkpoints each: how long until the last one is clean,
//! how many log entries that takes, and what running jobs and users notice: no other leader, each running job
//! goes on checkpointing, submissions are answered. Prints rows; with REGENT_SOAK=1 in the size that
//! `docs/benchmarks.md` reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use regent_chaos::cleanup::{assert_verified, counting, metric, page, stored, wait_for_rest};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, pause, wait_until};
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

/// What is seen of each running job, by its id: completed checkpoints, when that number rose last, and the
/// longest time that it didn't.
#[derive(Debug, Default)]
struct Watched {
    jobs: BTreeMap<String, (u64, Instant, Duration)>,
    first: BTreeMap<String, u64>,
}

const COMPLETED: &str = "regent_jobmanager_job_numberOfCompletedCheckpoints{job_id=\"";

impl Watched {
    /// Takes in a page of metrics.
    fn see(&mut self, page: &str, wanted: &[String]) {
        let now = Instant::now();
        for line in page.lines().filter_map(|line| line.strip_prefix(COMPLETED)) {
            let (Some((job, _)), Some((_, count))) = (line.split_once('"'), line.rsplit_once(' '))
            else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            if !wanted.iter().any(|one| one == job) {
                continue;
            }
            self.first.entry(job.to_owned()).or_insert(count);
            let seen = self
                .jobs
                .entry(job.to_owned())
                .or_insert((count, now, Duration::ZERO));
            seen.2 = seen.2.max(now - seen.1);
            if count > seen.0 {
                (seen.0, seen.1) = (count, now);
            }
        }
    }

    /// Checkpoints that each job completed meanwhile.
    fn completed(&self) -> Vec<u64> {
        let before = |job: &String| self.first.get(job).copied().unwrap_or_default();
        self.jobs
            .iter()
            .map(|(job, seen)| seen.0 - before(job))
            .collect()
    }

    /// The longest time without one, of each job, in milliseconds, shortest first.
    fn gaps_ms(&self) -> Vec<u128> {
        let mut gaps: Vec<u128> = self.jobs.values().map(|seen| seen.2.as_millis()).collect();
        gaps.sort_unstable();
        gaps
    }
}

/// The figure below which so many percent lie.
fn percentile(sorted: &[u128], percent: usize) -> u128 {
    let at = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// The leader's term and address.
fn leader(cluster: &Cluster) -> (u64, String) {
    let shown = cluster.json(&["leader", "show"]);
    let (term, api) = (&shown["leader"]["term"], &shown["leader"]["api"]);
    let term = term.as_u64().expect("a term");
    (term, api.as_str().expect("an address").to_owned())
}

/// Looks at running jobs and submits others, until told that it is over: what was seen, and how long each
/// submission took in milliseconds, shortest first.
fn meanwhile(
    place: &Place,
    api: &str,
    wanted: &[String],
    over: &AtomicBool,
) -> (Watched, Vec<u128>) {
    let mut watched = Watched::default();
    std::thread::scope(|scope| {
        let submits = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let name = format!("meanwhile-{}", took.len());
                // Ends at once if it finds a slot.
                let text = counting(&name, 100, "interval: 1s", "type: none", ", end: 1");
                let asked = Instant::now();
                submit(place, &name, &text);
                took.push(asked.elapsed().as_millis());
                pause(Duration::from_millis(200));
            }
            took.sort_unstable();
            took
        });
        loop {
            let last = over.load(Ordering::Relaxed);
            if let Some(page) = page(api, "/metrics") {
                watched.see(&page, wanted);
            }
            if last {
                break;
            }
            pause(Duration::from_millis(100));
        }
        let took = submits.join().expect("submissions were answered");
        (watched, took)
    })
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
    let index = metric(&cluster, "regent_raft_last_log_index");
    let (term, api) = leader(&cluster);
    let over = AtomicBool::new(false);
    let killed = Instant::now();
    cluster.kill("tm-1");
    let (ended, clean, entries, (watched, submissions)) = std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| meanwhile(&place, &api, &others, &over));
        let failed = "regent_jobs{state=\"FAILED\"}";
        let count = f64::from(jobs);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(LONG, "all jobs ended", || {
                (metric(&cluster, failed) >= count).then_some(())
            });
            let ended = killed.elapsed();
            wait_until(LONG, "all jobs are clean", || {
                (metric(&cluster, "regent_jobs_dirty") == 0.0).then_some(())
            });
            let entries = metric(&cluster, "regent_raft_last_log_index") - index;
            // However quick it was: each running job is given time for one more.
            pause(2 * RUNNING_INTERVAL);
            (ended, killed.elapsed() - 2 * RUNNING_INTERVAL, entries)
        }));
        over.store(true, Ordering::Relaxed);
        let seen = meanwhile.join().expect("the onlooker ended");
        let (ended, clean, entries) =
            waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (ended, clean, entries, seen)
    });
    let window = killed.elapsed();
    let (_, restarts) = completed(&cluster, &others);
    assert_eq!(restarts, 0, "running jobs noticed nothing");
    assert_eq!(leader(&cluster).0, term, "the leader kept its term");
    assert_eq!(watched.jobs.len(), others.len(), "{watched:?}");
    let each = watched.completed();
    assert!(
        each.iter().all(|done| *done >= 1),
        "a job starved: {watched:?}"
    );
    assert!(
        !submissions.is_empty(),
        "nobody submitted anything meanwhile"
    );
    let done: u64 = each.iter().sum();
    println!(
        "cleanup_bench: longest time without a checkpoint, of {running} jobs: median {} ms, highest {} ms; \
         {} submissions meanwhile: median {} ms, p99 {} ms",
        percentile(&watched.gaps_ms(), 50),
        percentile(&watched.gaps_ms(), 100),
        submissions.len(),
        percentile(&submissions, 50),
        percentile(&submissions, 99),
    );
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
    wait_until(LONG, "the jobs submitted meanwhile have ended", || {
        let active = ["CREATED", "RUNNING", "RESTARTING"];
        let count = |state| metric(&cluster, &format!("regent_jobs{{state=\"{state}\"}}"));
        active.iter().all(|state| count(state) == 0.0).then_some(())
    });
    wait_for_rest(&cluster, Duration::from_secs(180));
    assert_eq!(stored(&checkpoints), [] as [PathBuf; 0]);
    assert_verified(&cluster);
    cluster.stop_by_hand();
    cluster.stop();
}
