//! What a replica is started with, and the timing profiles behind it.
//!
//! Reading configuration files is the command line's business; this module only checks what it is given.

use std::path::PathBuf;
use std::time::Duration;

use openraft::SnapshotPolicy;
use regent_security::{DoorLimits, Security};

use crate::error::StartError;
use crate::types::{Node, NodeId};

/// How long Raft waits for what. All times in milliseconds where a number is bare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// Replicas in one network: heartbeat 40 ms, election 200-300 ms.
    #[default]
    Lan,
    /// Replicas in several regions: heartbeat 200 ms, election 1-2 s.
    Wan,
    /// Disks whose sync may take hundreds of milliseconds: heartbeat 200 ms, election 1.5-3 s.
    CloudSlowDisk,
    /// Chosen by hand; checked like the others.
    Custom {
        /// Milliseconds between two heartbeats.
        heartbeat_ms: u64,
        /// Shortest election timeout in milliseconds.
        election_min_ms: u64,
        /// Longest election timeout in milliseconds; also the leader's lease against new votes.
        election_max_ms: u64,
    },
}

impl Timing {
    /// `(heartbeat, election min, election max)` in milliseconds.
    pub fn millis(self) -> (u64, u64, u64) {
        match self {
            Self::Lan => (40, 200, 300),
            Self::Wan => (200, 1_000, 2_000),
            Self::CloudSlowDisk => (200, 1_500, 3_000),
            Self::Custom {
                heartbeat_ms,
                election_min_ms,
                election_max_ms,
            } => (heartbeat_ms, election_min_ms, election_max_ms),
        }
    }

    /// Refuses timings under which a few lost heartbeats would unseat a healthy leader.
    pub fn check(self) -> Result<(), StartError> {
        let (heartbeat, min, max) = self.millis();
        if heartbeat == 0 || heartbeat > min / 5 {
            return Err(StartError::Timing(format!(
                "heartbeat {heartbeat} ms must be above 0 and at most a fifth of the shortest \
                 election timeout ({min} ms)"
            )));
        }
        if max <= min {
            return Err(StartError::Timing(format!(
                "longest election timeout {max} ms must be above the shortest ({min} ms)"
            )));
        }
        Ok(())
    }
}

/// Everything a replica needs to know at start.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Directory of identity, log, snapshots and state store. Created if absent.
    pub data_dir: PathBuf,
    /// This replica's number, 1 or higher.
    pub node_id: NodeId,
    /// Its name for people.
    pub name: String,
    /// `host:port` under which clients reach it (advertised).
    pub api: String,
    /// `host:port` the peer service listens on; port 0 picks a free one.
    pub listen_peer: String,
    /// `host:port` under which other replicas reach it; absent = what it listens on.
    pub advertise_peer: Option<String>,
    /// Addresses of other replicas, for asking around while this one belongs to no cluster.
    /// Membership comes from the log, never from here.
    pub peers: Vec<String>,
    /// Timing profile.
    pub timing: Timing,
    /// A snapshot is taken after this many entries, or as many as have the size of the last one.
    pub snapshot_every: u64,
    /// How many entries below the snapshot stay in the log, so that a follower that was away briefly
    /// is fed from the log.
    pub keep_entries: u64,
    /// How long a proposal may take before its outcome is called unknown.
    pub propose_timeout: Duration,
    /// How long a linearizable read or a quorum confirmation may take.
    pub read_timeout: Duration,
    /// How many proposals of clients may wait at once; more are refused as overloaded. The leader's own
    /// have places of their own.
    pub max_inflight_proposals: usize,
    /// Its certificate, if replicas talk over TLS.
    pub security: Security,
    /// Bounds of the peer service's address.
    pub door: DoorLimits,
    /// Whether followers act on hard signs of the leader's death instead of waiting for the timer.
    pub fast_failover: bool,
}

impl ReplicaConfig {
    /// A configuration with the defaults of the `lan` profile.
    pub fn new(data_dir: impl Into<PathBuf>, node_id: NodeId, name: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            node_id,
            name: name.into(),
            api: String::new(),
            listen_peer: "127.0.0.1:0".to_owned(),
            advertise_peer: None,
            peers: Vec::new(),
            timing: Timing::Lan,
            snapshot_every: 50_000,
            keep_entries: 2_000,
            propose_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(2),
            max_inflight_proposals: 4_096,
            security: Security::default(),
            door: DoorLimits {
                connections: 256,
                handshake: Duration::from_secs(5),
            },
            fast_failover: true,
        }
    }

    /// Name and addresses as others are told them.
    pub fn node(&self) -> Node {
        Node {
            name: self.name.clone(),
            api: self.api.clone(),
            peer: self
                .advertise_peer
                .clone()
                .unwrap_or_else(|| self.listen_peer.clone()),
        }
    }

    /// Checks what can be checked without touching disk or network.
    pub fn check(&self) -> Result<(), StartError> {
        if self.node_id == 0 {
            return Err(StartError::Config("node id must be 1 or higher".to_owned()));
        }
        if self.snapshot_every == 0 || self.max_inflight_proposals == 0 {
            return Err(StartError::Config(
                "snapshot-every and max-inflight-proposals must be above 0".to_owned(),
            ));
        }
        self.timing.check()
    }

    /// openraft's view of this configuration.
    pub(crate) fn raft(&self) -> Result<openraft::Config, StartError> {
        let (heartbeat, min, max) = self.timing.millis();
        let config = openraft::Config {
            cluster_name: "regent".to_owned(),
            heartbeat_interval: heartbeat,
            election_timeout_min: min,
            election_timeout_max: max,
            // Only a purge makes a snapshot necessary; lag alone is fed from the log.
            replication_lag_threshold: u64::MAX / 4,
            max_payload_entries: 1_024,
            // When one is due depends on its size: `snapshotting.rs` asks.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: 64.min(self.snapshot_every),
            install_snapshot_timeout: 30_000,
            enable_pre_vote: Some(true),
            // Every process start needs a new election, so no two processes share an epoch.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            // A peer that comes back is found again within a heartbeat or two.
            backoff: format!("{heartbeat}ms {}ms ...{}ms", heartbeat * 2, max * 2),
            ..openraft::Config::default()
        };
        config
            .validate()
            .map_err(|e| StartError::Timing(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_accepted_and_make_a_valid_raft_config() {
        for timing in [Timing::Lan, Timing::Wan, Timing::CloudSlowDisk] {
            let mut config = ReplicaConfig::new("unused", 1, "jm-1");
            config.timing = timing;
            config.check().unwrap();
            let raft = config.raft().unwrap();
            assert_eq!(raft.enable_leader_restore, Some(false));
            assert_eq!(raft.enable_pre_vote, Some(true));
        }
    }

    #[test]
    fn a_heartbeat_above_a_fifth_of_the_election_timeout_is_refused() {
        let timing = |heartbeat_ms| Timing::Custom {
            heartbeat_ms,
            election_min_ms: 200,
            election_max_ms: 300,
        };
        assert!(timing(40).check().is_ok());
        assert!(timing(41).check().is_err());
        assert!(timing(0).check().is_err());
    }
}
