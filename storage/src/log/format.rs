//! The bytes of a segment: its header, batches, and the records in them. Pure: no IO.
//!
//! ```text
//! segment  header (64) | batch | batch | ... | zeros
//! header   magic 8 | version u16 | 0 u16 | segment u32 | salt u64 | first sequence u64
//!          | previous end u64 | previous crc u32 | file length u64 | 0.. | crc32c u32
//! batch    magic u32 | body length u32 | sequence u64 | own offset u32 | previous crc u32
//!          | records u32 | crc32c u32 | records, zeros up to a multiple of 8
//! record   kind u8 | 0 u8 | log id length u16 | payload length u32 | index u64 | crc32c u32
//!          | log id | payload
//! ```
//!
//! All numbers are little-endian. One batch is one `fdatasync`, so a batch with sequence n+1 proves
//! that batch n was durable. A batch's checksum starts from the log's random salt and the segment's
//! number, so neither a foreign segment nor a payload that looks like a batch is taken for one.

use bytes::Bytes;

/// Bytes before the first batch.
pub(crate) const SEGMENT_HEADER_LEN: usize = 64;
/// Bytes before a batch's records.
pub(crate) const BATCH_HEADER_LEN: usize = 32;
/// Bytes before a record's log id.
pub(crate) const RECORD_HEADER_LEN: usize = 20;
/// Batches start at multiples of this.
pub(crate) const ALIGN: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"RGNTSEG\x01";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"RGB\x01");
const SEGMENT_VERSION: u16 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// An entry of the log.
    Entry = 1,
    /// The vote; replaces the one before.
    Vote = 2,
    /// The committed position; replaces the one before.
    Committed = 3,
    /// Entries from `index` on are gone.
    Truncate = 4,
    /// Entries up to and including `index` are gone.
    Purge = 5,
    /// First record of a segment: the next entry's index is `index`.
    Base = 6,
}

impl RecordKind {
    fn parse(byte: u8) -> Option<RecordKind> {
        Some(match byte {
            1 => RecordKind::Entry,
            2 => RecordKind::Vote,
            3 => RecordKind::Committed,
            4 => RecordKind::Truncate,
            5 => RecordKind::Purge,
            6 => RecordKind::Base,
            _ => return None,
        })
    }
}

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u32,
    pub(crate) salt: u64,
    /// Sequence of the segment's first batch.
    pub(crate) first_sequence: u64,
    /// Where the previous segment's last batch ended.
    pub(crate) previous_end: u64,
    /// That batch's checksum.
    pub(crate) previous_crc: u32,
    /// Length of the file: a shorter one was cut by something else than a crash.
    pub(crate) len: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0u8; SEGMENT_HEADER_LEN];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..10].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        out[40..44].copy_from_slice(&self.previous_crc.to_le_bytes());
        out[44..52].copy_from_slice(&self.len.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header, or what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, &'static str> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_LEN) else {
            return Err("the file is shorter than a segment's header");
        };
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err("the segment's header fails its checksum");
        }
        if bytes[..8] != SEGMENT_MAGIC || bytes[8..10] != SEGMENT_VERSION.to_le_bytes() {
            return Err("the segment's format is unknown to this version");
        }
        Ok(SegmentHeader {
            segment: u32_at(bytes, 12),
            salt: u64_at(bytes, 16),
            first_sequence: u64_at(bytes, 24),
            previous_end: u64_at(bytes, 32),
            previous_crc: u32_at(bytes, 40),
            len: u64_at(bytes, 44),
        })
    }
}

/// Where a batch stands; part of its checksum, so a batch is valid only in its own place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPlace {
    pub(crate) salt: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) sequence: u64,
    pub(crate) previous_crc: u32,
}

/// Collects records into one batch, in one reused buffer.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    buf: Vec<u8>,
    records: u32,
}

impl BatchBuilder {
    /// Starts over, keeping the buffer unless it has grown unusually large.
    pub(crate) fn reset(&mut self, keep_capacity: usize) {
        self.buf.clear();
        self.buf.shrink_to(keep_capacity);
        self.buf.resize(BATCH_HEADER_LEN, 0);
        self.records = 0;
    }

