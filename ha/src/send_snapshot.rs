//! Streams a snapshot file to a peer: a header, then the body in pieces, on the snapshot channel.
//!
//! There is no deadline for the whole, but one for each silence: a peer that stops taking pieces, or
//! doesn't answer after the last, is given up. Reading the file happens off the Raft threads.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use regent_storage::snapshot::SnapshotFile;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::entry;
use crate::link::{self, CallError, Link};
use crate::network::Deadlines;
use crate::shared::Shared;
use crate::snapshot::SnapshotData;
use crate::types::{TypeConfig, Vote};
use crate::wire::{self, proto};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Bytes per piece.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces read ahead.
const PIECES_AHEAD: usize = 2;

/// Sends a snapshot and waits until the peer has installed it; answers the peer's vote.
pub(crate) async fn send(
    link: &Link,
    shared: &Shared,
    deadlines: Deadlines,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<Vote, CallError> {
    link.introduce().await?;
    let header = header(shared, vote, &snapshot.snapshot)?;
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let taken = Arc::new(AtomicU64::new(0));
    let file = snapshot.snapshot.file;
    let counter = taken.clone();
    let reading = tokio::task::spawn_blocking(move || read(&file, header, &sender, &counter));
    let mut client = link.snapshot_client();
    let calling = client.snapshot(ReceiverStream::new(receiver));
    let reply = tokio::select! {
        reply = calling => reply.map_err(|status| failed(link, &status))?,
        silent = silence(deadlines, &taken) => return Err(silent),
    };
    reading
        .await
        .map_err(|e| CallError::Failed(e.to_string()))?
        .map_err(|e| CallError::Failed(format!("reading the snapshot: {e}")))?;
    wire::vote_from(reply.into_inner().vote.as_ref()).map_err(|e| CallError::Failed(e.to_string()))
}

// A peer that was started anew wants to be introduced to again.
fn failed(link: &Link, status: &Status) -> CallError {
    if status.code() == Code::Unauthenticated {
        link.forget_introduction();
    }
    link::classify(status)
}

fn header(
    shared: &Shared,
    vote: Vote,
    data: &SnapshotData,
) -> Result<proto::SnapshotPiece, CallError> {
    let cover = entry::encode_cover(&data.cover).map_err(|e| CallError::Failed(e.to_string()))?;
    let header = proto::SnapshotHeader {
        caller: Some(shared.caller()?),
        vote: Some(wire::vote_to(&vote)),
        cover,
        size_bytes: data.file.body_len(),
    };
    Ok(proto::SnapshotPiece {
        piece: Some(proto::snapshot_piece::Piece::Header(header)),
    })
}

/// Ends when nothing was taken for too long; the end of the body counts as the last piece taken.
async fn silence(deadlines: Deadlines, taken: &AtomicU64) -> CallError {
    let mut seen = taken.load(Ordering::Relaxed);
    let mut patience = deadlines.snapshot_piece;
    loop {
        tokio::time::sleep(patience).await;
        let now = taken.load(Ordering::Relaxed);
        if now == seen {
            return CallError::Timeout(patience);
        }
        seen = now;
        let ended = now == u64::MAX;
        patience = match ended {
            true => deadlines.snapshot_install,
            false => deadlines.snapshot_piece,
        };
    }
}

// A receiver that is gone ended the call: its error says why.
fn read(
    file: &SnapshotFile,
    header: proto::SnapshotPiece,
    sender: &mpsc::Sender<proto::SnapshotPiece>,
    taken: &AtomicU64,
) -> std::io::Result<()> {
    let mut reader = file.open_reader().map_err(std::io::Error::other)?;
    let mut next = Some(header);
    while let Some(piece) = next {
        if sender.blocking_send(piece).is_err() {
            return Ok(());
        }
        taken.fetch_add(1, Ordering::Relaxed);
        next = read_piece(&mut reader)?;
    }
    taken.store(u64::MAX, Ordering::Relaxed);
    Ok(())
}

fn read_piece(reader: &mut impl Read) -> std::io::Result<Option<proto::SnapshotPiece>> {
    let mut bytes = Vec::with_capacity(PIECE_BYTES);
    reader.take(PIECE_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(proto::SnapshotPiece {
        piece: Some(proto::snapshot_piece::Piece::Data(Bytes::from(bytes))),
    }))
}
