//! The worker's side of the session as a machine without hands: what happened goes in, what to do
//! comes out. It decides whom to follow, when to dial, which orders to obey and when everything must
//! stop first. [`super::driver`] does what it says and nothing else.
//!
//! Rules kept here (`docs/protocol.md`): the highest epoch leads; orders of a lower one are dropped;
//! nothing is carried into another generation or cluster; orders wait until the lease holds.

use std::collections::VecDeque;
use std::time::Duration;

use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{
    Epoch, LeaderMessage, LeaderView, PathsInspected, Register, Registered, TaskReport,
};

use super::backoff::Backoff;
use super::fence::{Fence, Meeting};
use super::heartbeats::Heartbeats;
use super::outbox::Outbox;
use super::session_words::{Action, Counters, Facts, Input, Target};
use crate::engine::EngineEvent;

/// A leader that has not registered this worker within this time is dialled again.
const REGISTER_WITHIN: Duration = Duration::from_secs(5);
/// Another cluster of the same generation is joined when the own one is silent for this long.
const FOREIGN_AFTER: Duration = Duration::from_secs(5);
/// Orders that wait for the lease; a leader that sends more is not one of ours.
const DEFERRED_MAX: usize = 4096;
/// Lease of a leader that names none.
const LEASE_DEFAULT: Duration = Duration::from_secs(10);
/// Heartbeat interval of a leader that names none.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Link {
    Down {
        retry_at: Duration,
    },
    Opening {
        until: Duration,
    },
    Up {
        epoch: Epoch,
        lease: Duration,
        heartbeats: Heartbeats,
    },
}

/// The machine.
#[derive(Debug)]
pub(crate) struct SessionPlan {
    fence: Fence,
    target: Option<Target>,
    link: Link,
    backoff: Backoff,
    outbox: Outbox,
    deferred: VecDeque<Order>,
    /// Leader of another cluster of this generation, and since when it is known.
    foreign: Option<(Target, Duration)>,
    /// Generation to enter once everything has stopped.
    leaving: Option<u64>,
    stopping: bool,
    closing: bool,
    counters: Counters,
}

impl SessionPlan {
    /// A worker that remembers this and has no session.
    pub(crate) fn new(fence: Fence) -> Self {
        Self {
            fence,
            target: None,
            link: Link::Down {
                retry_at: Duration::ZERO,
            },
            backoff: Backoff::default(),
            outbox: Outbox::default(),
            deferred: VecDeque::new(),
            foreign: None,
            leaving: None,
            stopping: false,
            closing: false,
            counters: Counters::default(),
        }
    }

