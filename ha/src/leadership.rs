//! Who leads, as this replica knows it, and the beginning and end of its own reigns.
//!
//! Winning an election isn't leading yet: first this leader's `AnnounceLeader` must be committed and
//! applied here. Then everything before it is applied too, older reigns are fenced, and the reign is
//! published. It is revoked the moment Raft says that somebody else, or nobody, leads. Starting and
//! stopping reconcilers on these signals is the coordinator's business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver as _;
use regent_state::command::AnnounceLeader;
use regent_state::ids::{Epoch, LogIndex, NodeId as StateNodeId};
use regent_state::{Command, Envelope, Response};
use tokio::sync::watch;

use crate::proposals::{Proposals, Proposed};
use crate::raft::{RaftHandle, leader_of, member_of};
use crate::shared::Shared;
use crate::types::{LeaderId, Member};
use crate::view::Views;

/// Pause between two tries to announce a reign that can't be written yet.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// One's own reign, from its applied announcement on.
#[derive(Clone, Debug)]
pub struct Reign {
    /// The fencing token of every order of this reign.
    pub epoch: Epoch,
    /// Index of its `AnnounceLeader`.
    pub announced_at: LogIndex,
    /// Why there was an election, for people.
    pub cause: String,
    pub(crate) leader_id: LeaderId,
    clock_ms: u64,
    since: Instant,
}

impl Reign {
    /// The machine's clock as this leader stamps it: what it was when the announcement was applied,
    /// plus the monotonic time since.
    pub fn clock_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.clock_ms.saturating_add(elapsed)
    }

    /// How long ago the announcement was applied here.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

impl PartialEq for Reign {
    fn eq(&self, other: &Self) -> bool {
        self.epoch == other.epoch
    }
}

/// Who leads, as this replica knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Leadership {
    /// Nobody known; an election may be under way.
    None,
    /// This replica, and its announcement is applied here.
    Leading(Reign),
    /// Another replica.
    Following {
        /// Whom.
        leader: Member,
        /// In which term.
        term: u64,
    },
}

impl Leadership {
    /// The reign, if this replica leads.
    pub fn reign(&self) -> Option<&Reign> {
        match self {
            Self::Leading(reign) => Some(reign),
            Self::None | Self::Following { .. } => None,
        }
    }
}

/// Follows Raft's word on leadership and publishes reigns.
pub(crate) struct Throne {
    pub(crate) raft: RaftHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) proposals: Proposals,
    pub(crate) views: Views,
    pub(crate) published: Arc<watch::Sender<Leadership>>,
    /// How long a cause for an election stays believable.
    pub(crate) cause_within: Duration,
}

impl Throne {
    /// Runs until Raft stops.
    pub(crate) async fn run(self) {
        let mut metrics = self.raft.server_metrics();
        let mut leaderless_since = Some(Instant::now());
        loop {
            let seen = metrics.borrow_and_update().clone();
            let mine = leader_of(&seen, self.shared.node_id());
            match mine {
                Some(leader_id) if self.reigning() == Some(leader_id) => {}
                Some(leader_id) => {
                    self.publish(Leadership::None);
                    let leaderless = leaderless_since.take().map(|since| since.elapsed());
                    let announcing = self.establish(leader_id, leaderless.unwrap_or_default());
                    tokio::select! {
                        reign = announcing => self.publish(reign.map_or(Leadership::None, Leadership::Leading)),
                        deposed = self.deposed(leader_id) => {
                            if !deposed { break }
                            continue;
                        }
                    }
                }
                None => {
                    let following = member_of(&seen)
                        .filter(|(leader, _)| leader.node_id != self.shared.node_id());
                    match following {
                        Some((leader, term)) => {
                            leaderless_since = None;
                            self.publish(Leadership::Following { leader, term });
                        }
                        None => {
                            leaderless_since.get_or_insert_with(Instant::now);
                            self.publish(Leadership::None);
                        }
                    }
                }
            }
            if metrics.changed().await.is_err() {
                break;
            }
        }
        self.publish(Leadership::None);
    }

    fn reigning(&self) -> Option<LeaderId> {
        self.published.borrow().reign().map(|reign| reign.leader_id)
    }

    fn publish(&self, leadership: Leadership) {
        self.published.send_if_modified(|current| {
            let changed = *current != leadership;
            if changed {
                tracing::info!(node_id = self.shared.node_id(), ?leadership, "leadership");
                *current = leadership;
            }
            changed
        });
    }

    /// Waits until Raft no longer says that this is our leadership; false if Raft is gone.
    async fn deposed(&self, leader_id: LeaderId) -> bool {
        let own = self.shared.node_id();
        let mut metrics = self.raft.server_metrics();
        metrics
            .wait_until(|seen| leader_of(seen, own) != Some(leader_id))
            .await
            .is_ok()
    }

    /// Commits the announcement and waits until it is applied here. `None` if that became pointless.
    async fn establish(&self, leader_id: LeaderId, leaderless: Duration) -> Option<Reign> {
        let belonging = self.shared.belonging()?;
        let cause = self.cause();
        let epoch = Epoch {
            generation: belonging.generation,
            term: leader_id.term,
            node: StateNodeId(leader_id.node_id),
        };
        loop {
            let announcement = AnnounceLeader {
                epoch,
                cluster_id: belonging.cluster_id,
                node_name: self.shared.node().name.clone(),
                api: self.shared.node().api.clone(),
                cause: cause.clone(),
                leaderless_ms: u64::try_from(leaderless.as_millis()).unwrap_or(u64::MAX),
            };
            let envelope = self.envelope(epoch, announcement);
            match self.proposals.write(&envelope, leader_id).await {
                Ok(proposed) => return self.begin(epoch, leader_id, cause, proposed),
                Err(error) => {
                    tracing::debug!(%epoch, %error, "announcement not written yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn envelope(&self, epoch: Epoch, announcement: AnnounceLeader) -> Envelope {
        Envelope {
            epoch: Some(epoch),
            request: None,
            proposed_at_ms: self.views.borrow().machine.clock_ms(),
            wall_ms: crate::proposals::wall_ms(),
            actor: "leader".to_owned(),
            command: Command::AnnounceLeader(announcement),
        }
    }

    fn begin(
        &self,
        epoch: Epoch,
        leader_id: LeaderId,
        cause: String,
        proposed: Proposed,
    ) -> Option<Reign> {
        match proposed.response {
            Response::Announced(announced) => Some(Reign {
                epoch,
                announced_at: proposed.index,
                cause,
                leader_id,
                clock_ms: announced.clock_ms,
                since: Instant::now(),
            }),
            refused => {
                // A refusal here means that this replica's directory and the state disagree about
                // the cluster: nothing can be led from it.
                let text = format!("the state refused the announcement of {epoch}: {refused:?}");
                self.shared.refuse(&text);
                None
            }
        }
    }

    fn cause(&self) -> String {
        if self.views.borrow().machine.reign().is_none() {
            return "bootstrap".to_owned();
        }
        self.shared
            .take_cause(self.cause_within)
            .unwrap_or_else(|| "election".to_owned())
    }
}
