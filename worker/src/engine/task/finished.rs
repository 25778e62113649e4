//! A task after its last row: it keeps its final state, answers later checkpoints with it, and a
//! sink goes on committing, until it is cancelled or let go.

use futures::future::join_all;
use regent_protocol::v1::TaskPhase;
use tokio::sync::oneshot;

use super::{Command, Live, Node};
use crate::engine::error::TaskError;
use crate::engine::orders::Known;

impl Live {
    /// Returns when the task is let go of.
    pub(super) async fn run_finished(
        &mut self,
        mut node: Node,
        mut floor: u64,
    ) -> Result<(), TaskError> {
        // Those that were ordered before the end and not answered: this task's last row belongs to
        // them, since no barrier of theirs came before it.
        for id in self.context.orders.pending_above(floor) {
            self.answer(&mut node, &mut floor, id)?;
        }
        let delivered = std::mem::take(&mut self.delivered);
        let mut taken = Box::pin(all_taken(delivered));
        let mut told = false;
        loop {
            let command = tokio::select! {
                biased;
                () = &mut taken, if !told => {
                    self.context.report(TaskPhase::Finished, None).await;
                    told = true;
                    continue;
                }
                command = self.commands.recv() => command,
            };
            match command {
                None => return Ok(()),
                Some(Command::Trigger(id)) => self.answer(&mut node, &mut floor, id)?,
                Some(Command::Completed(id)) => self.commit(&mut node, id).await?,
                Some(Command::Aborted(id)) => {
                    if let Node::Sink(sink) = &mut node {
                        sink.abort(id);
                    }
                }
                Some(Command::AbortAlignments) => {}
            }
        }
    }

    /// Acknowledges a checkpoint with the final state, unless it was answered or is over.
    fn answer(&mut self, node: &mut Node, floor: &mut u64, id: u64) -> Result<(), TaskError> {
        if id <= *floor || self.context.orders.known(id) == Known::Aborted {
            return Ok(());
        }
        *floor = id;
        let state = node.snapshot(id, true)?;
        self.checkpointer.write(id, state);
        Ok(())
    }
}

/// Completes when other workers have taken all that was sent to them. A channel that breaks before
/// fails the task by its kill switch.
async fn all_taken(delivered: Vec<oneshot::Receiver<()>>) {
    for taken in join_all(delivered).await {
        if taken.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