    /// Takes one input and says what to do.
    pub(crate) fn handle(&mut self, input: Input, facts: Facts) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::View(view) => self.view(view, facts, &mut actions),
            Input::Message(message) => self.message(message, facts, &mut actions),
            Input::Ended(_) => self.down(facts, &mut actions),
            Input::Engine(event) => self.event(event, &mut actions),
            Input::Inspected(inspected) => self.inspected(inspected, &mut actions),
            Input::Stopped => self.stopped(facts, &mut actions),
            Input::Tick => {}
        }
        self.settle(facts, &mut actions);
        actions
    }

    /// The first message of a session: `base` says who the worker is, `held` what it holds.
    pub(crate) fn register(&mut self, base: &Register, held: Vec<TaskReport>) -> Register {
        self.outbox.registering(&held);
        Register {
            cluster_id: self.fence.cluster_id.clone(),
            generation: self.fence.generation,
            highest_epoch: self.fence.epoch(),
            tasks: held,
            ..base.clone()
        }
    }

    /// The worker is shutting down: orders are dropped, nothing is reported and nothing dialled.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.deferred.clear();
    }

    /// Whether a leader has registered this worker.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Numbers for the metrics page.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Reports that nobody was told.
    pub(crate) fn reports_dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    fn view(&mut self, view: LeaderView, facts: Facts, actions: &mut Vec<Action>) {
        let Some(epoch) = view.epoch else {
            return;
        };
        match self.fence.meet(&view.cluster_id, &epoch) {
            Meeting::SameReign | Meeting::NewReign => {}
            Meeting::Stale => return,
            Meeting::NewGeneration => self.leave(epoch.generation, actions),
            Meeting::Foreign => {
                let found = Target {
                    cluster_id: view.cluster_id,
                    epoch,
                    api: view.api,
                };
                self.foreign = Some((found, facts.now));
                return;
            }
        }
        let found = Target {
            cluster_id: view.cluster_id,
            epoch,
            api: view.api,
        };
        if !self
            .target
            .as_ref()
            .is_some_and(|held| outranks(held, &found))
        {
            self.follow(found, facts, actions);
        }
    }

    fn follow(&mut self, target: Target, facts: Facts, actions: &mut Vec<Action>) {
        self.target = Some(target);
        self.backoff.reset();
        self.hang_up(facts.now, actions);
    }

    fn message(&mut self, message: LeaderMessage, facts: Facts, actions: &mut Vec<Action>) {
        let (Some(epoch), Some(order)) = (message.epoch, message.message) else {
            self.counters.fenced += 1;
            return;
        };
        match (&mut self.link, order) {
            (Link::Down { .. }, _) => {}
            (Link::Opening { .. }, Order::Registered(answer)) => {
                self.registered(epoch, answer, facts, actions);
            }
            (_, Order::Refused(refused)) => {
                if refused.stop_tasks && self.fence.meet("", &epoch) != Meeting::Stale {
                    self.leave(epoch.generation, actions);
                }
                self.down(facts, actions);
            }
            (Link::Opening { .. }, _) => self.counters.fenced += 1,
            (Link::Up { epoch: reign, .. }, order) if epoch.rank() == reign.rank() => {
                self.order(order, facts, actions);
            }
            (Link::Up { epoch: reign, .. }, _) if epoch.rank() > reign.rank() => {
                self.hang_up(facts.now, actions);
            }
            (Link::Up { .. }, _) => self.counters.fenced += 1,
        }
    }

    fn registered(
        &mut self,
        epoch: Epoch,
        answer: Registered,
        facts: Facts,
        actions: &mut Vec<Action>,
    ) {
        match self.fence.meet(&answer.cluster_id, &epoch) {
            Meeting::SameReign | Meeting::NewReign => {}
            Meeting::Stale => {
                self.counters.fenced += 1;
                return self.down(facts, actions);
            }
            Meeting::NewGeneration | Meeting::Foreign => {
                self.leave(epoch.generation, actions);
                return self.hang_up(facts.now, actions);
            }
        }
        if self.fence.raise(&answer.cluster_id, &epoch) {
            actions.push(Action::Remember(self.fence.clone()));
        }
        // Also when the reign was met by an earlier process of this worker: the engine is new, and the
        // other workers refuse channels to those who don't name the present epoch.
        actions.push(Action::ObserveEpoch(epoch));
        let lease = millis_or(answer.lease_ms, LEASE_DEFAULT);
        let every = millis_or(answer.heartbeat_ms, HEARTBEAT_DEFAULT);
        let heartbeats = Heartbeats::start(every, lease, facts.now);
        self.counters.registrations += 1;
        self.foreign = None;
        self.link = Link::Up {
            epoch,
            lease,
            heartbeats,
        };
        if !self.closing {
            let waiting = self.outbox.registered(epoch.rank());
            actions.extend(waiting.into_iter().map(Action::Send));
        }
    }

    fn order(&mut self, order: Order, facts: Facts, actions: &mut Vec<Action>) {
        match order {
            Order::Heartbeat(answer) => self.answered(answer.sequence, facts, actions),
            Order::Registered(_) | Order::Refused(_) => {}
            _ if self.closing => {}
            Order::Inspect(_) => actions.push(Action::Order(order)),
            Order::Forget(ref forget) => {
                self.outbox.forget(&forget.attempts);
                actions.push(Action::Order(order));
            }
            _ if self.deferred.len() == DEFERRED_MAX => self.down(facts, actions),
            _ => self.deferred.push_back(order),
        }
    }

    fn answered(&mut self, sequence: u64, facts: Facts, actions: &mut Vec<Action>) {
        let Link::Up {
            lease, heartbeats, ..
        } = &mut self.link
        else {
            return;
        };
        if let Some(sent_at) = heartbeats.answered(sequence, facts.now) {
            actions.push(Action::Grant {
                sent_at,
                length: *lease,
            });
            self.counters.heartbeats_answered += 1;
            self.backoff.reset();
        }
    }

    fn event(&mut self, event: EngineEvent, actions: &mut Vec<Action>) {
        if self.closing || self.leaving.is_some() {
            return;
        }
        actions.extend(self.outbox.event(event).map(Action::Send));
    }

    fn inspected(&mut self, inspected: PathsInspected, actions: &mut Vec<Action>) {
        if self.is_registered() && !self.closing {
            actions.push(Action::Send(Report::PathsInspected(inspected)));
        }
    }

    /// Everything has to stop before this worker registers anywhere again.
    fn leave(&mut self, generation: u64, actions: &mut Vec<Action>) {
        let wanted = self.leaving.map_or(generation, |held| held.max(generation));
        self.leaving = Some(wanted);
        self.deferred.clear();
        self.stop_all("another generation or cluster leads", actions);
    }

    fn stop_all(&mut self, why: &'static str, actions: &mut Vec<Action>) {
        if !self.stopping {
            self.stopping = true;
            actions.push(Action::StopAll(why));
        }
    }

    fn stopped(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        self.stopping = false;
        if facts.lease_lapsed || self.leaving.is_some() {
            actions.push(Action::ClearLease);
        }
        if let Some(generation) = self.leaving.take() {
            self.fence.leave(generation);
            self.outbox.clear();
            actions.push(Action::Remember(self.fence.clone()));
            actions.push(Action::ForgetAll);
        }
    }

    /// The session broke or was refused: dial again after a pause.
    fn down(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        let retry_at = facts.now + self.backoff.next(facts.chance);
        self.hang_up(retry_at, actions);
    }

    fn hang_up(&mut self, retry_at: Duration, actions: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.link, Link::Down { retry_at });
        if matches!(before, Link::Down { .. }) {
            return;
        }
        self.deferred.clear();
        self.outbox.closed();
        actions.push(Action::Disconnect);
        if matches!(before, Link::Up { .. }) {
            actions.push(Action::AbortAlignments);
        }
    }

    /// What follows from the state alone.
    fn settle(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        if facts.lease_lapsed && !self.stopping && !actions.contains(&Action::ClearLease) {
            self.counters.leases_lost += 1;
            self.stop_all("the lease is over", actions);
        }
        self.consider_foreign(facts, actions);
        match &mut self.link {
            Link::Down { retry_at } if facts.now >= *retry_at => self.dial(facts, actions),
            Link::Opening { until } if facts.now >= *until => self.down(facts, actions),
            Link::Up { heartbeats, .. } if heartbeats.silent(facts.now) => {
                self.down(facts, actions);
            }
            Link::Up { heartbeats, .. } => {
                actions.extend(heartbeats.due(facts.now).map(Action::Heartbeat));
            }
            Link::Down { .. } | Link::Opening { .. } => {}
        }
        self.obey(facts, actions);
    }

    /// Another cluster is joined only after this one has been silent for a while.
    fn consider_foreign(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        let waited = |since: &Duration| facts.now.saturating_sub(*since) >= FOREIGN_AFTER;
        let alone = !self.is_registered() && !facts.lease_holds && !self.closing;
        if !alone
            || !self
                .foreign
                .as_ref()
                .is_some_and(|(_, since)| waited(since))
        {
            return;
        }
        if let Some((target, _)) = self.foreign.take() {
            self.leave(target.epoch.generation, actions);
            self.follow(target, facts, actions);
        }
    }

    fn dial(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        if self.closing || self.leaving.is_some() {
            return;
        }
        if let Some(target) = &self.target {
            actions.push(Action::Connect(target.clone()));
            self.counters.sessions += 1;
            self.link = Link::Opening {
                until: facts.now + REGISTER_WITHIN,
            };
        }
    }

    /// Orders are obeyed in the order in which they came, and only while the lease holds.
    fn obey(&mut self, facts: Facts, actions: &mut Vec<Action>) {
        if !facts.lease_holds || self.leaving.is_some() {
            return;
        }
        for order in self.deferred.drain(..) {
            if let Order::Trigger(trigger) = &order {
                self.outbox.ordered(trigger);
            }
            actions.push(Action::Order(order));
        }
    }
}

/// Whether the leader already followed stays the one to follow. Epochs of different clusters of one
/// generation can't be compared: the caller decided that the new one is to be followed.
fn outranks(held: &Target, found: &Target) -> bool {
    let (before, now) = (held.epoch.rank(), found.epoch.rank());
    let foreign = held.cluster_id != found.cluster_id
        && !held.cluster_id.is_empty()
        && !found.cluster_id.is_empty();
    if foreign && before.0 == now.0 {
        return false;
    }
    before > now || (before == now && held.api == found.api)
}

fn millis_or(value: u64, default: Duration) -> Duration {
    if value == 0 {
        default
    } else {
        Duration::from_millis(value)
    }
}

#[cfg(test)]
#[path = "session_plan_test.rs"]
mod tests;
