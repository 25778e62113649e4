//! Noticing that nothing moves: a write to the log, a vote or a snapshot that hangs, entries that are not
//! applied.
//!
//! A leader in that state lets another replica lead, if there is one: its workers and clients need one that
//! moves. A follower does nothing, since a disk that all replicas share would take all of them at once. Any
//! process ends after half a minute, so that whoever supervises it can start it anew. The watching thread
//! does no IO, and time in which this process was frozen doesn't count.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::log::RaftLog;
use crate::raft::{RaftHandle, now};
use crate::snapshot::Snapshots;
use crate::transfer::Transfer;
use crate::view::Views;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// A write outstanding for so long means a disk that hangs; entries unapplied for so long, a stuck machine.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// So long without progress can't be waited out.
const HOPELESS_AFTER: Duration = Duration::from_secs(30);
/// Telling why must not hold up the end: the text may go to the disk that hangs.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is seen in one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sight {
    /// When the oldest write to the log was issued that isn't durable.
    outstanding: Option<Instant>,
    /// When the disk was asked for the step of writing a snapshot that hasn't ended.
    snapshot: Option<Instant>,
    committed: Option<u64>,
    applied: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Moves,
    Stalled,
    Hopeless,
}

/// How long the same thing has been seen. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    write: Option<(Instant, Duration)>,
    snapshot: Option<(Instant, Duration)>,
    apply: Option<(Option<u64>, Duration)>,
}

impl Watch {
    /// Takes a look in; `passed` is the time since the last one.
    fn look(&mut self, sight: &Sight, passed: Duration) -> Verdict {
        // After a freeze one look counts like any other: nothing was seen to hang meanwhile.
        let passed = passed.min(EVERY * 2);
        self.write = sight.outstanding.map(|at| longer(self.write, at, passed));
        self.snapshot = sight.snapshot.map(|at| longer(self.snapshot, at, passed));
        let behind = sight.committed > sight.applied;
        self.apply = behind.then(|| longer(self.apply, sight.applied, passed));
        let write = self.write.map(|(_, time)| time);
        let snapshot = self.snapshot.map(|(_, time)| time);
        let apply = self.apply.map(|(_, time)| time);
        match write.max(snapshot).max(apply).unwrap_or_default() {
            time if time >= HOPELESS_AFTER => Verdict::Hopeless,
            time if time >= STALLED_AFTER => Verdict::Stalled,
            _ => Verdict::Moves,
        }
    }
}

/// The time for which `what` has been seen, if it is what was seen before; else it begins now.
fn longer<T: PartialEq>(before: Option<(T, Duration)>, what: T, passed: Duration) -> (T, Duration) {
    match before {
        Some((same, time)) if same == what => (what, time + passed),
        Some(_) | None => (what, Duration::ZERO),
    }
}

/// Whether nothing moves; ends its thread when dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stalled: watch::Receiver<bool>,
    alive: Mutex<Option<Sender<()>>>,
}

impl Watchdog {
    /// Starts the thread.
    pub(crate) fn start(
        log: RaftLog,
        snapshots: Snapshots,
        raft: &RaftHandle,
        views: Views,
    ) -> std::io::Result<Self> {
        let metrics = raft.data_metrics();
        let sight = move || {
            let seen = now(&metrics);
            Sight {
                outstanding: log.outstanding_since(),
                snapshot: snapshots.outstanding_since(),
                committed: seen.local_committed.map(|id| id.index),
                applied: views.borrow().standing.applied.map(|id| id.index),
            }
        };
        let (stalled, shown) = watch::channel(false);
        let (alive, ended) = channel();
        std::thread::Builder::new()
            .name("regent-watchdog".to_owned())
            .spawn(move || watch(sight, &stalled, &ended))?;
        Ok(Self {
            stalled: shown,
            alive: Mutex::new(Some(alive)),
        })
    }

    /// Looks no more: what was stopped on purpose doesn't move either.
    pub(crate) fn stop(&self) {
        self.alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// True while nothing moves.
    pub(crate) fn stalled(&self) -> watch::Receiver<bool> {
        self.stalled.clone()
    }
}

fn watch(sight: impl Fn() -> Sight, stalled: &watch::Sender<bool>, ended: &Receiver<()>) {
    let mut watch = Watch::default();
    let mut looked = Instant::now();
    while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let verdict = watch.look(&sight(), looked.elapsed());
        looked = Instant::now();
        if verdict == Verdict::Hopeless {
            give_up();
        }
        let is = verdict == Verdict::Stalled;
        stalled.send_if_modified(|was| std::mem::replace(was, is) != is);
    }
}

