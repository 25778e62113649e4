//! When a snapshot is due. openraft counts entries only; with a large state that writes all of it again and
//! again, so here its size counts as well. How one is written is `snapshot.rs`'s.

use crate::config::ReplicaConfig;
use crate::raft::RaftHandle;
use crate::snapshot::Snapshots;
use crate::view::Views;

/// What an entry takes in the log, about: a checkpoint's commands have 200 to 400 bytes.
const ENTRY_BYTES: u64 = 256;

/// Asks for a snapshot every so many entries.
pub(crate) struct Every {
    entries: u64,
    snapshots: Snapshots,
}

impl Every {
    /// As many as the configuration says.
    pub(crate) fn of(config: &ReplicaConfig, snapshots: &Snapshots) -> Self {
        Self {
            entries: config.snapshot_every,
            snapshots: snapshots.clone(),
        }
    }

    /// Runs until the replica stops.
    pub(crate) async fn run(self, raft: RaftHandle, mut views: Views) {
        let covered = self.snapshots.covered();
        let mut asked_at = 0;
        while views.changed().await.is_ok() {
            let applied = views.borrow_and_update().applied_index();
            let last = covered().unwrap_or(0).max(asked_at);
            if applied.saturating_sub(last) < due_after(self.entries, self.snapshots.length()) {
                continue;
            }
            // One that fails, or isn't begun because another is being written, is asked for again as much later.
            asked_at = applied;
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}

/// Entries from one snapshot to the next: at least as many as have the size of the last one, so that snapshots
/// write no more than the log does.
fn due_after(entries: u64, last_bytes: u64) -> u64 {
    entries.max(last_bytes / ENTRY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_written_less_often() {
        assert_eq!(due_after(10_000, 0), 10_000);
        assert_eq!(due_after(10_000, 1_500_000), 10_000);
        assert_eq!(due_after(10_000, 30_000_000), 117_187);
        assert_eq!(due_after(100, 30_000), 117);
    }
}
