//! Channels to other replicas' APIs: one for each address, connected lazily, kept for reuse.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Addresses kept; a cluster has a handful of replicas.
const CHANNELS_MAX: usize = 64;

/// The channels of one process.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Clients {
    /// A client of the API at `address` (`host:port`).
    pub(crate) fn to(&self, address: &str) -> Result<JobManagerApiClient<Channel>, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(client(channel.clone()));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::internal(format!("address {address}: {error}")))?;
        let channel = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect_lazy();
        if channels.len() >= CHANNELS_MAX {
            channels.pop_first();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(client(channel))
    }
}

fn client(channel: Channel) -> JobManagerApiClient<Channel> {
    JobManagerApiClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
