//! `delivery: exactly-once`: messages go to a file, which is closed at each barrier and listed in the
//! state; when the checkpoint is complete they are sent in a transaction of their own.

use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::rows::RowWriter;
use super::staged;
use super::target::Target;
use super::transactions::{Committer, lacking};
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::sinks::files::part::{Part, Places};
use crate::engine::sinks::ledger::Ledger;
use crate::engine::sinks::{Committed, Sink, SinkStart, SinkState};

/// A file is closed when it has this many bytes, barrier or not: it is read into memory to be sent.
const PART_BYTES: u64 = 32 * 1024 * 1024;
/// subtask (u32) and number of the next transaction (u64), little-endian.
const ITEM_BYTES: usize = 12;

/// One subtask.
pub(crate) struct ExactlyOnce {
    target: Target,
    subtask: u32,
    places: Places,
    writer: RowWriter,
    effects: Effects,
    ledger: Ledger,
    part: Option<Part>,
    /// Away while it works.
    committer: Option<Committer>,
}

impl ExactlyOnce {
    /// Takes the transactional id up, which fences every earlier attempt, and compares what the topic
    /// holds with the state: nothing is written after a difference.
    pub(super) async fn start(
        target: Target,
        staging: &str,
        writer: RowWriter,
        start: SinkStart,
    ) -> Result<Self, TaskError> {
        let next = next_sequence(&start.items, start.subtask);
        let mut committer = Committer::new(target.clone());
        let connect = move |effects: &Effects| {
            let count = committer.connect(effects)?;
            Ok((committer, count))
        };
        let (committer, count) = start.effects.run(connect).await?;
        if count != next {
            return Err(lacking(&target, count, next));
        }
        Ok(Self {
            places: Places::new(staging, &start.attempt, start.subtask, "messages"),
            target,
            subtask: start.subtask,
            writer,
            effects: start.effects,
            ledger: Ledger::resumed(start.restored, next),
            part: None,
            committer: Some(committer),
        })
    }

    async fn take(&mut self, batch: RecordBatch) -> Result<(), TaskError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut part = match self.part.take() {
            Some(part) => part,
            None => Part::open(&self.effects, &self.places, self.ledger.begin()).await?,
        };
        let writer = &mut self.writer;
        let fill = |out: &mut Vec<u8>| {
            writer.rows(&batch, |message| {
                staged::append(message, out);
                Ok(())
            })
        };
        part.append(&self.effects, batch.num_rows(), fill).await?;
        let full = part.length() >= PART_BYTES;
        self.part = Some(part);
        if full { self.close().await } else { Ok(()) }
    }

    /// Closes the open file, if there is one.
    async fn close(&mut self) -> Result<(), TaskError> {
        if let Some(part) = self.part.take() {
            let mut transaction = part.close(&self.effects).await?;
            transaction.final_path = self.target.to_path();
            self.ledger.close(transaction);
        }
        Ok(())
    }

    async fn commit_listed(&mut self, checkpoint: u64) -> Result<Committed, TaskError> {
        let Some(due) = self.ledger.due(checkpoint) else {
            return Ok(Committed::Unknown);
        };
        if !due.is_empty() {
            let committer = self.committer.take();
            let mut committer = committer.unwrap_or_else(|| Committer::new(self.target.clone()));
            let commit = move |effects: &Effects| {
                for transaction in &due {
                    committer.commit(effects, transaction)?;
                }
                Ok(committer)
            };
            self.committer = Some(self.effects.run(commit).await?);
        }
        self.ledger.committed(checkpoint);
        Ok(Committed::All)
    }
}

impl Sink for ExactlyOnce {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        self.take(batch).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.close().boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.close().boxed()
    }

    fn snapshot(&mut self, checkpoint: u64) -> Result<SinkState, TaskError> {
        let mut item = BytesMut::with_capacity(ITEM_BYTES);
        item.put_u32_le(self.subtask);
        item.put_u64_le(self.ledger.next_sequence());
        Ok(SinkState {
            items: vec![item.freeze()],
            transactions: self.ledger.list(checkpoint),
            next_sequence: self.ledger.next_sequence(),
        })
    }

    fn commit(&mut self, checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        self.commit_listed(checkpoint).boxed()
    }

    fn abort(&mut self, checkpoint: u64) {
        self.ledger.abort(checkpoint);
    }

    fn state_bytes(&self) -> u64 {
        let part = self.part.as_ref().map_or(0, Part::buffer_bytes);
        (part + self.ledger.bytes()) as u64
    }

    /// A commit reads one file, and puts its messages into the queue.
    fn client_bytes(&self) -> u64 {
        PART_BYTES + super::QUEUE_BYTES_MAX
    }

    fn pending(&self) -> u32 {
        u32::try_from(self.ledger.pending()).unwrap_or(u32::MAX)
    }
}

/// How many transactions of this subtask the restored checkpoint knows of, all attempts counted.
fn next_sequence(items: &[Bytes], subtask: u32) -> u64 {
    let mine = items.iter().find_map(|item| {
        let mut item = &item[..];
        let whole = item.len() == ITEM_BYTES;
        (whole && item.get_u32_le() == subtask).then(|| item.get_u64_le())
    });
    mine.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subtask_goes_on_with_its_own_number() {
        let item = |subtask: u32, next: u64| {
            let mut item = BytesMut::new();
            item.put_u32_le(subtask);
            item.put_u64_le(next);
            item.freeze()
        };
        let items = [item(0, 7), item(1, 9)];
        assert_eq!(next_sequence(&items, 1), 9);
        assert_eq!(next_sequence(&items, 2), 0);
        assert_eq!(next_sequence(&[Bytes::from_static(b"short")], 0), 0);
    }
}
