//! What a drill acts on: the processes of a `regent local`, or the containers of a compose project.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::compose::{self, Compose};
use super::processes::{self, Local};
use crate::failure::Failure;

/// Processes that can be hurt.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Local(Local),
    Compose(Compose),
}

/// What is kept from hurting to settling. Dropping it thaws what is frozen and starts what is gone.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    processes: Vec<(String, u32)>,
    containers: Vec<compose::Down>,
    frozen: Option<Frozen>,
}

/// Whatever it is, it is frozen until this is dropped.
#[derive(Debug)]
enum Frozen {
    Process { _it: processes::Frozen },
    Container { _it: compose::Paused },
}

impl Aftermath {
    /// Thaws what is frozen.
    pub(super) fn thaw(&mut self) {
        self.frozen = None;
    }
}

/// A signal that ends a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Kill,
    Stop,
}

impl Target {
    /// In words, for the report.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Local(local) => format!("processes of the cluster in {}", local.dir().display()),
            Self::Compose(compose) => format!(
                "containers of the compose project {}; times contain what Docker took",
                compose.project()
            ),
        }
    }

    /// Where the drill may write without being told.
    pub(super) fn drills(&self) -> Option<PathBuf> {
        match self {
            Self::Local(local) => Some(local.drills()),
            Self::Compose(_) => None,
        }
    }

    /// Whether striking takes so long that a recovery may have begun when it is done.
    pub(super) fn strikes_slowly(&self) -> bool {
        matches!(self, Self::Compose(_))
    }

    /// Names of all processes, JobManagers first.
    pub(super) fn names(&self) -> Result<Vec<(String, Option<u64>)>, Failure> {
        match self {
            Self::Local(local) => local.names(),
            Self::Compose(compose) => Ok(compose.names()),
        }
    }

    /// Ends a process by a signal.
    pub(super) async fn end(&self, name: &str, end: End) -> Result<Aftermath, Failure> {
        let mut aftermath = Aftermath::default();
        let (signal, word) = match end {
            End::Kill => (Signal::SIGKILL, "KILL"),
            End::Stop => (Signal::SIGTERM, "TERM"),
        };
        match self {
            Self::Local(local) => {
                let pid = local.signal(name, signal)?;
                aftermath.processes.push((name.to_owned(), pid));
            }
            Self::Compose(compose) => aftermath.containers.push(compose.end(name, word).await?),
        }
        Ok(aftermath)
    }

    /// Freezes a process.
    pub(super) async fn freeze(&self, name: &str) -> Result<Aftermath, Failure> {
        let frozen = match self {
            Self::Local(local) => Frozen::Process {
                _it: local.freeze(name)?,
            },
            Self::Compose(compose) => Frozen::Container {
                _it: compose.pause(name).await?,
            },
        };
        Ok(Aftermath {
            frozen: Some(frozen),
            ..Aftermath::default()
        })
    }

    /// Starts what has ended and nobody else starts. Called again until everything is back.
    pub(super) async fn revive(&self, aftermath: &mut Aftermath) -> Result<(), Failure> {
        match self {
            // The supervisor does.
            Self::Local(_) => Ok(()),
            Self::Compose(compose) => compose.revive(&mut aftermath.containers).await,
        }
    }

    /// Waits until every process runs, those that are gone in another life.
    pub(super) async fn all_run(
        &self,
        aftermath: &mut Aftermath,
        limit: Duration,
    ) -> Result<(), Failure> {
        match self {
            Self::Local(local) => local.all_run(&aftermath.processes, limit).await,
            Self::Compose(compose) => compose.all_run(&mut aftermath.containers, limit).await,
        }
    }
}
