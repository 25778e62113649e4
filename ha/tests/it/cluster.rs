//! A small cluster for tests: start, stop and kill replicas, find the leader, write, wait.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use regent_ha::{
    ClientProposal, Leadership, Member, Node, NodeId, Outcome, ProposeError, Reign, Replica,
    ReplicaConfig, StartError, Timing, bootstrap,
};
use regent_state::command::{CancelJob, SetFeatureLevel};
use regent_state::ids::{ClusterId, JobId};
use regent_state::{Command, Response};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Clusters that run at once: elections on two cores need some air.
static ROOM: Semaphore = Semaphore::const_new(2);

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until `check` answers `Some`; fails the test with `what` if it takes too long.
pub(crate) async fn eventually<T, F, Fut>(what: &str, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) snapshot_every: u64,
    pub(crate) keep_entries: u64,
    pub(crate) timing: Timing,
    /// Clients' proposals that may wait.
    pub(crate) max_inflight: usize,
    replicas: BTreeMap<NodeId, Replica>,
    dir: TempDir,
    _room: SemaphorePermit<'static>,
}

impl Cluster {
    /// Names members and finds ports; starts nothing.
    pub(crate) async fn planned(size: u64) -> Self {
        // With REGENT_LOG set a failing test can be followed.
        let filter = tracing_subscriber::EnvFilter::from_env("REGENT_LOG");
        let installed = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        drop(installed);
        let room = ROOM.acquire().await.unwrap();
        let members = (1..=size)
            .map(|node_id| Member {
                node_id,
                node: Node {
                    name: format!("jm-{node_id}"),
                    api: format!("127.0.0.1:{}", regent_ports::free_port()),
                    peer: format!("127.0.0.1:{}", regent_ports::free_port()),
                },
            })
            .collect();
        Self {
            members,
            snapshot_every: 10_000,
            keep_entries: 1_000,
            timing: Timing::Custom {
                heartbeat_ms: 50,
                election_min_ms: 400,
                election_max_ms: 600,
            },
            max_inflight: 4_096,
            replicas: BTreeMap::new(),
            dir: tempfile::tempdir().unwrap(),
            _room: room,
        }
    }

    /// Starts all replicas and bootstraps them.
    pub(crate) async fn formed(size: u64) -> Self {
        let mut cluster = Self::planned(size).await;
        cluster.form().await;
        cluster
    }

    pub(crate) async fn form(&mut self) {
        self.start_all().await;
        let outcome = self.bootstrap().await;
        assert!(matches!(outcome, Outcome::Formed(_)));
        self.leader().await;
    }

    pub(crate) async fn bootstrap(&self) -> Outcome {
        bootstrap(
            &regent_ha::Dialer::plain(),
            &self.members,
            Some(self.cluster_id()),
        )
        .await
        .unwrap()
    }

    pub(crate) fn cluster_id(&self) -> ClusterId {
        ClusterId([5; 16])
    }

    pub(crate) fn data_dir(&self, node_id: NodeId) -> PathBuf {
        self.dir.path().join(format!("jm-{node_id}"))
    }

    pub(crate) fn config(&self, node_id: NodeId) -> ReplicaConfig {
        let member = self.members.iter().find(|m| m.node_id == node_id).unwrap();
        let mut config =
            ReplicaConfig::new(self.data_dir(node_id), node_id, member.node.name.clone());
        config.api = member.node.api.clone();
        config.listen_peer = member.node.peer.clone();
        config.peers = self.members.iter().map(|m| m.node.peer.clone()).collect();
        config.snapshot_every = self.snapshot_every;
        config.keep_entries = self.keep_entries;
        config.timing = self.timing;
        config.max_inflight_proposals = self.max_inflight;
        config
    }

