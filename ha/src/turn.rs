//! One handover at a time, and writes that wait for it.
//!
//! Whoever asks for what is under way already waits for the same end. Both the place and the gate are given back by
//! dropping a guard: however a handover ends, also by a panic, no write waits for it any longer and the next one can
//! begin. What a handover does is `transfer.rs`'s business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::TransferError;
use crate::transfer::{To, Transferred};

/// How a handover ended.
pub(crate) type Ended = Result<Transferred, TransferError>;

/// Where writes wait while a handover needs them to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// Returns at once, or when no handover holds writes any more; after `limit` in any case.
    pub(crate) async fn settled(&self, limit: Duration) {
        if !*self.0.borrow() {
            return;
        }
        let mut held = self.0.subscribe();
        // Timing out only means that the caller is told what is known by now.
        let _ended = timeout(limit, held.wait_for(|held| !held)).await;
    }

    /// From now on writes wait, until the answer is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.0.send_replace(true);
        Held(self.clone())
    }
}

/// While it lives, writes wait.
#[derive(Debug)]
pub(crate) struct Held(Gate);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

#[derive(Clone, Debug)]
struct UnderWay {
    to: To,
    ended: watch::Receiver<Option<Ended>>,
}

/// What asking for a handover comes to.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It is the caller's to carry out.
    Begun(Turn),
    /// The same is under way: its end will be shown here.
    Joined(watch::Receiver<Option<Ended>>),
}

/// Room for one handover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<Mutex<Option<UnderWay>>>);

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place, or joins what is under way if that leads to what is asked for.
    pub(crate) fn enter(&self, to: To) -> Result<Entry, TransferError> {
        let mut under_way = self.lock();
        match &*under_way {
            Some(running) if to == running.to || to == To::Anybody => {
                Ok(Entry::Joined(running.ended.clone()))
            }
            Some(_) => Err(TransferError::Refused(
                "another handover is under way; see who leads after it (regent leader show) and repeat this one"
                    .to_owned(),
            )),
            None => {
                let (told, ended) = watch::channel(None);
                *under_way = Some(UnderWay { to, ended });
                Ok(Entry::Begun(Turn {
                    place: self.clone(),
                    told,
                }))
            }
        }
    }
}

/// The place, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    place: Place,
    told: watch::Sender<Option<Ended>>,
}

impl Turn {
    /// Shows how it ends.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Ended>> {
        self.told.subscribe()
    }

    /// Frees the place and tells all who wait, in this order: who was told can begin the next one.
    pub(crate) fn end(self, ended: Ended) {
        let told = self.told.clone();
        drop(self);
        told.send_replace(Some(ended));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place.lock().take();
    }
}

/// Waits for the end of a handover that somebody carries out.
pub(crate) async fn end_of(mut ended: watch::Receiver<Option<Ended>>) -> Ended {
    let told = ended.wait_for(Option::is_some).await;
    let told = told.ok().and_then(|ended| ended.clone());
    told.unwrap_or_else(|| {
        let text = "it was broken off, since this replica is stopping";
        Err(TransferError::Failed(text.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn begun(place: &Place, to: To) -> Turn {
        match place.enter(to) {
            Ok(Entry::Begun(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn writes_wait_while_they_are_held_and_no_longer() {
        let gate = Gate::default();
        assert!(gate.settled(LONG).now_or_never().is_some());
        let held = gate.hold();
        let waiting = gate.settled(LONG);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        waiting.await;
        assert!(gate.settled(LONG).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_same_request_joins_and_another_one_is_refused() {
        let place = Place::default();
        let turn = begun(&place, To::Node(3));
        let mut joined = Vec::new();
        for to in [To::Node(3), To::Anybody] {
            match place.enter(to) {
                Ok(Entry::Joined(ended)) => joined.push(ended),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            place.enter(To::Node(2)),
            Err(TransferError::Refused(_))
        ));
        let cause = TransferError::Refused("node 3 can't be reached".to_owned());
        turn.end(Err(cause.clone()));
        for ended in joined {
            assert_eq!(end_of(ended).await, Err(cause.clone()));
        }
        drop(begun(&place, To::Node(2)));
    }

    #[tokio::test]
    async fn a_handover_that_is_broken_off_leaves_room_for_the_next() {
        let place = Place::default();
        let turn = begun(&place, To::Node(3));
        let ended = turn.watch();
        drop(turn);
        assert!(matches!(end_of(ended).await, Err(TransferError::Failed(_))));
        drop(begun(&place, To::Anybody));
    }
}
