//! The loop of operators and sinks: elements in, alignment, rows through, state at barriers.

use std::time::Instant;

use super::watermark::{Mark, Watermarks};
use super::{Command, Live, Node};
use crate::engine::align::{Alignment, Step};
use crate::engine::channel::{Barrier, BarrierKind, Element};
use crate::engine::error::TaskError;
use crate::engine::meter::Activity;
use arrow::array::RecordBatch;

/// What the loop keeps beside the node.
struct Flow {
    alignment: Alignment,
    watermarks: Watermarks,
    /// Kind of the barrier that came last: of the alignment in progress, if there is one.
    kind: BarrierKind,
    emitted: Vec<RecordBatch>,
}

/// What woke the loop.
enum Wake {
    Command(Command),
    Input(usize, Element),
    Deadline,
}

impl Live {
    /// Runs until all inputs have ended; answers the floor for the finished task.
    pub(super) async fn run_process(&mut self, node: &mut Node) -> Result<u64, TaskError> {
        let inputs = self.input_count();
        let mut flow = Flow {
            alignment: Alignment::new(inputs, self.context.restored_floor()),
            watermarks: Watermarks::new(inputs),
            kind: BarrierKind::Checkpoint,
            emitted: Vec::new(),
        };
        let meter = self.context.meter.clone();
        let mut due_last = false;
        while !flow.alignment.all_ended() {
            meter.enter(Activity::Idle);
            let deadline = earlier(deadline(node), self.outputs.idle_at());
            let wake = self.wake(&flow.alignment, deadline, due_last).await;
            meter.enter(Activity::Busy);
            due_last = matches!(wake, Wake::Deadline);
            match wake {
                Wake::Command(command) => self.on_command_in(node, &mut flow, command).await?,
                Wake::Input(input, element) => {
                    self.on_element(node, &mut flow, input, element).await?;
                }
                Wake::Deadline => self.on_deadline(node, &mut flow).await?,
            }
        }
        self.finish(node, &mut flow).await?;
        meter.enter(Activity::Idle);
        Ok(flow.alignment.floor())
    }

