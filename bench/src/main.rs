//! Benchmarks beside the peers: starts everything, loads it, prints ratios, ends what it started.
//!
//! | a reader looks for | in |
//! | --- | --- |
//! | Regent beside etcd and ZooKeeper | `peers` |
//! | clients, one for each kind of server | `client` |
//! | the closed loop and its figures | `load`, `figures` |
//! | processes, their memory and bytes | `process` |
//! | a replica with a door for any command | `member` |
//! | many jobs, simulated workers | `scale` |
//! | whole jobs beside Flink | `dataplane` |
//! | the disk alone | `disk` |
//!
//! Deliberately absent: assertions. A slow machine gives small numbers, not failures.

mod client;
mod dataplane;
mod disk;
mod figures;
mod load;
mod member;
mod peers;
mod process;
mod scale;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Messages of the door and of etcd.
// Generated code isn't ours to lint or document.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines
)]
pub(crate) mod proto {
    pub(crate) mod door {
        tonic::include_proto!("regent.bench.v1");
    }
    pub(crate) mod etcd {
        tonic::include_proto!("etcdserverpb");
    }
}

/// Errors end a benchmark with a sentence.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Benchmarks of Regent beside its peers")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Regent beside etcd and ZooKeeper, three members each, in turn
    Peers(peers::Settings),
    /// Whole jobs on a local cluster, beside Apache Flink
    Dataplane(dataplane::Settings),
    /// Many jobs on real JobManagers, run by simulated workers
    Scale(scale::Settings),
    /// The disk alone: 4 KiB appended and synced, one after the other
    Disk {
        /// A directory on the disk in question
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// One replica with a door for any command (started by the other benchmarks)
    #[command(hide = true)]
    Member(member::Settings),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments.what)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("regent-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> Outcome<()> {
    match what {
        What::Peers(settings) => peers::run(&settings).await,
        What::Dataplane(settings) => dataplane::run(&settings).await,
        What::Scale(settings) => scale::run(&settings).await,
        What::Disk { dir } => {
            println!("{}", disk::probe(&dir)?);
            Ok(())
        }
        What::Member(settings) => member::run(settings).await,
    }
}
