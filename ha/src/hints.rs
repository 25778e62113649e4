//! Hints to whoever wants to be woken: bounded, merged, never waited for. Of what was applied ([`Effect`]s, from
//! here), and of what else a program sees happen.
//!
//! Losing a hint costs latency only, so a slow listener never holds anybody up: its hints merge, and
//! beyond a bound they become "look at everything".

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use regent_state::Effect;
use tokio::sync::Notify;

/// Different hints that one listener may have waiting.
const WAITING_MAX: usize = 4_096;

/// What a listener is woken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints<T = Effect> {
    /// The merged hints, in order.
    pub about: BTreeSet<T>,
    /// Hints were dropped, or everything is concerned: look at everything.
    pub overflowed: bool,
}

impl<T> Default for Hints<T> {
    fn default() -> Self {
        Self {
            about: BTreeSet::new(),
            overflowed: false,
        }
    }
}

impl<T> Hints<T> {
    /// There is nothing to look at.
    pub fn is_empty(&self) -> bool {
        !self.overflowed && self.about.is_empty()
    }
}

#[derive(Debug)]
struct Mailbox<T> {
    hints: Mutex<Hints<T>>,
    wake: Notify,
}

impl<T: Ord + Copy> Mailbox<T> {
    // A panic while the lock was held left plain data behind that is still consistent.
    fn lock(&self) -> MutexGuard<'_, Hints<T>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, about: &[T]) {
        let mut hints = self.lock();
        for one in about {
            if hints.about.len() >= WAITING_MAX {
                hints.overflowed = true;
                break;
            }
            hints.about.insert(*one);
        }
        drop(hints);
        self.wake.notify_one();
    }
}

/// The announcing end. Clones share the listeners.
#[derive(Debug)]
pub struct Announcer<T> {
    mailboxes: Arc<Mutex<Vec<Weak<Mailbox<T>>>>>,
}

/// Announces what was applied.
pub(crate) type Effects = Announcer<Effect>;

impl<T> Clone for Announcer<T> {
    fn clone(&self) -> Self {
        Self {
            mailboxes: Arc::clone(&self.mailboxes),
        }
    }
}

impl<T> Default for Announcer<T> {
    fn default() -> Self {
        Self {
            mailboxes: Arc::default(),
        }
    }
}

impl<T: Ord + Copy> Announcer<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Mailbox<T>>>> {
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes every listener; forgets those that are gone.
    pub fn send(&self, about: &[T]) {
        if about.is_empty() {
            return;
        }
        self.lock().retain(|mailbox| match mailbox.upgrade() {
            Some(mailbox) => {
                mailbox.put(about);
                true
            }
            None => false,
        });
    }

    /// Wakes every listener to look at everything.
    pub fn send_everything(&self) {
        for mailbox in self.lock().iter().filter_map(Weak::upgrade) {
            mailbox.lock().overflowed = true;
            mailbox.wake.notify_one();
        }
    }

    /// A new listener; it hears what is announced from now on.
    pub fn subscribe(&self) -> Listener<T> {
        let mailbox = Arc::new(Mailbox {
            hints: Mutex::default(),
            wake: Notify::new(),
        });
        self.lock().push(Arc::downgrade(&mailbox));
        Listener { mailbox }
    }
}

/// A listener's end.
#[derive(Debug)]
pub struct Listener<T> {
    mailbox: Arc<Mailbox<T>>,
}

/// Hears what was applied.
pub type EffectHints = Listener<Effect>;

impl<T: Ord + Copy> Listener<T> {
    /// Waits until there is a hint, then takes all of them. Cancel-safe.
    pub async fn next(&mut self) -> Hints<T> {
        loop {
            let hints = std::mem::take(&mut *self.mailbox.lock());
            if !hints.is_empty() {
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
        let effects = Announcer::default();
        let mut hints = effects.subscribe();
        effects.send(&[Effect::Cleanup, job(1)]);
        effects.send(&[Effect::Cleanup]);
        let taken = hints.next().await;
        assert_eq!(taken.about, BTreeSet::from([job(1), Effect::Cleanup]));
        assert!(!taken.overflowed);
    }

    #[tokio::test]
    async fn each_listener_has_its_own_and_may_be_told_of_everything() {
        let effects = Announcer::default();
        let (mut one, mut other) = (effects.subscribe(), effects.subscribe());
        effects.send(&[job(1)]);
        assert_eq!(one.next().await.about, BTreeSet::from([job(1)]));
        effects.send_everything();
        assert!(one.next().await.overflowed);
        let both = other.next().await;
        assert_eq!(
            (both.about, both.overflowed),
            (BTreeSet::from([job(1)]), true)
        );
    }

    #[tokio::test]
    async fn too_many_hints_become_look_at_everything() {
        let effects = Announcer::default();
        let mut hints = effects.subscribe();
        for number in 0..5_000 {
            effects.send(&[job(number)]);
        }
        let taken = hints.next().await;
        assert_eq!(taken.about.len(), WAITING_MAX);
        assert!(taken.overflowed);
    }

    #[tokio::test]
    async fn listeners_that_are_gone_are_forgotten() {
        let effects = Announcer::default();
        drop(effects.subscribe());
        effects.send(&[Effect::Cleanup]);
        assert!(effects.mailboxes.lock().unwrap().is_empty());
    }
}
