//! Records per second of whole jobs on a real `local` cluster of one JobManager and one TaskManager, beside
//! Apache Flink on the same job in the same run, where its jars are at hand.
//!
//! Every figure is of the whole job as its user sees it: from the submission to FINISHED.

mod flink;
mod local;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use crate::Outcome;
use crate::peers::section;
use local::{Barriers, Local};

/// What is run, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// A quarter of the records, and not every case of Flink
    #[arg(long)]
    short: bool,
    /// A directory on the disk that everything is to use
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The program; without it, the one beside this one
    #[arg(long)]
    regent: Option<PathBuf>,
    /// The directory of Flink's jars (`pip download --no-deps apache-flink-libraries==2.3.0`, unpacked)
    #[arg(long)]
    flink: Option<PathBuf>,
    /// The source of the same job for Flink
    #[arg(long, default_value = "bench/flink/Count.java")]
    flink_job: PathBuf,
    /// Also write the report here, as the section of that name
    #[arg(long)]
    report: Option<PathBuf>,
}

/// One case of the counting job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) keys: u64,
    pub(crate) parallelism: u32,
    /// Milliseconds between checkpoints.
    pub(crate) checkpoints_ms: Option<u64>,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    /// Largest resident memory of the process that does the work, in bytes.
    pub(crate) memory: u64,
    /// Completed checkpoints, where they are known.
    pub(crate) checkpoints: Option<u64>,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

/// A case, run by both.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) case: Case,
    /// Every record's new count goes on to the sink: what Flink's `reduce` does.
    pub(crate) changes: Run,
    /// Counts go to the sink at the end.
    pub(crate) last: Run,
    pub(crate) flink: Option<Run>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Milliseconds from nothing to `ready`, and from the first submission to RUNNING.
    pub(crate) starts: Vec<(f64, f64)>,
    pub(crate) pairs: Vec<Pair>,
    /// Parallelism, checkpoints, the run, and Flink's.
    pub(crate) files: Vec<(u32, Option<u64>, Run, Option<Run>)>,
    pub(crate) flink: bool,
    /// The source's rate if it is held back, and the checkpoints' interval.
    barriers: Vec<(Option<u64>, Option<u64>, Barriers)>,
}

const CASES: [Case; 6] = [
    case(1_000, 1, None),
    case(1_000, 2, None),
    case(1_000, 2, Some(1_000)),
    case(1_000_000, 1, None),
    case(1_000_000, 2, None),
    case(1_000_000, 2, Some(1_000)),
];

const fn case(keys: u64, parallelism: u32, checkpoints_ms: Option<u64>) -> Case {
    Case {
        keys,
        parallelism,
        checkpoints_ms,
    }
}

/// Rates of the source, and intervals of checkpoints: as fast as it can, channels are always full.
const BARRIERS: [(Option<u64>, Option<u64>); 4] = [
    (None, None),
    (None, Some(1_000)),
    (None, Some(200)),
    (Some(1_000_000), Some(200)),
];

/// Runs all, prints, and writes the report if asked to.
pub(crate) async fn run(settings: &Settings) -> Outcome<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(&settings.dir)?;
    let program = settings.regent.clone();
    let beside = || -> Outcome<PathBuf> { Ok(std::env::current_exe()?.with_file_name("regent")) };
    let program = program.map_or_else(beside, Ok)?;
    let peer = flink::Flink::prepare(settings)?;
    let mut findings = Findings {
        flink: peer.is_some(),
        ..Findings::default()
    };
    for _ in 0..3 {
        let local = Local::start(&program, &settings.dir, 3).await?;
        let running = local.first_job().await?;
        println!(
            "ready after {:.0} ms, first job running {running:.0} ms later",
            local.ready_ms
        );
        findings.starts.push((local.ready_ms, running));
    }
    let local = Local::start(&program, &settings.dir, 1).await?;
    for case in CASES {
        let records = records(case, settings.short);
        let changes = local.count(case, records, "changes").await?;
        let flink = match &peer {
            Some(peer) => Some(peer.count(case, records / flink::FEWER)?),
            None => None,
        };
        let last = local.count(case, records, "final").await?;
        let pair = Pair {
            case,
            changes,
            last,
            flink,
        };
        println!("{}", report::line(&pair));
        findings.pairs.push(pair);
    }
    for (rate, interval) in BARRIERS {
        let barriers = local.barriers(rate, interval).await?;
        println!("barriers, source {rate:?}, checkpoints {interval:?}: {barriers:?}");
        findings.barriers.push((rate, interval, barriers));
    }
    let input = local.input(if settings.short { 2_000_000 } else { 8_000_000 })?;
    for (parallelism, checkpoints) in [(1, None), (2, None), (2, Some(1_000))] {
        let run = local.files(&input, parallelism, checkpoints).await?;
        // Flink runs it as a batch, which has no checkpoints: a carrier is written once there too.
        let beside = peer.as_ref().filter(|_| checkpoints.is_none());
        let flink = beside.map(|peer| peer.files(&input, parallelism));
        let flink = flink.transpose()?;
        println!(
            "files, parallelism {parallelism}, checkpoints {checkpoints:?}: {run:?}; {flink:?}"
        );
        findings.files.push((parallelism, checkpoints, run, flink));
    }
    drop(local);
    let text = report::text(&findings, settings.short, begun.elapsed());
    println!("\n{text}");
    match &settings.report {
        Some(file) => section::write(file, report::HEADING, &text),
        None => Ok(()),
    }
}

/// Enough for some seconds.
fn records(case: Case, short: bool) -> u64 {
    let records = match case.keys {
        1_000 => 200_000_000,
        _ => 60_000_000,
    };
    if short { records / 4 } else { records }
}
