//! Random life of a cluster: submits, ends of every kind, savepoints here and there, kills of leaders and
//! workers. At rest the store holds exactly what the log says it holds.
//!
//! Beside `cleanup verify` the files are counted a second time here, plainly: everything in the store must
//! belong to a savepoint that somebody was given and nobody disposed of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use regent_chaos::cleanup::{
    assert_verified, counting, stored, wait_for_clean, wait_for_rest, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::Outcome;
use regent_chaos::knobs;
use regent_chaos::output::hidden_files;
use regent_chaos::wait::{Phases, pause};
use serde_json::Value;

const TERMINAL: [&str; 3] = ["FINISHED", "FAILED", "CANCELED"];
/// Between two deeds: some fall together, some don't.
const PAUSES_MS: std::ops::Range<u64> = 0..600;

struct Life<'a> {
    cluster: &'a Cluster,
    chance: StdRng,
    jobs: Vec<String>,
    /// Given to somebody, and not disposed of.
    savepoints: BTreeSet<PathBuf>,
    /// Ordered to be disposed of; the answer may have been lost.
    disposed: BTreeSet<PathBuf>,
}

#[test]
fn at_rest_the_store_holds_what_the_log_says() {
    let mut phases = Phases::of("cleanup_hour");
    let mut cluster = Cluster::start(Options {
        slots: 8,
        ..Options::default()
    });
    let mut life = Life {
        cluster: &cluster,
        chance: knobs::chance("cleanup_hour"),
        jobs: Vec::new(),
        savepoints: BTreeSet::new(),
        disposed: BTreeSet::new(),
    };
    for turn in 1..=knobs::rounds(30, 700) {
        life.one_deed(turn);
    }
    phases.done("lived");
    cluster.wait_for_workers(2);
    life.end();
    let places = [cluster.dir().join("checkpoints"), cluster.home().join("sp")];
    let found = || {
        places
            .iter()
            .flat_map(|place| stored(place))
            .collect::<Vec<_>>()
    };
    for file in found() {
        let owner = life
            .savepoints
            .iter()
            .find(|savepoint| file.starts_with(savepoint));
        assert!(owner.is_some(), "nobody's: {}", file.display());
    }
    for savepoint in &life.savepoints {
        assert!(
            savepoint.join("_metadata").is_file(),
            "{} is lost",
            savepoint.display()
        );
    }
    assert_eq!(
        hidden_files(&cluster.home().join("out")),
        [] as [PathBuf; 0]
    );
    assert_verified(&cluster);
    phases.done(&format!(
        "at rest: {} jobs, {} savepoints, {} files",
        life.jobs.len(),
        life.savepoints.len(),
        found().len()
    ));
    for savepoint in life.savepoints.clone() {
        let path = savepoint.display().to_string();
        life.ask(&["savepoint", "dispose", &path, "--yes"]);
    }
    wait_for_rest(&cluster, Duration::from_secs(120));
    assert_eq!(found(), [] as [PathBuf; 0]);
    assert_verified(&cluster);
    cluster.stop();
}

