//! Hints from applying to whoever wants to be woken: bounded, merged, never waited for.
//!
//! Losing a hint costs latency only, so a slow subscriber never holds up applying: its hints merge, and
//! beyond a bound they become "look at everything".

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use regent_state::Effect;
use tokio::sync::Notify;

/// Different hints that one subscriber may have waiting.
const WAITING_MAX: usize = 4_096;

/// What a subscriber is woken with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The merged hints, in order.
    pub effects: BTreeSet<Effect>,
    /// Hints were dropped: look at everything.
    pub overflowed: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    hints: Mutex<Hints>,
    wake: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, effects: &[Effect]) {
        let mut hints = self.lock();
        for effect in effects {
            if hints.effects.len() >= WAITING_MAX {
                hints.overflowed = true;
                break;
            }
            hints.effects.insert(*effect);
        }
        drop(hints);
        self.wake.notify_one();
    }
}

/// Hands effects to all subscribers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    mailboxes: Arc<Mutex<Vec<Weak<Mailbox>>>>,
}

impl Effects {
    /// Wakes every subscriber; forgets those that are gone.
    pub(crate) fn send(&self, effects: &[Effect]) {
        if effects.is_empty() {
            return;
        }
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| match mailbox.upgrade() {
            Some(mailbox) => {
                mailbox.put(effects);
                true
            }
            None => false,
        });
    }

    /// Wakes every subscriber to look at everything.
    pub(crate) fn send_everything(&self) {
        let mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for mailbox in mailboxes.iter().filter_map(Weak::upgrade) {
            mailbox.lock().overflowed = true;
            mailbox.wake.notify_one();
        }
    }

    /// A new subscriber; it sees hints from now on.
    pub(crate) fn subscribe(&self) -> EffectHints {
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&mailbox));
        EffectHints { mailbox }
    }
}

/// One subscriber's end.
#[derive(Debug)]
pub struct EffectHints {
    mailbox: Arc<Mailbox>,
}

impl EffectHints {
    /// Waits until there is a hint, then takes all of them. Cancel-safe.
    pub async fn next(&mut self) -> Hints {
        loop {
            let hints = std::mem::take(&mut *self.mailbox.lock());
            if hints.overflowed || !hints.effects.is_empty() {
                return hints;
            }
            self.mailbox.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_state::ids::JobId;

    fn job(number: u16) -> Effect {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Effect::Schedule(JobId(id))
    }

    #[tokio::test]
    async fn hints_merge_and_are_taken_together() {
        let effects = Effects::default();
        let mut hints = effects.subscribe();
        effects.send(&[Effect::Cleanup, job(1)]);
        effects.send(&[Effect::Cleanup]);
        let taken = hints.next().await;
        assert_eq!(taken.effects, BTreeSet::from([job(1), Effect::Cleanup]));
        assert!(!taken.overflowed);
    }

    #[tokio::test]
    async fn too_many_hints_become_look_at_everything() {
        let effects = Effects::default();
        let mut hints = effects.subscribe();
        for number in 0..5_000 {
            effects.send(&[job(number)]);
        }
        let taken = hints.next().await;
        assert_eq!(taken.effects.len(), WAITING_MAX);
        assert!(taken.overflowed);
    }

    #[tokio::test]
    async fn subscribers_that_are_gone_are_forgotten() {
        let effects = Effects::default();
        drop(effects.subscribe());
        effects.send(&[Effect::Cleanup]);
        assert!(effects.mailboxes.lock().unwrap().is_empty());
    }
}
