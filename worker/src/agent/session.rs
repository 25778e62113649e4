//! The stream to one leader: dials, sends what it is given in order, hands in what arrives. Dropping
//! it breaks the stream. It decides nothing.

use std::time::Duration;

use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{Register, WorkerMessage};
use regent_security::{Dialer, Role};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::session_words::Input;
use super::watch::{deepest, endpoint};

/// Messages on their way out. A leader that lets this many pile up is taken for gone.
const OUT_MAX: usize = 8192;

/// An input together with the session that it belongs to; 0 belongs to none.
pub(crate) type Numbered = (u64, Input);

/// A session, dialling or open.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    out: Option<mpsc::Sender<WorkerMessage>>,
    task: JoinHandle<()>,
}

impl Session {
    /// Dials `api`; whatever comes of it arrives in `inbox` under `number`.
    pub(crate) fn open(
        number: u64,
        dialer: Dialer,
        (api, register): (String, Register),
        inbox: mpsc::Sender<Numbered>,
    ) -> Self {
        let (out, outgoing) = mpsc::channel(OUT_MAX);
        let task = tokio::spawn(async move {
            let said = converse(number, &dialer, (&api, register), outgoing, &inbox).await;
            let reason = match said {
                Ok(()) => format!("JobManager {api} ended the session"),
                Err(error) => format!("JobManager {api}: {}", deepest(&*error)),
            };
            // A closed inbox means that the driver has ended: nobody is left to be told.
            let _ = inbox.send((number, Input::Ended(reason))).await;
        });
        Self {
            number,
            out: Some(out),
            task,
        }
    }

    /// Number of this session.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Queues a message. False: the leader doesn't read, or the session has ended.
    #[must_use]
    pub(crate) fn send(&self, report: Report) -> bool {
        let message = WorkerMessage {
            message: Some(report),
        };
        self.out
            .as_ref()
            .is_some_and(|out| out.try_send(message).is_ok())
    }

    /// Sends this as the last message and waits until the leader has closed the stream.
    pub(crate) async fn finish(mut self, last: Report, within: Duration) {
        if self.send(last) {
            self.out = None;
            // Late or not, the stream is dropped afterwards.
            let _ = tokio::time::timeout(within, &mut self.task).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    number: u64,
    dialer: &Dialer,
    (api, register): (&str, Register),
    outgoing: mpsc::Receiver<WorkerMessage>,
    inbox: &mpsc::Sender<Numbered>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = dialer.connect(&endpoint(api)?, Role::Peer).await?;
    let mut client = WorkerGatewayClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let first = WorkerMessage {
        message: Some(Report::Register(register)),
    };
    let messages = futures::StreamExt::chain(
        futures::stream::iter([first]),
        ReceiverStream::new(outgoing),
    );
    let mut stream = client.session(messages).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if inbox.send((number, Input::Message(message))).await.is_err() {
            break;
        }
    }
    Ok(())
}