    /// Adds a record; answers its offset within the batch and its length.
    pub(crate) fn push(
        &mut self,
        kind: RecordKind,
        index: u64,
        log_id: &[u8],
        payload: &[u8],
    ) -> (u32, u32) {
        let start = self.buf.len();
        let mut header = [0u8; RECORD_HEADER_LEN];
        header[0] = kind as u8;
        header[2..4].copy_from_slice(&(log_id.len() as u16).to_le_bytes());
        header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[8..16].copy_from_slice(&index.to_le_bytes());
        let crc = record_crc(&header, log_id, payload);
        header[16..].copy_from_slice(&crc.to_le_bytes());
        self.buf.extend_from_slice(&header);
        self.buf.extend_from_slice(log_id);
        self.buf.extend_from_slice(payload);
        self.records += 1;
        (start as u32, (self.buf.len() - start) as u32)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes that the finished batch takes.
    pub(crate) fn batch_len(&self) -> usize {
        self.buf.len().next_multiple_of(ALIGN)
    }

    /// Fills in the header. Answers the bytes to write and the batch's checksum.
    pub(crate) fn finish(&mut self, place: BatchPlace) -> (&[u8], u32) {
        self.buf.resize(self.batch_len(), 0);
        let body_len = (self.buf.len() - BATCH_HEADER_LEN) as u32;
        let buf = &mut self.buf;
        buf[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        buf[4..8].copy_from_slice(&body_len.to_le_bytes());
        buf[8..16].copy_from_slice(&place.sequence.to_le_bytes());
        buf[16..20].copy_from_slice(&place.offset.to_le_bytes());
        buf[20..24].copy_from_slice(&place.previous_crc.to_le_bytes());
        buf[24..28].copy_from_slice(&self.records.to_le_bytes());
        let crc = batch_crc(place.salt, place.segment, buf);
        buf[28..32].copy_from_slice(&crc.to_le_bytes());
        (buf, crc)
    }
}

/// A batch whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchInfo {
    pub(crate) sequence: u64,
    pub(crate) previous_crc: u32,
    pub(crate) crc: u32,
    pub(crate) records: u32,
    /// First byte of the first record, and one past the last byte of the batch.
    pub(crate) body: (usize, usize),
}

/// The batch at `offset` of a segment's bytes, or what is wrong there.
pub(crate) fn parse_batch(
    segment_bytes: &[u8],
    offset: usize,
    salt: u64,
    segment: u32,
) -> Result<BatchInfo, &'static str> {
    let Some(header) = segment_bytes.get(offset..offset + BATCH_HEADER_LEN) else {
        return Err("the segment ends within a batch's header");
    };
    if u32_at(header, 0) != BATCH_MAGIC {
        return Err("no batch starts here");
    }
    if u32_at(header, 16) as usize != offset {
        return Err("the batch belongs to another place");
    }
    let body = (
        offset + BATCH_HEADER_LEN,
        offset + BATCH_HEADER_LEN + u32_at(header, 4) as usize,
    );
    let Some(batch) = segment_bytes.get(offset..body.1) else {
        return Err("the segment ends within a batch");
    };
    let crc = u32_at(header, 28);
    if batch.len() % ALIGN != 0 || batch_crc(salt, segment, batch) != crc {
        return Err("the batch fails its checksum");
    }
    Ok(BatchInfo {
        sequence: u64_at(header, 8),
        previous_crc: u32_at(header, 20),
        crc,
        records: u32_at(header, 24),
        body,
    })
}

/// One record, borrowed from the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) index: u64,
    pub(crate) log_id: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Whole length in bytes.
    pub(crate) len: usize,
}

/// The record at the start of `bytes`, or what is wrong with it.
pub(crate) fn parse_record(bytes: &[u8]) -> Result<RecordRef<'_>, &'static str> {
    let Some(header) = bytes.get(..RECORD_HEADER_LEN) else {
        return Err("the record is cut short");
    };
    let log_id_len = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let payload_len = u32_at(header, 4) as usize;
    let len = RECORD_HEADER_LEN + log_id_len + payload_len;
    let Some(content) = bytes.get(RECORD_HEADER_LEN..len) else {
        return Err("the record is cut short");
    };
    let (log_id, payload) = content.split_at(log_id_len);
    let mut plain = [0u8; RECORD_HEADER_LEN];
    plain[..16].copy_from_slice(&header[..16]);
    if record_crc(&plain, log_id, payload) != u32_at(header, 16) {
        return Err("the record fails its checksum");
    }
    let Some(kind) = RecordKind::parse(header[0]) else {
        return Err("the record's kind is unknown to this version");
    };
    Ok(RecordRef {
        kind,
        index: u64_at(header, 8),
        log_id,
        payload,
        len,
    })
}

/// Log id and payload of the record at the start of `bytes`, sharing its memory.
pub(crate) fn slice_record(bytes: &Bytes) -> Result<(u64, Bytes, Bytes), &'static str> {
    let record = parse_record(bytes)?;
    let log_id = bytes.slice_ref(record.log_id);
    Ok((record.index, log_id, bytes.slice_ref(record.payload)))
}

fn record_crc(header: &[u8; RECORD_HEADER_LEN], log_id: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header[..16]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, log_id), payload)
}

fn batch_crc(salt: u64, segment: u32, batch: &[u8]) -> u32 {
    let mut seed = [0u8; 12];
    seed[..8].copy_from_slice(&salt.to_le_bytes());
    seed[8..].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32c::crc32c(&seed);
    let crc = crc32c::crc32c_append(crc, &batch[..28]);
    crc32c::crc32c_append(crc, &batch[BATCH_HEADER_LEN..])
}

/// Reads a number at a place that the caller has checked to be there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0u8; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

/// Reads a number at a place that the caller has checked to be there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0u8; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
