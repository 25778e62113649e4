//! Elements of a channel as frames of the wire and back. Batches travel as Arrow IPC streams, each
//! with its schema, so that a frame stands alone.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use regent_protocol::v1::{Barrier as WireBarrier, EndOfInput, Frame, IdleInput, frame};

use super::channel::{Barrier, BarrierKind, Element};
use super::error::TaskError;
use super::memory::Charge;
use super::schema::row_bytes;

/// Larger batches are cut before they are sent.
const FRAME_BYTES: u64 = 4 * 1024 * 1024;

/// Largest frame that is accepted: one row may be as long as the longest record of a file.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The frames of an element, in order.
pub(crate) fn encode(element: Element) -> Result<Vec<Frame>, TaskError> {
    let one = |frame| Ok(vec![Frame { frame: Some(frame) }]);
    match element {
        Element::Batch(batch, _) => encode_batch(&batch),
        Element::Barrier(barrier) => one(frame::Frame::Barrier(WireBarrier {
            checkpoint_id: barrier.id,
            kind: barrier.kind.name().to_owned(),
        })),
        Element::Watermark(micros) => one(frame::Frame::WatermarkUs(micros)),
        Element::Idle => one(frame::Frame::Idle(IdleInput {})),
        Element::End => one(frame::Frame::End(EndOfInput {})),
    }
}

fn encode_batch(batch: &RecordBatch) -> Result<Vec<Frame>, TaskError> {
    let rows = batch.num_rows();
    let pieces = row_bytes(batch).div_ceil(FRAME_BYTES).max(1) as usize;
    let step = rows.div_ceil(pieces).max(1);
    let mut frames = Vec::with_capacity(pieces);
    for begin in (0..rows).step_by(step) {
        let piece = batch.slice(begin, step.min(rows - begin));
        let mut writer = StreamWriter::try_new(Vec::new(), &piece.schema())?;
        writer.write(&piece)?;
        let bytes = Bytes::from(writer.into_inner()?);
        frames.push(Frame {
            frame: Some(frame::Frame::Batch(bytes)),
        });
    }
    Ok(frames)
}

/// The element of a frame. Whatever the bytes are, a wrong one is an error of the channel.
pub(crate) fn decode(frame: Frame) -> Result<Element, TaskError> {
    match frame.frame {
        Some(frame::Frame::Batch(bytes)) => {
            decode_batch(bytes).map(|rows| Element::Batch(rows, Charge::default()))
        }
        Some(frame::Frame::Barrier(barrier)) => {
            let kind = BarrierKind::parse(&barrier.kind);
            let kind = kind.ok_or_else(|| bad(&format!("barrier kind {:?}", barrier.kind)))?;
            Ok(Element::Barrier(Barrier {
                id: barrier.checkpoint_id,
                kind,
            }))
        }
        Some(frame::Frame::WatermarkUs(micros)) => Ok(Element::Watermark(micros)),
        Some(frame::Frame::Idle(IdleInput {})) => Ok(Element::Idle),
        Some(frame::Frame::End(EndOfInput {})) => Ok(Element::End),
        None => Err(bad("an empty frame")),
    }
}

fn decode_batch(bytes: Bytes) -> Result<RecordBatch, TaskError> {
    // The decoder panics on some damaged schemas; here they are an error like any other.
    let decoded = std::panic::catch_unwind(|| {
        let mut buffer = Buffer::from(bytes);
        StreamDecoder::new().decode(&mut buffer)
    });
    let decoded = decoded.map_err(|_| bad("a batch that can't be decoded"))?;
    match decoded.map_err(|error| bad(&error.to_string()))? {
        Some(batch) => Ok(batch),
        None => Err(bad("a batch that is cut short")),
    }
}

fn bad(what: &str) -> TaskError {
    TaskError::Channel(format!("the data channel brought {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: usize, width: usize) -> RecordBatch {
        let text = (0..rows).map(|n| (n % 3 > 0).then(|| "x".repeat(width)));
        RecordBatch::try_from_iter_with_nullable([
            (
                "n",
                Arc::new((0..rows as i64).collect::<Int64Array>()) as ArrayRef,
                true,
            ),
            (
                "s",
                Arc::new(text.collect::<StringArray>()) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    fn round_trip(element: Element) -> Vec<Element> {
        let frames = encode(element).unwrap();
        frames.into_iter().map(|f| decode(f).unwrap()).collect()
    }

    #[test]
    fn everything_survives() {
        let barrier = Barrier {
            id: 7,
            kind: BarrierKind::Savepoint,
        };
        for element in [
            Element::Barrier(barrier),
            Element::Watermark(-5),
            Element::Idle,
            Element::End,
        ] {
            assert_eq!(round_trip(element.clone()), [element]);
        }
        let slice = batch(100, 3).slice(10, 50);
        assert_eq!(
            round_trip(Element::Batch(slice.clone(), Charge::default())),
            [Element::Batch(slice, Charge::default())]
        );
    }

    #[test]
    fn large_batches_are_cut() {
        let whole = batch(3000, 9000);
        let parts: Vec<RecordBatch> = round_trip(Element::Batch(whole.clone(), Charge::default()))
            .into_iter()
            .map(|element| match element {
                Element::Batch(batch, _) => batch,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(parts.len() >= 4, "{}", parts.len());
        assert_eq!(concat_batches(&whole.schema(), &parts).unwrap(), whole);
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error(flip in 0usize..2000, cut in 0usize..2000) {
            let frames = encode(Element::Batch(batch(20, 4), Charge::default())).unwrap();
            let Some(frame::Frame::Batch(bytes)) = frames[0].frame.clone() else {
                panic!("no batch");
            };
            let mut damaged = bytes.to_vec();
            let at = flip % damaged.len();
            damaged[at] ^= 0x5a;
            damaged.truncate(damaged.len() - cut % damaged.len());
            // Flipped values are still a batch; the point is that nothing panics.
            let _ = std::panic::catch_unwind(|| decode_batch(damaged.into()))
                .map_err(|_| TestCaseError::fail("panicked"))?;
        }
    }
}
