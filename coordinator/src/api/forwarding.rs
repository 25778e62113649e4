//! Changes on their way from a follower to the leader: one stream for all of them.
//!
//! A call of its own for each would cost more than the change itself. Answers come in any order. When the
//! stream breaks, whatever was on it may or may not have happened; the caller tries again under the same
//! request id (`change.rs`).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1;
use regent_protocol::v1::forwarded_answer::Answer;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_security::Caller;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::change;
use crate::node::Node;

/// Changes that may be under way on one stream; more wait for a place.
const UNDER_WAY_MAX: usize = 1_024;

type Result<T> = std::result::Result<T, ApiError>;
type Waiting = (v1::ChangeRequest, oneshot::Sender<Result<v1::Document>>);

// ------------------------------------------------------------------------------- the follower's end

/// The follower's end of a stream. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    queue: mpsc::Sender<Waiting>,
}

impl Forwarder {
    /// Opens the stream in the background; it ends when it breaks, or when the last clone is gone.
    pub(crate) fn open(client: JobManagerApiClient<Channel>) -> Self {
        let (queue, waiting) = mpsc::channel(UNDER_WAY_MAX);
        tokio::spawn(pass_on(client, waiting));
        Self { queue }
    }

    /// Whether it broke, so that another one has to be opened.
    pub(crate) fn is_broken(&self) -> bool {
        self.queue.is_closed()
    }

    /// Passes a change on and waits for its answer.
    pub(crate) async fn forward(&self, request: v1::ChangeRequest) -> Result<v1::Document> {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue.send((request, answer)).await;
        queued.map_err(|_| ApiError::new(ErrorKind::NoLeader, "the leader can't be reached"))?;
        answered.await.unwrap_or_else(|_| Err(broke()))
    }
}

fn broke() -> ApiError {
    ApiError::new(
        ErrorKind::UnknownOutcome,
        "the leader went away during the request",
    )
}

async fn pass_on(mut client: JobManagerApiClient<Channel>, mut queue: mpsc::Receiver<Waiting>) {
    let (changes, outgoing) = mpsc::channel(UNDER_WAY_MAX);
    let opened = client.forward(ReceiverStream::new(outgoing)).await;
    let mut answers = match opened {
        Ok(answers) => answers.into_inner(),
        Err(status) => {
            queue.close();
            let cause = format!("the leader can't be reached: {}", status.message());
            while let Some((_, answer)) = queue.recv().await {
                // Nothing was sent: another try can't do harm.
                answer
                    .send(Err(ApiError::new(ErrorKind::NoLeader, cause.clone())))
                    .ok();
            }
            return;
        }
    };
    let mut under_way = HashMap::new();
    let (mut number, mut open) = (0, true);
    // After the last clone is gone, what is under way is still answered.
    while open || !under_way.is_empty() {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(Ok(answer)) => settle(answer, &mut under_way),
                // Dropping what is under way tells each that its outcome is unknown.
                Some(Err(_)) | None => return,
            },
            next = queue.recv(), if open && under_way.len() < UNDER_WAY_MAX => {
                let Some((change, answer)) = next else {
                    open = false;
                    continue;
                };
                number += 1;
                under_way.insert(number, answer);
                let forwarded = v1::ForwardedChange { number, change: Some(change) };
                // There is room: no more are under way than it holds.
                if changes.try_send(forwarded).is_err() {
                    return;
                }
            }
        }
    }
}

fn settle(
    answer: v1::ForwardedAnswer,
    under_way: &mut HashMap<u64, oneshot::Sender<Result<v1::Document>>>,
) {
    let Some(waiting) = under_way.remove(&answer.number) else {
        return;
    };
    let answer = match answer.answer {
        Some(Answer::Document(document)) => Ok(document),
        Some(Answer::ErrorJson(json)) => {
            Err(serde_json::from_slice(&json).unwrap_or_else(|_| broke()))
        }
        None => Err(broke()),
    };
    // A caller that gave up meanwhile needs no answer.
    waiting.send(answer).ok();
}

// --------------------------------------------------------------------------------- the leader's end

/// What the leader sends back.
pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = std::result::Result<v1::ForwardedAnswer, Status>> + Send>>;

/// Serves a follower's stream until it ends or the process is to stop.
pub(crate) fn serve(
    node: Arc<Node>,
    caller: Caller,
    changes: Streaming<v1::ForwardedChange>,
) -> Answers {
    let (answers, outgoing) = mpsc::channel(UNDER_WAY_MAX);
    tokio::spawn(take(node, caller, changes, answers));
    Box::pin(ReceiverStream::new(outgoing))
}

async fn take(
    node: Arc<Node>,
    caller: Caller,
    mut changes: Streaming<v1::ForwardedChange>,
    answers: mpsc::Sender<std::result::Result<v1::ForwardedAnswer, Status>>,
) {
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        let next = tokio::select! {
            () = node.stop.cancelled() => return,
            next = changes.next() => next,
        };
        let Some(Ok(forwarded)) = next else { return };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (node, caller) = (Arc::clone(&node), caller.clone());
        let answers = answers.clone();
        tokio::spawn(async move {
            let answer = answer(&node, &caller, forwarded).await;
            // A follower that is gone needs no answer.
            answers.send(Ok(answer)).await.ok();
            drop(place);
        });
    }
}

async fn answer(
    node: &Node,
    caller: &Caller,
    forwarded: v1::ForwardedChange,
) -> v1::ForwardedAnswer {
    // Whatever the message says: it is never forwarded again.
    let request = v1::ChangeRequest {
        forwarded: true,
        ..forwarded.change.unwrap_or_default()
    };
    let answer = match Box::pin(change::change(node, caller, request)).await {
        Ok(document) => Answer::Document(document),
        Err(error) => {
            Answer::ErrorJson(Bytes::from(serde_json::to_vec(&error).unwrap_or_default()))
        }
    };
    v1::ForwardedAnswer {
        number: forwarded.number,
        answer: Some(answer),
    }
}
