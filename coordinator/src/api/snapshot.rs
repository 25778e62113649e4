//! The state as a file for operators, and `recover resume`.

use std::io::Read;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::view::Resumed;
use regent_state::Command;
use regent_state::command::ResumeJobs;
use regent_state::model::JobState;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::change::Asked;
use super::{document, errors, savepoints};
use crate::node::Node;

/// Bytes of one piece.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces that wait for the client.
const PIECES_AHEAD: usize = 4;
/// Where snapshots are written before they are sent, below the data directory. Whatever is left there by a
/// crash is overwritten by the next one.
const EXPORT_DIR: &str = "export";

pub(super) type Pieces =
    Pin<Box<dyn Stream<Item = Result<v1::SnapshotPiece, Status>> + Send + 'static>>;

/// Writes the state as of now into a file and sends it, one client at a time.
pub(super) async fn save(node: &Node) -> Result<Pieces, ApiError> {
    let failed = |text: String| ApiError::new(ErrorKind::Failed, text);
    let _one_at_a_time = node.saving.lock().await;
    let dir = node.config.data_dir.join(EXPORT_DIR);
    let saved = node.replica.save_snapshot(&dir).await;
    let path = saved.map_err(|error| errors::not_read(&error))?;
    // Open, it can be read after its name is gone.
    let file = std::fs::File::open(&path).map_err(|error| failed(error.to_string()))?;
    std::fs::remove_dir_all(&dir).map_err(|error| failed(error.to_string()))?;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || send(file, &sender));
    Ok(Box::pin(ReceiverStream::new(pieces)))
}

fn send(mut file: std::fs::File, pieces: &mpsc::Sender<Result<v1::SnapshotPiece, Status>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = file
            .by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut piece);
        let piece = match read {
            Ok(0) => return,
            Ok(_) => Ok(v1::SnapshotPiece {
                data: Bytes::from(piece),
            }),
            Err(error) => Err(Status::data_loss(error.to_string())),
        };
        let broken = piece.is_err();
        // A client that is gone needs no more.
        if pieces.blocking_send(piece).is_err() || broken {
            return;
        }
    }
}

/// Lets suspended jobs go on, once each of them has its restore point.
pub(super) async fn resume(asked: &Asked<'_>) -> Result<v1::Document, ApiError> {
    let view = asked.rule.view();
    let suspended: Vec<_> = view
        .machine
        .active_jobs()
        .filter(|job| job.state == JobState::Suspended)
        .collect();
    let mut dangling = Vec::new();
    for job in &suspended {
        let Some(latest) = &job.latest else { continue };
        if let Err(error) = savepoints::read(&asked.rule.objects, &latest.path).await {
            dangling.push(format!("job {} ({}): {}", job.id, job.name, error.message));
        }
    }
    if !dangling.is_empty() {
        let message = format!(
            "the restore point of {} can't be read; bring the files back, or cancel the job and resume again: {}",
            match dangling.len() {
                1 => "one job".to_owned(),
                several => format!("{several} jobs"),
            },
            dangling.join("; ")
        );
        return Err(ApiError::new(ErrorKind::Refused, message));
    }
    let resumed = suspended.len() as u64;
    asked.carry_out(Command::ResumeJobs(ResumeJobs {})).await?;
    document(&Resumed { resumed })
}
