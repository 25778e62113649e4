//! Proof of death: this supervisor reaped the worker's process, so the leader need not wait for its lease.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regent_storage::codec::{self, Kind};
use regent_storage::identity::{DataDir, WorkerIdentity};
use tokio::time::{Instant, sleep};

use crate::client::report_death;

/// After this the lease has told the leader anyway.
const GIVE_UP: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(100);
/// What one replica may take to answer.
const ASK: Duration = Duration::from_secs(1);

/// The incarnation of the worker that last owned the directory. `None` if it never started, or if a
/// process that isn't ours owns the directory: that one is alive, and the proof would be false.
pub(super) fn incarnation(data_dir: &Path) -> Option<u64> {
    let lock = DataDir::lock(data_dir).ok()?;
    let bytes = std::fs::read(lock.path().join("identity")).ok()?;
    let identity: WorkerIdentity = codec::decode(Kind::WORKER_IDENTITY, &[1], &bytes).ok()?;
    Some(identity.incarnation)
}

/// Tells the leader, whichever replica that is, for a bounded time.
pub(super) async fn report(endpoints: Arc<Vec<String>>, worker: String, incarnation: Option<u64>) {
    let Some(incarnation) = incarnation else {
        return;
    };
    let deadline = Instant::now() + GIVE_UP;
    while Instant::now() < deadline {
        let asked = endpoints
            .iter()
            .map(|endpoint| report_death(endpoint, &worker, incarnation, ASK));
        let answers = futures::future::join_all(asked).await;
        if answers.contains(&Ok(true)) {
            return;
        }
        sleep(PAUSE).await;
    }
    tracing::warn!(
        worker,
        incarnation,
        "no leader took the report of a dead worker"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_that_is_gone_has_a_dead_incarnation() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(incarnation(dir.path()), None);
        let alive = DataDir::lock(dir.path()).unwrap();
        alive.open_worker("tm-1").unwrap();
        alive.open_worker("tm-1").unwrap();
        assert_eq!(incarnation(dir.path()), None);
        drop(alive);
        assert_eq!(incarnation(dir.path()), Some(2));
    }
}
