//! From started processes to `ready`: forms the cluster, waits for a leader and for the workers. Replicas that run and
//! take no part are named, since neither `ready` nor the others' work shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use regent_ha::BootstrapError;
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{NodeStatus, WorkerView};
use regent_state::ids::ClusterId;
use tokio::time::{Instant, sleep, timeout};

use super::directory::Directory;
use super::plan::Plan;
use crate::client::{Access, Client, Endpoints, merge};
use crate::failure::Failure;
use crate::output;
use crate::settings::Role;

const PAUSE: Duration = Duration::from_millis(50);
/// What one look at the cluster may take.
const LOOK: Duration = Duration::from_secs(2);
/// One bootstrap of replicas that are just starting; repeated.
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks for replicas that take no part, once it is ready.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often people are told what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// Brings the cluster to `ready` and then never returns, unless it is refused.
pub(super) async fn bring_up(plan: &Plan, directory: &Directory, id: ClusterId) -> Failure {
    let mut outsiders = Outsiders::default();
    match reach_ready(plan, directory, id, &mut outsiders).await {
        Ok(client) => {
            // A script may have stopped reading: that is no failure.
            if let Err(failure) = output::write_stdout("ready\n") {
                output::note(&format!("warning: {}", failure.message));
            }
            loop {
                outsiders.look(client.survey().await.answers());
                sleep(LOOK_EVERY).await;
            }
        }
        Err(failure) => failure,
    }
}

async fn reach_ready(
    plan: &Plan,
    directory: &Directory,
    id: ClusterId,
    outsiders: &mut Outsiders,
) -> Result<Client, Failure> {
    let mut patience = Patience::new();
    if !directory.is_bootstrapped() {
        bootstrap(plan, id, &mut patience).await?;
    }
    let client = Client::new(
        Endpoints {
            addresses: plan.endpoints(),
            source: "cluster.json".to_owned(),
            access: Access::default(),
        },
        LOOK,
    );
    loop {
        let survey = client.survey().await;
        outsiders.look(survey.answers());
        if merge(&survey).show.leader.is_some() {
            break;
        }
        patience.wait("a leader").await;
    }
    if !directory.is_bootstrapped() {
        directory.set_bootstrapped()?;
    }
    let mut missing = missing_workers(plan, &client).await;
    while !missing.is_empty() {
        patience.wait(&missing.join(", ")).await;
        missing = missing_workers(plan, &client).await;
    }
    Ok(client)
}

/// Repeats bootstrap until the replicas, which are just starting, are there.
async fn bootstrap(plan: &Plan, id: ClusterId, patience: &mut Patience) -> Result<(), Failure> {
    let members = plan.members();
    loop {
        let waiting_for = match timeout(
            BOOTSTRAP_LIMIT,
            regent_ha::bootstrap(&regent_ha::Dialer::plain(), &members, Some(id)),
        )
        .await
        {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(BootstrapError::Unreachable { member, .. })) => member,
            Ok(Err(refused)) => return Err(crate::commands::explain_bootstrap(&refused)),
            Err(_) => "the JobManagers".to_owned(),
        };
        patience.wait(&waiting_for).await;
    }
}

/// Names of this cluster's workers that aren't registered with the leader.
async fn missing_workers(plan: &Plan, client: &Client) -> Vec<String> {
    let wanted = plan.of(Role::TaskManager).map(|p| p.name.clone());
    let query = Query::WorkerList(Nothing {});
    let seen: Vec<WorkerView> = client.read(query, false).await.unwrap_or_default();
    let registered = |name: &String| {
        seen.iter()
            .any(|w| w.worker == *name && w.state == "registered")
    };
    wanted.filter(|name| !registered(name)).collect()
}

/// Pauses between looks, and tells people now and then what is waited for.
#[derive(Debug)]
struct Patience {
    said: Instant,
}

impl Patience {
    fn new() -> Self {
        Self {
            said: Instant::now(),
        }
    }

    async fn wait(&mut self, what: &str) {
        if self.said.elapsed() >= SAY_EVERY {
            output::note(&format!(
                "still waiting for {what}; see the directory's logs/"
            ));
            self.said = Instant::now();
        }
        sleep(PAUSE).await;
    }
}

/// Replicas that run and take no part; each is named once, and again if the reason changes.
#[derive(Debug, Default)]
struct Outsiders {
    told: BTreeMap<u64, String>,
}

impl Outsiders {
    fn look<'a>(&mut self, answers: impl Iterator<Item = &'a NodeStatus>) {
        for line in self.news(answers) {
            output::note(&line);
        }
    }

    fn news<'a>(&mut self, answers: impl Iterator<Item = &'a NodeStatus>) -> Vec<String> {
        let mut news = Vec::new();
        for status in answers {
            let Some(reason) = &status.refused else {
                self.told.remove(&status.node_id);
                continue;
            };
            if self.told.get(&status.node_id) != Some(reason) {
                news.push(format!("{} takes no part: {reason}", status.name));
                self.told.insert(status.node_id, reason.clone());
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node_id: u64, refused: Option<&str>) -> NodeStatus {
        NodeStatus {
            node_id,
            name: format!("jm-{node_id}"),
            refused: refused.map(str::to_owned),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_replica_that_takes_no_part_is_named_once() {
        let mut outsiders = Outsiders::default();
        let both = [status(1, None), status(2, Some("it was wiped"))];
        let told = ["jm-2 takes no part: it was wiped"];
        assert_eq!(outsiders.news(both.iter()), told);
        assert!(outsiders.news(both.iter()).is_empty());
        assert!(outsiders.news([status(2, None)].iter()).is_empty());
        assert_eq!(outsiders.news(both.iter()), told);
    }
}
