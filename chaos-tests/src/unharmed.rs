//! What must hold of a cluster once it has been left alone for a moment, whatever was done to it before: every
//! file is declared and every declared file is there, and all replicas hold the same state.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::wait::{poll, wait_until};

/// Deletions that are due are tried again within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Checks files and state; jobs must have ended.
///
/// # Panics
/// If a file is orphaned, dangling or of a wrong size, or replicas differ.
pub fn assert_unharmed(cluster: &Cluster, client: &Client) {
    let verify = || cluster.cli(&["cleanup", "verify"]);
    let clean = poll(SETTLED_WITHIN, || (verify().code == Some(0)).then_some(()));
    assert!(clean.is_some(), "files and ledger differ: {}", verify());
    let names = cluster.manifest().names("jobmanager");
    let hashes = wait_until(SETTLED_WITHIN, "all replicas at one entry", || {
        let statuses: Option<Vec<_>> = names.iter().map(|name| client.status(name)).collect();
        let statuses = statuses?;
        let indexes: BTreeSet<u64> = statuses.iter().map(|s| s.applied_index).collect();
        let hashes: BTreeSet<String> = statuses.into_iter().map(|s| s.state_hash).collect();
        (indexes.len() == 1).then_some(hashes)
    });
    assert_eq!(hashes.len(), 1, "states at one entry differ: {hashes:?}");
}