    pub(crate) async fn start_all(&mut self) {
        for node_id in self.ids() {
            self.start(node_id).await;
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.members.iter().map(|m| m.node_id).collect()
    }

    pub(crate) async fn start(&mut self, node_id: NodeId) -> &Replica {
        let replica = eventually("the data directory is free", || async {
            match Replica::start(self.config(node_id)).await {
                Ok(replica) => Some(replica),
                Err(StartError::DataDir(text)) if text.contains("in use") => None,
                Err(StartError::Storage(text)) if text.contains("already open") => None,
                Err(StartError::Listen { .. }) => None,
                Err(error) => panic!("replica {node_id} doesn't start: {error}"),
            }
        })
        .await;
        self.replicas.insert(node_id, replica);
        self.replica(node_id)
    }

    pub(crate) async fn stop(&mut self, node_id: NodeId) {
        let replica = self.replicas.remove(&node_id).unwrap();
        replica.shutdown().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for node_id in self.ids() {
            if self.replicas.contains_key(&node_id) {
                self.stop(node_id).await;
            }
        }
    }

    /// Ends a replica without any orderly step.
    pub(crate) fn kill(&mut self, node_id: NodeId) {
        drop(self.replicas.remove(&node_id).unwrap());
    }

    pub(crate) fn replica(&self, node_id: NodeId) -> &Replica {
        &self.replicas[&node_id]
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    fn reigning(&self) -> Option<(NodeId, Reign)> {
        self.replicas
            .values()
            .find_map(|replica| match &*replica.leadership().borrow() {
                Leadership::Leading(reign) => Some((replica.node_id(), reign.clone())),
                _ => None,
            })
    }

    /// Waits for a leader whose reign is announced.
    pub(crate) async fn leader(&self) -> (NodeId, Reign) {
        eventually("a leader", || async { self.reigning() }).await
    }

    /// A replica that doesn't lead.
    pub(crate) async fn follower(&self) -> NodeId {
        let (leader, _) = self.leader().await;
        *self.replicas.keys().find(|id| **id != leader).unwrap()
    }

    /// Writes one client command through whoever leads; answers its index.
    pub(crate) async fn write(&self, number: u64) -> u64 {
        eventually("a write", || async {
            let (leader, _) = self.reigning()?;
            match self.replica(leader).propose_client(cancel(number)).await {
                Ok(proposed) => {
                    assert!(matches!(proposed.response, Response::Rejected(_)));
                    Some(proposed.index.0)
                }
                Err(ProposeError::Refused(text)) => panic!("{text}"),
                Err(_) => None,
            }
        })
        .await
    }

    pub(crate) async fn write_many(&self, count: u64) -> u64 {
        let mut last = 0;
        for number in 0..count {
            last = self.write(number).await;
        }
        last
    }

    /// Waits until all running replicas have applied the same, and answers the common hash.
    pub(crate) async fn at_rest(&self) -> u128 {
        eventually("all replicas at the same index", || async {
            let views: Vec<_> = self.replicas.values().map(Replica::stale).collect();
            let first = views.first()?;
            let same = views
                .iter()
                .all(|view| view.applied_index() == first.applied_index());
            if !same || self.reigning().is_none() {
                return None;
            }
            assert!(
                views.iter().all(|view| view.hash() == first.hash())
                    && self
                        .replicas
                        .values()
                        .all(|r| r.status().divergence.is_none()),
                "hashes differ at index {}",
                first.applied_index()
            );
            Some(first.hash())
        })
        .await
    }

    /// Waits until `node_id` has applied up to `index`.
    pub(crate) async fn applied(&self, node_id: NodeId, index: u64) {
        eventually("a replica to catch up", || async {
            (self.replica(node_id).stale().applied_index() >= index).then_some(())
        })
        .await;
    }
}

/// A client command that is always answered (with a refusal) and always remembered.
pub(crate) fn cancel(number: u64) -> ClientProposal {
    let mut job = [0; 16];
    job[..8].copy_from_slice(&number.to_be_bytes());
    ClientProposal {
        request: None,
        actor: "test".to_owned(),
        command: Command::CancelJob(CancelJob { job: JobId(job) }),
    }
}

/// A reconciler's command that changes the state.
pub(crate) fn level(level: u32) -> Command {
    Command::SetFeatureLevel(SetFeatureLevel { level })
}
