//! What this leader has seen of its workers: sessions, leases, reported tasks. Never what it wants.
//!
//! Pure: time comes in as the duration since this reign began. Sessions feed it (`hub.rs`), planners
//! read clones of it. A worker that has not spoken to *this* leader is not here at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1;
use regent_state::ids::WorkerRef;

use crate::wire::{AttemptRef, TaskId};

/// Time since this reign began, monotonic.
pub(crate) type Moment = Duration;

/// How a task stands by its worker's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Deploying,
    Running,
    Finished,
    Failed {
        cause: String,
        kind: String,
        at: Moment,
    },
    Canceled,
    /// It was told to end and doesn't; it may still act.
    Stuck {
        cause: String,
        at: Moment,
    },
}

impl Phase {
    /// Nothing of it runs any more. A finished task still holds its final state and its slot.
    pub(crate) fn ended(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Canceled)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::Canceled => "canceled",
            Self::Stuck { .. } => "stuck",
        }
    }
}

/// The tasks that a worker holds, by attempt.
pub(crate) type Tasks = BTreeMap<AttemptRef, BTreeMap<TaskId, Phase>>;

/// A worker that registered with this leader; its latest incarnation.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSeen {
    pub(crate) incarnation: u64,
    pub(crate) machine_id: String,
    pub(crate) data_dir: String,
    pub(crate) slots: u32,
    pub(crate) data_address: String,
    pub(crate) offers: Arc<[v1::OperatorOffer]>,
    /// Rises with each registration; says which session a late event belongs to.
    pub(crate) session: u64,
    /// When the session broke; `None` while it is open.
    pub(crate) broke_at: Option<Moment>,
    /// It said goodbye or was reported dead.
    pub(crate) dead: bool,
    pub(crate) last_heard: Moment,
    /// When its lease was last prolonged, at the latest.
    pub(crate) lease_from: Moment,
    pub(crate) tasks: Arc<Tasks>,
}

impl WorkerSeen {
    /// The session is open.
    pub(crate) fn present(&self) -> bool {
        self.broke_at.is_none() && !self.dead
    }

    /// The versions that it has of a source, operator or sink.
    pub(crate) fn versions(&self, kind: &str, name: &str) -> impl Iterator<Item = u32> {
        let offers = self.offers.iter();
        let named = offers.filter(move |offer| offer.kind == kind && offer.name == name);
        named.map(|offer| offer.version)
    }
}

/// An incarnation that another has taken the place of.
#[derive(Debug, Clone)]
struct Former {
    lease_from: Moment,
    dead: bool,
}

/// How a worker process stands, as seen by this leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Its session is open.
    Present,
    /// Its session with this leader broke then.
    Broken { since: Moment },
    /// It never spoke to this leader.
    Unheard,
    /// Another incarnation of that worker has registered, so this one's tasks are gone or orphaned.
    Superseded,
    /// Proved dead.
    Dead,
}

/// Everything that sessions told this leader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) workers: BTreeMap<String, WorkerSeen>,
    former: BTreeMap<WorkerRef, Former>,
    /// Deaths reported of incarnations that never registered here.
    reported: BTreeMap<WorkerRef, ()>,
}

/// Former incarnations remembered, and deaths reported: more than a cluster can use.
const REMEMBERED_MAX: usize = 4_096;

impl Seen {
    pub(crate) fn worker(&self, of: &WorkerRef) -> Option<&WorkerSeen> {
        self.workers
            .get(&of.worker)
            .filter(|seen| seen.incarnation == of.incarnation)
    }

    /// How this very incarnation stands.
    pub(crate) fn presence(&self, of: &WorkerRef) -> Presence {
        if self.proved_dead(of) {
            return Presence::Dead;
        }
        if let Some(seen) = self.worker(of) {
            return match seen.broke_at {
                None => Presence::Present,
                Some(since) => Presence::Broken { since },
            };
        }
        match self.workers.contains_key(&of.worker) {
            true => Presence::Superseded,
            false => Presence::Unheard,
        }
    }

    /// Its last effect is proved to be past.
    pub(crate) fn proved_dead(&self, of: &WorkerRef) -> bool {
        self.worker(of).is_some_and(|seen| seen.dead)
            || self.former.get(of).is_some_and(|former| former.dead)
            || self.reported.contains_key(of)
    }

    /// From when on it can't act any more, whether it lives or not. A new leader takes every lease as
    /// granted at its own election, so an unknown worker's lease counts from the reign's begin.
    pub(crate) fn lease_over_at(&self, of: &WorkerRef, lease: Duration) -> Moment {
        let known = self.worker(of).map(|seen| seen.lease_from);
        let former = self.former.get(of).map(|former| former.lease_from);
        let from = known.or(former).unwrap_or(Moment::ZERO);
        from + lease + lease / 10
    }

