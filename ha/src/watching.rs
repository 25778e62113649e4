//! Noticing deaths: one open stream to each other voter, and a knock at its door when that ends.
//!
//! What the stream says is compared (`agreement.rs`); here it matters that it breaks. A process that was killed refuses the knock, since nobody
//! listens there any more; one that lives, or whose machine is silent, doesn't refuse.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::failover::{Sign, Vigil};
use crate::link::Link;
use crate::proposals::wall_ms;
use crate::raft::now;
use crate::types::{Node, NodeId};
use crate::wire::proto;

/// How long opening a stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a knock may take.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// A dying process may still accept for a moment: knocks before it counts as living.
const KNOCKS: u32 = 8;
const KNOCK_PAUSE: Duration = Duration::from_millis(2);
/// Pauses before the stream is opened again.
const REOPEN_MIN: Duration = Duration::from_millis(20);
const REOPEN_MAX: Duration = Duration::from_millis(500);

/// Keeps one watcher per other voter, as the membership has them.
pub(crate) async fn watch_voters(vigil: Vigil) {
    let mut watchers: BTreeMap<NodeId, (Node, JoinHandle<()>)> = BTreeMap::new();
    let mut metrics = vigil.raft.server_metrics();
    loop {
        let wanted = other_voters(&vigil);
        watchers.retain(|node_id, (node, watcher)| {
            let stays = wanted.get(node_id) == Some(node);
            if !stays {
                watcher.abort();
                vigil.contacts.lost(*node_id);
                vigil.signs.send_modify(|signs| {
                    signs.remove(node_id);
                });
            }
            stays
        });
        for (node_id, node) in wanted {
            watchers.entry(node_id).or_insert_with(|| {
                let watcher = tokio::spawn(watch_one(vigil.clone(), node_id, node.clone()));
                (node, watcher)
            });
        }
        if metrics.changed().await.is_err() {
            break;
        }
    }
    for (_, watcher) in watchers.into_values() {
        watcher.abort();
    }
}

fn other_voters(vigil: &Vigil) -> BTreeMap<NodeId, Node> {
    let seen = now(&vigil.raft.server_metrics());
    let membership = seen.membership_config.membership();
    membership
        .voter_ids()
        .filter(|node_id| *node_id != vigil.shared.node_id())
        .filter_map(|node_id| Some((node_id, membership.get_node(&node_id)?.clone())))
        .collect()
}

async fn watch_one(vigil: Vigil, node_id: NodeId, node: Node) {
    let mut pause = REOPEN_MIN;
    loop {
        if let Ok(link) = vigil.peers.link(node_id, &node)
            && let Some(mut stream) = open(&link).await
        {
            pause = REOPEN_MIN;
            set(&vigil, node_id, Sign::Alive);
            vigil.contacts.heard(node_id);
            while let Ok(Some(event)) = stream.message().await {
                vigil.contacts.heard(node_id);
                compare(&vigil, node_id, &event);
            }
            vigil.contacts.lost(node_id);
            link.forget_introduction();
            vigil.clocks.forget(node_id);
            let sign = after_break(&node.peer).await;
            set(&vigil, node_id, sign);
            if sign == Sign::Gone {
                let vigil = vigil.clone();
                tokio::spawn(async move { vigil.gone(node_id).await });
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(REOPEN_MAX);
    }
}

fn compare(vigil: &Vigil, node_id: NodeId, event: &proto::WatchEvent) {
    if let Ok(hash) = <[u8; 16]>::try_from(&event.state_hash[..]) {
        let hash = u128::from_le_bytes(hash);
        vigil.agreement.compare(node_id, event.applied_index, hash);
    }
    vigil.clocks.compare(node_id, event.wall_ms, wall_ms());
}

fn set(vigil: &Vigil, node_id: NodeId, sign: Sign) {
    vigil.signs.send_if_modified(|signs| {
        let before = signs.insert(node_id, sign);
        before != Some(sign)
    });
}

async fn open(link: &Link) -> Option<tonic::Streaming<proto::WatchEvent>> {
    let opening = link.call(OPEN_TIMEOUT, |mut client, caller| {
        let request = proto::WatchRequest {
            caller: Some(caller),
        };
        async move { client.watch(request).await }
    });
    opening.await.ok()
}

/// Knocks until it is refused, or has been let in often enough to be alive.
async fn after_break(address: &str) -> Sign {
    for _ in 0..KNOCKS {
        match timeout(KNOCK_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Sign::Gone;
            }
            // It closed its door while this knock stood in line there: the next one tells.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                sleep(KNOCK_PAUSE).await;
            }
            // Silence or another error proves nothing.
            Ok(Err(_)) | Err(_) => return Sign::Unknown,
            Ok(Ok(_)) => sleep(KNOCK_PAUSE).await,
        }
    }
    Sign::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_door_is_a_hard_sign_and_an_open_one_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(after_break(&address).await, Sign::Unknown);
        drop(listener);
        assert_eq!(after_break(&address).await, Sign::Gone);
    }

    #[tokio::test]
    async fn a_door_that_closes_over_a_knock_is_a_hard_sign_too() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dying = tokio::spawn(async move {
            sleep(KNOCK_PAUSE * 2).await;
            drop(listener);
        });
        assert_eq!(after_break(&address).await, Sign::Gone);
        dying.await.unwrap();
    }
}
