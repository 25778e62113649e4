//! Durations and sizes of the configuration file, as text.

/// `#[serde(with = ..)]` for durations such as `3m`.
pub(super) mod duration {
    use std::time::Duration;

    use regent_protocol::units::{format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse_duration(&text).map_err(de::Error::custom)
    }
}

/// `#[serde(with = ..)]` for sizes such as `256MiB`.
pub(super) mod size {
    use regent_protocol::units::{format_size, parse_size};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &u64,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_size(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        parse_size(&text).map_err(de::Error::custom)
    }
}
