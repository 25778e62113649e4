//! What a TaskManager is told before it starts: a typed structure with unknown keys refused, and the
//! rules that need no look at the machine. Reading YAML, environment names and `--set` overrides
//! belongs to the command line.

mod units;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use regent_protocol::units::{format_duration, format_size};
pub use regent_security::SecurityConfig;
use regent_security::{Role, Security, SecurityError};
use regent_storage::objects::S3_BUILT;
use serde::{Deserialize, Serialize};

/// Slots of a TaskManager that names none.
pub const DEFAULT_SLOTS: u32 = 4;
/// What the tasks of a slot may hold where the file doesn't say.
pub const DEFAULT_SLOT_MEMORY: u64 = 256 << 20;
/// Less than this has no room for the rows on their way.
pub const MIN_SLOT_MEMORY: u64 = 1 << 20;
/// How long a task may take to end where the file doesn't say (Flink's `task.cancellation.timeout`).
pub const DEFAULT_CANCELLATION_TIMEOUT: Duration = Duration::from_secs(180);
/// A busy machine makes a healthy task wait for this long.
pub const MIN_CANCELLATION_TIMEOUT: Duration = Duration::from_secs(1);
/// More slots than this on one worker is a mistake in the file, not a machine.
pub const MAX_SLOTS: u32 = 1024;
/// More JobManagers than this are refused: the group has three or five.
pub const MAX_JOBMANAGERS: usize = 16;

/// The configuration of one TaskManager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TaskManagerConfig {
    /// Name of the worker, unique in the cluster: 1-64 of letters, digits, `.`, `_`, `-`.
    pub worker_id: String,
    /// Directory of this worker alone: identity, lock and scratch files.
    pub data_dir: PathBuf,
    /// How many slots are offered (1-1024).
    #[serde(default = "default_slots")]
    pub slots: u32,
    /// Bytes that the tasks of one slot may keep as state and let wait in their channels, such as
    /// `256MiB`; at least `1MiB`. A task whose state goes beyond it fails.
    #[serde(default = "default_slot_memory", with = "units::size")]
    pub slot_memory: u64,
    /// A task that was told to end and hasn't after this time, such as `3m`, is reported as stuck and
    /// its slot isn't used again; at least `1s`.
    #[serde(default = "default_cancellation_timeout", with = "units::duration")]
    pub task_cancellation_timeout: Duration,
    /// Where it listens.
    pub listen: Addresses,
    /// How others reach it; what is absent is taken from `listen`.
    #[serde(default, skip_serializing_if = "Advertise::is_empty")]
    pub advertise: Advertise,
    /// Client addresses (`host:port`) of the JobManagers, at least one.
    pub jobmanagers: Vec<String>,
    /// Where checkpoints are written.
    pub storage: StorageConfig,
    /// Certificates, and tokens of those who read `/metrics`.
    #[serde(default)]
    pub security: SecurityConfig,
}

/// Addresses that a TaskManager listens on, `ip:port`; port 0 takes a free one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Addresses {
    /// HTTP: health and metrics.
    pub api: String,
    /// Data plane between workers.
    pub data: String,
}

/// Addresses told to others, `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Advertise {
    /// HTTP; absent: the address listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Data plane; absent: the address listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Advertise {
    fn is_empty(&self) -> bool {
        self.api.is_none() && self.data.is_none()
    }
}

/// The object store that holds checkpoints and savepoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StorageConfig {
    /// A directory, a `file://` URL or `s3://bucket/prefix`; the same for the whole cluster.
    pub checkpoint_dir: String,
    /// The directory is one file system that every host mounts at this path.
    #[serde(default)]
    pub shared: bool,
    /// Access to S3, for an `s3://` directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
}

/// Access to an S3-compatible store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct S3Config {
    /// Endpoint URL; absent: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// File with the credentials; secrets are taken from files only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

