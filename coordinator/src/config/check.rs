//! The rules of `JobManagerConfig::validate`.

use std::net::IpAddr;
use std::time::Duration;

use regent_storage::objects::{Location, S3_BUILT};

use super::{CleanupStrategy, JobManagerConfig, Timing, format_duration};

/// A configuration that is refused: which key, why, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key, spelled as in the file.
    pub key: &'static str,
    /// Cause and remedy.
    pub problem: String,
}

type Checked = Result<(), ConfigError>;

fn refuse(key: &'static str, problem: impl Into<String>) -> Checked {
    Err(ConfigError {
        key,
        problem: problem.into(),
    })
}

pub(super) fn check(config: &JobManagerConfig) -> Checked {
    if config.node_id == 0 {
        return refuse("node-id", "must be 1 or higher");
    }
    check_name(config.name.as_deref())?;
    if config.data_dir.as_os_str().is_empty() {
        return refuse("data-dir", "must name a directory");
    }
    check_security(config)?;
    let open = config.security.lets_others_in();
    check_listen("listen.api", &config.listen.api, open)?;
    check_listen("listen.peer", &config.listen.peer, open)?;
    let advertise = &config.advertise;
    check_advertise(
        "advertise.api",
        advertise.api.as_deref(),
        &config.listen.api,
    )?;
    check_advertise(
        "advertise.peer",
        advertise.peer.as_deref(),
        &config.listen.peer,
    )?;
    config
        .peers
        .iter()
        .try_for_each(|peer| check_address("peers", peer).map(|_| ()))?;
    check_timing(config.timing)?;
    check_storage(config)?;
    check_cleanup(&config.cleanup_strategy)?;
    check_periods(config)
}

fn check_name(name: Option<&str>) -> Checked {
    let Some(name) = name else { return Ok(()) };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return refuse("name", "must be 1-64 letters, digits, `.`, `_` or `-`");
    }
    Ok(())
}

/// Splits `host:port`; an IPv6 host may stand in brackets.
fn check_address(key: &'static str, address: &str) -> Result<(String, u16), ConfigError> {
    let problem = || ConfigError {
        key,
        problem: format!("`{address}` is not host:port"),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(problem)?;
    let port = port.parse().map_err(|_| problem())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(problem());
    }
    Ok((host.to_owned(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn check_security(config: &JobManagerConfig) -> Checked {
    config.security.check().map_err(|error| ConfigError {
        key: error.key,
        problem: error.problem,
    })?;
    let limits = &config.limits;
    if limits.connections < 16 {
        return refuse("limits.connections", "must be at least 16");
    }
    if limits.handshake < Duration::from_millis(100) {
        return refuse("limits.handshake", "must be at least 100ms");
    }
    if limits.proposals == 0 {
        return refuse("limits.proposals", "must be above 0");
    }
    Ok(())
}

fn check_listen(key: &'static str, address: &str, open: bool) -> Checked {
    let (host, _) = check_address(key, address)?;
    if !open && !is_loopback(&host) {
        let problem = format!(
            "{address} is not a loopback address and there is no TLS; name certificate, key and ca in \
             security.tls, listen on 127.0.0.1, or set security.insecure-dev: true on a trusted network"
        );
        return refuse(key, problem);
    }
    Ok(())
}

fn check_advertise(key: &'static str, advertised: Option<&str>, listen: &str) -> Checked {
    let address = advertised.unwrap_or(listen);
    let (host, port) = check_address(key, address)?;
    if is_unspecified(&host) {
        return refuse(
            key,
            format!("{address} can't be dialled by others; name this host"),
        );
    }
    if advertised.is_some() && port == 0 {
        return refuse(key, "port 0 can't be dialled by others");
    }
    Ok(())
}

fn check_timing(timing: Timing) -> Checked {
    let Timing::Custom {
        heartbeat,
        election_min,
        election_max,
    } = timing
    else {
        return Ok(());
    };
    if heartbeat.is_zero() || heartbeat > election_min / 5 {
        let problem = format!(
            "heartbeat {} must be above 0 and at most a fifth of election-min {}",
            format_duration(heartbeat),
            format_duration(election_min)
        );
        return refuse("timing", problem);
    }
    if election_max <= election_min {
        return refuse("timing", "election-max must be above election-min");
    }
    Ok(())
}

fn check_storage(config: &JobManagerConfig) -> Checked {
    let dir = config.storage.checkpoint_dir.as_str();
    let key = "storage.checkpoint-dir";
    if dir.starts_with("s3://") {
        if !S3_BUILT {
            return refuse(key, "built without s3: cargo build --features s3");
        }
        let parsed = dir.parse::<Location>();
        return parsed.map_or_else(|error| refuse(key, error.to_string()), |_| Ok(()));
    }
    let path = dir.strip_prefix("file://").unwrap_or(dir);
    if dir.contains("://") && !dir.starts_with("file://") {
        return refuse(
            key,
            format!("`{dir}` is neither a directory nor a file:// URL"),
        );
    }
    if !path.starts_with('/') {
        return refuse(key, format!("`{dir}` must be an absolute directory"));
    }
    if config.storage.s3.is_some() && !S3_BUILT {
        return refuse("storage.s3", "built without s3: cargo build --features s3");
    }
    Ok(())
}

fn check_cleanup(strategy: &CleanupStrategy) -> Checked {
    let key = "cleanup-strategy";
    match strategy {
        CleanupStrategy::None {} => Ok(()),
        CleanupStrategy::FixedDelay { delay, .. } if delay.is_zero() => {
            refuse(key, "delay must be above 0")
        }
        CleanupStrategy::ExponentialDelay {
            initial_backoff,
            max_backoff,
            ..
        } if initial_backoff.is_zero() || max_backoff < initial_backoff => refuse(
            key,
            "initial-backoff must be above 0 and at most max-backoff",
        ),
        CleanupStrategy::FixedDelay { .. } | CleanupStrategy::ExponentialDelay { .. } => Ok(()),
    }
}

fn check_periods(config: &JobManagerConfig) -> Checked {
    let workers = &config.workers;
    if workers.heartbeat < Duration::from_millis(10) {
        return refuse("workers.heartbeat", "must be at least 10ms");
    }
    if workers.heartbeat > workers.lease / 3 {
        return refuse(
            "workers.heartbeat",
            "must be at most a third of workers.lease",
        );
    }
    if config.results.max_age < Duration::from_secs(3_600) {
        return refuse("results.max-age", "must be at least 1h");
    }
    if config.results.max_count == 0 {
        return refuse("results.max-count", "must be above 0");
    }
    if config.log.snapshot_every == 0 {
        return refuse("log.snapshot-every", "must be above 0");
    }
    Ok(())
}
