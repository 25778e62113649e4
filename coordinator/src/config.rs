//! What a JobManager is configured with, and which configurations it refuses.
//!
//! The keys are the user contract's. Reading YAML, the environment and `--set` is the command line's
//! business; here is the typed result, its defaults, and `validate`, which touches no disk or network.

mod check;
mod cleanup;
mod duration;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use regent_security::{Role, Security, SecurityConfig, SecurityError};
use regent_storage::objects::S3Access;
use serde::{Deserialize, Serialize};

pub use check::ConfigError;
pub use cleanup::CleanupStrategy;
pub use duration::{ParseDurationError, format_duration, parse_duration};

/// Configuration of the role `jobmanager`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JobManagerConfig {
    /// This replica's number, 1 or higher, never used again once removed from the cluster.
    pub node_id: u64,
    /// Name for people; absent: `jm-<node-id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Directory of identity, log, snapshots and state store.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// How others reach it, where that differs from `listen`.
    #[serde(default)]
    pub advertise: Advertise,
    /// Peer addresses of the replicas, for dialling only; membership comes from the log.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Timing profile of the Raft group.
    #[serde(default)]
    pub timing: Timing,
    /// Where checkpoints and savepoints lie.
    pub storage: StorageConfig,
    /// How failed deletions are tried again.
    #[serde(default)]
    pub cleanup_strategy: CleanupStrategy,
    /// Certificates and tokens.
    #[serde(default)]
    pub security: SecurityConfig,
    /// Bounds on what others can make it hold.
    #[serde(default)]
    pub limits: Limits,
    /// Leases of workers.
    #[serde(default)]
    pub workers: Workers,
    /// How long results of ended jobs are kept.
    #[serde(default)]
    pub results: Results,
    /// The replicated log.
    #[serde(default)]
    pub log: LogConfig,
}

/// Addresses to listen on, `host:port`; port 0 picks a free one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listen {
    /// Clients, workers and HTTP.
    pub api: String,
    /// Other replicas.
    pub peer: String,
}

/// Addresses that others use, `host:port`; absent: what it listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Advertise {
    /// Clients and workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Other replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Timing of elections: a profile's name, or `{heartbeat, election-min, election-max}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// Replicas in one network.
    #[default]
    Lan,
    /// Replicas in several regions.
    Wan,
    /// Disks whose sync may take hundreds of milliseconds.
    CloudSlowDisk,
    /// Chosen by hand; checked like the profiles.
    #[serde(rename_all = "kebab-case")]
    Custom {
        /// Between two heartbeats.
        #[serde(with = "duration")]
        heartbeat: Duration,
        /// Shortest election timeout.
        #[serde(with = "duration")]
        election_min: Duration,
        /// Longest election timeout.
        #[serde(with = "duration")]
        election_max: Duration,
    },
}

/// Where big bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StorageConfig {
    /// Absolute directory or URL below which checkpoints are written.
    pub checkpoint_dir: String,
    /// The directory is the same one on every machine.
    #[serde(default)]
    pub shared: bool,
    /// Access to S3; absent for local files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
}

impl StorageConfig {
    /// How buckets are reached.
    pub fn access(&self) -> S3Access {
        let s3 = self.s3.clone().unwrap_or_default();
        S3Access {
            endpoint: s3.endpoint,
            region: s3.region,
            credentials_file: s3.credentials_file,
        }
    }
}

/// Access to an S3-compatible store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct S3Config {
    /// URL of the service; absent: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// File holding the credentials; secrets never stand in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

/// Bounds on what others can make this process hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections of clients and workers; a quarter of them for those without a certificate.
    /// Replicas have an address of their own.
    pub connections: usize,
    /// How long a TLS handshake may take.
    #[serde(with = "duration")]
    pub handshake: Duration,
    /// Changes of clients that may wait for a majority at once; more are told to come again.
    pub proposals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            handshake: Duration::from_secs(5),
            proposals: 4_096,
        }
    }
}

/// Leases of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Workers {
    /// How long a worker may act without an answered heartbeat.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// Between two heartbeats of a worker.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
        }
    }
}

/// How long results of ended jobs are kept. Exactly-once submission is promised for that long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Results {
    /// At least one hour.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// Most results kept; the oldest clean ones go first.
    pub max_count: u64,
}

impl Default for Results {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_count: 10_000,
        }
    }
}

/// The replicated log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogConfig {
    /// A snapshot is taken after this many entries, or as many as have the size of the last one.
    pub snapshot_every: u64,
    /// Entries kept below a snapshot, for followers that were away briefly.
    pub keep_entries: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            snapshot_every: 50_000,
            keep_entries: 2_000,
        }
    }
}

impl JobManagerConfig {
    /// Name for people.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("jm-{}", self.node_id))
    }

    /// Reads certificate, key, CA and tokens, if there are any, and checks that others will believe them.
    ///
    /// # Errors
    /// The first file that can't be used, with the remedy.
    pub fn load_security(&self) -> Result<Security, SecurityError> {
        let api = self.advertise.api.as_ref().unwrap_or(&self.listen.api);
        let peer = self.advertise.peer.as_ref().unwrap_or(&self.listen.peer);
        Security::load(&self.security, &[Role::Peer], &[host(api), host(peer)])
    }

    /// Refuses what would be unsafe or can't work, naming the key and the remedy.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::check(self)
    }
}

/// The host of `host:port`, as it stands in certificates.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
