//! The loop of a source: rows out at its rate, barriers in line when a checkpoint is triggered.

use std::ops::ControlFlow;

use super::{Command, Live};
use crate::engine::channel::{Barrier, BarrierKind, Element};
use crate::engine::error::TaskError;
use crate::engine::meter::Activity;
use crate::engine::orders::Known;
use crate::engine::sources::{Source, SourceStep};
use regent_protocol::v1::TaskState;

/// Where a running source is with regard to checkpoints.
struct Standing {
    /// Checkpoints up to this one are answered or over.
    floor: u64,
    /// Behind the barrier of a stop-with-savepoint: no row until it is aborted.
    stopped: Option<u64>,
    /// The highest watermark that the source told.
    watermark: i64,
    /// It told that it is idle.
    idle: bool,
}

impl Live {
    /// Runs until the source ends or is told to; answers the floor for the finished task.
    pub(super) async fn run_source(
        &mut self,
        source: &mut Box<dyn Source>,
    ) -> Result<u64, TaskError> {
        let mut standing = Standing {
            floor: self.context.restored_floor(),
            stopped: None,
            watermark: i64::MIN,
            idle: false,
        };
        self.outputs.leave_time_to(source.tells());
        let meter = self.context.meter.clone();
        meter.enter(Activity::Busy);
        meter.skipped(source.skipped());
        loop {
            while let Ok(command) = self.commands.try_recv() {
                let flow = self.on_command(source, &mut standing, command).await?;
                if flow.is_break() {
                    return Ok(self.end_outputs(standing.floor).await);
                }
            }
            let step = if standing.stopped.is_some() {
                None
            } else {
                // Rows may always be ready and room always be there: let others run too.
                tokio::task::consume_budget().await;
                let step = source.next().await?;
                // A step without rows may have skipped some.
                meter.skipped(source.skipped());
                Some(step)
            };
            let until = match step {
                Some(SourceStep::Batch(batch)) => {
                    self.context.memory.hold(source.state_bytes())?;
                    self.outputs.batch(batch).await?;
                    continue;
                }
                Some(SourceStep::Watermark(micros)) => {
                    self.on_watermark(&mut standing, micros).await?;
                    continue;
                }
                Some(SourceStep::Idle) => {
                    standing.idle = true;
                    self.outputs.idle().await;
                    continue;
                }
                Some(SourceStep::End) => {
                    self.tell_skipped(source.skipped());
                    return Ok(self.end_outputs(standing.floor).await);
                }
                // Whoever waits for its rate may have nothing to say about time for so long.
                Some(SourceStep::Wait(until)) => {
                    self.outputs.idle_if_due().await;
                    Some(self.outputs.idle_at().map_or(until, |at| at.min(until)))
                }
                None => None,
            };
            meter.enter(Activity::Idle);
            let command = self.command_before(until).await;
            meter.enter(Activity::Busy);
            let Some(command) = command else {
                continue;
            };
            let flow = self.on_command(source, &mut standing, command).await?;
            if flow.is_break() {
                return Ok(self.end_outputs(standing.floor).await);
            }
        }
    }

    /// The source says how far its time has come. After silence it says so again.
    async fn on_watermark(
        &mut self,
        standing: &mut Standing,
        micros: i64,
    ) -> Result<(), TaskError> {
        if self.outputs.reads_rows_times() {
            return Err(TaskError::task(
                "the source answers Next::Watermark where a window takes its time from the rows' column; \
                 give the source `const TELLS_TIME: bool = true`, and its watermarks count instead",
            ));
        }
        let woke = std::mem::take(&mut standing.idle);
        // Where silence is counted, a word that says nothing new ends it as well.
        if micros > standing.watermark || woke || self.outputs.counts_silence() {
            standing.watermark = standing.watermark.max(micros);
            self.outputs.watermark(standing.watermark).await;
        }
        Ok(())
    }

    /// The log has the sum, since figures of tasks that are over may be gone.
    fn tell_skipped(&self, skipped: u64) {
        if skipped > 0 {
            let (attempt, task) = (&self.context.attempt, &self.context.id);
            tracing::warn!(%attempt, %task, skipped, "the input has ended, and rows of it were skipped");
        }
    }

    /// The next command, if one comes before that instant.
    async fn command_before(&mut self, until: Option<std::time::Instant>) -> Option<Command> {
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => Some(command),
            () = timer => None,
        }
    }

    /// Acts on a command; breaks when the source has to end now.
    async fn on_command(
        &mut self,
        source: &mut Box<dyn Source>,
        standing: &mut Standing,
        command: Command,
    ) -> Result<ControlFlow<()>, TaskError> {
        match command {
            Command::Trigger(id) => return self.on_trigger(source, standing, id).await,
            Command::Aborted(id) if standing.stopped == Some(id) => standing.stopped = None,
            // Whoever wanted the savepoint will order another; rows behind it are in none.
            Command::AbortAlignments => standing.stopped = None,
            Command::Completed(id) => source.completed(id),
            Command::Aborted(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn on_trigger(
        &mut self,
        source: &mut Box<dyn Source>,
        standing: &mut Standing,
        id: u64,
    ) -> Result<ControlFlow<()>, TaskError> {
        let Known::Ordered(ordered) = self.context.orders.known(id) else {
            return Ok(ControlFlow::Continue(()));
        };
        if id <= standing.floor {
            return Ok(ControlFlow::Continue(()));
        }
        if ordered.order.stop && ordered.order.drain {
            // Drained: everything ends, and the finished tasks answer this checkpoint.
            return Ok(ControlFlow::Break(()));
        }
        let Some(kind) = BarrierKind::parse(&ordered.order.kind) else {
            let cause = format!("unknown kind {:?}", ordered.order.kind);
            self.context.decline(id, cause).await;
            return Ok(ControlFlow::Continue(()));
        };
        let state = TaskState {
            operator_items: source.snapshot()?,
            ..TaskState::default()
        };
        source.marked(id);
        self.outputs
            .broadcast(Element::Barrier(Barrier { id, kind }))
            .await;
        self.checkpointer.write(id, state);
        standing.floor = id;
        if ordered.order.stop {
            standing.stopped = Some(id);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Says that nothing follows; hands the floor through.
    async fn end_outputs(&mut self, floor: u64) -> u64 {
        self.outputs.watermark(i64::MAX).await;
        self.outputs.broadcast(Element::End).await;
        floor
    }
}
