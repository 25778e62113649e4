//! A `regent local` cluster below a temporary directory, and jobs run on it through the command line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{Case, Run};
use crate::Outcome;
use crate::process::{peak_bytes, reset_peak};

/// How long a job may take to run or to end.
const JOB_LIMIT: Duration = Duration::from_secs(300);

/// Before the rate of a job that goes on counts, and while it does.
const BARRIERS_WARM_UP: Duration = Duration::from_secs(2);
const BARRIERS_SPAN: Duration = Duration::from_secs(6);

/// What checkpoints cost a job that goes on.
#[derive(Clone, Debug)]
pub(super) struct Barriers {
    /// Records per second.
    pub(super) rate: f64,
    pub(super) durations_ms: Vec<f64>,
}

/// A running cluster.
#[derive(Debug)]
pub(super) struct Local {
    child: Child,
    program: PathBuf,
    dir: TempDir,
    /// From nothing to `ready`.
    pub(super) ready_ms: f64,
}

impl Local {
    /// Starts it and waits for `ready`.
    pub(super) async fn start(program: &Path, dir: &Path, jobmanagers: u32) -> Outcome<Self> {
        let dir = TempDir::with_prefix_in("regent-bench-", dir)?;
        let base = regent_ports::base_port();
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args([
                "local",
                "--taskmanagers",
                "1",
                "--slots",
                "8",
                "--restart",
                "never",
            ])
            .args(["--jobmanagers", &jobmanagers.to_string()])
            .args(["--base-port", &base.to_string(), "--parent-pipe"])
            .arg("--dir")
            .arg(dir.path().join("cluster"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(Duration::from_secs(60), line).await???;
        if line.trim() != "ready" {
            child.kill().ok();
            return Err("regent local did not get ready".into());
        }
        Ok(Self {
            child,
            program: program.to_owned(),
            dir,
            ready_ms: begun.elapsed().as_secs_f64() * 1_000.0,
        })
    }

    fn cluster(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    fn regent(&self, arguments: &[&str]) -> Outcome<Value> {
        let out = Command::new(&self.program)
            .args(["-o", "json", "--dir"])
            .arg(self.cluster())
            .args(arguments)
            .output()?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("regent {}: {said}", arguments.join(" ")).into());
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    fn worker(&self) -> Outcome<u32> {
        let manifest = std::fs::read(self.cluster().join("cluster.json"))?;
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let processes = manifest["processes"].as_array().ok_or("no processes")?;
        let worker = processes.iter().find(|one| one["role"] == "taskmanager");
        let pid = worker.and_then(|one| one["pid"].as_u64());
        Ok(u32::try_from(pid.ok_or("no TaskManager runs")?)?)
    }

    /// Milliseconds from submitting a job to its being RUNNING.
    pub(super) async fn first_job(&self) -> Outcome<f64> {
        let text = "name: first\nvertices:\n  - { id: in, source: sequence, with: { rate: 10 } }\n  \
                    - { id: out, sink: blackhole, inputs: [ in ] }\n";
        let begun = Instant::now();
        let job = self.submit(text, &[])?;
        loop {
            if self.regent(&["job", "show", &job])?["state"] == "RUNNING" {
                return Ok(begun.elapsed().as_secs_f64() * 1_000.0);
            }
            if begun.elapsed() > JOB_LIMIT {
                return Err("the first job doesn't run".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn submit(&self, text: &str, more: &[&str]) -> Outcome<String> {
        let file = self.dir.path().join("job.yaml");
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        let mut arguments = vec!["job", "submit", &file];
        arguments.extend(more);
        let answer = self.regent(&arguments)?;
        let job = answer["job_id"].as_str().ok_or("no job id")?;
        Ok(job.to_owned())
    }

    /// Submits, waits for FINISHED, and answers what it took.
    async fn measure(&self, text: &str, records: u64) -> Outcome<Run> {
        let worker = self.worker()?;
        reset_peak(worker);
        let begun = Instant::now();
        let job = self.submit(text, &["--wait"])?;
        let seconds = begun.elapsed().as_secs_f64();
        let shown = self.regent(&["job", "show", &job])?;
        if shown["state"] != "FINISHED" {
            return Err(format!("the job ended {}", shown["state"]).into());
        }
        Ok(Run {
            records,
            seconds,
            memory: peak_bytes(worker),
            checkpoints: shown["checkpoints"]["completed"].as_u64(),
        })
    }

    /// Counts by key and throws the counts away.
    pub(super) async fn count(&self, case: Case, records: u64, emit: &str) -> Outcome<Run> {
        let Case {
            keys, parallelism, ..
        } = case;
        let mut text = head("count", parallelism, case.checkpoints_ms);
        let _ = write!(
            text,
            "vertices:\n  - {{ id: numbers, source: sequence, with: {{ end: {records}, keys: {keys} }} }}\n  \
             - {{ id: counts, operator: aggregate, inputs: [ {{ from: numbers, partition: hash, by: [key] }} ],\n      \
             with: {{ group-by: [key], emit: {emit}, compute: {{ rows: {{ count: \"*\" }} }} }} }}\n  \
             - {{ id: out, sink: blackhole, inputs: [ counts ] }}\n"
        );
        self.measure(&text, records).await
    }

    /// The counting job for some seconds, from a source as fast as it can or slower: its rate, and what each
    /// checkpoint took from its order to its completion.
    pub(super) async fn barriers(
        &self,
        rate: Option<u64>,
        interval_ms: Option<u64>,
    ) -> Outcome<Barriers> {
        let mut text = "name: barriers\nparallelism: 2\n".to_owned();
        if let Some(interval) = interval_ms {
            let _ = writeln!(
                text,
                "checkpointing: {{ interval: {interval}ms, num-retained: 16 }}"
            );
        }
        let rate_key = rate.map_or_else(String::new, |rate| format!(", rate: {rate}"));
        let _ = write!(
            text,
            "vertices:\n  - {{ id: numbers, source: sequence, with: {{ keys: 1000{rate_key} }} }}\n  \
             - {{ id: counts, operator: aggregate, inputs: [ {{ from: numbers, partition: hash, by: [key] }} ],\n      \
             with: {{ group-by: [key], emit: changes, compute: {{ rows: {{ count: \"*\" }} }} }} }}\n  \
             - {{ id: out, sink: blackhole, inputs: [ counts ] }}\n"
        );
        let job = self.submit(&text, &[])?;
        tokio::time::sleep(BARRIERS_WARM_UP).await;
        let (begun, before) = (Instant::now(), self.counted(&job)?);
        tokio::time::sleep(BARRIERS_SPAN).await;
        let counted = self.counted(&job)? - before;
        let rate = counted as f64 / begun.elapsed().as_secs_f64();
        let listed = self.regent(&["checkpoint", "list", &job])?;
        let taken = listed.as_array().into_iter().flatten();
        let durations_ms = taken
            .filter_map(|one| one["duration_ms"].as_f64())
            .collect();
        self.regent(&["job", "cancel", &job])?;
        let begun = Instant::now();
        // The next job is to have the machine for itself.
        while self.regent(&["job", "show", &job])?["state"] != "CANCELED" {
            if begun.elapsed() > JOB_LIMIT {
                return Err("the job isn't canceled".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Barriers { rate, durations_ms })
    }

    /// Records that the source of this job has given out.
    fn counted(&self, job: &str) -> Outcome<u64> {
        let shown = self.regent(&["job", "show", job])?;
        let vertices = shown["vertices"].as_array().ok_or("no vertices")?;
        let source = vertices.iter().find(|vertex| vertex["id"] == "numbers");
        let records = source.and_then(|vertex| vertex["records_out"].as_u64());
        records.ok_or_else(|| "the source tells no records".into())
    }

    /// CSV files for [`Local::files`]: 8 files of `rows` rows in all. Answers their directory and the rows.
    pub(super) fn input(&self, rows: u64) -> Outcome<(PathBuf, u64)> {
        let dir = self.dir.path().join("input");
        std::fs::create_dir_all(&dir)?;
        for file in 0..8u64 {
            let mut out = BufWriter::new(File::create(dir.join(format!("part-{file}.csv")))?);
            writeln!(out, "carrier,origin,distance,delay")?;
            for row in (file..rows).step_by(8) {
                let (carrier, distance) = (row % 16, row.wrapping_mul(2_654_435_761) % 3_000);
                writeln!(out, "C{carrier},O{},{distance},{}.5", row % 300, row % 90)?;
            }
            out.flush()?;
        }
        Ok((dir, rows))
    }

    /// Files, filtered and aggregated, into files.
    pub(super) async fn files(
        &self,
        input: &(PathBuf, u64),
        parallelism: u32,
        checkpoints: Option<u64>,
    ) -> Outcome<Run> {
        let mut text = head("files", parallelism, checkpoints);
        let out = self
            .dir
            .path()
            .join(format!("out-{}", rand::random::<u32>()));
        let _ = write!(
            text,
            "vertices:\n  - id: flights\n    source: files\n    with: {{ path: {input}, format: csv, columns: \
             {{ carrier: utf8, origin: utf8, distance: int64, delay: float64 }} }}\n  \
             - {{ id: long, operator: filter, inputs: [ flights ], with: {{ where: {{ column: distance, op: \">=\", value: 500 }} }} }}\n  \
             - {{ id: sums, operator: aggregate, inputs: [ {{ from: long, partition: hash, by: [carrier] }} ],\n      \
             with: {{ group-by: [carrier], emit: final, compute: {{ rows: {{ count: \"*\" }}, miles: {{ sum: distance }}, worst: {{ max: delay }} }} }} }}\n  \
             - {{ id: out, sink: files, inputs: [ sums ], with: {{ path: {out}, format: csv }} }}\n",
            input = input.0.display(),
            out = out.display(),
        );
        self.measure(&text, input.1).await
    }
}

fn head(name: &str, parallelism: u32, checkpoints_ms: Option<u64>) -> String {
    let mut text = format!("name: {name}\nparallelism: {parallelism}\n");
    if let Some(interval) = checkpoints_ms {
        let _ = writeln!(text, "checkpointing: {{ interval: {interval}ms }}");
    }
    text
}

impl Drop for Local {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        // It stops what it started; should this process be killed instead, the pipe ends and it stops too.
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        self.child.wait().ok();
    }
}
