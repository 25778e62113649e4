//! `sink: files`. Exactly-once: files are written below `_staging/<run>-<token>/`, closed at each
//! barrier, listed in the state until their rename is durable, and renamed when the checkpoint that
//! lists them is complete. At-least-once: files are renamed as soon as they are closed.

pub(crate) mod commit;
mod objects;
pub(super) mod part;

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::{Buf, BufMut, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::spec::{Delivery, FilesSinkSpec};
use regent_protocol::v1::Column;

use self::commit::commit_all;
use self::part::{Part, Places};
use super::ledger::Ledger;
use super::text::TextWriter;
use super::{Committed, Sink, SinkStart, SinkState};
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;

/// At-least-once output appears at the latest after this time.
const PART_AGE: Duration = Duration::from_secs(5);
/// subtask (u32, little-endian) and whether it has made a file for the run (u8).
const ITEM_BYTES: usize = 5;

/// One subtask of a files sink.
#[derive(Debug)]
pub(crate) struct FilesSink {
    delivery: Delivery,
    subtask: u32,
    places: Places,
    writer: TextWriter,
    effects: Effects,
    ledger: Ledger,
    part: Option<Part>,
    /// This subtask has made a file for the run: no file has to be made only for its header.
    made_file: bool,
}

impl FilesSink {
    pub(crate) fn new(
        spec: &FilesSinkSpec,
        columns: &[Column],
        start: SinkStart,
    ) -> Result<Self, TaskError> {
        let writer = TextWriter::new(spec.format, columns)?;
        let extension = writer.extension();
        Ok(Self {
            delivery: spec.delivery,
            subtask: start.subtask,
            places: Places::new(&spec.path, &start.attempt, start.subtask, extension),
            writer,
            effects: start.effects,
            ledger: Ledger::new(start.restored),
            part: None,
            made_file: start.items.iter().any(|i| made_file(i, start.subtask)),
        })
    }

    /// The open file, made if there is none, with its header.
    async fn part(&mut self) -> Result<&mut Part, TaskError> {
        let part = match self.part.take() {
            Some(part) => part,
            None => {
                let sequence = self.ledger.begin();
                let mut part = Part::open(&self.effects, &self.places, sequence).await?;
                self.made_file = true;
                let header = |out: &mut Vec<u8>| {
                    self.writer.header(out);
                    Ok(())
                };
                part.append(&self.effects, 0, header).await?;
                part
            }
        };
        Ok(self.part.insert(part))
    }

    async fn take(&mut self, batch: RecordBatch) -> Result<(), TaskError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.part().await?;
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        let writer = &mut self.writer;
        let rows = |out: &mut Vec<u8>| writer.rows(&batch, out);
        part.append(&self.effects, batch.num_rows(), rows).await?;
        if part.length() >= self.places.part_bytes() {
            self.close().await?;
        }
        Ok(())
    }

    /// Closes the open file, if there is one.
    async fn close(&mut self) -> Result<(), TaskError> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let transaction = part.close(&self.effects).await?;
        match self.delivery {
            Delivery::ExactlyOnce => self.ledger.close(transaction),
            Delivery::AtLeastOnce => {
                let publish = move |effects: &Effects| commit_all(effects, &[transaction]);
                self.effects.run(publish).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), TaskError> {
        if !self.made_file {
            self.part().await?;
        }
        self.close().await
    }

    async fn commit_listed(&mut self, checkpoint: u64) -> Result<Committed, TaskError> {
        let Some(due) = self.ledger.due(checkpoint) else {
            return Ok(Committed::Unknown);
        };
        if !due.is_empty() {
            let commit = move |effects: &Effects| commit_all(effects, &due);
            self.effects.run(commit).await?;
        }
        self.ledger.committed(checkpoint);
        Ok(Committed::All)
    }
}

impl Sink for FilesSink {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        self.take(batch).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.delivery {
            Delivery::ExactlyOnce => None,
            Delivery::AtLeastOnce => self.part.as_ref().map(|part| part.opened() + PART_AGE),
        }
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.close().boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.finish().boxed()
    }

    fn snapshot(&mut self, checkpoint: u64) -> Result<SinkState, TaskError> {
        let mut item = BytesMut::with_capacity(ITEM_BYTES);
        item.put_u32_le(self.subtask);
        item.put_u8(u8::from(self.made_file));
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

    /// A commit in a bucket reads one object.
    fn client_bytes(&self) -> u64 {
        self.places.commit_bytes()
    }

    fn pending(&self) -> u32 {
        u32::try_from(self.ledger.pending()).unwrap_or(u32::MAX)
    }
}

/// True if an item says that this subtask has made a file. At another parallelism the answer may
/// come from a namesake: at worst one more file with nothing but a header.
fn made_file(mut item: &[u8], subtask: u32) -> bool {
    item.len() == ITEM_BYTES && item.get_u32_le() == subtask && item.get_u8() == 1
}

#[cfg(test)]
mod tests;
