//! Regent beside etcd and ZooKeeper: three members each on the same disk, one after the other and again
//! (A B A B), so that a machine that grows slower or faster in between shows.
//!
//! What a kind of server needs to run is `regent.rs`, `etcd.rs` and `zookeeper.rs`; what is printed is
//! `report.rs`.

mod cluster;
mod etcd;
mod failover;
mod regent;
mod report;
pub(crate) mod section;
mod zookeeper;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::Kind;
use crate::disk;
use crate::figures::Samples;
use crate::load::{Operation, Span, Used, closed_loop, offered};
pub(crate) use cluster::{Cluster, Place};

/// Members of each cluster.
const MEMBERS: usize = 3;

/// What is compared, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// About three minutes instead of about ten
    #[arg(long)]
    short: bool,
    /// Only these, of regent, checkpoints, coordinator, etcd, zookeeper
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// No failover
    #[arg(long)]
    no_failover: bool,
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

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// JobManagers as users run them, asked through their API.
    Regent,
    /// Replicas alone, with the commands of the checkpoint coordinator.
    Checkpoints,
    /// The same, proposed inside the leader's process, where the coordinator is.
    Coordinator,
    /// etcd, with its own timing or with 50/250 ms.
    Etcd { tuned: bool },
    /// ZooKeeper.
    ZooKeeper,
}

impl Contender {
    const ALL: [Self; 5] = [
        Self::Regent,
        Self::Etcd { tuned: false },
        Self::ZooKeeper,
        Self::Checkpoints,
        Self::Coordinator,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Regent => "regent",
            Self::Checkpoints => "checkpoints",
            Self::Coordinator => "coordinator",
            Self::Etcd { .. } => "etcd",
            Self::ZooKeeper => "zookeeper",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Regent => "Regent, client command",
            Self::Checkpoints => "Regent, checkpoint begun / completed, by a stream to the leader",
            Self::Coordinator => "Regent, checkpoint begun / completed, inside the leader",
            Self::Etcd { tuned: false } => "etcd put",
            Self::Etcd { tuned: true } => "etcd put, 50/250 ms",
            Self::ZooKeeper => "ZooKeeper setData",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Regent => Kind::Api,
            Self::Checkpoints => Kind::Door,
            Self::Coordinator => Kind::Inside,
            Self::Etcd { .. } => Kind::Etcd,
            Self::ZooKeeper => Kind::ZooKeeper,
        }
    }

    /// What it lacks to be run here, in a line.
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Regent | Self::Checkpoints | Self::Coordinator => None,
            Self::Etcd { .. } => etcd::missing(),
            Self::ZooKeeper => zookeeper::missing(),
        }
    }
}

/// One load of one contender, all its runs together.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    pub(crate) operation: Operation,
    pub(crate) clients: usize,
    pub(crate) samples: Samples,
    /// Written to the disk by all members per operation.
    pub(crate) bytes_per_operation: f64,
    /// Used by all members per operation.
    pub(crate) cpu_micros_per_operation: f64,
    /// Each run's rate, in the order of the runs.
    pub(crate) runs: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) disk: Vec<Samples>,
    pub(crate) rows: Vec<Row>,
    /// Largest resident memory of a member after the loads, in bytes.
    pub(crate) memory: Vec<(Contender, u64)>,
    /// Milliseconds from SIGKILL to the first write accepted, per round.
    pub(crate) failover: Vec<(Contender, Vec<f64>)>,
    pub(crate) versions: Vec<String>,
}

/// Compares, prints, and writes the report if asked to.
pub(crate) async fn run(settings: &Settings) -> Outcome<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(&settings.dir)?;
    let contenders = present(settings);
    let mut findings = Findings::default();
    for round in 1..=2 {
        let probed = disk::probe(&settings.dir)?;
        println!("disk: 4 KiB write + fdatasync: {probed}");
        findings.disk.push(probed);
        for contender in &contenders {
            println!("-- run {round}: {}", contender.label());
            // One that can't be run says so, and the others are measured.
            if let Err(error) = load(settings, *contender, &mut findings).await {
                println!("{} failed: {error}", contender.label());
            }
        }
    }
    if !settings.no_failover {
        for contender in failing(&contenders) {
            let rounds = failover::rounds(contender, settings.short);
            println!("-- failover: {}, {rounds} kills", contender.label());
            match fail_over(settings, contender, rounds).await {
                Ok(took) => {
                    println!("{}", failover::summary(&took));
                    findings.failover.push((contender, took));
                }
                Err(error) => println!("{} failed: {error}", contender.label()),
            }
        }
    }
    findings.disk.push(disk::probe(&settings.dir)?);
    let text = report::text(&findings, settings.short, begun.elapsed());
    println!("\n{text}");
    match &settings.report {
        Some(file) => section::write(file, report::HEADING, &text),
        None => Ok(()),
    }
}

