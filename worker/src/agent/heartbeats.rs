//! Which heartbeats of a session are unanswered, and when each was sent. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Heartbeats of one session. Times are boot time.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats {
    every: Duration,
    /// A leader that answers none for this long is taken for gone.
    patience: Duration,
    due: Duration,
    next_sequence: u64,
    unanswered: VecDeque<(u64, Duration)>,
    /// When the session began or the last answer came.
    heard: Duration,
}

impl Heartbeats {
    /// The first one is due at once.
    pub(crate) fn start(every: Duration, lease: Duration, now: Duration) -> Self {
        let every = every.clamp(Duration::from_millis(10), Duration::from_secs(60));
        Self {
            every,
            patience: (lease / 3).max(every * 2),
            due: now,
            next_sequence: 1,
            unanswered: VecDeque::new(),
            heard: now,
        }
    }

    /// The sequence number to send now, if one is due.
    pub(crate) fn due(&mut self, now: Duration) -> Option<u64> {
        if now < self.due {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.due = now + self.every;
        self.unanswered.push_back((sequence, now));
        Some(sequence)
    }

    /// When the answered heartbeat was sent; earlier ones count as answered too.
    pub(crate) fn answered(&mut self, sequence: u64, now: Duration) -> Option<Duration> {
        if sequence >= self.next_sequence {
            return None;
        }
        let mut sent_at = None;
        while let Some((number, sent)) = self.unanswered.front().copied() {
            if number > sequence {
                break;
            }
            self.unanswered.pop_front();
            sent_at = (number == sequence).then_some(sent);
        }
        if sent_at.is_some() {
            self.heard = now;
        }
        sent_at
    }

    /// Whether the leader has been silent for too long.
    pub(crate) fn silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) > self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn started() -> Heartbeats {
        Heartbeats::start(ms(1000), ms(9000), ms(5000))
    }

    #[test]
    fn the_first_is_due_at_once_and_then_each_interval() {
        let mut heartbeats = started();
        assert_eq!(heartbeats.due(ms(5000)), Some(1));
        assert_eq!(heartbeats.due(ms(5999)), None);
        assert_eq!(heartbeats.due(ms(6000)), Some(2));
    }

    #[test]
    fn an_answer_names_the_sending_time_of_its_own_heartbeat() {
        let mut heartbeats = started();
        for now in [5000, 6000, 7000] {
            heartbeats.due(ms(now));
        }
        assert_eq!(heartbeats.answered(2, ms(7100)), Some(ms(6000)));
        assert_eq!(heartbeats.answered(1, ms(7200)), None, "counted already");
        assert_eq!(heartbeats.answered(9, ms(7300)), None, "never sent");
    }

    #[test]
    fn silence_is_measured_from_the_last_answer() {
        let mut heartbeats = started();
        heartbeats.due(ms(5000));
        assert!(!heartbeats.silent(ms(8000)));
        assert!(heartbeats.silent(ms(8001)));
        heartbeats.answered(1, ms(6000));
        assert!(!heartbeats.silent(ms(9000)));
        assert!(heartbeats.silent(ms(9001)));
    }
}
