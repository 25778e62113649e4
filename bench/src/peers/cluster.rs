//! Three members of one kind, each with a data directory below one temporary directory that goes with them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Contender, etcd, regent, zookeeper};
use crate::Outcome;
use crate::client::{Client, Kind, Target, etcd_leader, zookeeper_leads};
use crate::process::Process;

/// How long a cluster may take to serve.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Where clusters are made, and of which program.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    regent: PathBuf,
}

impl Place {
    /// Without a program, the one beside this one.
    pub(crate) fn new(dir: &Path, regent: Option<PathBuf>) -> Outcome<Self> {
        let beside =
            || -> Outcome<PathBuf> { Ok(std::env::current_exe()?.with_file_name("regent")) };
        Ok(Self {
            dir: dir.to_owned(),
            regent: regent.map_or_else(beside, Ok)?,
        })
    }
}

/// How members are started and reached.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each member, in order.
    pub(crate) commands: Vec<Vec<String>>,
    /// `host:port` for clients.
    pub(crate) endpoints: Vec<String>,
}

/// Members that run.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) contender: Contender,
    pub(crate) target: Target,
    pub(crate) version: String,
    commands: Vec<Vec<String>>,
    // Before the directory, so that the processes end first.
    members: Vec<Process>,
    dir: TempDir,
}

impl Cluster {
    /// Starts the members and waits until they serve. The peers have three, whatever is asked for.
    pub(crate) async fn start(
        contender: Contender,
        place: &Place,
        members: usize,
    ) -> Outcome<Self> {
        let dir = TempDir::with_prefix_in("regent-bench-", &place.dir)?;
        let root = dir.path().canonicalize()?;
        let plan = match contender {
            Contender::Regent => regent::job_managers(&root, &place.regent, members)?,
            Contender::Checkpoints | Contender::Coordinator => regent::replicas(&root)?,
            Contender::Etcd { tuned } => etcd::plan(&root, tuned)?,
            Contender::ZooKeeper => zookeeper::plan(&root)?,
        };
        let mut cluster = Self {
            contender,
            target: Target {
                kind: contender.kind(),
                members: plan.endpoints,
                job: String::new(),
            },
            version: String::new(),
            members: Vec::new(),
            commands: plan.commands,
            dir,
        };
        for number in 0..cluster.commands.len() {
            let member = cluster.spawn(number)?;
            cluster.members.push(member);
        }
        cluster.form().await?;
        Ok(cluster)
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("member-{}.log", number + 1))
    }

    fn spawn(&self, number: usize) -> Outcome<Process> {
        // As the units that `deploy/` has: of the memory that is free, threads hold less back.
        let own = matches!(self.target.kind, Kind::Api | Kind::Door | Kind::Inside);
        let environment: &[(&str, &str)] = if own {
            &[("MALLOC_ARENA_MAX", "2")]
        } else {
            &[]
        };
        Process::start(&self.commands[number], environment, &self.log(number))
    }

    async fn form(&mut self) -> Outcome<()> {
        if matches!(
            self.contender,
            Contender::Regent | Contender::Checkpoints | Contender::Coordinator
        ) {
            regent::bootstrap(&self.commands, &self.target.members).await?;
        }
        let begun = Instant::now();
        loop {
            match self.prepare().await {
                Ok(()) => break,
                Err(error) if begun.elapsed() > READY_LIMIT => {
                    let log = std::fs::read_to_string(self.log(0)).unwrap_or_default();
                    let tail: Vec<&str> = log.lines().rev().take(5).collect();
                    return Err(format!("{:?}: {error}; {tail:?}", self.contender).into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        self.settled().await
    }

    /// What clients need, and the server's version.
    async fn prepare(&mut self) -> Outcome<()> {
        let first = self.target.members[0].clone();
        self.version = match self.target.kind {
            Kind::Api => {
                self.target.job = crate::client::prepare_api(&first).await?;
                format!("Regent {}", env!("CARGO_PKG_VERSION"))
            }
            Kind::Door | Kind::Inside => format!("Regent {}", env!("CARGO_PKG_VERSION")),
            Kind::Etcd => format!("etcd {}", etcd_leader(&first).await?.1),
            Kind::ZooKeeper => {
                crate::client::prepare_zookeeper(&first).await?;
                format!(
                    "ZooKeeper {}",
                    crate::client::zookeeper_version(&first).await?
                )
            }
        };
        Ok(())
    }

    /// Waits until a write goes through every member.
    pub(crate) async fn settled(&self) -> Outcome<()> {
        let begun = Instant::now();
        for number in 0..self.target.members.len() {
            loop {
                let asked = tokio::time::timeout(Duration::from_secs(5), self.try_write(number));
                match asked.await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) if begun.elapsed() > READY_LIMIT => return Err(error),
                    Err(_) if begun.elapsed() > READY_LIMIT => {
                        return Err("a member doesn't answer".into());
                    }
                    Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
        Ok(())
    }

    async fn try_write(&self, number: usize) -> Outcome<()> {
        Client::connect(&self.target, number).await?.write().await
    }

    /// The number of the member that leads.
    pub(crate) async fn leader(&self) -> Outcome<usize> {
        let begun = Instant::now();
        while begun.elapsed() < READY_LIMIT {
            for (number, address) in self.target.members.iter().enumerate() {
                let leads = match self.target.kind {
                    Kind::Api => regent::leads(address).await,
                    Kind::Etcd => etcd_leader(address).await.map(|(leads, _)| leads),
                    Kind::ZooKeeper => zookeeper_leads(address).await,
                    Kind::Door | Kind::Inside => {
                        return Err("the door doesn't tell who leads".into());
                    }
                };
                if leads.unwrap_or(false) {
                    return Ok(number);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("nobody leads".into())
    }

    /// SIGKILL to a member; it isn't waited for.
    pub(crate) fn strike(&self, number: usize) {
        self.members[number].strike();
    }

    /// Starts a killed member again on its data.
    pub(crate) fn restart(&mut self, number: usize) -> Outcome<()> {
        self.members[number].kill();
        self.members[number] = self.spawn(number)?;
        Ok(())
    }

    /// Of all members, so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.members.iter().map(Process::written_bytes).sum()
    }

    /// Of all members, so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.members.iter().map(Process::cpu_seconds).sum()
    }

    /// Of the largest member.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let each = self.members.iter().map(Process::resident_bytes);
        each.max().unwrap_or(0)
    }
}
