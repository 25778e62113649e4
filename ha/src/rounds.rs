//! One answer for many callers: whoever asks while a round is under way shares the next one.
//!
//! Read indexes and quorum confirmations need a round *begun after* the call. A caller therefore never
//! joins the round in flight; all that arrive during it share the one after. What a round does is given
//! by its user; this module only batches.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// Callers that may wait at once; more wait for a place.
const WAITING_MAX: usize = 16 * 1024;

/// The door to a batching task.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    sender: mpsc::Sender<oneshot::Sender<T>>,
}

impl<T> Clone for Rounds<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Spawns the batching task on the current runtime. It ends when the last door is dropped.
    pub(crate) fn spawn<F, Fut>(round: F) -> Self
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(receiver, round));
        Self { sender }
    }

    /// The answer of a round begun after this call; `None` if the task is gone.
    pub(crate) async fn next(&self) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.sender.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

async fn serve<T, F, Fut>(mut callers: mpsc::Receiver<oneshot::Sender<T>>, mut round: F)
where
    T: Clone,
    F: FnMut() -> Fut,
    Fut: Future<Output = T>,
{
    while let Some(first) = callers.recv().await {
        let mut sharing = vec![first];
        while let Ok(caller) = callers.try_recv() {
            sharing.push(caller);
        }
        let answer = round().await;
        for caller in sharing {
            // A caller that gave up meanwhile needs no answer.
            caller.send(answer.clone()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn callers_during_a_round_share_the_next_one() {
        let begun = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let (counter, door) = (begun.clone(), gate.clone());
        let rounds = Rounds::spawn(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let door = door.clone();
            async move {
                door.acquire().await.expect("never closed").forget();
                number
            }
        });
        let first = tokio::spawn({
            let rounds = rounds.clone();
            async move { rounds.next().await }
        });
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..50)
            .map(|_| {
                let rounds = rounds.clone();
                tokio::spawn(async move { rounds.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Some(1));
        for other in others {
            assert_eq!(other.await.unwrap(), Some(2));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