/// Says why, if that is possible, and ends the process.
fn give_up() {
    let (said, waits) = channel();
    std::thread::spawn(move || {
        tracing::error!(
            "no write to the log or of a snapshot has ended, or no entry was applied for {HOPELESS_AFTER:?}: ending this \
             process; look at its disk"
        );
        // Nobody waits for it once the time is over.
        said.send(()).ok();
    });
    waits.recv_timeout(LAST_WORDS).ok();
    std::process::abort();
}

/// Lets somebody else lead whenever nothing moves here. Runs until the watchdog is gone.
pub(crate) async fn step_aside(
    mut stalled: watch::Receiver<bool>,
    raft: RaftHandle,
    transfer: Transfer,
) {
    while stalled.wait_for(|stalled| *stalled).await.is_ok() {
        tracing::warn!(
            "writes hang or entries are not applied; this replica doesn't lead meanwhile"
        );
        raft.runtime_config().heartbeat(false);
        transfer.give_away().await;
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        tracing::info!("writes end again");
        raft.runtime_config().heartbeat(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(since: Instant) -> Sight {
        Sight {
            outstanding: Some(since),
            ..Sight::default()
        }
    }

    fn looks(watch: &mut Watch, sight: &Sight, times: u32) -> Verdict {
        (0..times).map(|_| watch.look(sight, EVERY)).last().unwrap()
    }

    #[test]
    fn a_write_that_hangs_for_a_second_is_a_stall_and_half_a_minute_is_the_end() {
        let (mut watch, began) = (Watch::default(), Instant::now());
        assert_eq!(looks(&mut watch, &writing(began), 10), Verdict::Moves);
        assert_eq!(looks(&mut watch, &writing(began), 1), Verdict::Stalled);
        assert_eq!(looks(&mut watch, &writing(began), 289), Verdict::Stalled);
        assert_eq!(looks(&mut watch, &writing(began), 1), Verdict::Hopeless);
    }

    #[test]
    fn a_snapshot_whose_write_hangs_is_a_stall_and_one_that_goes_on_is_not() {
        let (mut watch, began) = (Watch::default(), Instant::now());
        let at = |snapshot| Sight {
            snapshot: Some(snapshot),
            ..Sight::default()
        };
        for n in 0..1_000 {
            assert_eq!(watch.look(&at(began + EVERY * n), EVERY), Verdict::Moves);
        }
        assert_eq!(looks(&mut watch, &at(began), 11), Verdict::Stalled);
        assert_eq!(looks(&mut watch, &at(began), 290), Verdict::Hopeless);
    }

    #[test]
    fn many_writes_one_after_the_other_are_no_stall() {
        let (mut watch, began) = (Watch::default(), Instant::now());
        for n in 0..1_000 {
            let sight = writing(began + EVERY * n);
            assert_eq!(watch.look(&sight, EVERY), Verdict::Moves);
        }
        assert_eq!(looks(&mut watch, &writing(began), 11), Verdict::Stalled);
        assert_eq!(watch.look(&Sight::default(), EVERY), Verdict::Moves);
    }

    #[test]
    fn entries_that_are_not_applied_count_and_slow_progress_does_not() {
        let mut watch = Watch::default();
        let behind = |applied| Sight {
            committed: Some(1_000),
            applied: Some(applied),
            ..Sight::default()
        };
        for applied in 0..500 {
            assert_eq!(watch.look(&behind(applied), EVERY), Verdict::Moves);
        }
        assert_eq!(looks(&mut watch, &behind(500), 11), Verdict::Stalled);
        assert_eq!(looks(&mut watch, &behind(1_000), 400), Verdict::Moves);
    }

    #[test]
    fn time_in_which_this_process_was_frozen_does_not_count() {
        let (mut watch, began) = (Watch::default(), Instant::now());
        looks(&mut watch, &writing(began), 2);
        let thawed = watch.look(&writing(began), Duration::from_secs(3_600));
        assert_eq!(thawed, Verdict::Moves);
    }
}
