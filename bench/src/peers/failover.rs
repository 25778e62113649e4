//! From SIGKILL of the leader to the first write that was issued after it and succeeded on a survivor.
//!
//! Every 5 ms each survivor is asked by a new client on a new connection, so that no figure depends on how
//! long a client waits for an answer that never comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Contender;
use super::cluster::Cluster;
use crate::Outcome;
use crate::client::Client;
use crate::figures::median;

const ASK_EVERY: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_secs(30);

/// How often the leader is killed.
pub(super) fn rounds(contender: Contender, short: bool) -> usize {
    match (contender, short) {
        (Contender::Regent, true) => 7,
        (Contender::Regent, false) => 20,
        (_, true) => 3,
        (_, false) => 8,
    }
}

/// Milliseconds of each round.
pub(super) async fn measure(cluster: &mut Cluster, rounds: usize) -> Outcome<Vec<f64>> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        // A quorum that has just been made whole again: members catch up first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leader = cluster.leader().await?;
        let target = Arc::new(cluster.target.clone());
        let survivors = (0..target.members.len()).filter(|number| *number != leader);
        let survivors: Vec<usize> = survivors.collect();
        let (success, mut first) = mpsc::channel::<Instant>(1);
        cluster.strike(leader);
        let struck = Instant::now();
        let asking = tokio::spawn(ask(target, survivors, success));
        let accepted = tokio::time::timeout(GIVE_UP, first.recv()).await;
        asking.abort();
        let accepted = accepted.map_err(|_| "no write was accepted within 30 s")?;
        let took = accepted.ok_or("the clients ended")?.duration_since(struck);
        all.push(took.as_secs_f64() * 1_000.0);
        cluster.restart(leader)?;
        cluster.settled().await?;
    }
    Ok(all)
}

async fn ask(
    target: Arc<crate::client::Target>,
    survivors: Vec<usize>,
    success: mpsc::Sender<Instant>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        for number in survivors.iter().copied() {
            let (target, success) = (target.clone(), success.clone());
            tasks.spawn(async move {
                let written = async { Client::connect(&target, number).await?.write().await };
                if matches!(tokio::time::timeout(GIVE_UP, written).await, Ok(Ok(()))) {
                    // Only the first counts.
                    success.try_send(Instant::now()).ok();
                }
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Smallest, middle, largest.
pub(super) fn summary(took: &[f64]) -> String {
    let min = took.iter().copied().fold(f64::INFINITY, f64::min);
    let max = took.iter().copied().fold(0.0, f64::max);
    format!("{min:.0} / {:.0} / {max:.0} ms", median(took))
}
