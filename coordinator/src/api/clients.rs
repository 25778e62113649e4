//! Channels to other replicas' APIs: one for each address, connected lazily, kept for reuse; and the
//! streams for forwarded changes over them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_security::{Dialer, Role};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::forwarding::Forwarder;

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Addresses kept; a cluster has a handful of replicas.
const CHANNELS_MAX: usize = 64;

/// The channels of one process.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    dialer: Dialer,
    channels: Mutex<BTreeMap<String, Channel>>,
    forwarders: Mutex<BTreeMap<String, Forwarder>>,
}

impl Clients {
    /// No channels yet; they will be made with this.
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            ..Self::default()
        }
    }

    /// How other replicas are reached.
    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A client of the API at `address` (`host:port`).
    pub(crate) fn to(&self, address: &str) -> Result<JobManagerApiClient<Channel>, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(client(channel.clone()));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::internal(format!("address {address}: {error}")))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5));
        let channel = self.dialer.lazy(&endpoint, Role::Peer);
        if channels.len() >= CHANNELS_MAX {
            channels.pop_first();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(client(channel))
    }

    /// The stream for changes to the leader at `address`; a new one if it broke.
    pub(crate) fn forwarder(&self, address: &str) -> Result<Forwarder, Status> {
        let mut forwarders = self
            .forwarders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = forwarders.get(address).filter(|open| !open.is_broken()) {
            return Ok(open.clone());
        }
        let opened = Forwarder::open(self.to(address)?);
        // One leads; a stream to an earlier leader is of no more use.
        forwarders.clear();
        forwarders.insert(address.to_owned(), opened.clone());
        Ok(opened)
    }
}

fn client(channel: Channel) -> JobManagerApiClient<Channel> {
    JobManagerApiClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