impl Life<'_> {
    /// Asks with patience: leaders are dying.
    fn ask(&self, arguments: &[&str]) -> Outcome {
        self.cluster
            .cli_within(arguments, "40s", Duration::from_secs(42))
    }

    fn one_deed(&mut self, turn: u32) {
        let places = if self.running().len() < 6 { 4 } else { 0 };
        match self.chance.random_range(0..14 + places) {
            0 | 1 => self.on_a_job(|life, job| life.savepoint(job, &["job", "savepoint", job])),
            2 | 3 => {
                self.on_a_job(|life, job| life.savepoint(job, &["job", "savepoint", job, "sp"]))
            }
            4 => self.on_a_job(|life, job| {
                life.savepoint(job, &["job", "stop", job, "--savepoint-path", "sp"]);
            }),
            5 | 6 => self.on_a_job(|life, job| {
                life.ask(&["job", "cancel", job]);
            }),
            7 | 8 => self.dispose(),
            9 | 10 => self.kill_leader(),
            11 => self.kill_worker(),
            12 => {
                self.kill_leader();
                self.kill_worker();
            }
            13 => self.on_a_job(|life, job| {
                life.ask(&["cleanup", "retry", job]);
            }),
            _ => self.submit(turn),
        }
        let moment = self.chance.random_range(PAUSES_MS);
        pause(Duration::from_millis(moment));
    }

    fn running(&self) -> Vec<String> {
        let listed = self.ask(&["job", "list"]).json();
        let listed = listed.as_array().cloned().unwrap_or_default();
        let runs = |job: &&Value| !TERMINAL.contains(&job["state"].as_str().unwrap_or_default());
        let id = |job: &Value| job["job_id"].as_str().map(str::to_owned);
        listed.iter().filter(runs).filter_map(id).collect()
    }

    fn on_a_job(&mut self, deed: impl FnOnce(&mut Self, &str)) {
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let job = running[self.chance.random_range(0..running.len())].clone();
        deed(self, &job);
    }

    fn submit(&mut self, turn: u32) {
        let name = format!("job-{turn}");
        let bounded = self.chance.random_bool(0.4);
        let end = if bounded { ", end: 1500" } else { "" };
        let restart = match self.chance.random_bool(0.3) {
            true => "type: none",
            false => "type: fixed-delay, attempts: 1000, delay: 100ms",
        };
        let retained = self.chance.random_range(1..4);
        let checkpointing = format!("interval: 150ms, num-retained: {retained}");
        let mut text = counting(&name, 500, &checkpointing, restart, end);
        if self.chance.random_bool(0.5) {
            let out = self.cluster.home().join("out").join(&name);
            let sink = format!(
                "sink: files, with: {{ path: {}, format: csv }}",
                out.display()
            );
            text = text.replace("sink: blackhole", &sink);
        }
        let file = written(self.cluster, &name, &text).display().to_string();
        let submitted = self.ask(&["job", "submit", &file]).json();
        self.jobs
            .extend(submitted["job_id"].as_str().map(str::to_owned));
    }

    /// It may fail with its job; what the log knows of it is asked at the end.
    fn savepoint(&mut self, job: &str, words: &[&str]) {
        let outcome = self.ask(words);
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        if let Some(path) = answer["path"].as_str() {
            assert!(
                Path::new(path).join("_metadata").is_file(),
                "job {job}: {outcome}"
            );
            self.savepoints.insert(PathBuf::from(path));
        }
    }

    fn dispose(&mut self) {
        let all: Vec<PathBuf> = self.savepoints.iter().cloned().collect();
        if all.is_empty() {
            return;
        }
        let one = all[self.chance.random_range(0..all.len())].clone();
        let outcome = self.ask(&["savepoint", "dispose", &one.display().to_string(), "--yes"]);
        match outcome.code {
            // In use: it stays.
            Some(5) => {}
            _ => {
                self.disposed.insert(one.clone());
                self.savepoints.remove(&one);
            }
        }
    }

    fn kill_leader(&mut self) {
        let leader = self.cluster.wait_for_leader();
        let old = self.cluster.kill(&leader);
        let _new = self.cluster.wait_for_new_pid(&leader, old);
        self.cluster.wait_until_caught_up(50);
    }

    fn kill_worker(&mut self) {
        let worker = format!("tm-{}", self.chance.random_range(1..=2));
        let old = self.cluster.kill(&worker);
        let _new = self.cluster.wait_for_new_pid(&worker, old);
    }

    /// Ends everything, waits until it is clean and swept, and asks the log what it retains.
    fn end(&mut self) {
        let mut running = self.running();
        while let Some(job) = running.pop() {
            self.ask(&["job", "cancel", &job]);
        }
        for job in &self.jobs {
            wait_for_clean(self.cluster, job, Duration::from_secs(120));
        }
        wait_for_rest(self.cluster, Duration::from_secs(120));
        let mut retained = BTreeSet::new();
        for job in &self.jobs {
            let shown = self.ask(&["cleanup", "show", job]).json();
            let shown = shown.as_array().cloned().unwrap_or_default();
            let kept = shown
                .iter()
                .filter(|artefact| artefact["state"] == "retained");
            retained.extend(kept.filter_map(|one| one["path"].as_str().map(PathBuf::from)));
        }
        let lost: Vec<_> = self.savepoints.difference(&retained).collect();
        assert!(
            lost.is_empty(),
            "given to somebody and not in the log: {lost:?}"
        );
        // Those whose answer was lost are the log's word alone.
        self.savepoints = retained;
    }
}