    /// Proof, or the lease and a tenth are over without a session.
    pub(crate) fn cannot_act(&self, of: &WorkerRef, now: Moment, lease: Duration) -> bool {
        match self.presence(of) {
            Presence::Dead => true,
            Presence::Present => false,
            Presence::Broken { .. } | Presence::Unheard | Presence::Superseded => {
                now >= self.lease_over_at(of, lease)
            }
        }
    }

    /// The tasks of an attempt that this incarnation reports.
    pub(crate) fn tasks_of(
        &self,
        of: &WorkerRef,
        attempt: &AttemptRef,
    ) -> Option<&BTreeMap<TaskId, Phase>> {
        self.worker(of)?.tasks.get(attempt)
    }

    /// Takes a registration in. The caller has checked that it isn't of a lower incarnation.
    pub(crate) fn register(&mut self, worker: String, new: WorkerSeen) {
        let old = self.workers.remove(&worker);
        if let Some(old) = old.filter(|old| old.incarnation != new.incarnation) {
            self.step_aside(worker.clone(), &old, &new);
        }
        self.workers.insert(worker, new);
    }

    /// A higher incarnation that holds the lock of the same data directory proves the lower one dead.
    fn step_aside(&mut self, worker: String, old: &WorkerSeen, new: &WorkerSeen) {
        let same_home = old.machine_id == new.machine_id && old.data_dir == new.data_dir;
        let former = Former {
            lease_from: old.lease_from,
            dead: old.dead || (same_home && !old.machine_id.is_empty()),
        };
        let name = WorkerRef {
            worker,
            incarnation: old.incarnation,
        };
        self.former.insert(name, former);
        if self.former.len() > REMEMBERED_MAX {
            let oldest = self
                .former
                .iter()
                .min_by_key(|(_, former)| former.lease_from);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| self.former.remove(&name));
        }
    }

    /// The session's stream ended.
    pub(crate) fn broke(&mut self, worker: &str, session: u64, now: Moment) {
        if let Some(seen) = self.session_mut(worker, session) {
            seen.broke_at.get_or_insert(now);
        }
    }

    /// Proof of death of this incarnation.
    pub(crate) fn died(&mut self, of: WorkerRef, now: Moment) {
        match self.workers.get_mut(&of.worker) {
            Some(seen) if seen.incarnation == of.incarnation => {
                seen.dead = true;
                seen.broke_at.get_or_insert(now);
            }
            _ => match self.former.get_mut(&of) {
                Some(former) => former.dead = true,
                None if self.reported.len() < REMEMBERED_MAX => {
                    self.reported.insert(of, ());
                }
                None => {}
            },
        }
    }

    /// The worker of that very session; `None` once another took its place.
    pub(crate) fn session_mut(&mut self, worker: &str, session: u64) -> Option<&mut WorkerSeen> {
        self.workers
            .get_mut(worker)
            .filter(|seen| seen.session == session)
    }

    /// Why this registration is not to be taken, if so: a lower incarnation, or another home under the
    /// same name while the first may still act.
    pub(crate) fn refuses(
        &self,
        worker: &str,
        new: &WorkerSeen,
        now: Moment,
        lease: Duration,
    ) -> Option<String> {
        let known = self.workers.get(worker)?;
        if new.incarnation < known.incarnation {
            return Some(format!(
                "incarnation {} has registered already",
                known.incarnation
            ));
        }
        let same_home = known.machine_id == new.machine_id && known.data_dir == new.data_dir;
        let of = WorkerRef {
            worker: worker.to_owned(),
            incarnation: new.incarnation,
        };
        let twin = new.incarnation == known.incarnation && !same_home;
        (twin && !self.cannot_act(&of, now, lease)).then(|| {
            let (machine, dir) = (&known.machine_id, &known.data_dir);
            format!("another process of that incarnation is registered from {dir} on {machine}")
        })
    }

    /// What a reader is shown at this moment: a session over which nothing came for `silence` counts as
    /// broken since then. It is whole again as soon as something comes.
    pub(crate) fn shown(&self, now: Moment, silence: Duration) -> Self {
        let mut shown = self.clone();
        for worker in shown.workers.values_mut().filter(|worker| worker.present()) {
            let silent_at = worker.last_heard + silence;
            if now >= silent_at {
                worker.broke_at = Some(silent_at);
            }
        }
        shown
    }

    /// Whether some worker with an open session holds tasks of this attempt.
    pub(crate) fn is_held(&self, attempt: &AttemptRef) -> bool {
        let mut present = self.workers.values().filter(|worker| worker.present());
        present.any(|worker| worker.tasks.contains_key(attempt))
    }
}

#[cfg(test)]
#[path = "seen_test.rs"]
mod tests;
