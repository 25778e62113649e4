//! The verbs: one file for each family, holding its options, its requests and its tables.

pub(crate) mod checkpoint;
pub(crate) mod cleanup;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod config;
mod confirm;
pub(crate) mod job;
mod job_explain;
mod job_tables;
mod job_wait;
mod job_watch;
pub(crate) mod leader;
mod leader_explain;
mod leader_transfer;
mod leader_watch;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod members;
pub(crate) mod new;
pub(crate) mod node;
mod notify;
pub(crate) mod past;
pub(crate) mod recover;
pub(crate) mod savepoint;
pub(crate) mod snapshot;
pub(crate) mod status;
mod status_alarms;
pub(crate) mod worker;

use std::future::Future;
use std::process::ExitCode;

use regent_protocol::v1::read_request::Query;
use regent_worker::own::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use cluster::explain as explain_bootstrap;
pub(crate) use node::parent_gone;

use crate::args::{Cli, Command, GlobalArgs, OutputFormat};
use crate::client::{Client, discover};
use crate::failure::Failure;
use crate::{bundle, demo, drill, local, logging, output};

/// What every command of an operator needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: OutputFormat,
    /// Don't ask before what can't be undone.
    pub(crate) yes: bool,
}

impl Context {
    fn new(global: &GlobalArgs) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(discover::discover(global)?, global.timeout),
            format: global.output,
            yes: global.yes,
        })
    }

    /// Prints a document to stdout.
    pub(crate) fn print<T: Serialize>(
        &self,
        document: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        output::print(self.format, document, text)
    }

    /// Reads a document and prints it.
    pub(crate) async fn show<T: Serialize + DeserializeOwned>(
        &self,
        query: Query,
        stale: bool,
        text: impl FnOnce(&T) -> String,
    ) -> Done {
        let document: T = self.client.read(query, stale).await?;
        self.print(&document, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How a command ends.
pub(crate) type Done = Result<ExitCode, Failure>;

/// Runs the verb; `own` is what the program adds to the built-in sources, operators and sinks.
pub(crate) fn run(cli: Cli, own: Registry) -> Done {
    let global = cli.global;
    match cli.command {
        Command::Jobmanager(args) => node::jobmanager(&args, &global),
        Command::Taskmanager(args) => node::taskmanager(&args, &global, own),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Config(args) => config::run(&args, &global),
        Command::New(args) => new::run(&args),
        Command::Logs(args) => block_on(logs::run(&args, &global)),
        Command::Version => version(&global),
        command => {
            logging::install(global.log_format, "warn");
            block_on(operate(command, &global))
        }
    }
}

async fn operate(command: Command, global: &GlobalArgs) -> Done {
    match command {
        Command::Demo(args) => demo::run(&args, global).await,
        Command::Local(args) => local::run(args, global).await,
        Command::Cluster(args) => cluster::run(args, &Context::new(global)?).await,
        Command::Status(args) => status::run(&args, &Context::new(global)?).await,
        Command::Leader(args) => leader::run(&args, &Context::new(global)?).await,
        Command::Members(args) => members::run(&args, &Context::new(global)?).await,
        Command::Job(args) => job::run(args, &Context::new(global)?).await,
        Command::Checkpoint(args) => checkpoint::run(args, &Context::new(global)?).await,
        Command::Savepoint(args) => savepoint::run(args, &Context::new(global)?).await,
        Command::Snapshot(args) => snapshot::run(&args, &Context::new(global)?).await,
        Command::Recover(args) => recover::run(&args, &Context::new(global)?).await,
        Command::Worker(args) => worker::run(&args, &Context::new(global)?).await,
        Command::Cleanup(args) => cleanup::run(&args, &Context::new(global)?).await,
        Command::Log(args) => past::log(&args, &Context::new(global)?).await,
        Command::State(args) => past::state(&args, &Context::new(global)?).await,
        Command::Debug(args) => bundle::run(&args, &Context::new(global)?).await,
        Command::Drill(args) => drill::run(&args, &Context::new(global)?).await,
        Command::Jobmanager(_)
        | Command::Taskmanager(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Config(_)
        | Command::New(_)
        | Command::Logs(_)
        | Command::Version => Ok(ExitCode::SUCCESS),
    }
}

/// Runs a command on a small runtime of its own.
fn block_on(command: impl Future<Output = Done>) -> Done {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("threads can't be started: {e}")))?
        .block_on(command)
}

#[derive(Debug, Serialize)]
struct VersionView {
    name: &'static str,
    version: &'static str,
}

fn version(global: &GlobalArgs) -> Done {
    let view = VersionView {
        name: "regent",
        version: env!("CARGO_PKG_VERSION"),
    };
    output::print(global.output, &view, |v| {
        format!("{} {}", v.name, v.version)
    })?;
    Ok(ExitCode::SUCCESS)
}
