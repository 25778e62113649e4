//! The receiving end: subscribes at the worker that sends and brings its frames into a local
//! channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::v1::data_plane_client::DataPlaneClient;
use regent_protocol::v1::{AttemptKey, Frame, SubscribeRequest};
use regent_security::{Dialer, Role};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::{CONNECTION_WINDOW_BYTES, OPEN_WITHIN, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION};
use crate::engine::channel::{Element, put_rows};
use crate::engine::error::TaskError;
use crate::engine::frame::{FRAME_BYTES_MAX, decode};
use crate::engine::ids::ChannelId;
use crate::engine::memory::TaskMemory;
use crate::engine::registry::EpochCell;
use crate::engine::schema::row_bytes;
use crate::engine::task::{Kill, KillSwitch};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A peer that is cut off without a word is noticed after the sum of these two.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_WITHIN: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// What the service grants beyond waiting itself, for the way there and back.
const GRACE: Duration = Duration::from_secs(5);

/// The connections of one attempt to other workers; streams are dealt out over them.
pub(crate) struct Connections {
    epoch: Arc<EpochCell>,
    dialer: Dialer,
    by_address: Mutex<HashMap<String, Vec<(Channel, usize)>>>,
}

impl Connections {
    pub(crate) fn new(epoch: Arc<EpochCell>, dialer: Dialer) -> Self {
        Self {
            epoch,
            dialer,
            by_address: Mutex::default(),
        }
    }

    /// A connection with room for one more stream.
    fn channel(&self, address: &str) -> Result<Channel, TaskError> {
        let mut map = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let channels = map.entry(address.to_owned()).or_default();
        if let Some((channel, streams)) = channels.last_mut()
            && *streams < STREAMS_PER_CONNECTION
        {
            *streams += 1;
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| TaskError::Channel(format!("data address {address}: {error}")))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN)
            .keep_alive_while_idle(true);
        let channel = self.dialer.lazy(&endpoint, Role::Worker);
        channels.push((channel.clone(), 1));
        Ok(channel)
    }
}

/// One remote input of a task.
pub(crate) struct Subscription {
    pub(crate) attempt: AttemptKey,
    pub(crate) channel: ChannelId,
    pub(crate) address: String,
    pub(crate) kill: Arc<KillSwitch>,
    /// Of the task that reads: rows that were brought wait at its expense.
    pub(crate) memory: Arc<TaskMemory>,
}

/// Opens the channel, says so, and brings elements until the end. Whatever goes wrong fails the
/// task at once, whether it reads at the moment or not.
pub(crate) async fn pump(
    connections: Arc<Connections>,
    subscription: Subscription,
    sender: mpsc::Sender<Element>,
    open: oneshot::Sender<()>,
) {
    let brought = async {
        let frames = subscribe(&connections, &subscription).await?;
        // The task waits for this, unless it is being ended.
        let _ = open.send(());
        bring(frames, &sender, &subscription.memory).await
    };
    if let Err(error) = brought.await {
        let message = format!("channel {}: {error}", subscription.channel);
        subscription
            .kill
            .kill(Kill::Fail(TaskError::Channel(message)));
    }
}

async fn subscribe(
    connections: &Connections,
    subscription: &Subscription,
) -> Result<Streaming<Frame>, TaskError> {
    let deadline = Instant::now() + OPEN_WITHIN + GRACE;
    let channel = connections.channel(&subscription.address)?;
    let mut client = DataPlaneClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let mut pause = RETRY_FIRST;
    loop {
        let request = request(connections, subscription);
        let tried = tokio::time::timeout_at(deadline, client.subscribe(request)).await;
        let status = match tried {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        // Nothing was opened yet, so trying again isn't opening twice: the sender hands a channel
        // out only once.
        if !may_try_again(status.code()) || Instant::now() + pause >= deadline {
            return Err(TaskError::Channel(format!(
                "{} didn't open it: {}",
                subscription.address,
                words(&status)
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Unreachable, or this worker hasn't heard of the sender's leader yet.
fn may_try_again(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Aborted)
}

fn request(connections: &Connections, subscription: &Subscription) -> SubscribeRequest {
    SubscribeRequest {
        epoch: connections.epoch.get(),
        attempt: Some(subscription.attempt.clone()),
        upstream: Some(subscription.channel.upstream.key()),
        downstream: Some(subscription.channel.downstream.key()),
        input: subscription.channel.input,
    }
}

async fn bring(
    mut frames: Streaming<Frame>,
    sender: &mpsc::Sender<Element>,
    memory: &Arc<TaskMemory>,
) -> Result<(), TaskError> {
    loop {
        let frame = match frames.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(TaskError::Channel("it ended without an end".to_owned())),
            Err(status) => return Err(TaskError::Channel(format!("it broke: {}", words(&status)))),
        };
        let element = decode(frame)?;
        let end = element == Element::End;
        if !pass_on(element, sender, memory).await {
            // The task is over; its report says why.
            return Ok(());
        }
        if end {
            // Lets the sender see that everything was taken.
            while let Ok(Some(_)) = frames.message().await {}
            return Ok(());
        }
    }
}

/// False if the task that reads is over.
async fn pass_on(
    element: Element,
    sender: &mpsc::Sender<Element>,
    memory: &Arc<TaskMemory>,
) -> bool {
    match element {
        Element::Batch(rows, _) => {
            let charge = memory.charge(row_bytes(&rows));
            put_rows(sender, Element::Batch(rows, charge), memory).await
        }
        other => sender.send(other).await.is_ok(),
    }
}

fn words(status: &Status) -> String {
    let mut words = format!("{:?} {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}
