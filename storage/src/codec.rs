//! The envelope around everything that Regent persists or hashes, and the one place where bincode is
//! used. Knows the kinds by number, not by type: who owns a type owns its versions.
//!
//! ```text
//! magic "RG" | format u8 | kind u16 | schema version u16 | flags u8 | length u32 | crc32c u32 | payload
//! ```
//!
//! Little-endian. The checksum covers everything before it and the payload. Format 1 is bincode 2
//! `standard()`; flags are 0. Rules of evolution: a persisted struct is frozen per version (a new
//! field is a new version with a conversion), enum variants are only ever appended, and an unknown
//! kind or version is an error, never a guess.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;
/// Largest payload. Bigger things are split by their owner (snapshots are streams of chunks).
pub const PAYLOAD_MAX: usize = 64 << 20;

const MAGIC: [u8; 2] = *b"RG";
const FORMAT_BINCODE2: u8 = 1;

/// What an envelope holds. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u16);

impl Kind {
    /// A command with its context, as it stands in a log entry.
    pub const ENVELOPE: Kind = Kind(1);
    /// A whole log entry.
    pub const LOG_ENTRY: Kind = Kind(2);
    /// A Raft log id.
    pub const LOG_ID: Kind = Kind(3);
    /// A Raft vote.
    pub const VOTE: Kind = Kind(4);
    /// A Raft membership.
    pub const MEMBERSHIP: Kind = Kind(5);
    /// What a snapshot says of itself.
    pub const SNAPSHOT_META: Kind = Kind(6);
    /// A piece of a snapshot's body.
    pub const SNAPSHOT_CHUNK: Kind = Kind(7);
    /// An entity of the replicated state.
    pub const ENTITY: Kind = Kind(8);
    /// How far the state store has come.
    pub const STATE_MARKER: Kind = Kind(9);
    /// The identity of a data directory.
    pub const IDENTITY: Kind = Kind(10);
    /// The `_metadata` of a checkpoint or savepoint.
    pub const CHECKPOINT_METADATA: Kind = Kind(11);
    /// The state of one subtask in a checkpoint.
    pub const OPERATOR_STATE: Kind = Kind(12);
    /// A job graph or another declared blob.
    pub const BLOB: Kind = Kind(13);
    /// A response of the state machine, forwarded between replicas.
    pub const RESPONSE: Kind = Kind(14);
    /// The identity of a worker's data directory.
    pub const WORKER_IDENTITY: Kind = Kind(15);
    /// Which directory of the state store counts.
    pub const STATE_POINTER: Kind = Kind(16);
    /// For tests and examples.
    pub const TEST: Kind = Kind(0xfffe);
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not an envelope at all.
    #[error("not a Regent record: it doesn't begin with \"RG\"")]
    BadMagic,
    /// An encoding this version doesn't know.
    #[error("encoding format {0} is unknown to this version")]
    UnknownFormat(u8),
    /// Flags this version doesn't know.
    #[error("flags {0:#04x} are unknown to this version")]
    UnknownFlags(u8),
    /// Something else than was asked for.
    #[error("a record of kind {found} where kind {expected} was due")]
    WrongKind {
        /// Asked for.
        expected: Kind,
        /// Found.
        found: Kind,
    },
    /// A schema version this version can't read.
    #[error("kind {kind}: schema version {found} is unknown; this version reads {supported:?}")]
    UnknownVersion {
        /// What the record is.
        kind: Kind,
        /// Its version.
        found: u16,
        /// Versions that can be read.
        supported: Vec<u16>,
    },
    /// Larger than [`PAYLOAD_MAX`].
    #[error("a payload of {0} bytes is over the limit of {PAYLOAD_MAX}")]
    TooLong(u64),
    /// Fewer bytes than the envelope says.
    #[error("cut short: {found} bytes of {expected}")]
    Truncated {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// More bytes than the envelope says, or than its value needs.
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
    /// Damaged.
    #[error("checksum {found:08x} instead of {expected:08x}: the bytes are damaged")]
    ChecksumMismatch {
        /// As written.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// The payload isn't the type's encoding.
    #[error("kind {kind}: {reason}")]
    Malformed {
        /// What the record is.
        kind: Kind,
        /// What the decoder says.
        reason: String,
    },
}

/// Encodes a value in an envelope.
pub fn encode<T: Serialize + ?Sized>(
    kind: Kind,
    version: u16,
    value: &T,
) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![0u8; HEADER_LEN];
    let config = bincode::config::standard().with_limit::<PAYLOAD_MAX>();
    bincode::serde::encode_into_std_write(value, &mut out, config).map_err(|e| {
        CodecError::Malformed {
            kind,
            reason: e.to_string(),
        }
    })?;
    fill_header(kind, version, &mut out)?;
    Ok(out)
}

/// Decodes a value of one of the `supported` versions, which must all have the type's shape. For
/// versions of different shapes [`open`] the envelope and decode by version with [`decode_payload`].
pub fn decode<T: DeserializeOwned>(
    kind: Kind,
    supported: &[u16],
    bytes: &[u8],
) -> Result<T, CodecError> {
    decode_borrowed(kind, supported, bytes)
}

/// Like [`decode`], for values that borrow from `bytes`: nothing large is copied.
pub fn decode_borrowed<'a, T: Deserialize<'a>>(
    kind: Kind,
    supported: &[u16],
    bytes: &'a [u8],
) -> Result<T, CodecError> {
    let opened = open(kind, bytes)?;
    if !supported.contains(&opened.version) {
        return Err(CodecError::UnknownVersion {
            kind,
            found: opened.version,
            supported: supported.to_vec(),
        });
    }
    decode_payload(kind, opened.payload)
}

/// Decodes a payload, all of it.
pub fn decode_payload<'a, T: Deserialize<'a>>(
    kind: Kind,
    payload: &'a [u8],
) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<PAYLOAD_MAX>();
    let decoded = bincode::serde::borrow_decode_from_slice(payload, config);
    let (value, used) = decoded.map_err(|e| CodecError::Malformed {
        kind,
        reason: e.to_string(),
    })?;
    match payload.len() - used {
        0 => Ok(value),
        extra => Err(CodecError::TrailingBytes(extra)),
    }
}