async fn fail_over(settings: &Settings, contender: Contender, rounds: usize) -> Outcome<Vec<f64>> {
    let mut cluster = Cluster::start(contender, &settings.place()?, MEMBERS).await?;
    failover::measure(&mut cluster, rounds).await
}

/// The contenders that were asked for and can be run here; says what others lack.
fn present(settings: &Settings) -> Vec<Contender> {
    let wanted = |contender: &Contender| {
        settings.only.is_empty() || settings.only.iter().any(|name| name == contender.name())
    };
    let can_run = |contender: &Contender| match contender.missing() {
        None => true,
        Some(missing) => {
            println!("{} is left out: {missing}", contender.label());
            false
        }
    };
    let all = Contender::ALL.into_iter();
    all.filter(wanted).filter(can_run).collect()
}

/// Who is killed: etcd twice, with its own timing and tuned.
fn failing(contenders: &[Contender]) -> Vec<Contender> {
    let mut all = Vec::new();
    for contender in contenders {
        match contender {
            Contender::Checkpoints | Contender::Coordinator => {}
            Contender::Etcd { .. } => {
                all.push(Contender::Etcd { tuned: true });
                all.push(Contender::Etcd { tuned: false });
            }
            other => all.push(*other),
        }
    }
    all
}

fn loads(short: bool) -> Vec<(Operation, usize)> {
    let mut all = vec![
        (Operation::Write, 1),
        (Operation::Write, 64),
        (Operation::Write, 256),
        (Operation::Read, 64),
    ];
    if !short {
        all.extend([(Operation::Read, 1), (Operation::Read, 256)]);
    }
    all
}

fn span(short: bool) -> Span {
    let (warm_up, measured) = match short {
        true => (500, 1_500),
        false => (1_000, 3_000),
    };
    Span {
        warm_up: Duration::from_millis(warm_up),
        measured: Duration::from_millis(measured),
    }
}

async fn load(settings: &Settings, contender: Contender, findings: &mut Findings) -> Outcome<()> {
    let cluster = Cluster::start(contender, &settings.place()?, MEMBERS).await?;
    if !findings.versions.contains(&cluster.version) {
        findings.versions.push(cluster.version.clone());
    }
    let target = Arc::new(cluster.target.clone());
    for (operation, clients) in loads(settings.short) {
        if !offered(contender.kind(), operation) {
            continue;
        }
        let used = || Used {
            bytes: cluster.written_bytes(),
            cpu_seconds: cluster.cpu_seconds(),
        };
        let span = span(settings.short);
        let (samples, used) = closed_loop(&target, operation, clients, span, used).await?;
        let done = samples.count().max(1) as f64;
        let row = Row {
            contender,
            operation,
            clients,
            bytes_per_operation: used.bytes as f64 / done,
            cpu_micros_per_operation: used.cpu_seconds * 1e6 / done,
            runs: vec![samples.rate()],
            samples,
        };
        println!(
            "{operation:?}, {clients} clients: {}; {:.0} bytes and {:.0} us of processor each",
            row.samples, row.bytes_per_operation, row.cpu_micros_per_operation
        );
        add(&mut findings.rows, row);
    }
    let resident = cluster.resident_bytes();
    println!("memory of the largest member: {} MiB", resident >> 20);
    findings.memory.push((contender, resident));
    Ok(())
}

/// Puts runs of the same load together.
fn add(rows: &mut Vec<Row>, row: Row) {
    let same = |known: &&mut Row| {
        known.contender == row.contender
            && known.operation == row.operation
            && known.clients == row.clients
    };
    match rows.iter_mut().find(same) {
        None => rows.push(row),
        Some(known) => {
            known.samples = known.samples.merge(&row.samples);
            known.bytes_per_operation = (known.bytes_per_operation + row.bytes_per_operation) / 2.0;
            known.cpu_micros_per_operation =
                (known.cpu_micros_per_operation + row.cpu_micros_per_operation) / 2.0;
            known.runs.extend(row.runs);
        }
    }
}

impl Settings {
    fn place(&self) -> Outcome<Place> {
        Place::new(&self.dir, self.regent.clone())
    }
}
