//! The words of the session's machine: what may happen to it, what is true at that moment, and what
//! it may ask for. What follows from what is [`super::session_plan`]'s.

use std::time::Duration;

use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{Epoch, LeaderMessage, LeaderView, PathsInspected};

use super::fence::Fence;
use crate::engine::EngineEvent;

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A replica says who leads.
    View(LeaderView),
    /// The leader sent this in the present session.
    Message(LeaderMessage),
    /// The present session could not be opened, or ended.
    Ended(String),
    /// A task or checkpoint made progress.
    Engine(EngineEvent),
    /// Paths were looked at for the present session.
    Inspected(PathsInspected),
    /// Everything that [`Action::StopAll`] stopped has ended.
    Stopped,
    /// Time went by.
    Tick,
}

/// What is true at that moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Boot time.
    pub(crate) now: Duration,
    /// The worker may act.
    pub(crate) lease_holds: bool,
    /// The lease ran out and what ran under it may not have ended.
    pub(crate) lease_lapsed: bool,
    /// Chance for the jitter, 0..1.
    pub(crate) chance: f64,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Open a session there; its first message is [`super::session_plan::SessionPlan::register`]'s.
    Connect(Target),
    /// Close the present session.
    Disconnect,
    /// Record this durably before doing anything that follows.
    Remember(Fence),
    /// The highest epoch rose: data channels of lower ones are refused.
    ObserveEpoch(Epoch),
    /// Stop every task, then answer with [`Input::Stopped`].
    StopAll(&'static str),
    /// Let go of every ended task.
    ForgetAll,
    /// Cancel alignments in progress.
    AbortAlignments,
    /// The lease counts from `sent_at` (boot time).
    Grant {
        /// When the answered heartbeat was sent.
        sent_at: Duration,
        /// Length of the lease.
        length: Duration,
    },
    /// Nothing runs: the lease may be granted again.
    ClearLease,
    /// Send a heartbeat with the tasks' numbers.
    Heartbeat(u64),
    /// Send this to the leader.
    Send(Report),
    /// Obey.
    Order(Order),
}

/// A leader to follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// As the replica named it; may be empty.
    pub(crate) cluster_id: String,
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// Client address.
    pub(crate) api: String,
}

/// Numbers for the metrics page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Orders and claims of deposed leaders that were dropped.
    pub(crate) fenced: u64,
    /// Sessions opened.
    pub(crate) sessions: u64,
    /// Registrations that a leader answered.
    pub(crate) registrations: u64,
    /// Heartbeats answered.
    pub(crate) heartbeats_answered: u64,
    /// Times the lease ran out.
    pub(crate) leases_lost: u64,
}
