//! The control plane at scale: many jobs on real JobManagers, run by simulated workers that speak the
//! session's protocol and acknowledge checkpoints at once. What grows with the number of jobs and replicas?

mod worker;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::v1::{NodeStatusRequest, SaveSnapshotRequest};
use regent_protocol::view::NodeStatus;
use tonic::transport::Channel;

use crate::Outcome;
use crate::client::Submitter;
use crate::figures::{grouped, table};
use crate::peers::{Cluster, Contender, Place, section};
use worker::{Counters, SLOTS, Worker};

const HEADING: &str = "## Control plane at scale";
const LIMIT: Duration = Duration::from_secs(120);
/// Clients that submit at once.
const SUBMITTERS: usize = 16;

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Fewer cases, shorter
    #[arg(long)]
    short: bool,
    /// Only this many jobs
    #[arg(long)]
    jobs: Option<usize>,
    /// A directory on the disk that everything is to use
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The program; without it, the one beside this one
    #[arg(long)]
    regent: Option<PathBuf>,
    /// Also write the report here, as the section of that name
    #[arg(long)]
    report: Option<PathBuf>,
}

/// One case and what it came to.
#[derive(Clone, Debug, Default)]
struct Row {
    jobs: usize,
    replicas: usize,
    submitted_per_second: f64,
    running_seconds: f64,
    completions_per_second: f64,
    cpu_cores: f64,
    memory: u64,
    snapshot_bytes: u64,
    snapshot_ms: f64,
    takeover_ms: f64,
    adopted_ms: f64,
    catch_up_ms: f64,
}

/// Runs all cases, prints, and writes the report if asked to.
pub(crate) async fn run(settings: &Settings) -> Outcome<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(&settings.dir)?;
    let place = Place::new(&settings.dir, settings.regent.clone())?;
    let cases: Vec<(usize, usize)> = match (settings.jobs, settings.short) {
        (Some(jobs), _) => vec![(jobs, 3)],
        (None, true) => vec![(100, 3), (1_000, 3)],
        (None, false) => vec![(100, 3), (1_000, 3), (1_000, 5), (10_000, 3)],
    };
    let mut rows = Vec::new();
    for (jobs, replicas) in cases {
        // One case that can't be measured says so; the others are.
        match one(&place, jobs, replicas, settings.short).await {
            Ok(row) => {
                println!("{row:?}");
                rows.push(row);
            }
            Err(error) => println!("{jobs} jobs on {replicas} replicas failed: {error}"),
        }
    }
    let text = report(&rows, begun.elapsed());
    println!("\n{text}");
    match &settings.report {
        Some(file) => section::write(file, HEADING, &text),
        None => Ok(()),
    }
}

async fn one(place: &Place, jobs: usize, replicas: usize, short: bool) -> Outcome<Row> {
    let mut cluster = Cluster::start(Contender::Regent, place, replicas).await?;
    let counters = Arc::new(Counters::default());
    let workers: Vec<Worker> = (0..jobs.div_ceil(SLOTS as usize).max(2))
        .map(|number| Worker::start(number, cluster.target.members.clone(), counters.clone()))
        .collect();
    let mut row = Row {
        jobs,
        replicas,
        ..Row::default()
    };
    let begun = Instant::now();
    submit(&cluster.target.members, jobs).await?;
    row.submitted_per_second = jobs as f64 / begun.elapsed().as_secs_f64();
    let deployed = || counters.deployed.load(Ordering::Relaxed) >= jobs as u64;
    until("the jobs don't run", deployed).await?;
    row.running_seconds = begun.elapsed().as_secs_f64();
    // All have taken a checkpoint before it counts; each takes as many in every ten seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (completed, cpu) = (
        counters.completed.load(Ordering::Relaxed),
        cluster.cpu_seconds(),
    );
    let measured = Instant::now();
    tokio::time::sleep(Duration::from_secs(if short { 10 } else { 20 })).await;
    let seconds = measured.elapsed().as_secs_f64();
    let done = counters.completed.load(Ordering::Relaxed) - completed;
    row.completions_per_second = done as f64 / seconds;
    row.cpu_cores = (cluster.cpu_seconds() - cpu) / seconds;
    row.memory = cluster.resident_bytes();
    (row.snapshot_bytes, row.snapshot_ms) = snapshot(&cluster.target.members[0]).await?;
    take_over(&mut cluster, &counters, &mut row).await?;
    workers.into_iter().for_each(Worker::stop);
    Ok(row)
}

