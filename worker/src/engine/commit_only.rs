//! `CommitOnly`: commits what a checkpoint lists for a run that has ended, without running it.

use regent_protocol::v1::{CommitOnly, CommitOnlyDone};

use super::EngineConfig;
use super::effects::Effects;
use super::error::TaskError;
use super::remote::Remote;
use super::restore::Checkpoint;
use super::sinks::committing::commit_all;

/// Commits and answers, also when that fails. Repeatable.
pub(crate) async fn commit_only(config: &EngineConfig, order: CommitOnly) -> CommitOnlyDone {
    let committed = commit(config, &order).await;
    CommitOnlyDone {
        job_id: order.job_id,
        run: order.run,
        checkpoint_id: order.checkpoint_id,
        error: committed.err().map(|e| e.to_string()).unwrap_or_default(),
    }
}

async fn commit(config: &EngineConfig, order: &CommitOnly) -> Result<(), TaskError> {
    let mut restore = order
        .restore
        .clone()
        .ok_or_else(|| TaskError::task("the order names no checkpoint"))?;
    // The graph may be gone; only the transactions count.
    restore.allow_unclaimed_state = true;
    let (files, tasks) = (config.files.clone(), std::iter::empty());
    let checkpoint = Checkpoint::new(files, restore, order.run, &order.vertices, tasks);
    let transactions = checkpoint.transactions().await?;
    let remote = Remote::new(config.files.clone());
    let effects = Effects::with_remote(config.authority.clone(), remote);
    let work = move |effects: &Effects| commit_all(effects, &transactions);
    effects.run(work).await
}