/// Puts payload bytes in an envelope.
pub fn seal(kind: Kind, version: u16, payload: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![0u8; HEADER_LEN + payload.len()];
    out[HEADER_LEN..].copy_from_slice(payload);
    fill_header(kind, version, &mut out)?;
    Ok(out)
}

/// An envelope that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Schema version of the payload.
    pub version: u16,
    /// The bytes inside.
    pub payload: &'a [u8],
}

/// Checks an envelope that has to be all of `bytes`.
pub fn open(kind: Kind, bytes: &[u8]) -> Result<Opened<'_>, CodecError> {
    let (opened, rest) = open_prefix(kind, bytes)?;
    match rest.len() {
        0 => Ok(opened),
        extra => Err(CodecError::TrailingBytes(extra)),
    }
}

/// Checks an envelope at the start of `bytes`; answers what follows it too.
pub fn open_prefix(kind: Kind, bytes: &[u8]) -> Result<(Opened<'_>, &[u8]), CodecError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Err(CodecError::Truncated {
            expected: HEADER_LEN,
            found: bytes.len(),
        });
    };
    let [
        m0,
        m1,
        format,
        k0,
        k1,
        v0,
        v1,
        flags,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        c2,
        c3,
    ] = *header;
    if [m0, m1] != MAGIC {
        return Err(CodecError::BadMagic);
    }
    if format != FORMAT_BINCODE2 {
        return Err(CodecError::UnknownFormat(format));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > PAYLOAD_MAX {
        return Err(CodecError::TooLong(length as u64));
    }
    let Some((payload, rest)) = body.split_at_checked(length) else {
        return Err(CodecError::Truncated {
            expected: HEADER_LEN + length,
            found: bytes.len(),
        });
    };
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let found = checksum(header, payload);
    if expected != found {
        return Err(CodecError::ChecksumMismatch { expected, found });
    }
    let found = Kind(u16::from_le_bytes([k0, k1]));
    if found != kind {
        return Err(CodecError::WrongKind {
            expected: kind,
            found,
        });
    }
    if flags != 0 {
        return Err(CodecError::UnknownFlags(flags));
    }
    Ok((
        Opened {
            version: u16::from_le_bytes([v0, v1]),
            payload,
        },
        rest,
    ))
}

