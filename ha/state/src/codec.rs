//! Bytes of commands and entities, and their fingerprints.
//!
//! bincode's standard configuration behind a leading version byte; always with a size limit.
//! Encoding is deterministic, so equal values have equal bytes on every replica. Checksums and
//! framing on disk are added by `regent-storage`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// The version that leads every encoded value. A changed shape gets a new number and keeps
/// reading the old one.
pub const VERSION: u8 = 1;
/// The largest encoded value in bytes.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the value is empty")]
    Empty,
    /// Written by a newer release, or not ours.
    #[error("value version {0} is not known here; this release reads {VERSION}")]
    Version(u8),
    /// Cut short, too long, or with an unknown variant.
    #[error("the value can't be decoded: {0}")]
    Malformed(String),
    /// More bytes than the value needs.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A key that names no entity.
    #[error("`{0}` is not the key of an entity")]
    Key(String),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<VALUE_BYTES_MAX>()
}

/// Encodes a value behind the version byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .expect("derived types of known length always encode into memory");
    bytes
}

/// Decodes a value; every byte must be used.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&version, payload) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let (value, used) = bincode::serde::decode_from_slice(payload, config())
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match payload.len() - used {
        0 => Ok(value),
        rest => Err(DecodeError::Trailing(rest)),
    }
}

/// The fingerprint of a key and its value. The key's length goes in first, so that no byte can
/// move from one to the other unnoticed.
pub(crate) fn digest(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}
