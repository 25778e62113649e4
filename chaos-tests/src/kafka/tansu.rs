//! tansu: a Kafka-compatible broker that keeps its topics in memory.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::kill;
use crate::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

/// The broker; ended with its owner.
#[derive(Debug)]
pub struct Tansu {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    _log: PathBuf,
}

impl Tansu {
    /// Starts the `tansu` that `REGENT_TANSU` names, and waits until it answers.
    ///
    /// # Panics
    /// If it isn't named, or doesn't answer.
    #[must_use]
    pub fn start(log: &Path) -> Self {
        Self::start_behind(log, None)
    }

    /// The same for clients that come by another address: that is what it tells them.
    ///
    /// # Panics
    /// See [`Tansu::start`].
    #[must_use]
    pub fn start_behind(log: &Path, front: Option<&str>) -> Self {
        let program = std::env::var_os("REGENT_TANSU");
        let program = program.expect("REGENT_TANSU names tansu; `make test-kafka` installs it");
        let address = format!("127.0.0.1:{}", regent_ports::free_port());
        let file = File::create(log).expect("the log can be made");
        let url = format!("tcp://{address}");
        let told = front.map_or_else(|| url.clone(), |front| format!("tcp://{front}"));
        let mut command = Command::new(program);
        command
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &url, "--advertised-listener-url", &told])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log can be shared"))
            .stderr(file);
        let child = command.spawn().expect("tansu can be started");
        let broker = Self {
            child,
            address,
            _log: log.to_owned(),
        };
        let answers = || TcpStream::connect(&broker.address).ok().map(drop);
        wait_until(PATIENCE, "tansu answers", answers);
        broker
    }
}

impl Drop for Tansu {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