fn fill_header(kind: Kind, version: u16, out: &mut [u8]) -> Result<(), CodecError> {
    let (header, payload) = out.split_at_mut(HEADER_LEN);
    if payload.len() > PAYLOAD_MAX {
        return Err(CodecError::TooLong(payload.len() as u64));
    }
    header[..2].copy_from_slice(&MAGIC);
    header[2] = FORMAT_BINCODE2;
    header[3..5].copy_from_slice(&kind.0.to_le_bytes());
    header[5..7].copy_from_slice(&version.to_le_bytes());
    header[7] = 0;
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(header, payload);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sample {
        id: u64,
        name: String,
        data: Vec<u8>,
        choice: Option<i32>,
    }

    fn sample() -> Sample {
        Sample {
            id: 300,
            name: "jm".to_owned(),
            data: vec![1, 2],
            choice: Some(-1),
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(Kind::TEST, 7, &sample()).unwrap();
        let expected: Vec<u8> = [
            &b"RG"[..],
            &[1, 0xfe, 0xff, 7, 0, 0, 11, 0, 0, 0],
            &[0xe7, 0xa6, 0x22, 0x58],
            &[251, 44, 1, 2, b'j', b'm', 2, 1, 2, 1, 1],
        ]
        .concat();
        assert_eq!(
            bytes, expected,
            "the envelope's bytes are frozen: {bytes:02x?}"
        );
        assert_eq!(
            decode::<Sample>(Kind::TEST, &[7], &expected).unwrap(),
            sample()
        );
    }

    #[test]
    fn every_damage_has_its_name() {
        let good = encode(Kind::TEST, 1, &sample()).unwrap();
        let decode = |bytes: &[u8]| decode::<Sample>(Kind::TEST, &[1], bytes).unwrap_err();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(decode(&with(0, b'X')), CodecError::BadMagic);
        assert_eq!(decode(&with(2, 9)), CodecError::UnknownFormat(9));
        assert!(matches!(
            decode(&with(20, 0)),
            CodecError::ChecksumMismatch { .. }
        ));
        assert!(matches!(decode(&with(11, 0xff)), CodecError::TooLong(_)));
        assert!(matches!(decode(&good[..20]), CodecError::Truncated { .. }));
        assert!(matches!(decode(&good[..3]), CodecError::Truncated { .. }));
        let longer = [&good[..], &[0]].concat();
        assert_eq!(decode(&longer), CodecError::TrailingBytes(1));
        let other_kind = seal(Kind::BLOB, 1, b"x").unwrap();
        assert!(matches!(decode(&other_kind), CodecError::WrongKind { .. }));
        let newer = encode(Kind::TEST, 2, &sample()).unwrap();
        assert!(matches!(
            decode(&newer),
            CodecError::UnknownVersion { found: 2, .. }
        ));
        let inner = seal(Kind::TEST, 1, &[&good[HEADER_LEN..], &[0]].concat()).unwrap();
        assert_eq!(decode(&inner), CodecError::TrailingBytes(1));
        let empty = seal(Kind::TEST, 1, &[]).unwrap();
        assert!(matches!(decode(&empty), CodecError::Malformed { .. }));
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let good = encode(Kind::TEST, 1, &sample()).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode::<Sample>(Kind::TEST, &[1], &bytes).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        // A vector's length of 2^60 in a payload of a few bytes.
        let payload = [253, 0, 0, 0, 0, 0, 0, 0, 16];
        let error = decode_payload::<Vec<u8>>(Kind::TEST, &payload).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. }));
    }

    proptest! {
        #[test]
        fn values_come_back(
            id: u64, name: String, data: Vec<u8>, choice: Option<i32>, version: u16
        ) {
            let value = Sample { id, name, data, choice };
            let bytes = encode(Kind::TEST, version, &value).unwrap();
            prop_assert_eq!(decode::<Sample>(Kind::TEST, &[version], &bytes).unwrap(), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<Sample>(Kind::TEST, &[1], &bytes);
            let _ = decode_payload::<Sample>(Kind::TEST, &bytes);
            let sealed = seal(Kind::TEST, 1, &bytes).unwrap();
            prop_assert_eq!(open(Kind::TEST, &sealed).unwrap().payload, &bytes[..]);
            let _ = decode::<Sample>(Kind::TEST, &[1], &sealed);
        }
    }
}
