//! Durations in configuration files, as `regent_protocol::units` reads and writes them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

pub use regent_protocol::units::{ParseDurationError, format_duration, parse_duration};

pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_duration(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(de::Error::custom)
}