fn default_slots() -> u32 {
    DEFAULT_SLOTS
}

fn default_slot_memory() -> u64 {
    DEFAULT_SLOT_MEMORY
}

fn default_cancellation_timeout() -> Duration {
    DEFAULT_CANCELLATION_TIMEOUT
}

/// A rule that a configuration breaks, with its remedy in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The worker's name can't be used.
    #[error("worker-id: {0:?} must be 1-64 of letters, digits, '.', '_' and '-'")]
    WorkerId(String),
    /// The number of slots is out of range.
    #[error("slots: {0} must be between 1 and {MAX_SLOTS}")]
    Slots(u32),
    /// A slot has next to no memory.
    #[error("slot-memory: {} is too little; give a slot at least {}, such as 256MiB", format_size(*.0), format_size(MIN_SLOT_MEMORY))]
    SlotMemory(u64),
    /// Tasks have next to no time to end.
    #[error("task-cancellation-timeout: {} is too short; give tasks at least {}, such as 3m", format_duration(*.0), format_duration(MIN_CANCELLATION_TIMEOUT))]
    CancellationTimeout(Duration),
    /// The data directory is empty.
    #[error("data-dir: name a directory of this worker alone")]
    DataDir,
    /// An address isn't `host:port`.
    #[error("{key}: {value:?} is not an address; write {wanted}")]
    Address {
        /// Key in the file.
        key: String,
        /// What is there.
        value: String,
        /// What is expected.
        wanted: &'static str,
    },
    /// Listening beyond loopback without TLS.
    #[error(
        "{key}: {value} is reachable from other hosts and there is no TLS; name certificate, key and ca in \
         security.tls, listen on 127.0.0.1, or set security.insecure-dev: true (--insecure-dev) on a trusted \
         network"
    )]
    NotLoopback {
        /// Key in the file.
        key: String,
        /// What is there.
        value: String,
    },
    /// Tokens without TLS.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// Nobody can dial the address that would be told to others.
    #[error("{key}: {value} can't be dialled by others; set {key} to a host name or address")]
    NotDiallable {
        /// Key in the file.
        key: String,
        /// What would be told.
        value: String,
    },
    /// The list of JobManagers is empty or too long.
    #[error("jobmanagers: name between 1 and {MAX_JOBMANAGERS} addresses, not {0}")]
    JobManagers(usize),
    /// The checkpoint directory is missing.
    #[error("storage.checkpoint-dir: name the directory that all processes of the cluster use")]
    CheckpointDir,
    /// S3 was asked of a build that has none.
    #[error("storage.checkpoint-dir: {0}: built without s3: cargo build --features s3")]
    WithoutS3(String),
    /// A local directory and JobManagers elsewhere.
    #[error(
        "storage.checkpoint-dir: {dir} is local but JobManager {jobmanager} is on another host; \
         set storage.shared: true if every host mounts it at this path"
    )]
    NotShared {
        /// The directory.
        dir: String,
        /// A JobManager that isn't on loopback.
        jobmanager: String,
    },
}

impl TaskManagerConfig {
    /// Reads certificate, key, CA and tokens, if there are any, and checks that others will believe them.
    ///
    /// # Errors
    /// The first file that can't be used, with the remedy.
    pub fn load_security(&self) -> Result<Security, SecurityError> {
        let api = self.advertise.api.as_ref().unwrap_or(&self.listen.api);
        let data = self.advertise.data.as_ref().unwrap_or(&self.listen.data);
        let host = |address: &String| {
            let host = address
                .rsplit_once(':')
                .map_or(address.as_str(), |(host, _)| host);
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned()
        };
        Security::load(&self.security, &[Role::Worker], &[&host(api), &host(data)])
    }

