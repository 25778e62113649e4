//! Keeps what the fence knows over a restart, so that a restarted worker doesn't obey a leader that
//! was deposed before. One small file, replaced by rename, written only when an epoch changes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::WorkerError;
use super::fence::Fence;

const NAME: &str = "leader-epoch.json";
/// The file holds four values; anything longer isn't ours.
const LENGTH_MAX: u64 = 4096;

/// The file in the worker's data directory. The directory's lock makes it this process's alone.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// Reads what an earlier process of this data directory knew; nothing if there was none.
    pub(crate) fn open(data_dir: &Path) -> Result<(Self, Fence), WorkerError> {
        let memory = Self {
            path: data_dir.join(NAME),
        };
        let fence = memory.read()?;
        Ok((memory, fence))
    }

    fn read(&self) -> Result<Fence, WorkerError> {
        let unreadable = |message| WorkerError::Unreadable {
            path: self.path.clone(),
            message,
        };
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Fence::default()),
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(found) if found.len() > LENGTH_MAX => {
                return Err(unreadable(format!("{} bytes is too long", found.len())));
            }
            Ok(_) => {}
        }
        let bytes = fs::read(&self.path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
    }

    /// Durable when it returns.
    pub(crate) async fn write(&self, fence: Fence) -> Result<(), WorkerError> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&path, &fence)).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| WorkerError::Memory {
                path: self.path.clone(),
                source,
            })
    }
}

fn replace(path: &Path, fence: &Fence) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(fence)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use regent_protocol::v1::Epoch;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, mut fence) = Memory::open(dir.path()).unwrap();
        assert_eq!(fence, Fence::default());
        fence.raise(
            "a",
            &Epoch {
                generation: 1,
                term: 7,
                node: 2,
            },
        );
        memory.write(fence.clone()).await.unwrap();
        let (_, read) = Memory::open(dir.path()).unwrap();
        assert_eq!(read, fence);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), b"{\"cluster-id\":").unwrap();
        let error = Memory::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(NAME), "{error}");
        fs::write(dir.path().join(NAME), vec![b' '; 5000]).unwrap();
        assert!(Memory::open(dir.path()).is_err());
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, fence) = Memory::open(&dir.path().join("gone")).unwrap();
        assert!(memory.write(fence).await.is_err());
    }
}
