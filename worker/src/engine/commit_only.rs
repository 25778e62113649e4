//! `CommitOnly`: commits what a checkpoint lists for a run that has ended, without running it.

use regent_protocol::v1::{CommitOnly, CommitOnlyDone, LogToken, Transaction, VertexPlan};

use super::EngineConfig;
use super::effects::Effects;
use super::error::TaskError;
use super::ids::AttemptId;
use super::own::build_to_commit;
use super::remote::Remote;
use super::restore::Checkpoint;
use super::sinks::committing::commit_all;
use crate::own::Beginning;

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
    let remote = Remote::new(config.files.clone());
    let effects = Effects::with_remote(config.authority.clone(), remote);
    for (vertex, transactions) in checkpoint.transactions().await? {
        let plan = order.vertices.iter().find(|plan| plan.id == vertex);
        match plan.filter(|plan| !super::is_built_in(&plan.kind, &plan.operator)) {
            Some(plan) => commit_own(config, order, plan, (transactions, &effects)).await?,
            None => {
                let work = move |effects: &Effects| commit_all(effects, &transactions);
                effects.run(work).await?;
            }
        }
    }
    Ok(())
}

/// Commits what the user's own code wrote, and lets it take away the rest of the run.
async fn commit_own(
    config: &EngineConfig,
    order: &CommitOnly,
    plan: &VertexPlan,
    (transactions, effects): (Vec<Transaction>, &Effects),
) -> Result<(), TaskError> {
    let from = plan.inputs.first().map(|edge| edge.from.as_str());
    let from = order
        .vertices
        .iter()
        .find(|one| Some(one.id.as_str()) == from);
    let beginning = Beginning {
        attempt: AttemptId {
            job: order.job_id.as_str().into(),
            run: order.run.as_ref().map_or((0, 0), LogToken::rank),
            token: (0, 0),
        },
        vertex: plan.id.as_str().into(),
        subtask: 0,
        restored: order.checkpoint_id,
        mine: Vec::new(),
        listed: transactions.clone(),
    };
    let input = from.map_or(&[][..], |from| &from.columns);
    let mut sink = build_to_commit(&config.own, plan, beginning, (input, effects))?;
    sink.commit_these(&transactions).await?;
    sink.abort_rest(true).await
}
