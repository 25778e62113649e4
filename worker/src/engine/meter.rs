//! Numbers of one task, written by the task and read by whoever asks. A few relaxed atomics for
//! each batch; nothing is locked.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use regent_protocol::v1::TaskMetrics;

/// What a task spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Activity {
    /// Waiting for input, for its rate, or for nothing any more.
    Idle = 0,
    /// At work.
    Busy = 1,
    /// Waiting for room downstream.
    Backpressured = 2,
}

const NO_WATERMARK: i64 = i64::MIN;

/// Counters and clocks of one task. One writer.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    records_in: AtomicU64,
    records_out: AtomicU64,
    bytes_out: AtomicU64,
    skipped: AtomicU64,
    late: AtomicU64,
    watermark_us: AtomicI64,
    /// Nanoseconds since `began` of the latest input; 0 before the first.
    input_at: AtomicU64,
    /// The longest wait between two inputs since a reader came last, in nanoseconds.
    input_gap: AtomicU64,
    /// Of the latest checkpoint that was acknowledged: id, bytes, microseconds.
    checkpoint: [AtomicU64; 3],
    activity: AtomicU8,
    /// Nanoseconds since `began` at which the present activity began.
    since: AtomicU64,
    spent: [AtomicU64; 3],
}

/// What a reader saw last; ratios cover the time since then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    at: u64,
    spent: [u64; 3],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            late: AtomicU64::new(0),
            watermark_us: AtomicI64::new(NO_WATERMARK),
            input_at: AtomicU64::new(0),
            input_gap: AtomicU64::new(0),
            checkpoint: Default::default(),
            activity: AtomicU8::new(Activity::Idle as u8),
            since: AtomicU64::new(0),
            spent: Default::default(),
        }
    }
}

impl Meter {
    pub(crate) fn input(&self, rows: usize) {
        add(&self.records_in, rows as u64);
        let now = self.now().max(1);
        let before = self.input_at.load(Relaxed);
        self.input_at.store(now, Relaxed);
        if before > 0 {
            self.input_gap
                .fetch_max(now.saturating_sub(before), Relaxed);
        }
    }

    pub(crate) fn output(&self, rows: usize, bytes: u64) {
        add(&self.records_out, rows as u64);
        add(&self.bytes_out, bytes);
    }

    pub(crate) fn skipped(&self, rows: u64) {
        self.skipped.store(rows, Relaxed);
    }

    pub(crate) fn late(&self, rows: u64) {
        self.late.store(rows, Relaxed);
    }

    pub(crate) fn watermark(&self, micros: i64) {
        self.watermark_us.store(micros, Relaxed);
    }

    /// A checkpoint was acknowledged. Read field by field: a reader may see two of them mixed once.
    pub(crate) fn checkpoint(&self, id: u64, bytes: u64, took: Duration) {
        let figures = [id, bytes, took.as_micros() as u64];
        for (cell, figure) in self.checkpoint.iter().zip(figures) {
            cell.store(figure, Relaxed);
        }
    }

    /// The task turns to something else.
    pub(crate) fn enter(&self, activity: Activity) {
        let before = self.activity.load(Relaxed);
        if before == activity as u8 {
            return;
        }
        let now = self.now();
        let since = self.since.load(Relaxed);
        add(&self.spent[before as usize], now.saturating_sub(since));
        self.since.store(now, Relaxed);
        self.activity.store(activity as u8, Relaxed);
    }

    /// Fills in the numbers; the ratios are of the time since `seen`, which moves on.
    pub(crate) fn sample(&self, seen: &mut Seen, metrics: &mut TaskMetrics) {
        let now = self.now();
        let mut spent = [0; 3];
        for (total, counter) in spent.iter_mut().zip(&self.spent) {
            *total = counter.load(Relaxed);
        }
        // The present activity counts as well: a task may wait for minutes.
        let activity = self.activity.load(Relaxed) as usize;
        spent[activity] += now.saturating_sub(self.since.load(Relaxed));
        let elapsed = now.saturating_sub(seen.at).max(1) as f64;
        let ratio = |activity: Activity| {
            let before = seen.spent[activity as usize];
            let during = spent[activity as usize].saturating_sub(before);
            (during as f64 / elapsed).clamp(0.0, 1.0)
        };
        metrics.busy_ratio = ratio(Activity::Busy);
        metrics.backpressured_ratio = ratio(Activity::Backpressured);
        *seen = Seen { at: now, spent };
        metrics.records_in = self.records_in.load(Relaxed);
        metrics.records_out = self.records_out.load(Relaxed);
        metrics.bytes_out = self.bytes_out.load(Relaxed);
        metrics.input_gap_us = self.input_gap.swap(0, Relaxed) / 1_000;
        metrics.records_skipped = self.skipped.load(Relaxed);
        metrics.records_late = self.late.load(Relaxed);
        let [id, bytes, micros] = self.checkpoint.each_ref().map(|cell| cell.load(Relaxed));
        metrics.checkpoint_id = id;
        metrics.checkpoint_bytes = bytes;
        metrics.checkpoint_us = micros;
        let watermark = self.watermark_us.load(Relaxed);
        metrics.has_watermark = watermark != NO_WATERMARK;
        if metrics.has_watermark {
            metrics.watermark_ms = watermark.div_euclid(1000);
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// One writer: no read-modify-write is needed.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_an_activity_that_goes_on() {
        let meter = Meter::default();
        meter.input(5);
        meter.output(3, 24);
        meter.skipped(2);
        meter.late(1);
        meter.watermark(1_500_000);
        meter.checkpoint(7, 300, Duration::from_millis(2));
        meter.enter(Activity::Busy);
        meter.enter(Activity::Backpressured);
        let (mut seen, mut metrics) = (Seen::default(), TaskMetrics::default());
        meter.sample(&mut seen, &mut metrics);
        // A reader that comes again meanwhile finds the task still waiting.
        while meter.began.elapsed().as_millis() < 20 {
            std::hint::spin_loop();
        }
        meter.sample(&mut seen, &mut metrics);
        assert_eq!((metrics.records_in, metrics.records_out), (5, 3));
        assert_eq!((metrics.bytes_out, metrics.records_skipped), (24, 2));
        assert_eq!(metrics.records_late, 1);
        assert_eq!((metrics.checkpoint_id, metrics.checkpoint_bytes), (7, 300));
        assert_eq!(metrics.checkpoint_us, 2_000);
        assert_eq!((metrics.has_watermark, metrics.watermark_ms), (true, 1500));
        assert!(metrics.backpressured_ratio > 0.9, "{metrics:?}");
        assert!(metrics.busy_ratio < 0.1, "{metrics:?}");
    }

    #[test]
    fn the_longest_wait_between_inputs_is_told_once() {
        let meter = Meter::default();
        let (mut seen, mut metrics) = (Seen::default(), TaskMetrics::default());
        meter.input(1);
        meter.sample(&mut seen, &mut metrics);
        assert_eq!(metrics.input_gap_us, 0, "nothing came before it");
        let before = meter.began.elapsed();
        while (meter.began.elapsed() - before).as_millis() < 5 {
            std::hint::spin_loop();
        }
        meter.input(1);
        meter.input(1);
        meter.sample(&mut seen, &mut metrics);
        assert!(metrics.input_gap_us >= 5_000, "{metrics:?}");
        meter.input(1);
        let told = metrics.input_gap_us;
        meter.sample(&mut seen, &mut metrics);
        assert!(metrics.input_gap_us < told, "{metrics:?}");
    }
}
