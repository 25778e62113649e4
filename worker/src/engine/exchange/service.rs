//! The sending end: hands a task's output to the task of another worker that subscribes for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use regent_protocol::v1::data_plane_server::DataPlane;
use regent_protocol::v1::{Frame, SubscribeRequest, frame};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use super::OPEN_WITHIN;
use crate::engine::channel::Element;
use crate::engine::error::TaskError;
use crate::engine::frame::encode;
use crate::engine::ids::{AttemptId, ChannelId, TaskId};
use crate::engine::registry::Registry;
use crate::engine::task::{Kill, KillSwitch};

/// Encoded frames that wait for the connection, beside what HTTP/2 holds.
const FRAMES_AHEAD: usize = 2;

/// One output channel of a task to another worker, until it is subscribed for.
pub(crate) struct Export {
    pub(crate) elements: mpsc::Receiver<Element>,
    /// Told when the receiver has taken everything.
    pub(crate) delivered: oneshot::Sender<()>,
    /// Of the task that sends.
    pub(crate) kill: Arc<KillSwitch>,
}

/// What an attempt holds for a channel to another worker.
pub(crate) enum ExportPoint {
    Waiting(Export),
    /// Handed out: a channel is opened once.
    Taken,
}

/// Hands the output of this worker's tasks to subscribing tasks of other workers.
pub struct DataPlaneService {
    registry: Arc<Registry>,
    /// Encoding runs on the engine's threads, not on those that serve the lease.
    runtime: Handle,
}

impl fmt::Debug for DataPlaneService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlaneService").finish_non_exhaustive()
    }
}

impl DataPlaneService {
    pub(crate) fn new(registry: Arc<Registry>, runtime: Handle) -> Self {
        Self { registry, runtime }
    }

    async fn export(&self, attempt: &AttemptId, channel: &ChannelId) -> Result<Export, Status> {
        let found = self.registry.await_attempt(attempt, OPEN_WITHIN).await;
        let attempt = found.map_err(Status::failed_precondition)?;
        attempt.take_export(channel).map_err(|error| match error {
            TakeError::Unknown => Status::not_found(format!("{attempt} has no channel {channel}")),
            TakeError::Taken => Status::already_exists(format!("{channel} was opened before")),
        })
    }
}

/// Why a channel can't be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeError {
    Unknown,
    Taken,
}

#[tonic::async_trait]
impl DataPlane for DataPlaneService {
    type SubscribeStream = Exported;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Exported>, Status> {
        let request = request.into_inner();
        if !self.registry.epoch().admits(request.epoch.as_ref()) {
            return Err(Status::aborted("a later epoch leads"));
        }
        let (attempt, channel) = names(&request).ok_or_else(|| {
            Status::invalid_argument("attempt, upstream and downstream are needed")
        })?;
        let export = self.export(&attempt, &channel).await?;
        let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
        self.runtime.spawn(send(export.elements, frames));
        Ok(Response::new(Exported {
            frames: receiver,
            channel,
            kill: export.kill,
            delivered: Some(export.delivered),
            end_sent: false,
        }))
    }
}

fn names(request: &SubscribeRequest) -> Option<(AttemptId, ChannelId)> {
    let attempt = AttemptId::of(request.attempt.as_ref()?)?;
    let channel = ChannelId {
        upstream: TaskId::of(request.upstream.as_ref()?),
        downstream: TaskId::of(request.downstream.as_ref()?),
        input: request.input,
    };
    Some((attempt, channel))
}

/// Encodes elements until the end, or until nobody takes them any more.
async fn send(mut elements: mpsc::Receiver<Element>, frames: mpsc::Sender<Result<Frame, Status>>) {
    while let Some(element) = elements.recv().await {
        let end = element == Element::End;
        match encode(element) {
            Ok(encoded) => {
                for frame in encoded {
                    if frames.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // The receiver may be gone already.
                let _ = frames.send(Err(Status::internal(error.to_string()))).await;
                return;
            }
        }
        if end {
            return;
        }
    }
    let _ = frames
        .send(Err(Status::cancelled("the sending task ended")))
        .await;
}

/// The frames of one channel on their way. Dropped before its end was sent, it fails the task that
/// sends: the receiver or the connection is gone.
pub struct Exported {
    frames: mpsc::Receiver<Result<Frame, Status>>,
    channel: ChannelId,
    kill: Arc<KillSwitch>,
    delivered: Option<oneshot::Sender<()>>,
    end_sent: bool,
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exported")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl Stream for Exported {
    type Item = Result<Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.frames.poll_recv(context);
        match &polled {
            Poll::Ready(Some(Ok(Frame {
                frame: Some(frame::Frame::End(_)),
            }))) => self.end_sent = true,
            Poll::Ready(None) if self.end_sent => {
                if let Some(delivered) = self.delivered.take() {
                    // The task may have been ended meanwhile.
                    let _ = delivered.send(());
                }
            }
            _ => {}
        }
        polled
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        if !self.end_sent {
            let message = format!("channel {}: the receiver went away", self.channel);
            self.kill.kill(Kill::Fail(TaskError::Channel(message)));
        } else if let Some(delivered) = self.delivered.take() {
            // The receiver saw the end, or will fail on its own account.
            let _ = delivered.send(());
        }
    }
}
