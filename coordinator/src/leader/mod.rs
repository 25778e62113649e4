//! One reign: what the leader holds while it leads, and how its hands are started and stopped.
//!
//! `establish` and `revoke` are a mirrored pair: whatever the first starts, the second stops. A reign
//! begins when this leader's `AnnounceLeader` is applied here, so reconcilers start on a state that
//! holds everything earlier leaders wrote (`docs/protocol.md` §5).

pub(crate) mod agenda;
mod figures;
pub(crate) mod hub;
pub(crate) mod ownership;
pub(crate) mod rule;
pub(crate) mod seen;
mod writing;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use regent_ha::{Leadership, Reign};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::{checkpoints, cleaner, janitor, members, scheduler};
use rule::Rule;

/// How long reconcilers may take to notice that their reign is over.
const REVOKE_LIMIT: Duration = Duration::from_secs(2);
/// Pause before reconcilers that ended by themselves are started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Follows leadership until `stop`: establishes one's own reigns and revokes them.
pub(crate) async fn follow(node: Arc<Node>, stop: CancellationToken) {
    let mut leadership = node.replica.leadership();
    let mut standing: Option<Standing> = None;
    loop {
        let reign = leadership.borrow_and_update().reign().cloned();
        let same = standing.as_ref().map(|standing| &standing.rule.reign) == reign.as_ref();
        if !same {
            revoke(&node, standing.take()).await;
            standing = reign.map(|reign| establish(&node, reign));
        }
        let broken = async {
            match &mut standing {
                Some(standing) => standing.hands.join_next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            changed = leadership.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            ended = broken => {
                tracing::error!(?ended, "a reconciler ended by itself; all are started again");
                revoke(&node, standing.take()).await;
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        }
    }
    revoke(&node, standing.take()).await;
}

struct Standing {
    rule: Arc<Rule>,
    hands: JoinSet<()>,
}

fn establish(node: &Arc<Node>, reign: Reign) -> Standing {
    tracing::info!(epoch = %reign.epoch, cause = %reign.cause, "reign established");
    let (rule, events) = Rule::new(node, reign);
    let rule = Arc::new(rule);
    let mut hands = JoinSet::new();
    hands.spawn(ownership::run(Arc::clone(&rule)));
    let of_storage = |patience, hand: Pin<Box<dyn Future<Output = ()> + Send>>| {
        ownership::while_ours(Arc::clone(&rule), patience, hand)
    };
    let scheduler = Box::pin(scheduler::run(Arc::clone(&rule)));
    hands.spawn(of_storage(Some(ownership::SCHEDULER_PATIENCE), scheduler));
    let checkpoints = Box::pin(checkpoints::run(Arc::clone(&rule), events));
    hands.spawn(of_storage(None, checkpoints));
    hands.spawn(of_storage(None, Box::pin(cleaner::run(Arc::clone(&rule)))));
    hands.spawn(of_storage(None, Box::pin(janitor::run(Arc::clone(&rule)))));
    hands.spawn(members::run(Arc::clone(&rule)));
    node.counters.reigns.add(1);
    node.rule.send_replace(Some(Arc::clone(&rule)));
    Standing { rule, hands }
}

async fn revoke(node: &Node, standing: Option<Standing>) {
    let Some(Standing { rule, mut hands }) = standing else {
        return;
    };
    node.rule.send_replace(None);
    rule.stop.cancel();
    rule.hub.close();
    let ended = async { while hands.join_next().await.is_some() {} };
    if tokio::time::timeout(REVOKE_LIMIT, ended).await.is_err() {
        hands.abort_all();
    }
    tracing::info!(epoch = %rule.reign.epoch, "reign revoked");
}

/// The reign that this replica serves, if any.
pub(crate) type Serving = watch::Sender<Option<Arc<Rule>>>;

/// Whether this replica leads or knows who does, for readiness.
pub(crate) fn sees_leader(leadership: &Leadership) -> bool {
    match leadership {
        Leadership::None => false,
        Leadership::Leading(_) | Leadership::Following { .. } => true,
    }
}
