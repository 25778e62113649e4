//! The handle that the rest of a JobManager holds: propose, read, follow leadership, look around.
//!
//! Raft, the peer service and everything that keeps them going run on threads of their own
//! (`startup.rs`); calls here come from any runtime and only wait.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_state::command::Authority;
use regent_state::{Command, Envelope, RequestTag};
use regent_storage::state_store::StateStore;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::agreement::Agreement;
use crate::config::ReplicaConfig;
use crate::error::{ProposeError, ReadError, StartError, TransferError};
use crate::failover::Vigil;
use crate::hints::{EffectHints, Effects};
use crate::leadership::{Leadership, Reign};
use crate::log::RaftLog;
use crate::membership::plan::{Seen, Step};
use crate::membership::{Membership, MembershipError};
use crate::past::{Past, PastEntry, PastError, PastState};
use crate::proposals::{Proposals, Proposed, wall_ms};
use crate::raft::{RaftHandle, now};
use crate::reads::Reads;
use crate::shared::{Phase, Shared};
use crate::snapshot::Snapshots;
use crate::startup;
use crate::status::{self, Status};
use crate::transfer::{To, Transfer, Transferred};
use crate::types::{Member, NodeId};
use crate::view::{View, Views};
use crate::watchdog::Watchdog;

/// How long an orderly stop may take before its threads are left behind.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What all calls need; one per replica.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: RaftHandle,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Reads,
    pub(crate) views: Views,
    pub(crate) effects: Effects,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) leadership: Arc<watch::Sender<Leadership>>,
    pub(crate) failure: watch::Receiver<Option<String>>,
    pub(crate) vigil: Vigil,
    pub(crate) transfer: Transfer,
    pub(crate) watchdog: Watchdog,
    pub(crate) membership: Membership,
    pub(crate) peer_address: SocketAddr,
    pub(crate) log: RaftLog,
    pub(crate) snapshots: Snapshots,
    pub(crate) store: StateStore,
}

/// One replica of the cluster, running in this process. Clones are handles of the same one; when the last
/// goes without [`Replica::shutdown`], it stops abruptly, as if killed.
#[derive(Clone, Debug)]
pub struct Replica {
    parts: Arc<Parts>,
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    runtime: Mutex<Option<Runtime>>,
}

impl Running {
    fn take(&self) -> Option<Runtime> {
        self.runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.take() {
            runtime.shutdown_background();
        }
    }
}

/// A command on behalf of a client.
#[derive(Clone, Debug)]
pub struct ClientProposal {
    /// The client's request id and base; the same over all retries.
    pub request: Option<RequestTag>,
    /// Who asked, for people.
    pub actor: String,
    /// What is to happen.
    pub command: Command,
}

impl Replica {
    /// Opens the data directory, raises its incarnation, and joins in. Returns before there is a leader;
    /// a replica with an empty directory waits for bootstrap.
    pub async fn start(config: ReplicaConfig) -> Result<Self, StartError> {
        config.check()?;
        let started = startup::start(config).await?;
        Ok(Self {
            parts: Arc::new(started.parts),
            running: Arc::new(Running {
                runtime: Mutex::new(Some(started.runtime)),
            }),
        })
    }

    /// This replica's number.
    pub fn node_id(&self) -> NodeId {
        self.parts.shared.node_id()
    }

    /// The address that the peer service listens on.
    pub fn peer_address(&self) -> SocketAddr {
        self.parts.peer_address
    }

