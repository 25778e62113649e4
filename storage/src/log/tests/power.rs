//! Power cuts at any of the disk's operations, and random work against a model.
//!
//! The model is a list: the log's content after each operation issued. After a power cut the log
//! must be one of those contents, not older than the last operation that was acknowledged.

use proptest::prelude::*;

use super::*;
use crate::log::{Position, Receipt};

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Truncate(u8),
    Purge(u8),
    PurgeBeyond(u8),
    Vote,
    Committed,
    /// Waits for everything so far.
    Wait,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Append),
        2 => (0u8..8).prop_map(Step::Truncate),
        2 => (0u8..6).prop_map(Step::Purge),
        1 => (0u8..5).prop_map(Step::PurgeBeyond),
        1 => Just(Step::Vote),
        1 => Just(Step::Committed),
        2 => Just(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

/// What the log should hold.
#[derive(Debug, Clone, Default)]
struct Model {
    records: Vec<LogRecord>,
    purged: Option<Position>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    term: u64,
}

impl Model {
    fn last(&self) -> Option<Position> {
        match self.records.last() {
            Some(record) => Some((record.index, record.log_id.clone())),
            None => self.purged.clone(),
        }
    }

    fn matches(&self, log: &LogStore) -> bool {
        let state = log.state();
        state.last_purged == self.purged
            && state.last == self.last()
            && state.vote == self.vote
            && state.committed == self.committed
            && log.read(0, u64::MAX, usize::MAX).unwrap() == self.records
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |(index, _)| index + 1)
    }

    fn append(&mut self, count: u8) -> Vec<LogRecord> {
        let next = self.next();
        let new: Vec<_> = (next..next + u64::from(count))
            .map(|i| entry(i, self.term))
            .collect();
        self.records.extend(new.iter().cloned());
        new
    }

    fn truncate(&mut self, back: u8) -> Option<u64> {
        let keep = self.records.len().saturating_sub(usize::from(back));
        let before = self.records.first().map_or(self.next(), |r| r.index);
        self.records.truncate(keep);
        self.term += 1;
        match self.records.last() {
            Some(record) => Some(record.index),
            None => before.checked_sub(1),
        }
    }

    fn purge(&mut self, position: Position) {
        self.records.retain(|record| record.index > position.0);
        self.purged = Some(position);
    }
}

/// Issues a step; answers its receipt, if there is one.
fn issue(log: &LogStore, model: &mut Model, step: &Step, number: usize) -> Option<Receipt> {
    match step {
        Step::Append(count) => Some(log.append_receipt(model.append(*count))),
        Step::Truncate(back) => Some(log.truncate_after(model.truncate(*back))),
        Step::Purge(count) => {
            let at = usize::from(*count).min(model.records.len().checked_sub(1)?);
            let record = model.records[at].clone();
            model.purge((record.index, record.log_id.clone()));
            Some(log.purge(record.index, record.log_id))
        }
        Step::PurgeBeyond(by) => {
            let index = model.next() + u64::from(*by);
            model.purge((index, log_id(index, model.term)));
            Some(log.purge(index, log_id(index, model.term)))
        }
        Step::Vote => {
            let vote = Bytes::from(format!("vote {number}"));
            model.vote = Some(vote.clone());
            Some(log.save_vote(vote))
        }
        Step::Committed => {
            let committed = Bytes::from(format!("committed {number}"));
            model.committed = Some(committed.clone());
            log.save_committed(committed).ok();
            None
        }
        Step::Wait | Step::Reopen => None,
    }
}

/// Runs the steps until the power goes off. Answers the contents that are possible afterwards.
fn run(disk: &SimDisk, steps: &[Step], power_off_after: u64) -> Vec<Model> {
    let mut model = Model::default();
    let mut possible = vec![model.clone()];
    disk.power_off_after(power_off_after);
    let Ok(mut log) = open(disk) else {
        return possible;
    };
    let mut receipts: Vec<(usize, Receipt)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let receipt = issue(&log, &mut model, step, number);
        possible.push(model.clone());
        receipts.extend(receipt.map(|receipt| (possible.len() - 1, receipt)));
        match step {
            Step::Wait => {
                let acknowledged = last_acknowledged(std::mem::take(&mut receipts));
                possible.drain(..acknowledged);
                if acknowledged > 0 && possible.len() == 1 {
                    assert!(possible[0].matches(&log), "what is readable");
                }
            }
            Step::Reopen => {
                possible.drain(..last_acknowledged(std::mem::take(&mut receipts)));
                drop(log);
                match open(disk) {
                    Ok(again) => log = again,
                    Err(_) => return possible,
                }
            }
            _ => {}
        }
    }
    drop(log);
    possible.drain(..last_acknowledged(receipts));
    possible
}

/// The newest content that was acknowledged. Acknowledgements come in order: none after a failure.
fn last_acknowledged(receipts: Vec<(usize, Receipt)>) -> usize {
    let mut newest = 0;
    let mut failed = false;
    for (number, receipt) in receipts {
        match receipt.wait() {
            Ok(()) => {
                assert!(!failed, "acknowledged after a failure");
                newest = number;
            }
            Err(_) => failed = true,
        }
    }
    newest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_loses_nothing_acknowledged(
        steps in proptest::collection::vec(step(), 1..40),
        power_off_after in 0u64..200,
        seed: u64,
    ) {
        let disk = SimDisk::default();
        let possible = run(&disk, &steps, power_off_after);
        // Twice: the second cut hits what the first recovery did.
        let first = disk.after_power_cut(seed);
        first.power_off_after(seed % 40);
        drop(open(&first));
        let second = first.after_power_cut(seed.wrapping_add(1));
        let log = open(&second).unwrap();
        prop_assert!(
            possible.iter().any(|model| model.matches(&log)),
            "found {:?}, possible {:?}", log.state(), possible
        );
    }

    #[test]
    fn without_faults_the_log_is_its_model(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let disk = SimDisk::default();
        let possible = run(&disk, &steps, u64::MAX / 2);
        let log = open(&disk).unwrap();
        prop_assert!(possible.last().unwrap().matches(&log));
        prop_assert!(log.cut_tail().is_none());
    }
}
