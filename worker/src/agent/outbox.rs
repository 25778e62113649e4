//! What the worker has to tell a leader, and what it must not tell: task states never run backwards
//! within a session, and acknowledgements of a checkpoint that an earlier leader ordered are dropped,
//! for that leader's successor aborted it. Pure.

use std::collections::{HashMap, VecDeque};

use regent_protocol::v1::worker_message::Message;
use regent_protocol::v1::{AttemptKey, TaskPhase, TaskReport, TriggerCheckpoint};

use crate::engine::EngineEvent;

/// Reports kept while nobody listens; beyond it the oldest is dropped (the leader times out).
const WAITING_MAX: usize = 4096;

/// (generation, term, node) of a leader.
pub(crate) type Rank = (u64, u64, u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TaskId {
    token: (u64, u64),
    vertex: String,
    subtask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// Nobody; the next registration tells the states of tasks.
    Nobody,
    /// A registration is on its way.
    Registering,
    /// A leader that registered this worker.
    Leader,
}

/// Reports on their way out.
#[derive(Debug)]
pub(crate) struct Outbox {
    listener: Listener,
    epoch: Rank,
    told: HashMap<TaskId, u8>,
    waiting: VecDeque<Message>,
    /// First checkpoint that the present leader ordered, for each attempt.
    ordered: HashMap<(u64, u64), u64>,
    dropped: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            listener: Listener::Nobody,
            epoch: (0, 0, 0),
            told: HashMap::new(),
            waiting: VecDeque::new(),
            ordered: HashMap::new(),
            dropped: 0,
        }
    }
}

impl Outbox {
    /// A registration that tells these states is sent.
    pub(crate) fn registering(&mut self, held: &[TaskReport]) {
        self.listener = Listener::Registering;
        self.waiting
            .retain(|message| !matches!(message, Message::Task(_)));
        self.told = held
            .iter()
            .filter_map(|report| Some((task_id(report)?, progress(report))))
            .collect();
    }

    /// The leader of this epoch answered it: what waited and still matters.
    pub(crate) fn registered(&mut self, epoch: Rank) -> Vec<Message> {
        self.listener = Listener::Leader;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.ordered.clear();
            self.waiting
                .retain(|message| matches!(message, Message::Task(_)));
        }
        let waiting: Vec<Message> = self.waiting.drain(..).collect();
        waiting
            .into_iter()
            .filter(|message| self.is_news(message))
            .collect()
    }

    /// The session ended.
    pub(crate) fn closed(&mut self) {
        self.listener = Listener::Nobody;
        self.told.clear();
    }

    /// Everything was stopped to start anew: nothing of before is told to anyone.
    pub(crate) fn clear(&mut self) {
        self.told.clear();
        self.waiting.clear();
        self.ordered.clear();
    }

    /// The present leader orders this checkpoint; only its and later ones' answers are told.
    pub(crate) fn ordered(&mut self, order: &TriggerCheckpoint) {
        if let Some(attempt) = &order.attempt {
            self.ordered
                .entry(attempt.token_rank())
                .or_insert(order.checkpoint_id);
        }
    }

    /// The leader knows how these attempts ended.
    pub(crate) fn forget(&mut self, attempts: &[AttemptKey]) {
        for attempt in attempts {
            let token = attempt.token_rank();
            self.ordered.remove(&token);
            self.told.retain(|task, _| task.token != token);
        }
    }

    /// What to send now for this event, if anything.
    pub(crate) fn event(&mut self, event: EngineEvent) -> Option<Message> {
        let message = message_of(event);
        let is_task = matches!(message, Message::Task(_));
        match self.listener {
            Listener::Leader => self.is_news(&message).then_some(message),
            Listener::Registering => self.keep(message),
            Listener::Nobody if is_task => None,
            Listener::Nobody => self.keep(message),
        }
    }

    /// Reports dropped because they were too many or too late.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn keep(&mut self, message: Message) -> Option<Message> {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(message);
        None
    }

    fn is_news(&mut self, message: &Message) -> bool {
        let news = match message {
            Message::Task(report) => return self.is_progress(report),
            Message::CheckpointAck(ack) => self.is_current(ack.attempt.as_ref(), ack.checkpoint_id),
            Message::CheckpointDeclined(declined) => {
                self.is_current(declined.attempt.as_ref(), declined.checkpoint_id)
            }
            _ => true,
        };
        self.dropped += u64::from(!news);
        news
    }

    fn is_current(&self, attempt: Option<&AttemptKey>, checkpoint_id: u64) -> bool {
        let first = attempt.and_then(|attempt| self.ordered.get(&attempt.token_rank()));
        first.is_some_and(|first| checkpoint_id >= *first)
    }

    fn is_progress(&mut self, report: &TaskReport) -> bool {
        let Some(task) = task_id(report) else {
            return false;
        };
        let now = progress(report);
        let before = self.told.insert(task.clone(), now);
        if before.is_some_and(|before| before >= now) {
            self.told.insert(task, before.unwrap_or(now));
            return false;
        }
        true
    }
}

fn message_of(event: EngineEvent) -> Message {
    match event {
        EngineEvent::Task(report) => Message::Task(report),
        EngineEvent::Ack(ack) => Message::CheckpointAck(ack),
        EngineEvent::Declined(declined) => Message::CheckpointDeclined(declined),
        EngineEvent::SinkCommitted(committed) => Message::SinkCommitted(committed),
        EngineEvent::CommitOnlyDone(done) => Message::CommitOnlyDone(done),
    }
}

