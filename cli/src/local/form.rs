//! From started processes to `ready`: forms the cluster, waits for a leader and for the workers.

use std::time::Duration;

use regent_ha::BootstrapError;
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::WorkerView;
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
/// How often people are told what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// Brings the cluster to `ready` and then never returns, unless it is refused.
pub(super) async fn bring_up(plan: &Plan, directory: &Directory, id: ClusterId) -> Failure {
    match reach_ready(plan, directory, id).await {
        Ok(()) => {
            // A script may have stopped reading: that is no failure.
            if let Err(failure) = output::write_stdout("ready\n") {
                output::note(&format!("warning: {}", failure.message));
            }
            std::future::pending().await
        }
        Err(failure) => failure,
    }
}

async fn reach_ready(plan: &Plan, directory: &Directory, id: ClusterId) -> Result<(), Failure> {
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
    while merge(&client.survey().await).show.leader.is_none() {
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
    Ok(())
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
