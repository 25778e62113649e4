//! A file as a growing window of bytes, so that records are parsed in place and positions stay
//! exact. What a record is belongs to the formats.

use std::io;

use super::input::Input;

/// The window grows by at least this much at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Longest record; a missing quote must not read the whole disk into memory.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The unread bytes of a file from `offset` on.
#[derive(Debug)]
pub(super) struct Chunks {
    input: Input,
    buffer: Vec<u8>,
    begin: usize,
    offset: u64,
    eof: bool,
}

impl Chunks {
    /// Reads from `offset` on.
    pub(super) fn new(mut input: Input, offset: u64) -> io::Result<Self> {
        input.seek(offset)?;
        Ok(Self {
            input,
            buffer: Vec::new(),
            begin: 0,
            offset,
            eof: false,
        })
    }

    /// The bytes in memory that aren't consumed yet.
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }

    /// True when nothing follows the window.
    pub(super) fn eof(&self) -> bool {
        self.eof
    }

    /// Position in the file of the window's first byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Drops the first bytes of the window.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.begin += bytes;
        self.offset += bytes as u64;
    }

    /// Makes the window larger, or finds that the file ends. Windows double, so that a long record
    /// isn't scanned again and again.
    pub(super) fn grow(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK_BYTES.max(old), 0);
        let mut filled = old;
        while filled < self.buffer.len() {
            match self.input.read(&mut self.buffer[filled..]) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(filled);
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}