    /// Whether it takes part in a cluster; changes are watched.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.parts.shared.phase()
    }

    /// Becomes `Some(cause)` when Raft has stopped for good (a failed disk, say): the process should end.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.parts.failure.clone()
    }

    /// Who leads; one's own reign from its applied announcement on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.parts.leadership.subscribe()
    }

    /// The leader as far as this replica knows, itself included.
    pub fn leader(&self) -> Option<Member> {
        match &*self.parts.leadership.borrow() {
            Leadership::Following { leader, .. } => return Some(leader.clone()),
            Leadership::Leading(_) | Leadership::None => {}
        }
        self.status().leader
    }

    /// Hints for reconcilers, from now on.
    pub fn effects(&self) -> EffectHints {
        self.parts.effects.subscribe()
    }

    /// The applied state as of now; may trail the cluster by any amount.
    pub fn stale(&self) -> Arc<View> {
        self.parts.views.borrow().clone()
    }

    /// Each new applied state. Intermediate ones may be skipped.
    pub fn views(&self) -> Views {
        self.parts.views.clone()
    }

    /// A state that holds every write completed anywhere before this call. Works on followers too.
    pub async fn linearizable(&self) -> Result<Arc<View>, ReadError> {
        self.parts.reads.linearizable().await
    }

    /// Completes after a majority acknowledged a Raft round begun after this call. Leader only; many
    /// callers share a round.
    pub async fn confirm_quorum(&self) -> Result<(), ReadError> {
        self.parts.reads.confirm().await.map(drop)
    }

    /// Proposes a client's command, if this replica leads and its reign is announced.
    pub async fn propose_client(&self, proposal: ClientProposal) -> Result<Proposed, ProposeError> {
        if proposal.command.authority() != Authority::Client {
            return Err(ProposeError::Refused(
                "this command can't be proposed by a client".to_owned(),
            ));
        }
        let _place = self.parts.proposals.client_place()?;
        let reign = self.reign().await?;
        let envelope = Envelope {
            epoch: None,
            request: proposal.request,
            proposed_at_ms: reign.clock_ms(),
            wall_ms: wall_ms(),
            actor: proposal.actor,
            command: proposal.command,
        };
        self.parts.proposals.write(&envelope, reign.leader_id).await
    }

    /// Proposes a reconciler's command under the reign it was planned in; refused once that is over.
    pub async fn propose_as_leader(
        &self,
        reign: &Reign,
        actor: impl Into<String>,
        command: Command,
    ) -> Result<Proposed, ProposeError> {
        let _place = self.parts.proposals.own_place()?;
        self.parts.transfer.settled().await;
        let envelope = Envelope {
            epoch: Some(reign.epoch),
            request: None,
            proposed_at_ms: reign.clock_ms(),
            wall_ms: wall_ms(),
            actor: actor.into(),
            command,
        };
        self.parts.proposals.write(&envelope, reign.leader_id).await
    }

    // While leadership is being handed over, callers wait (a bounded number, for a bounded time) and are
    // then told whom to ask.
    async fn reign(&self) -> Result<Reign, ProposeError> {
        self.parts.transfer.settled().await;
        let current = self.parts.leadership.borrow().clone();
        match current {
            Leadership::Leading(reign) => Ok(reign),
            Leadership::None => Err(ProposeError::NotLeader { leader: None }),
            Leadership::Following { leader, .. } => Err(ProposeError::NotLeader {
                leader: Some(leader),
            }),
        }
    }

    /// All members as this replica's log has them.
    pub fn members(&self) -> Vec<Member> {
        self.status().members
    }

    /// Its own account of itself. Asks nobody.
    pub fn status(&self) -> Status {
        let metrics = now(&self.parts.raft.metrics());
        let view = self.stale();
        status::status(
            &self.parts.shared,
            &metrics,
            &view,
            &self.parts.leadership.borrow(),
            (self.parts.vigil.counts(), &self.parts.vigil.contacts),
            self.parts.agreement.divergence(),
        )
    }

    /// Index up to which the log was purged, if it was.
    pub fn purged_index(&self) -> Option<u64> {
        now(&self.parts.raft.metrics()).purged.map(|id| id.index)
    }

    /// Writes the state as of now (linearizably) as one checksummed file into `dir`, which must be used for
    /// nothing else. Answers its path.
    pub async fn save_snapshot(
        &self,
        dir: &std::path::Path,
    ) -> Result<std::path::PathBuf, ReadError> {
        let view = self.linearizable().await?;
        let dir = dir.to_owned();
        let writing =
            tokio::task::spawn_blocking(move || crate::rebirth::write_snapshot(&dir, &view));
        match writing.await {
            Ok(Ok(path)) => Ok(path),
            Ok(Err(error)) => Err(ReadError::Failed(error.to_string())),
            Err(error) => Err(ReadError::Failed(error.to_string())),
        }
    }

    /// What the log's disk is doing.
    pub fn log_metrics(&self) -> regent_storage::log::LogMetrics {
        self.parts.log.metrics()
    }

    /// Whether writes hang or entries are not applied here; meanwhile this replica doesn't lead.
    pub fn is_stalled(&self) -> bool {
        *self.parts.watchdog.stalled().borrow()
    }

    /// How far the wall clock of another replica is from this one's, at most.
    pub fn clock_skew_ms(&self) -> u64 {
        self.parts.vigil.clocks.skew_ms()
    }

    /// How long answered proposals took here, from handing in to the applied answer.
    pub fn proposal_latencies(&self) -> regent_storage::latency::Latencies {
        self.parts.proposals.latencies()
    }

    /// When the newest snapshot file was written, milliseconds since 1970.
    pub fn snapshot_written_ms(&self) -> Option<u64> {
        self.parts.snapshots.written_ms()
    }

    /// Entries of this replica's log from `from` on, at most `count` and only applied ones.
    pub async fn entries(&self, from: u64, count: u64) -> Result<Vec<PastEntry>, PastError> {
        self.past().entries(from, count).await
    }

    /// The state as it was after entry `index`, as far back as log and snapshots reach.
    pub async fn state_at(&self, index: u64) -> Result<PastState, PastError> {
        self.past().state(index).await
    }

    fn past(&self) -> Past<'_> {
        Past {
            log: &self.parts.log,
            snapshots: &self.parts.snapshots,
            applied: self.stale().applied_index(),
        }
    }

    /// Hands leadership to a reachable voter that holds everything flushed here; waits until it leads. The same
    /// again meanwhile gets the same answer; dropping the wait doesn't break it off.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<Transferred, TransferError> {
        self.parts.transfer.run(To::Node(to)).await
    }

    /// The same, to whichever voter can take over: of those heard from lately the one that holds most, and the
    /// next one if that can't.
    pub async fn hand_over(&self) -> Result<Transferred, TransferError> {
        self.parts.transfer.run(To::Anybody).await
    }

    /// The voters that leadership could be handed to now, the best first. Empty unless this replica leads.
    pub fn successors(&self) -> Vec<NodeId> {
        self.parts.transfer.successors()
    }

    /// The members and how they do; complete on the leader only.
    pub fn members_seen(&self) -> Seen {
        self.parts.membership.seen()
    }

    /// Carries out one step of a change of members. Leader only.
    pub async fn change_members(&self, step: &Step) -> Result<(), MembershipError> {
        if let Step::HandOver(to) = step {
            let handed = self.transfer_leader(*to).await;
            return handed.map(drop).map_err(|e| MembershipError(e.to_string()));
        }
        self.parts.membership.carry_out(step).await
    }

    /// Has a snapshot taken soon, whatever the policy says.
    pub async fn trigger_snapshot(&self) -> Result<(), StartError> {
        self.parts
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|e| StartError::Raft(e.to_string()))
    }

    /// Stops in order: Raft first, then the state store is written out and the files are closed. The data
    /// directory can be opened again when this returns.
    pub async fn shutdown(&self) {
        let Some(runtime) = self.running.take() else {
            return;
        };
        self.parts.watchdog.stop();
        if let Err(error) = self.parts.raft.shutdown().await {
            tracing::warn!(%error, "raft ended badly");
        }
        let store = self.parts.store.clone();
        let log = self.parts.log.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(STOP_TIMEOUT);
            store.close();
            log.close();
        });
        if let Err(error) = stopped.await {
            tracing::warn!(%error, "stopping ended badly");
        }
    }
}