    /// Checks every rule that needs no look at the machine.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of the keys.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_identity()?;
        self.security.check()?;
        self.check_listen("listen.api", &self.listen.api)?;
        self.check_listen("listen.data", &self.listen.data)?;
        check_advertised(
            "advertise.api",
            self.advertise.api.as_ref(),
            &self.listen.api,
        )?;
        check_advertised(
            "advertise.data",
            self.advertise.data.as_ref(),
            &self.listen.data,
        )?;
        self.check_jobmanagers()?;
        self.check_storage()
    }

    fn check_identity(&self) -> Result<(), ConfigError> {
        let id = &self.worker_id;
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > 64 || !id.chars().all(letters) {
            return Err(ConfigError::WorkerId(id.clone()));
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::DataDir);
        }
        if self.slots == 0 || self.slots > MAX_SLOTS {
            return Err(ConfigError::Slots(self.slots));
        }
        if self.slot_memory < MIN_SLOT_MEMORY {
            return Err(ConfigError::SlotMemory(self.slot_memory));
        }
        if self.task_cancellation_timeout < MIN_CANCELLATION_TIMEOUT {
            let within = self.task_cancellation_timeout;
            return Err(ConfigError::CancellationTimeout(within));
        }
        Ok(())
    }

    fn check_listen(&self, key: &str, value: &str) -> Result<(), ConfigError> {
        let loopback = match split(value) {
            Some(("localhost", _)) => true,
            Some((host, _)) => match parse_ip(host) {
                Some(ip) => ip.is_loopback(),
                None => return Err(bad_address(key, value, "ip:port")),
            },
            None => return Err(bad_address(key, value, "ip:port")),
        };
        if loopback || self.security.lets_others_in() {
            return Ok(());
        }
        Err(ConfigError::NotLoopback {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }

    fn check_jobmanagers(&self) -> Result<(), ConfigError> {
        if self.jobmanagers.is_empty() || self.jobmanagers.len() > MAX_JOBMANAGERS {
            return Err(ConfigError::JobManagers(self.jobmanagers.len()));
        }
        for (at, address) in self.jobmanagers.iter().enumerate() {
            let port = split(address).map_or(0, |(_, port)| port);
            if port == 0 {
                let key = format!("jobmanagers[{at}]");
                return Err(bad_address(&key, address, "host:port"));
            }
        }
        Ok(())
    }

    fn check_storage(&self) -> Result<(), ConfigError> {
        let dir = &self.storage.checkpoint_dir;
        if dir.is_empty() {
            return Err(ConfigError::CheckpointDir);
        }
        if dir.starts_with("s3://") {
            return match S3_BUILT {
                true => Ok(()),
                false => Err(ConfigError::WithoutS3(dir.clone())),
            };
        }
        let elsewhere = self.jobmanagers.iter().find(|a| !is_loopback(a));
        match elsewhere {
            Some(jobmanager) if !self.storage.shared => Err(ConfigError::NotShared {
                dir: dir.clone(),
                jobmanager: jobmanager.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn check_advertised(
    key: &str,
    advertised: Option<&String>,
    listen: &str,
) -> Result<(), ConfigError> {
    let value = advertised.map_or(listen, String::as_str);
    let Some((host, port)) = split(value) else {
        return Err(bad_address(key, value, "host:port"));
    };
    let unspecified = parse_ip(host).is_some_and(|ip| ip.is_unspecified());
    if unspecified || (advertised.is_some() && port == 0) {
        return Err(ConfigError::NotDiallable {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(())
}

fn bad_address(key: &str, value: &str, wanted: &'static str) -> ConfigError {
    ConfigError::Address {
        key: key.to_owned(),
        value: value.to_owned(),
        wanted,
    }
}

/// Host and port of `host:port`; brackets of an IPv6 host are kept.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || bare_v6 || host.contains(['/', ' ', '@']) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

fn is_loopback(address: &str) -> bool {
    match split(address) {
        Some(("localhost", _)) => true,
        Some((host, _)) => parse_ip(host).is_some_and(|ip| ip.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TaskManagerConfig {
        serde_json::from_value(serde_json::json!({
            "worker-id": "tm-1",
            "data-dir": "/var/lib/regent/tm-1",
            "listen": { "api": "127.0.0.1:7300", "data": "127.0.0.1:7301" },
            "jobmanagers": ["127.0.0.1:7101", "127.0.0.1:7102"],
            "storage": { "checkpoint-dir": "/var/lib/regent/checkpoints" },
        }))
        .unwrap()
    }

    #[test]
    fn the_smallest_file_is_valid_and_has_four_slots() {
        let config = config();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.slots, 4);
        assert_eq!(config.slot_memory, 256 << 20);
        assert_eq!(config.task_cancellation_timeout, Duration::from_secs(180));
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(written["slot-memory"], "256MiB");
        assert_eq!(written["task-cancellation-timeout"], "3m");
        assert!(!config.storage.shared);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for (place, key) in [("", "worker"), ("listen", "peer"), ("storage", "share")] {
            let mut value = serde_json::to_value(config()).unwrap();
            let target = if place.is_empty() {
                &mut value
            } else {
                &mut value[place]
            };
            target[key] = serde_json::json!(1);
            let error = serde_json::from_value::<TaskManagerConfig>(value).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn only_loopback_without_insecure_dev() {
        let mut config = config();
        config.listen.data = "0.0.0.0:7301".to_owned();
        config.advertise.data = Some("tm-1:7301".to_owned());
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with("listen.data: 0.0.0.0:7301"), "{error}");
        assert!(error.contains("insecure-dev"), "{error}");
        config.security.insecure_dev = true;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn an_unspecified_address_is_never_told_to_others() {
        let mut config = config();
        config.security.insecure_dev = true;
        config.listen.data = "0.0.0.0:7301".to_owned();
        let error = config.validate().unwrap_err();
        assert!(
            matches!(error, ConfigError::NotDiallable { ref key, .. } if key == "advertise.data")
        );
        config.advertise.data = Some("[::]:7301".to_owned());
        assert!(config.validate().is_err());
        config.advertise.data = Some("[::1]:7301".to_owned());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn names_slots_and_addresses_are_checked() {
        type Spoil = fn(&mut TaskManagerConfig);
        let cases: [(&str, Spoil); 12] = [
            ("worker-id", |c| c.worker_id = "tm 1".to_owned()),
            ("worker-id", |c| c.worker_id = String::new()),
            ("data-dir", |c| c.data_dir = PathBuf::new()),
            ("slots", |c| c.slots = 0),
            ("slots", |c| c.slots = 1025),
            ("slot-memory", |c| c.slot_memory = 1000),
            ("task-cancellation-timeout", |c| {
                c.task_cancellation_timeout = Duration::ZERO;
            }),
            ("listen.api", |c| c.listen.api = "7300".to_owned()),
            ("listen.api", |c| c.listen.api = "somewhere:7300".to_owned()),
            ("jobmanagers", |c| c.jobmanagers.clear()),
            ("jobmanagers[1]", |c| c.jobmanagers[1] = "jm-1".to_owned()),
            ("storage.checkpoint-dir", |c| {
                c.storage.checkpoint_dir.clear()
            }),
        ];
        for (key, spoil) in cases {
            let mut config = config();
            spoil(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key), "{key}: {error}");
        }
    }

    #[test]
    fn a_local_directory_and_a_distant_jobmanager_need_shared() {
        let mut config = config();
        config.jobmanagers.push("jm-3:7101".to_owned());
        let error = config.validate().unwrap_err().to_string();
        assert!(
            error.contains("jm-3:7101") && error.contains("shared: true"),
            "{error}"
        );
        config.storage.shared = true;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn s3_is_refused_by_a_build_without_it() {
        let mut config = config();
        config.storage.checkpoint_dir = "s3://bucket/regent".to_owned();
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("--features s3")
        );
    }
}
