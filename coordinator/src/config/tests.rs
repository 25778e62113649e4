use super::*;

fn config() -> JobManagerConfig {
    read("{}")
}

/// The contract's example with one more document of keys merged over it.
fn read(over: &str) -> JobManagerConfig {
    try_read(over).unwrap()
}

fn try_read(over: &str) -> Result<JobManagerConfig, serde_json::Error> {
    let mut base = serde_json::json!({
        "node-id": 1,
        "data-dir": "/var/lib/regent",
        "listen": { "api": "127.0.0.1:7101", "peer": "127.0.0.1:7201" },
        "peers": ["jm-1:7201", "jm-2:7201"],
        "timing": "lan",
        "storage": { "checkpoint-dir": "/var/lib/regent/checkpoints", "shared": true },
        "cleanup-strategy": { "type": "exponential-delay", "initial-backoff": "1s", "max-backoff": "1h" },
    });
    let over: serde_json::Value = serde_json::from_str(over)?;
    for (key, value) in over.as_object().unwrap() {
        base[key] = value.clone();
    }
    serde_json::from_value(base)
}

#[test]
fn the_contracts_example_is_valid_and_has_the_defaults() {
    let config = config();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.cleanup_strategy, CleanupStrategy::default());
    assert_eq!(config.workers.lease, Duration::from_secs(10));
    assert_eq!(config.display_name(), "jm-1");
}

#[test]
fn unknown_keys_are_errors() {
    for over in [
        r#"{"nodeid": 1}"#,
        r#"{"listen": {"api": "127.0.0.1:1", "peer": "127.0.0.1:2", "http": "x"}}"#,
        r#"{"security": {"tls": true}}"#,
        r#"{"cleanup-strategy": {"type": "fixed-delay", "delays": "1s"}}"#,
        r#"{"timing": "fast"}"#,
    ] {
        assert!(try_read(over).is_err(), "{over}");
    }
}

#[test]
fn what_is_unsafe_or_cannot_work_is_refused_by_key() {
    for (over, key) in [
        (r#"{"node-id": 0}"#, "node-id"),
        (r#"{"name": "a b"}"#, "name"),
        (
            r#"{"listen": {"api": "0.0.0.0:7101", "peer": "127.0.0.1:2"}}"#,
            "listen.api",
        ),
        (
            r#"{"listen": {"api": "127.0.0.1:1", "peer": "jm-1:7201"}}"#,
            "listen.peer",
        ),
        (
            r#"{"listen": {"api": "nowhere", "peer": "127.0.0.1:2"}}"#,
            "listen.api",
        ),
        (r#"{"advertise": {"api": "0.0.0.0:7101"}}"#, "advertise.api"),
        (
            r#"{"advertise": {"peer": "127.0.0.1:0"}}"#,
            "advertise.peer",
        ),
        (
            r#"{"security": {"insecure-dev": true}, "listen": {"api": "0.0.0.0:1", "peer": "10.0.0.1:2"}}"#,
            "advertise.api",
        ),
        (
            r#"{"storage": {"checkpoint-dir": "checkpoints"}}"#,
            "storage.checkpoint-dir",
        ),
        (
            r#"{"storage": {"checkpoint-dir": "s3://b/p"}}"#,
            "storage.checkpoint-dir",
        ),
        (
            r#"{"storage": {"checkpoint-dir": "ftp://b/p"}}"#,
            "storage.checkpoint-dir",
        ),
        (
            r#"{"timing": {"custom": {"heartbeat": "50ms", "election-min": "200ms", "election-max": "300ms"}}}"#,
            "timing",
        ),
        (
            r#"{"workers": {"heartbeat": "5s", "lease": "10s"}}"#,
            "workers.heartbeat",
        ),
        (r#"{"results": {"max-age": "10m"}}"#, "results.max-age"),
        (
            r#"{"cleanup-strategy": {"type": "fixed-delay", "delay": "0s"}}"#,
            "cleanup-strategy",
        ),
    ] {
        assert_eq!(read(over).validate().unwrap_err().key, key, "{over}");
    }
}

#[test]
fn insecure_dev_lets_other_addresses_be_used() {
    let config = read(
        r#"{"security": {"insecure-dev": true}, "listen": {"api": "0.0.0.0:7101", "peer": "0.0.0.0:7201"},
            "advertise": {"api": "jm-1:7101", "peer": "jm-1:7201"}}"#,
    );
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn durations_are_read_and_written_as_the_contract_spells_them() {
    for (text, millis) in [
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        assert_eq!(format_duration(Duration::from_millis(millis)), text);
    }
    for text in [
        "",
        "5",
        "s",
        "1.5s",
        "-1s",
        " 1s",
        "1 s",
        "99999999999999999999s",
        "99999999999d",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn cleanup_delays_follow_flink() {
    let seconds =
        |strategy: &CleanupStrategy, failed| strategy.delay_after(failed).map(|d| d.as_secs());
    let exponential = CleanupStrategy::default();
    assert_eq!(
        [1, 2, 3, 12, 13, 99].map(|n| seconds(&exponential, n).unwrap()),
        [1, 2, 4, 2048, 3600, 3600]
    );
    let fixed = CleanupStrategy::FixedDelay {
        attempts: 2,
        delay: Duration::from_secs(60),
    };
    assert_eq!(
        [1, 2, 3].map(|n| seconds(&fixed, n)),
        [Some(60), Some(60), None]
    );
    assert_eq!(CleanupStrategy::None {}.delay_after(1), None);
}

#[test]
fn tls_lets_other_addresses_be_used_and_tokens_need_it() {
    let elsewhere = r#""listen": {"api": "0.0.0.0:1", "peer": "0.0.0.0:2"},
        "advertise": {"api": "jm-1:1", "peer": "jm-1:2"}"#;
    let tls = r#""tls": {"certificate": "/c", "key": "/k", "ca": "/a"}"#;
    let config = read(&format!(r#"{{"security": {{{tls}}}, {elsewhere}}}"#));
    assert_eq!(config.validate(), Ok(()));
    let config = read(r#"{"security": {"tokens": {"admin": "/t"}}}"#);
    let error = config.validate().unwrap_err();
    assert_eq!(error.key, "security.tokens");
}

#[test]
fn limits_have_a_least() {
    for (limits, key) in [
        (r#"{"connections": 15}"#, "limits.connections"),
        (r#"{"handshake": "99ms"}"#, "limits.handshake"),
        (r#"{"proposals": 0}"#, "limits.proposals"),
    ] {
        let config = read(&format!(r#"{{"limits": {limits}}}"#));
        assert_eq!(config.validate().unwrap_err().key, key);
    }
}