/// Kills the leader: when a survivor serves, when the jobs' checkpoints go on, and how long the killed one
/// takes to be where the others are.
async fn take_over(cluster: &mut Cluster, counters: &Counters, row: &mut Row) -> Outcome<()> {
    let leader = cluster.leader().await?;
    let survivor = cluster.target.members[(leader + 1) % cluster.target.members.len()].clone();
    cluster.strike(leader);
    let struck = Instant::now();
    let mut asking = Submitter::connect(&survivor).await?;
    while asking.touch().await.is_err() {
        if struck.elapsed() > LIMIT {
            return Err("no survivor serves".into());
        }
    }
    row.takeover_ms = struck.elapsed().as_secs_f64() * 1_000.0;
    let completed = counters.completed.load(Ordering::Relaxed);
    let goes_on = || counters.completed.load(Ordering::Relaxed) > completed;
    until("no checkpoint completes after the takeover", goes_on).await?;
    row.adopted_ms = struck.elapsed().as_secs_f64() * 1_000.0;
    let started = Instant::now();
    cluster.restart(leader)?;
    let back = cluster.target.members[leader].clone();
    let goal = applied(&survivor).await?;
    while applied(&back).await.unwrap_or(0) < goal {
        if started.elapsed() > LIMIT {
            return Err("the killed replica doesn't catch up".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    row.catch_up_ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(())
}

async fn applied(address: &str) -> Outcome<u64> {
    let mut client: JobManagerApiClient<Channel> =
        JobManagerApiClient::connect(format!("http://{address}")).await?;
    let status = client.node_status(NodeStatusRequest {}).await?.into_inner();
    let status: NodeStatus = serde_json::from_slice(&status.json)?;
    Ok(status.applied_index)
}

async fn until(problem: &'static str, done: impl Fn() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > LIMIT {
            return Err(problem.into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn submit(members: &[String], jobs: usize) -> Outcome<()> {
    let mut tasks = Vec::new();
    for number in 0..SUBMITTERS {
        let mut submitter = Submitter::connect(&members[number % members.len()]).await?;
        tasks.push(tokio::spawn(async move {
            for _ in (number..jobs).step_by(SUBMITTERS) {
                submitter.submit(JOB).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Runs until it is cancelled, with a checkpoint every 10 s.
const JOB: &str = "name: scale\ncheckpointing: { interval: 10s }\nvertices:\n  \
                   - { id: in, source: sequence, with: { rate: 1 } }\n  \
                   - { id: out, sink: blackhole, inputs: [ in ] }\n";

/// Bytes of a snapshot, and how long the replica takes to write it out and send it.
async fn snapshot(address: &str) -> Outcome<(u64, f64)> {
    let mut client: JobManagerApiClient<Channel> =
        JobManagerApiClient::connect(format!("http://{address}"))
            .await?
            .max_decoding_message_size(64 << 20);
    let begun = Instant::now();
    let mut pieces = client
        .save_snapshot(SaveSnapshotRequest::default())
        .await?
        .into_inner();
    let mut bytes = 0;
    while let Some(piece) = pieces.message().await? {
        bytes += piece.data.len() as u64;
    }
    Ok((bytes, begun.elapsed().as_secs_f64() * 1_000.0))
}

fn report(rows: &[Row], took: Duration) -> String {
    let cells = |row: &Row| {
        vec![
            grouped(row.jobs as f64),
            row.replicas.to_string(),
            grouped(row.submitted_per_second),
            format!("{:.1}", row.running_seconds),
            format!("{:.1}", row.completions_per_second),
            format!("{:.2}", row.cpu_cores),
            (row.memory >> 20).to_string(),
            grouped(row.snapshot_bytes as f64 / 1_024.0),
            format!("{:.0}", row.snapshot_ms),
            format!("{:.0}", row.takeover_ms),
            format!("{:.0}", row.adopted_ms),
            format!("{:.0}", row.catch_up_ms),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let head = [
        "jobs",
        "replicas",
        "submitted/s",
        "all running after s",
        "checkpoints completed/s",
        "cores used by all JobManagers",
        "largest JobManager MiB",
        "snapshot KiB",
        "saved in ms",
        "leader killed: serving after ms",
        "next checkpoint after ms",
        "killed one caught up ms after its start",
    ];
    let mut out = format!("{HEADING}\n\n");
    let _ = writeln!(
        out,
        "{}, {}. `make bench`, {} s. Real JobManagers; simulated workers of 1,000 slots that hold the tasks over \
         real sessions and acknowledge each checkpoint at once; every job takes a checkpoint every 10 s, whose \
         `_metadata` is written and synced by the leader.\n",
        section::today(),
        section::machine_line(),
        took.as_secs()
    );
    out + &table(&head, &rows)
}
