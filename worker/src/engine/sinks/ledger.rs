//! Which transactions are open, and which of them a checkpoint lists: pure bookkeeping.
//!
//! A transaction belongs to (token, subtask, sequence), never to a checkpoint. Checkpoint n lists
//! every uncommitted one up to its barrier; its completion commits those and nothing later; its
//! abort leaves them open for the next.

use std::collections::BTreeMap;

use regent_protocol::v1::Transaction;

/// Checkpoints whose end was never told are forgotten beyond this many.
const LISTED_MAX: usize = 1024;

/// The open transactions of one subtask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pending: Vec<Transaction>,
    next_sequence: u64,
    /// Checkpoint to the first sequence that it doesn't list.
    listed: BTreeMap<u64, u64>,
    /// Everything that checkpoints up to this id list is committed.
    settled: u64,
}

impl Ledger {
    /// Checkpoints up to `settled` were committed before this subtask began.
    pub(crate) fn new(settled: u64) -> Self {
        Self {
            settled,
            ..Self::default()
        }
    }

    /// As [`Ledger::new`]; the first transaction has the sequence `next`.
    #[cfg(feature = "kafka")]
    pub(crate) fn resumed(settled: u64, next: u64) -> Self {
        Self {
            next_sequence: next,
            ..Self::new(settled)
        }
    }

    /// The sequence of a new transaction.
    pub(crate) fn begin(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// A transaction is durable and waits to be listed.
    pub(crate) fn close(&mut self, transaction: Transaction) {
        let last = self.pending.last().map(|t| t.sequence);
        debug_assert!(last < Some(transaction.sequence));
        self.pending.push(transaction);
    }

    /// Lists what is open for a checkpoint.
    pub(crate) fn list(&mut self, checkpoint: u64) -> Vec<Transaction> {
        self.listed.insert(checkpoint, self.next_sequence);
        while self.listed.len() > LISTED_MAX {
            self.listed.pop_first();
        }
        self.pending.clone()
    }

    /// What the completion of a checkpoint commits; `None` if it was never listed here.
    pub(crate) fn due(&self, checkpoint: u64) -> Option<Vec<Transaction>> {
        if checkpoint <= self.settled {
            return Some(Vec::new());
        }
        let until = *self.listed.get(&checkpoint)?;
        let due = self.pending.iter().filter(|t| t.sequence < until);
        Some(due.cloned().collect())
    }

    /// What was due for the checkpoint is durably committed.
    pub(crate) fn committed(&mut self, checkpoint: u64) {
        let Some(until) = self.listed.get(&checkpoint).copied() else {
            return;
        };
        self.pending.retain(|t| t.sequence >= until);
        self.listed = self.listed.split_off(&(checkpoint + 1));
        self.settled = self.settled.max(checkpoint);
    }

    /// The checkpoint will never be complete.
    pub(crate) fn abort(&mut self, checkpoint: u64) {
        self.listed.remove(&checkpoint);
    }

    /// Bytes in memory. Of paths the first is taken for all: they differ by a number.
    pub(crate) fn bytes(&self) -> usize {
        let texts = |t: &Transaction| t.staged_path.len() + t.final_path.len() + t.handle.len();
        let each = self.pending.first().map_or(0, texts);
        self.pending.len() * (size_of::<Transaction>() + each)
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ledger: &mut Ledger) {
        let sequence = ledger.begin();
        ledger.close(Transaction {
            sequence,
            ..Default::default()
        });
    }

    fn sequences(due: Option<Vec<Transaction>>) -> Option<Vec<u64>> {
        due.map(|due| due.iter().map(|t| t.sequence).collect())
    }

    #[test]
    fn completion_commits_what_was_listed_and_nothing_later() {
        let mut ledger = Ledger::new(0);
        close(&mut ledger);
        assert_eq!(ledger.list(1).len(), 1);
        close(&mut ledger);
        assert_eq!(ledger.list(2).len(), 2);
        close(&mut ledger);
        assert_eq!(sequences(ledger.due(1)), Some(vec![0]));
        ledger.committed(1);
        assert_eq!(sequences(ledger.due(1)), Some(vec![]), "told again");
        assert_eq!(sequences(ledger.due(2)), Some(vec![1]));
        ledger.committed(2);
        assert_eq!(ledger.pending(), 1);
    }

    #[test]
    fn an_aborted_checkpoint_leaves_its_transactions_to_the_next() {
        let mut ledger = Ledger::new(0);
        close(&mut ledger);
        ledger.list(1);
        ledger.abort(1);
        assert_eq!(ledger.due(1), None);
        ledger.list(2);
        assert_eq!(sequences(ledger.due(2)), Some(vec![0]));
    }

    #[test]
    fn a_later_completion_settles_earlier_ones() {
        let mut ledger = Ledger::new(4);
        assert_eq!(sequences(ledger.due(4)), Some(vec![]));
        close(&mut ledger);
        ledger.list(5);
        close(&mut ledger);
        ledger.list(6);
        assert_eq!(sequences(ledger.due(6)), Some(vec![0, 1]));
        ledger.committed(6);
        assert_eq!(sequences(ledger.due(5)), Some(vec![]));
        assert_eq!(ledger.due(7), None);
        ledger.committed(7);
        assert_eq!(ledger.pending(), 0);
    }
}
