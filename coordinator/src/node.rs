//! What the parts of one JobManager process share: its replica, its configuration, its present reign.

use std::sync::Arc;

use regent_ha::Replica;
use regent_security::Security;
use regent_storage::objects::Objects;
use tokio_util::sync::CancellationToken;

use crate::api::clients::Clients;
use crate::config::JobManagerConfig;
use crate::leader::Serving;
use crate::leader::rule::Rule;
use crate::metrics::Counters;

/// One JobManager process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Arc<JobManagerConfig>,
    pub(crate) replica: Replica,
    pub(crate) objects: Objects,
    pub(crate) counters: Arc<Counters>,
    /// The reign that is served here, from `establish` to `revoke`.
    pub(crate) rule: Serving,
    /// Channels to the other replicas' APIs.
    pub(crate) clients: Clients,
    /// What connections show and are held against.
    pub(crate) security: Security,
    /// Cancelled when the process is to stop: long-lived streams end.
    pub(crate) stop: CancellationToken,
    /// How clients and workers reach this replica.
    pub(crate) api: String,
    /// One comparison of store and log at a time.
    pub(crate) verifying: tokio::sync::Mutex<()>,
    /// One snapshot for an operator at a time.
    pub(crate) saving: tokio::sync::Mutex<()>,
}

impl Node {
    /// The reign that is served here, if any.
    pub(crate) fn ruling(&self) -> Option<Arc<Rule>> {
        self.rule.borrow().clone()
    }
}

/// Milliseconds since 1970, for people only.
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
