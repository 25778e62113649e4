//! The bytes of a split: a local file, or an object of a bucket that is fetched in pieces.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::{Buf, Bytes};

use crate::engine::remote::{Remote, is_remote};

/// One request to a bucket.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// Something to read from.
#[derive(Debug)]
pub(super) enum Input {
    Local(File),
    Object(Object),
}

/// An object as it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Object {
    remote: Remote,
    path: String,
    length: u64,
    /// Behind what is fetched.
    at: u64,
    fetched: Bytes,
}

impl Input {
    /// Opens what the path names, at its beginning.
    pub(super) fn open(path: &str, remote: Option<&Remote>) -> io::Result<Self> {
        match remote {
            Some(remote) if is_remote(path) => Ok(Self::Object(Object {
                length: remote.length(path)?,
                remote: remote.clone(),
                path: path.to_owned(),
                at: 0,
                fetched: Bytes::new(),
            })),
            _ => File::open(path).map(Self::Local),
        }
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Local(file) => Ok(file.metadata()?.len()),
            Self::Object(object) => Ok(object.length),
        }
    }

    /// The same once more. Positions of local files are shared, so one of the two has to seek.
    pub(super) fn another(&self) -> io::Result<Self> {
        match self {
            Self::Local(file) => file.try_clone().map(Self::Local),
            Self::Object(object) => Ok(Self::Object(object.clone())),
        }
    }

    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Self::Local(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Self::Object(object) => {
                (object.at, object.fetched) = (offset, Bytes::new());
                Ok(())
            }
        }
    }

    /// Some bytes; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(out),
            Self::Object(object) => object.read(out),
        }
    }
}

impl Object {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.fetched.is_empty() && self.at < self.length {
            let end = self.length.min(self.at + PIECE_BYTES);
            self.fetched = self.remote.range(&self.path, self.at..end)?;
            self.at += self.fetched.len() as u64;
            if self.fetched.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let taken = out.len().min(self.fetched.len());
        self.fetched.copy_to_slice(&mut out[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::remote::fake::Bucket;
    use crate::engine::sources::files::listing::list;

    const PATH: &str = "s3://b/in/a.csv";

    fn remote() -> Remote {
        let bucket = Bucket::default();
        let long: Vec<u8> = (0..PIECE_BYTES + 10).map(|n| n as u8).collect();
        for (path, content) in [(PATH, Bytes::from(long)), ("s3://b/in/_x", Bytes::new())] {
            bucket.objects().insert(path.to_owned(), content);
        }
        Remote::new(Arc::new(bucket))
    }

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test]
    async fn an_object_is_read_in_pieces_from_any_place() {
        blocking(|| {
            let mut input = Input::open(PATH, Some(&remote())).unwrap();
            assert_eq!(input.length().unwrap(), PIECE_BYTES + 10);
            let mut read = 0;
            let mut buffer = vec![0; 1_000_000];
            loop {
                let taken = input.read(&mut buffer).unwrap();
                if taken == 0 {
                    break;
                }
                assert_eq!(buffer[0], read as u8);
                read += taken as u64;
            }
            assert_eq!(read, PIECE_BYTES + 10);
            input.seek(300).unwrap();
            assert!(input.read(&mut buffer).unwrap() > 0);
            assert_eq!(buffer[0], 300u64 as u8);
            let missing = Input::open("s3://b/in/none", Some(&remote())).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        })
        .await;
    }

    #[tokio::test]
    async fn objects_are_listed_like_files() {
        blocking(|| {
            for path in [
                PATH,
                "s3://b/in",
                "s3://b/in/",
                "s3://b/in/*.csv",
                "s3://b/*/a.csv",
            ] {
                let found = list(path, Some(&remote())).unwrap();
                let names: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
                assert_eq!(names, [PATH], "{path}");
            }
            assert!(list("s3://b/none", Some(&remote())).unwrap().is_empty());
        })
        .await;
    }
}
