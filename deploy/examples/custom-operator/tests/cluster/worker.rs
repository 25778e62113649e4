//! Workers that a test starts itself, of the cluster's program or of another.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use regent_chaos::cluster::Cluster;
use regent_chaos::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

/// A worker that the test started itself, with a configuration of its own.
pub(crate) struct Worker(Child);

impl Worker {
    /// In place of a worker of the cluster, which doesn't start it again. Like a supervisor it starts the process
    /// again if it ends: somebody else may hold the port or the directory for a moment.
    pub(crate) fn instead(
        cluster: &Cluster,
        name: &str,
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        cluster.kill(name);
        let command = cluster.process(name).command;
        Self::begin(cluster, name, &command, settings, environment)
    }

    /// The same once the worker in its place has ended as well.
    pub(crate) fn again(cluster: &Cluster, name: &str, environment: &[(&str, &str)]) -> Self {
        let command = cluster.process(name).command;
        Self::begin(cluster, name, &command, &[], environment)
    }

    /// In place of a worker of the cluster, one of another program.
    pub(crate) fn of(cluster: &Cluster, name: &str, program: &str) -> Self {
        cluster.kill(name);
        Self::again_of(cluster, name, program)
    }

    /// The same once the worker in its place has ended as well.
    pub(crate) fn again_of(cluster: &Cluster, name: &str, program: &str) -> Self {
        let mut command = cluster.process(name).command;
        program.clone_into(&mut command[0]);
        Self::begin(cluster, name, &command, &[], &[])
    }

    fn begin(
        cluster: &Cluster,
        name: &str,
        command: &[String],
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let start = || {
            let log = cluster.dir().join("logs").join(format!("{name}-again.log"));
            let mut worker = spawned(command, settings);
            worker.current_dir(cluster.home());
            worker.envs(environment.iter().copied());
            worker.stderr(fs::File::create(log).unwrap());
            worker.spawn().unwrap()
        };
        wait_until(PATIENCE, "the end of the one before", || {
            (!is_registered(cluster, name)).then_some(())
        });
        let mut worker = Self(start());
        wait_until(PATIENCE, "the worker in its place", || {
            if worker.0.try_wait().unwrap().is_some() {
                worker.0 = start();
            }
            is_registered(cluster, name).then_some(())
        });
        worker
    }
}

fn is_registered(cluster: &Cluster, name: &str) -> bool {
    let workers = cluster.json(&["worker", "list"]);
    let mut listed = workers.as_array().into_iter().flatten();
    listed.any(|one| one["worker"] == name && one["state"] == "registered")
}

fn spawned(command: &[String], settings: &[&str]) -> Command {
    let (program, arguments) = command.split_first().unwrap();
    let mut worker = Command::new(program);
    worker.args(arguments);
    for setting in settings {
        worker.args(["--set", setting]);
    }
    worker.stdin(Stdio::null()).stdout(Stdio::null());
    worker
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