fn task_id(report: &TaskReport) -> Option<TaskId> {
    let task = report.task.as_ref()?;
    Some(TaskId {
        token: report.attempt.as_ref()?.token_rank(),
        vertex: task.vertex.clone(),
        subtask: task.subtask,
    })
}

/// Whether the task is part of a living attempt; a finished one still holds its final state.
pub(crate) fn is_active(report: &TaskReport) -> bool {
    use TaskPhase::{Deploying, Finished, Running};
    matches!(report.phase(), Deploying | Running | Finished)
}

/// Task states in the order in which they can be reached.
fn progress(report: &TaskReport) -> u8 {
    match report.phase() {
        TaskPhase::Unspecified => 0,
        TaskPhase::Failed | TaskPhase::Canceled => 5,
        TaskPhase::Deploying | TaskPhase::Running | TaskPhase::Finished if report.stuck => 4,
        TaskPhase::Deploying => 1,
        TaskPhase::Running => 2,
        TaskPhase::Finished => 3,
    }
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::{CheckpointAck, LogToken, SinkCommitted, TaskKey};

    use super::*;

    const FIRST: Rank = (1, 1, 1);
    const SECOND: Rank = (1, 2, 2);

    fn attempt() -> AttemptKey {
        let token = Some(LogToken {
            generation: 1,
            index: 7,
        });
        AttemptKey {
            job_id: "j".to_owned(),
            run: token,
            token,
        }
    }

    fn report(subtask: u32, phase: TaskPhase) -> TaskReport {
        TaskReport {
            attempt: Some(attempt()),
            task: Some(TaskKey {
                vertex: "v".to_owned(),
                subtask,
            }),
            phase: phase.into(),
            ..TaskReport::default()
        }
    }

    fn task(subtask: u32, phase: TaskPhase) -> EngineEvent {
        EngineEvent::Task(report(subtask, phase))
    }

    fn ack(checkpoint_id: u64) -> EngineEvent {
        let attempt = Some(attempt());
        EngineEvent::Ack(CheckpointAck {
            attempt,
            checkpoint_id,
            ..CheckpointAck::default()
        })
    }

    fn trigger(checkpoint_id: u64) -> TriggerCheckpoint {
        let attempt = Some(attempt());
        TriggerCheckpoint {
            attempt,
            checkpoint_id,
            ..TriggerCheckpoint::default()
        }
    }

    fn led_by(epoch: Rank) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.registering(&[]);
        assert!(outbox.registered(epoch).is_empty());
        outbox
    }

    #[test]
    fn task_states_never_run_backwards_within_a_session() {
        let mut outbox = Outbox::default();
        outbox.registering(&[report(0, TaskPhase::Finished)]);
        assert_eq!(
            outbox.event(task(0, TaskPhase::Running)),
            None,
            "nobody registered it yet"
        );
        outbox.event(task(1, TaskPhase::Running));
        let waited = outbox.registered(FIRST);
        assert_eq!(waited, [Message::Task(report(1, TaskPhase::Running))]);
        assert!(outbox.event(task(1, TaskPhase::Deploying)).is_none());
        assert!(outbox.event(task(1, TaskPhase::Finished)).is_some());
        assert!(outbox.event(task(1, TaskPhase::Failed)).is_some());
        assert!(
            outbox.event(task(1, TaskPhase::Failed)).is_none(),
            "told once"
        );
    }

    #[test]
    fn a_new_leader_gets_no_acknowledgement_of_an_old_checkpoint() {
        let mut outbox = led_by(FIRST);
        outbox.ordered(&trigger(3));
        outbox.closed();
        assert!(outbox.event(ack(3)).is_none());
        outbox.registering(&[]);
        assert!(outbox.registered(SECOND).is_empty());
        assert!(outbox.event(ack(3)).is_none(), "finished late");
        outbox.ordered(&trigger(4));
        assert!(outbox.event(ack(3)).is_none());
        assert!(outbox.event(ack(4)).is_some());
        assert_eq!(outbox.dropped(), 2);
    }

    #[test]
    fn the_same_leader_gets_what_waited() {
        let mut outbox = led_by(FIRST);
        outbox.ordered(&trigger(3));
        outbox.closed();
        outbox.event(ack(3));
        let committed = SinkCommitted {
            attempt: Some(attempt()),
            ..SinkCommitted::default()
        };
        outbox.event(EngineEvent::SinkCommitted(committed));
        outbox.registering(&[]);
        assert_eq!(outbox.registered(FIRST).len(), 2);
    }

    #[test]
    fn states_of_tasks_are_not_kept_while_nobody_listens() {
        let mut outbox = led_by(FIRST);
        outbox.closed();
        assert!(outbox.event(task(0, TaskPhase::Failed)).is_none());
        outbox.registering(&[report(0, TaskPhase::Failed)]);
        assert!(
            outbox.registered(FIRST).is_empty(),
            "the registration told it"
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = led_by(FIRST);
        outbox.ordered(&trigger(1));
        outbox.closed();
        for id in 0..WAITING_MAX as u64 + 5 {
            outbox.event(ack(id + 1));
        }
        assert_eq!(outbox.dropped(), 5);
        outbox.registering(&[]);
        assert_eq!(outbox.registered(FIRST).len(), WAITING_MAX);
    }

    #[test]
    fn forgotten_attempts_leave_nothing_behind() {
        let mut outbox = led_by(FIRST);
        outbox.ordered(&trigger(1));
        outbox.event(task(0, TaskPhase::Running));
        outbox.forget(&[attempt()]);
        assert!(outbox.told.is_empty());
        assert!(outbox.ordered.is_empty());
    }
}
