//! The containers of a compose project: killed, paused and started by the `docker` command, by their ids.
//!
//! Compose may talk to an engine on another machine and in several ways; the command knows which, and
//! whether the caller may. Docker doesn't start a container again that it was told to kill, whatever the
//! restart policy says, so the drill does.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::containers::{Container, Member, PROJECT, Placed, place};
use crate::failure::Failure;
use crate::output;

/// One `docker` command.
const DOCKER_LIMIT: Duration = Duration::from_secs(30);
/// What `docker` says is a few kilobytes a container.
const SAID_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Between two looks at the containers: each starts a process.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A compose project that holds the whole cluster.
#[derive(Debug, Clone)]
pub(super) struct Compose {
    project: String,
    placed: Vec<Placed>,
}

impl Compose {
    /// Finds everybody's container.
    ///
    /// # Errors
    /// `docker` can't be run or reached; a process that is in no container of the project.
    pub(super) async fn find(project: &str, members: &[Member]) -> Result<Self, Failure> {
        let containers = containers(project).await?;
        if containers.is_empty() {
            return Err(Failure::refused(format!(
                "there is no container of the compose project `{project}`; docker ps -a --format \
                 '{{{{.Label \"{PROJECT}\"}}}}' names the projects"
            )));
        }
        Ok(Self {
            project: project.to_owned(),
            placed: place(project, members, &containers)?,
        })
    }

    pub(super) fn project(&self) -> &str {
        &self.project
    }

    /// Names of all processes.
    pub(super) fn names(&self) -> Vec<(String, Option<u64>)> {
        let members = self.placed.iter().map(|placed| &placed.member);
        members.map(|m| (m.name.clone(), m.node_id)).collect()
    }

    /// Sends a signal that ends the container's process.
    pub(super) async fn end(&self, name: &str, signal: &str) -> Result<Down, Failure> {
        let container = self.container(name).await?;
        let mut down = Down {
            name: name.to_owned(),
            id: container.id.clone(),
            started_at: container.state.started_at,
            back: false,
        };
        let told = docker(&["kill", "--signal", signal, &container.id]).await;
        down.back = told.is_err();
        told.map(|_| down)
    }

    /// Pauses a container until the answer is dropped, whatever happens meanwhile.
    pub(super) async fn pause(&self, name: &str) -> Result<Paused, Failure> {
        let container = self.container(name).await?;
        // Made before, so that an interruption in the middle thaws it, too.
        let mut paused = Paused {
            name: name.to_owned(),
            id: container.id.clone(),
            thawed: false,
        };
        let told = docker(&["pause", &container.id]).await;
        paused.thawed = told.is_err();
        told.map(|_| paused)
    }

    /// Starts those that have ended, and remembers which run again.
    pub(super) async fn revive(&self, gone: &mut [Down]) -> Result<(), Failure> {
        for down in gone.iter_mut().filter(|down| !down.back) {
            let container = inspect(&[&down.id]).await?.into_iter().next();
            let container = container.ok_or_else(|| lost(&down.name))?;
            if container.is_down() {
                docker(&["start", &container.id]).await?;
            } else {
                down.back = container.is_up() && container.state.started_at != down.started_at;
            }
        }
        Ok(())
    }

    /// Waits until every container runs, those of `gone` in another life.
    pub(super) async fn all_run(&self, gone: &mut [Down], limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        loop {
            self.revive(gone).await?;
            let ids: Vec<&str> = self.placed.iter().map(|p| p.container.as_str()).collect();
            let all = inspect(&ids).await?;
            let waited_for = all.iter().find(|container| !container.is_up());
            let pending = gone.iter().any(|down| !down.back);
            if waited_for.is_none() && !pending && all.len() == self.placed.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let name = waited_for.map_or("a container", Container::name);
                return Err(Failure::failed(format!(
                    "{name} didn't come back within {} s; docker logs says why",
                    limit.as_secs()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn container(&self, name: &str) -> Result<Container, Failure> {
        let placed = self.placed.iter().find(|placed| placed.member.name == name);
        let placed = placed.ok_or_else(|| lost(name))?;
        let found = inspect(&[&placed.container]).await?.into_iter().next();
        let found = found.filter(Container::is_up);
        found.ok_or_else(|| Failure::failed(format!("the container of {name} doesn't run")))
    }
}

fn lost(name: &str) -> Failure {
    Failure::failed(format!("{name} is in no container of the project"))
}

/// A container that was told to end.
#[derive(Debug)]
pub(super) struct Down {
    name: String,
    id: String,
    started_at: String,
    back: bool,
}

impl Drop for Down {
    /// The drill broke off: a container that ends still is waited for, and all are started.
    fn drop(&mut self) {
        if !self.back {
            docker_now(&["restart", &self.id], &self.name);
        }
    }
}

/// A container that is paused until this is dropped.
#[derive(Debug)]
pub(super) struct Paused {
    name: String,
    id: String,
    thawed: bool,
}

impl Drop for Paused {
    fn drop(&mut self) {
        if self.thawed {
            return;
        }
        docker_now(&["unpause", &self.id], &self.name);
    }
}

/// All containers of the project, those that don't run included.
async fn containers(project: &str) -> Result<Vec<Container>, Failure> {
    let label = format!("label={PROJECT}={project}");
    let ids = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]).await?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    match ids.is_empty() {
        true => Ok(Vec::new()),
        false => inspect(&ids).await,
    }
}

async fn inspect(ids: &[&str]) -> Result<Vec<Container>, Failure> {
    let mut arguments = vec!["inspect", "--type", "container"];
    arguments.extend(ids);
    let said = docker(&arguments).await?;
    serde_json::from_str(&said)
        .map_err(|e| Failure::failed(format!("what docker inspect says isn't understood: {e}")))
}

/// Runs `docker`; what it prints.
async fn docker(arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null());
    command.kill_on_drop(true);
    let verb = arguments.first().copied().unwrap_or_default();
    let output = timeout(DOCKER_LIMIT, command.output()).await;
    let output = output.map_err(|_| {
        Failure::failed(format!(
            "docker {verb} didn't end within {} s",
            DOCKER_LIMIT.as_secs()
        ))
    })?;
    let output = output.map_err(|e| {
        Failure::refused(format!(
            "docker can't be run ({e}); a drill on containers runs where the `docker` command reaches their engine"
        ))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or("it says nothing");
        return Err(Failure::failed(format!("docker {verb}: {first}")));
    }
    if output.stdout.len() > SAID_BYTES_MAX {
        return Err(Failure::failed(format!("docker {verb} says too much")));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::failed(format!("docker {verb} says something that isn't text")))
}

/// As [`docker`], where nothing can be awaited any more; a failure is said with what to do.
fn docker_now(arguments: &[&str], name: &str) {
    let mut command = std::process::Command::new("docker");
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (ended, told) = std::sync::mpsc::channel();
    let waits = |mut child: std::process::Child| {
        let wait = move || ended.send(child.wait().is_ok_and(|status| status.success()));
        std::thread::Builder::new().spawn(wait)
    };
    let waiting = command.spawn().and_then(waits);
    let done = waiting.is_ok() && told.recv_timeout(DOCKER_LIMIT).unwrap_or(false);
    if !done {
        output::note(&format!(
            "{name} could not be brought back; do: docker {}",
            arguments.join(" ")
        ));
    }
}
