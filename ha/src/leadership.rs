//! Who leads, as this replica knows it, and the beginning and end of its own reigns.
//!
//! Winning an election isn't leading yet: first this leader's `AnnounceLeader` must be committed and
//! applied here. Then everything before it is applied too, older reigns are fenced, and the reign is
//! published. It is revoked the moment Raft says that somebody else, or nobody, leads. Starting and
//! stopping reconcilers on these signals is the coordinator's business.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::metrics::RaftServerMetrics;
use regent_state::command::AnnounceLeader;
use regent_state::ids::{Epoch, LogIndex, NodeId as StateNodeId};
use regent_state::{Command, Envelope, Response};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::proposals::{Proposals, Proposed};
use crate::raft::{RaftHandle, leader_of, member_of};
use crate::shared::Shared;
use crate::takeover::Takeover;
use crate::tally::Counters;
use crate::types::{LeaderId, Member, TypeConfig};
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

/// Whether anybody else could lead.
fn has_others(seen: &RaftServerMetrics<TypeConfig>) -> bool {
    seen.membership_config.voter_ids().count() > 1
}

/// Follows Raft's word on leadership and publishes reigns.
pub(crate) struct Throne {
    pub(crate) raft: RaftHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) proposals: Proposals,
    pub(crate) views: Views,
    pub(crate) published: Arc<watch::Sender<Leadership>>,
    /// The longest election timeout.
    pub(crate) election: Duration,
    /// What fast failover came to after the last leader's death, for the timeline.
    pub(crate) failover: Arc<Counters>,
    /// True while nothing moves here.
    pub(crate) stalled: watch::Receiver<bool>,
}

impl Throne {
    /// Runs until Raft stops.
    pub(crate) async fn run(self) {
        let mut stalled = self.stalled.clone();
        let mut metrics = self.raft.server_metrics();
        let mut led_until = Instant::now();
        loop {
            let seen = metrics.borrow_and_update().clone();
            let yields = *stalled.borrow_and_update() && has_others(&seen);
            self.shared.saw_term(seen.vote.leader_id.term);
            match leader_of(&seen, self.shared.node_id()) {
                // Somebody else should lead: reconcilers stop, and a new reign begins if nobody did.
                Some(_) if yields => self.publish(Leadership::None),
                Some(leader_id) if self.reigning() == Some(leader_id) => led_until = Instant::now(),
                Some(leader_id) => {
                    let elected = SystemTime::now();
                    self.publish(Leadership::None);
                    let leaderless = self.leaderless(led_until);
                    let established = tokio::select! {
                        reign = self.establish(leader_id, leaderless) => reign,
                        () = self.deposed(leader_id) => None,
                    };
                    if let Some(reign) = established {
                        self.shared.set_takeover(Takeover {
                            detected: self.shared.take_suspicion(),
                            elected,
                            announced: SystemTime::now(),
                        });
                        self.publish(Leadership::Leading(reign));
                    }
                }
                None => {
                    if seen.vote.committed {
                        self.failover.led_by(seen.vote.leader_id);
                    }
                    self.publish(self.following(&seen));
                }
            }
            // Looks again without being told: a leader that falls silent changes nothing here.
            let changed = async {
                tokio::select! {
                    changed = metrics.changed() => changed.is_ok(),
                    watched = stalled.changed() => watched.is_ok(),
                }
            };
            if matches!(timeout(self.election / 2, changed).await, Ok(false)) {
                break;
            }
        }
        self.publish(Leadership::None);
    }

    /// Whom this replica follows: a leader that it has heard from lately.
    fn following(&self, seen: &RaftServerMetrics<TypeConfig>) -> Leadership {
        let heard = self.shared.heard();
        let lately =
            |node_id| heard.is_some_and(|(node, ago)| node == node_id && ago < self.election * 2);
        match member_of(seen).filter(|(leader, _)| lately(leader.node_id)) {
            Some((leader, term)) => Leadership::Following { leader, term },
            None => Leadership::None,
        }
    }

    /// How long there was no leader before this one: since one spoke, or since this one led itself.
    fn leaderless(&self, led_until: Instant) -> Duration {
        let heard = self.shared.heard().map(|(_, ago)| ago);
        heard.unwrap_or(Duration::MAX).min(led_until.elapsed())
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

    /// Waits until Raft no longer says that this is our leadership, or is gone.
    async fn deposed(&self, leader_id: LeaderId) {
        let own = self.shared.node_id();
        let mut metrics = self.raft.server_metrics();
        let over = metrics.wait_until(|seen| leader_of(seen, own) != Some(leader_id));
        if over.await.is_err() {
            tracing::debug!("raft stopped while a reign was being announced");
        }
    }

    /// Commits the announcement and waits until it is applied here. `None` if that became pointless.
    async fn establish(&self, leader_id: LeaderId, leaderless: Duration) -> Option<Reign> {
        let belonging = self.shared.belonging()?;
        let cause = self.cause();
        let last = self.views.borrow().machine.reign().map(|reign| reign.epoch);
        let last = last.map(|epoch| (epoch.term, epoch.node.0));
        let failover = self.failover.of_reign_after(last);
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
                failover,
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
            .take_cause(self.election * 4)
            .unwrap_or_else(|| "election".to_owned())
    }
}
