//! Writes of many clients share syncs; with `--nocapture` the numbers are printed. `REGENT_SOAK=1` measures
//! longer.

use std::time::{Duration, Instant};

use regent_ha::{Replica, Timing};

use crate::cluster::{Cluster, cancel};

async fn writes(replica: &Replica, clients: u64, each: u64) -> Vec<Duration> {
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let replica = replica.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for number in 0..each {
                    let begun = Instant::now();
                    let proposal = cancel(client * 1_000_000 + number);
                    replica.propose_client(proposal).await.unwrap();
                    took.push(begun.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_share_a_sync() {
    let factor = if crate::soak() { 10 } else { 1 };
    for size in [1, 3] {
        let mut cluster = Cluster::planned(size).await;
        cluster.timing = Timing::Lan;
        cluster.form().await;
        let (leader, _) = cluster.leader().await;
        let replica = cluster.replica(leader);
        for (clients, each) in [(1, 30), (64, 10), (256, 5)] {
            let syncs = replica.log_metrics().sync_count;
            let begun = Instant::now();
            let took = writes(replica, clients, each * factor).await;
            let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
            let syncs = replica.log_metrics().sync_count - syncs;
            let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
            eprintln!(
                "{size} replicas, {clients} clients: {rate:.0} writes/s, p50 {p50:?}, p99 {p99:?}, \
                 {syncs} syncs for {} writes",
                took.len()
            );
            assert!(took.len() as u64 == clients * each * factor);
            if clients > 1 {
                assert!(
                    syncs < took.len() as u64 / 2,
                    "{syncs} syncs: no group commit"
                );
            }
        }
        let begun = Instant::now();
        for _ in 0..30 * factor {
            replica.linearizable().await.unwrap();
        }
        eprintln!(
            "{size} replicas: a linearizable read takes {:?}",
            begun.elapsed() / (30 * factor as u32)
        );
    }
}