    /// A deadline that is over comes before rows, which may never stop; but not twice in turn.
    async fn wake(
        &mut self,
        alignment: &Alignment,
        deadline: Option<Instant>,
        due_last: bool,
    ) -> Wake {
        if !due_last && deadline.is_some_and(|at| at <= Instant::now()) {
            return Wake::Deadline;
        }
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => Wake::Command(command),
            (input, element) = self.inputs.next(alignment) => Wake::Input(input, element),
            () = timer => Wake::Deadline,
        }
    }

    async fn on_command_in(
        &mut self,
        node: &mut Node,
        flow: &mut Flow,
        command: Command,
    ) -> Result<(), TaskError> {
        match command {
            // The barrier comes with the rows.
            Command::Trigger(_) => {}
            Command::AbortAlignments => flow.alignment.cancel(),
            Command::Aborted(id) => {
                flow.alignment.abort(id);
                if let Node::Sink(sink) = node {
                    sink.abort(id);
                }
            }
            Command::Completed(id) => self.commit(node, id).await?,
        }
        Ok(())
    }

    async fn on_element(
        &mut self,
        node: &mut Node,
        flow: &mut Flow,
        input: usize,
        element: Element,
    ) -> Result<(), TaskError> {
        match element {
            Element::Batch(batch, charge) => {
                // They don't wait any more; what becomes of them is state or output.
                drop(charge);
                let mark = flow.watermarks.rows(input);
                self.on_mark(node, flow, mark).await?;
                self.on_batch(node, flow, batch).await
            }
            Element::Watermark(micros) => {
                let mark = flow.watermarks.advance(input, micros);
                self.on_mark(node, flow, mark).await
            }
            Element::Idle => {
                let mark = flow.watermarks.idle(input);
                self.on_mark(node, flow, mark).await
            }
            Element::Barrier(barrier) => {
                let step = flow.alignment.barrier(input, barrier.id);
                flow.kind = barrier.kind;
                self.on_step(node, flow, step).await
            }
            Element::End => {
                let step = flow.alignment.end(input);
                self.on_step(node, flow, step).await?;
                let mark = flow.watermarks.end(input);
                self.on_mark(node, flow, mark).await
            }
        }
    }

    async fn on_batch(
        &mut self,
        node: &mut Node,
        flow: &mut Flow,
        batch: RecordBatch,
    ) -> Result<(), TaskError> {
        let rows = batch.num_rows();
        self.context.meter.input(rows);
        match node {
            Node::Operator(operator) => {
                operator.process(batch, &mut flow.emitted)?;
                self.context.meter.late(operator.late());
                self.send(&mut flow.emitted).await?;
            }
            Node::Sink(sink) => {
                let bytes = crate::engine::schema::row_bytes(&batch);
                sink.write(batch).await?;
                self.context.meter.output(rows, bytes);
                self.context.status.set_pending(sink.pending());
            }
            Node::Source(_) => {}
        }
        self.context.memory.hold(node.state_bytes())
    }

    /// Lets an operator emit what its time has come for, and tells those downstream.
    async fn on_mark(
        &mut self,
        node: &mut Node,
        flow: &mut Flow,
        mark: Mark,
    ) -> Result<(), TaskError> {
        if let (Node::Operator(operator), Some(micros)) = (&mut *node, mark.rose) {
            while operator.watermark(micros, &mut flow.emitted)? {
                self.send(&mut flow.emitted).await?;
            }
            self.send(&mut flow.emitted).await?;
            self.context.memory.hold(operator.state_bytes())?;
        }
        if mark.rose.is_some() || mark.woke {
            self.outputs.watermark(flow.watermarks.lowest()).await;
        }
        if mark.idle {
            self.outputs.idle().await;
        }
        Ok(())
    }

    /// What has come due: silence downstream, or the node's own.
    async fn on_deadline(&mut self, node: &mut Node, flow: &mut Flow) -> Result<(), TaskError> {
        self.outputs.idle_if_due().await;
        if deadline(node).is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        match node {
            Node::Sink(sink) => sink.roll().await,
            Node::Operator(operator) => {
                operator.wake(&mut flow.emitted)?;
                self.send(&mut flow.emitted).await
            }
            Node::Source(_) => Ok(()),
        }
    }

    async fn send(&mut self, emitted: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        for batch in emitted.drain(..) {
            self.outputs.batch(batch).await?;
        }
        Ok(())
    }

    /// Takes the state when all inputs are at the barrier, and passes the barrier on.
    async fn on_step(
        &mut self,
        node: &mut Node,
        flow: &mut Flow,
        step: Step,
    ) -> Result<(), TaskError> {
        let Step::Aligned(id) = step else {
            return Ok(());
        };
        if let Node::Sink(sink) = node {
            sink.roll().await?;
        }
        let state = node.snapshot(id, false)?;
        if let Node::Sink(sink) = node {
            self.context.status.set_pending(sink.pending());
        }
        let kind = flow.kind;
        self.outputs
            .broadcast(Element::Barrier(Barrier { id, kind }))
            .await;
        self.checkpointer.write(id, state);
        Ok(())
    }

    /// Emits what an operator held back, closes a sink, and says that nothing follows.
    async fn finish(&mut self, node: &mut Node, flow: &mut Flow) -> Result<(), TaskError> {
        match node {
            Node::Operator(operator) => loop {
                let more = operator.end(&mut flow.emitted)?;
                self.send(&mut flow.emitted).await?;
                if !more {
                    break;
                }
            },
            Node::Sink(sink) => {
                sink.end().await?;
                self.context.status.set_pending(sink.pending());
            }
            Node::Source(_) => {}
        }
        self.outputs.broadcast(Element::End).await;
        Ok(())
    }
}

fn deadline(node: &Node) -> Option<Instant> {
    match node {
        Node::Sink(sink) => sink.deadline(),
        Node::Operator(operator) => operator.deadline(),
        Node::Source(_) => None,
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
