//! Reading snapshots: the ends of a file tell what it is, the body is checked chunk by chunk.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CHUNK_LEN, HEADER_LEN, META_MAX, SnapshotError, TRAILER_LEN, Trailer, header};

/// A finished snapshot. Its body is checked while it is read.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    meta: Arc<[u8]>,
    trailer: Trailer,
    file_len: u64,
}

impl SnapshotFile {
    /// Reads header, meta and trailer of a snapshot anywhere.
    pub fn open(path: &Path) -> Result<SnapshotFile, SnapshotError> {
        let mut file = File::open(path).map_err(SnapshotError::io("open", path))?;
        let read = SnapshotError::io("read", path);
        match read_ends(&mut file) {
            Err(error) => Err(read(error)),
            Ok(Err((offset, reason))) => Err(SnapshotError::damaged(path, offset, reason)),
            Ok(Ok((trailer, meta, file_len))) => Ok(SnapshotFile {
                path: path.to_path_buf(),
                meta: meta.into(),
                trailer,
                file_len,
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last log index it covers.
    pub fn index(&self) -> u64 {
        self.trailer.index
    }

    /// What the owner put beside the body.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> u64 {
        self.trailer.body_len
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Reads the body, checking it: damage is an `InvalidData` error that holds a
    /// [`SnapshotError::Damaged`]. Only when the reader has answered 0 was all of it whole.
    pub fn open_reader(&self) -> Result<SnapshotReader, SnapshotError> {
        let mut file = File::open(&self.path).map_err(SnapshotError::io("open", &self.path))?;
        file.seek(SeekFrom::Start(HEADER_LEN))
            .map_err(SnapshotError::io("read", &self.path))?;
        Ok(SnapshotReader {
            path: self.path.clone(),
            file: BufReader::with_capacity(CHUNK_LEN, file),
            trailer: self.trailer,
            chunk: Vec::new(),
            at: 0,
            offset: HEADER_LEN,
            body_read: 0,
            chunks_read: 0,
            crc: 0,
        })
    }

    /// Reads all of the body once, only to check it.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let mut reader = self.open_reader()?;
        while reader.next_chunk()? {}
        Ok(())
    }
}

/// Trailer, meta and file length, or where and what the damage is.
type Ends = Result<(Trailer, Vec<u8>, u64), (u64, &'static str)>;

fn read_ends(file: &mut File) -> io::Result<Ends> {
    let len = file.metadata()?.len();
    if len < HEADER_LEN + TRAILER_LEN {
        return Ok(Err((0, "the file is too short")));
    }
    let mut found = [0u8; HEADER_LEN as usize];
    file.read_exact(&mut found)?;
    if found != header() {
        return Ok(Err((0, "the header is unknown to this version")));
    }
    let mut bytes = [0u8; TRAILER_LEN as usize];
    file.seek(SeekFrom::Start(len - TRAILER_LEN))?;
    file.read_exact(&mut bytes)?;
    let Some(trailer) = Trailer::decode(&bytes) else {
        return Ok(Err((len - TRAILER_LEN, "the trailer fails its checksum")));
    };
    let meta_len = u64::from(trailer.meta_len);
    if trailer.file_len() != Some(len) || meta_len > META_MAX as u64 {
        return Ok(Err((
            len - TRAILER_LEN,
            "the file's length isn't what its trailer says",
        )));
    }
    let mut meta = vec![0u8; trailer.meta_len as usize];
    let meta_at = len - TRAILER_LEN - meta_len;
    file.seek(SeekFrom::Start(meta_at))?;
    file.read_exact(&mut meta)?;
    if crc32c::crc32c(&meta) != trailer.meta_crc {
        return Ok(Err((meta_at, "the meta data fail their checksum")));
    }
    Ok(Ok((trailer, meta, len)))
}

/// Reads a snapshot's body.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    trailer: Trailer,
    chunk: Vec<u8>,
    at: usize,
    offset: u64,
    body_read: u64,
    chunks_read: u64,
    crc: u32,
}

impl SnapshotReader {
    /// Loads the next chunk; false at the end of a body that was whole.
    fn next_chunk(&mut self) -> Result<bool, SnapshotError> {
        let damaged = |reason| Err(SnapshotError::damaged(&self.path, self.offset, reason));
        if self.chunks_read == self.trailer.chunks {
            if self.body_read != self.trailer.body_len || self.crc != self.trailer.chunk_crc {
                return damaged("the body isn't the one the trailer speaks of");
            }
            return Ok(false);
        }
        let mut head = [0u8; 8];
        self.file
            .read_exact(&mut head)
            .map_err(SnapshotError::io("read", &self.path))?;
        let len = crate::log::u32_at(&head, 0) as usize;
        let left = self.trailer.body_len - self.body_read;
        if len == 0 || len > CHUNK_LEN || len as u64 > left {
            return damaged("a chunk's length is impossible");
        }
        self.chunk.resize(len, 0);
        self.file
            .read_exact(&mut self.chunk)
            .map_err(SnapshotError::io("read", &self.path))?;
        let crc = crc32c::crc32c_append(self.crc, &self.chunk);
        if crc != crate::log::u32_at(&head, 4) {
            return damaged("a chunk fails its checksum");
        }
        self.crc = crc;
        self.at = 0;
        self.offset += 8 + len as u64;
        self.body_read += len as u64;
        self.chunks_read += 1;
        Ok(true)
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.next_chunk()? {
            return Ok(0);
        }
        let take = out.len().min(self.chunk.len() - self.at);
        out[..take].copy_from_slice(&self.chunk[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}
