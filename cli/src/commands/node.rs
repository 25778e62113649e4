//! `regent jobmanager` and `regent taskmanager`: one process in the foreground.

use std::future::Future;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_coordinator::JobManagerError;
use regent_ha::StartError;
use regent_security::Dialer;
use regent_worker::WorkerError;
use regent_worker::own::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{Done, notify};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::logging;
use crate::settings::{self, Assignment};

/// A process that was asked to stop and hasn't after this long ends anyway.
const STOP_LIMIT: Duration = Duration::from_secs(8);

#[derive(Debug, Args)]
#[command(after_help = "\
Keys are overridden by REGENT_SECTION__KEY in the environment, then by --set.

Examples:
  regent jobmanager --config jm-1.yaml
  regent taskmanager --config tm-1.yaml --set slots=8")]
pub(crate) struct NodeArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key of the file; dotted, for example listen.api=127.0.0.1:7101
    #[arg(long, value_name = "KEY=VALUE", value_parser = Assignment::parse)]
    set: Vec<Assignment>,
    /// Use addresses other than loopback without TLS; for trusted networks only
    #[arg(long)]
    insecure_dev: bool,
    /// End when stdin does: the parent holds the other end
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

impl NodeArgs {
    /// All overrides, the strongest last.
    fn overrides(&self) -> Result<Vec<Assignment>, Failure> {
        let mut all = environment()?;
        if self.insecure_dev {
            all.push(Assignment::of("security.insecure-dev", true));
        }
        all.extend(self.set.iter().cloned());
        Ok(all)
    }
}

/// The overrides in this process's environment.
pub(super) fn environment() -> Result<Vec<Assignment>, Failure> {
    settings::environment(std::env::vars_os()).map_err(Failure::invalid)
}

pub(crate) fn jobmanager(args: &NodeArgs, global: &GlobalArgs) -> Done {
    let config = settings::jobmanager(&args.config, &args.overrides()?)?;
    let over = args.overrides()?;
    let security = settings::check_security(&args.config, &over, || config.load_security())?;
    let api = (notify::own_address(&config.listen.api), security.dialer());
    run_node(args, global, api, |shutdown| async move {
        let ended = regent_coordinator::run(config, shutdown).await;
        ended.map_err(|error| match &error {
            JobManagerError::Config(_) | JobManagerError::Security(_) => {
                Failure::invalid(error.to_string())
            }
            JobManagerError::Replica(StartError::DataDir(_)) => Failure::refused(error.to_string()),
            _ => Failure::failed(error.to_string()),
        })
    })
}

pub(crate) fn taskmanager(args: &NodeArgs, global: &GlobalArgs, own: Registry) -> Done {
    let config = settings::taskmanager(&args.config, &args.overrides()?)?;
    let over = args.overrides()?;
    let security = settings::check_security(&args.config, &over, || config.load_security())?;
    let api = (notify::own_address(&config.listen.api), security.dialer());
    run_node(args, global, api, |shutdown| async move {
        let ended = regent_worker::run_with(config, own, shutdown).await;
        ended.map_err(|error| match &error {
            WorkerError::Config(_) | WorkerError::Security(_) => {
                Failure::invalid(error.to_string())
            }
            WorkerError::Identity(_) => Failure::refused(error.to_string()),
            _ => Failure::failed(error.to_string()),
        })
    })
}

/// Runs a role until a signal, the end of the parent's pipe, or its own end. `api` is where it answers
/// `/livez`.
fn run_node<R, F>(args: &NodeArgs, global: &GlobalArgs, api: (String, Dialer), role: R) -> Done
where
    R: FnOnce(BoxFuture<'static, ()>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    logging::install(global.log_format, "info,openraft=warn");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("threads can't be started: {e}")))?;
    let parent_pipe = args.parent_pipe;
    let ended = runtime.block_on(async {
        let (stop, shutdown) = oneshot::channel();
        tokio::spawn(async move {
            asked_to_stop(parent_pipe).await;
            notify::stopping();
            let _ = stop.send(());
            tokio::time::sleep(STOP_LIMIT).await;
            tracing::error!("not stopped in time; ending now");
            std::process::exit(1);
        });
        if let Some(notifier) = notify::Notifier::from_environment() {
            tokio::spawn(notifier.run(api.0, api.1));
        }
        role(shutdown.map(|_| ()).boxed()).await
    });
    // A task that doesn't end must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGINT, SIGTERM or, with a parent, the end of stdin.
async fn asked_to_stop(parent_pipe: bool) {
    let term = async {
        match signal(SignalKind::terminate()) {
            Ok(mut term) => drop(term.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = term => tracing::info!("SIGTERM: stopping"),
        _ = tokio::signal::ctrl_c() => tracing::info!("SIGINT: stopping"),
        () = parent_gone(), if parent_pipe => tracing::warn!("the parent is gone: stopping"),
    }
}

/// Ends when stdin does. A thread of its own, since a pending read can't be cancelled.
pub(crate) async fn parent_gone() {
    let (gone, told) = oneshot::channel();
    let watch = move || {
        let mut sink = [0_u8; 64];
        while matches!(std::io::stdin().lock().read(&mut sink), Ok(n) if n > 0) {}
        let _ = gone.send(());
    };
    if std::thread::Builder::new()
        .name("parent-pipe".to_owned())
        .spawn(watch)
        .is_err()
    {
        std::future::pending::<()>().await;
    }
    let _ = told.await;
}
