//! Takes a snapshot from the leader: writes it aside, checks all of it, and only then gives it to Raft.
//!
//! What Raft would panic about (a snapshot from beyond the sender's reign, another entry in a committed
//! slot) is refused before, since it comes from outside.

use std::io::Write;
use std::time::Duration;

use regent_storage::snapshot::SnapshotWriter;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::entry;
use crate::raft::RaftHandle;
use crate::snapshot::{SnapshotData, Snapshots};
use crate::types::{TypeConfig, Vote};
use crate::view::Cover;
use crate::wire;
use crate::wire::proto::{self, snapshot_piece::Piece};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Longest silence between two pieces.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where incoming snapshots are written; one at a time.
#[derive(Debug)]
pub(crate) struct Inbox {
    snapshots: Snapshots,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Inbox {
    /// Writes into `snapshots`.
    pub(crate) fn new(snapshots: Snapshots) -> Self {
        Self {
            snapshots,
            one_at_a_time: tokio::sync::Mutex::new(()),
        }
    }
}

/// Reads the first piece.
pub(crate) async fn header(
    pieces: &mut Streaming<proto::SnapshotPiece>,
) -> Result<proto::SnapshotHeader, Status> {
    match next(pieces).await? {
        Some(Piece::Header(header)) => Ok(header),
        _ => Err(Status::invalid_argument(
            "a snapshot begins with its header",
        )),
    }
}

async fn next(pieces: &mut Streaming<proto::SnapshotPiece>) -> Result<Option<Piece>, Status> {
    let message = timeout(PIECE_TIMEOUT, pieces.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no piece of the snapshot came for too long"))??;
    match message {
        None => Ok(None),
        Some(message) => message
            .piece
            .map(Some)
            .ok_or_else(|| Status::invalid_argument("an empty piece of a snapshot")),
    }
}

/// Takes the body, checks it, and has Raft install it.
pub(crate) async fn receive(
    inbox: &Inbox,
    raft: &RaftHandle,
    header: proto::SnapshotHeader,
    pieces: Streaming<proto::SnapshotPiece>,
) -> Result<proto::SnapshotReply, Status> {
    let vote = wire::vote_from(header.vote.as_ref())
        .map_err(|e| Status::invalid_argument(e.to_string()))?;
    let cover = entry::decode_cover(&header.cover)
        .map_err(|e| Status::invalid_argument(format!("snapshot cover: {e}")))?;
    check_vote(&vote, &cover)?;
    let _turn = inbox.one_at_a_time.lock().await;
    let data = take_body(&inbox.snapshots, cover, header.size_bytes, pieces).await?;
    check_committed(raft, &data.cover).await?;
    let meta = data.meta();
    let snapshot = Snapshot {
        meta,
        snapshot: data,
    };
    let reply = raft
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(|fatal| Status::unavailable(format!("raft: {fatal}")))?;
    Ok(proto::SnapshotReply {
        vote: Some(wire::vote_to(&reply.vote)),
    })
}

fn check_vote(vote: &Vote, cover: &Cover) -> Result<(), Status> {
    match cover.standing.applied {
        Some(last) if last.leader_id <= vote.leader_id => Ok(()),
        _ => Err(Status::invalid_argument(
            "the snapshot ends beyond the reign of its sender",
        )),
    }
}

async fn check_committed(raft: &RaftHandle, cover: &Cover) -> Result<(), Status> {
    let committed = raft
        .with_raft_state(|state| state.local_committed().copied())
        .await
        .map_err(|fatal| Status::unavailable(format!("raft: {fatal}")))?;
    let last = cover.standing.applied;
    let contradicts = last > committed
        && last.map(|id| id.index) <= committed.map(|id| id.index)
        && committed.is_some();
    if contradicts {
        return Err(Status::failed_precondition(
            "the snapshot contradicts entries that are committed here",
        ));
    }
    Ok(())
}

async fn take_body(
    snapshots: &Snapshots,
    cover: Cover,
    size: u64,
    mut pieces: Streaming<proto::SnapshotPiece>,
) -> Result<SnapshotData, Status> {
    let store = snapshots.clone();
    let mut writer = blocking(move || store.create()).await?;
    while let Some(piece) = next(&mut pieces).await? {
        let Piece::Data(bytes) = piece else {
            return Err(Status::invalid_argument("a second header in a snapshot"));
        };
        if writer.body_len() + bytes.len() as u64 > size {
            return Err(Status::invalid_argument(
                "the snapshot is longer than it says",
            ));
        }
        writer = blocking(move || {
            writer.write_all(&bytes)?;
            Ok(writer)
        })
        .await?;
    }
    if writer.body_len() != size {
        return Err(Status::data_loss("the snapshot is shorter than it says"));
    }
    finish(snapshots.clone(), writer, cover).await
}

// Read back from the file, so that what was checked is what is installed.
async fn finish(
    snapshots: Snapshots,
    writer: SnapshotWriter,
    cover: Cover,
) -> Result<SnapshotData, Status> {
    blocking(move || snapshots.finish_received(writer, &cover)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Status::internal(e.to_string()))?
        .map_err(|e| Status::internal(format!("snapshot: {e}")))
}
