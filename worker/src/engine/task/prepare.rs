//! The beginning of a task: restores its state, opens its inputs, builds what it runs.

use regent_protocol::v1::VertexPlan;
use tokio::sync::{mpsc, oneshot};

use super::{InputEnd, Live, Node};
use crate::engine::channel::{CHANNEL_ELEMENTS, Inputs};
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::exchange::{self, Subscription};
use crate::engine::operators::OperatorStart;
use crate::engine::own::{self, OwnStart, Running};
use crate::engine::restore::Share;
use crate::engine::schema::schema_of;
use crate::engine::sinks::committing::commit_all;
use crate::engine::sinks::{self, SinkStart};
use crate::engine::sources::{self, SourceStart};
use crate::engine::{operators, schema};
use crate::own::Entry;

impl Live {
    /// Everything up to RUNNING. Inputs are opened first, so that tasks that wait for each other
    /// make progress while states are read.
    pub(super) async fn prepare(&mut self) -> Result<Node, TaskError> {
        let opened = self.open_inputs();
        let node = self.build().await?;
        for opened in opened {
            // A channel that can't be opened fails the task by its kill switch.
            if opened.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        Ok(node)
    }

    pub(super) fn input_count(&self) -> usize {
        self.inputs.count()
    }

    /// Starts a pump for every remote input; answers what completes when they are open.
    fn open_inputs(&mut self) -> Vec<oneshot::Receiver<()>> {
        let mut receivers = Vec::new();
        let mut opened = Vec::new();
        for end in std::mem::take(&mut self.input_ends) {
            let (address, channel) = match end {
                InputEnd::Local(receiver) => {
                    receivers.push(receiver);
                    continue;
                }
                InputEnd::Remote { address, channel } => (address, channel),
            };
            let (sender, receiver) = mpsc::channel(CHANNEL_ELEMENTS);
            receivers.push(receiver);
            let (open, is_open) = oneshot::channel();
            opened.push(is_open);
            let subscription = Subscription {
                attempt: self.context.key.clone(),
                channel,
                address,
                kill: self.context.kill.clone(),
                memory: self.context.memory.clone(),
            };
            let connections = self.context.connections.clone();
            self.pumps
                .spawn(exchange::pump(connections, subscription, sender, open));
        }
        self.inputs = Inputs::new(receivers);
        opened
    }

    async fn build(&self) -> Result<Node, TaskError> {
        let share = self.share().await?;
        let plan = self.context.plan();
        if let Some(entry) = self.context.own.find(&plan.kind, &plan.operator) {
            return self.build_own(entry, share).await;
        }
        match plan.kind.as_str() {
            "source" => self.build_source(share).await,
            "sink" => self.build_sink(share.unwrap_or_default()).await,
            _ => {
                let from = self.upstream();
                let from = from.ok_or_else(|| TaskError::task("the operator has no input"))?;
                let schema = schema_of(&from.columns)?;
                let share = share.unwrap_or_default();
                let start = OperatorStart {
                    subtask: self.context.id.subtask,
                    parallelism: plan.parallelism,
                    groups: share.key_groups,
                    items: share.items,
                };
                operators::build(plan, &schema, &start).map(Node::Operator)
            }
        }
    }

    /// The vertex that the first input comes from.
    fn upstream(&self) -> Option<&VertexPlan> {
        let input = &self.context.plan().inputs.first()?.from;
        let vertices = &self.context.order.vertices;
        vertices.iter().find(|vertex| vertex.id == *input)
    }

    async fn build_own(&self, entry: &Entry, share: Option<Share>) -> Result<Node, TaskError> {
        let input = self.upstream().map_or(&[][..], |from| &from.columns);
        let start = OwnStart {
            subtask: self.context.id.subtask,
            input,
            share,
            attempt: &self.context.attempt,
            restored: self.context.restored_floor(),
            effects: &self.context.effects,
        };
        Ok(match own::build(entry, self.context.plan(), start)? {
            Running::Source(source) => Node::Source(source),
            Running::Operator(operator) => Node::Operator(operator),
            Running::Sink(mut sink) => {
                sink.prepare().await?;
                Node::Sink(sink)
            }
        })
    }

    async fn share(&self) -> Result<Option<Share>, TaskError> {
        match &self.context.restore {
            Some(restore) => {
                restore
                    .share(self.context.plan(), self.context.id.subtask)
                    .await
            }
            None => Ok(None),
        }
    }

    async fn build_source(&self, share: Option<Share>) -> Result<Node, TaskError> {
        let plan = self.context.plan();
        let start = SourceStart {
            subtask: self.context.id.subtask,
            parallelism: plan.parallelism,
            restored: share.map(|share| share.items),
            listings: self.context.listings.clone(),
            remote: self.context.effects.remote().ok(),
        };
        sources::build(plan, start).await.map(Node::Source)
    }

    /// Restored transactions are committed before anything new is written.
    async fn build_sink(&self, share: Share) -> Result<Node, TaskError> {
        let transactions = share.transactions;
        if !transactions.is_empty() {
            let commit = move |effects: &Effects| commit_all(effects, &transactions);
            let committed = self.context.effects.run(commit).await;
            committed.map_err(|error| match error {
                TaskError::Task(message) => TaskError::Restore(message),
                other => other,
            })?;
        }
        let plan = self.context.plan();
        schema::schema_of(&plan.columns)?;
        let start = SinkStart {
            attempt: self.context.attempt.clone(),
            job_name: self.context.order.job_name.clone(),
            subtask: self.context.id.subtask,
            restored: self.context.restored_floor(),
            items: share.items,
            effects: self.context.effects.clone(),
        };
        sinks::build(plan, start).await.map(Node::Sink)
    }
}
