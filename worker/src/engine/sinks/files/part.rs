//! A file being written below staging: buffered, counted and checksummed, made durable at its end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use regent_protocol::v1::{LogToken, Transaction};

use super::commit::sync_directory;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::ids::{AttemptId, log_token};
use crate::engine::remote::is_remote;

/// A file is closed when it has this many bytes, barrier or not.
const PART_BYTES: u64 = 128 * 1024 * 1024;
/// The same for an object: it lies in memory until it is whole.
const OBJECT_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes that are gathered before they are handed to the file.
const BUFFER_BYTES: usize = 256 * 1024;
/// The cleaner may remove an empty directory just before a file is made in it.
const OPEN_TRIES: usize = 5;

/// Where a subtask's files lie and how they are named.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    base: PathBuf,
    staging: PathBuf,
    /// They lie in a bucket.
    remote: bool,
    run: LogToken,
    token: LogToken,
    subtask: u32,
    extension: &'static str,
}

impl Places {
    pub(crate) fn new(
        path: &str,
        attempt: &AttemptId,
        subtask: u32,
        extension: &'static str,
    ) -> Self {
        let (run, token) = (log_token(attempt.run), log_token(attempt.token));
        let base = PathBuf::from(path);
        Self {
            staging: base.join("_staging").join(format!("{run}-{token}")),
            base,
            remote: is_remote(path),
            run,
            token,
            subtask,
            extension,
        }
    }

    /// How much a part holds at most, but for its last batch.
    pub(crate) fn part_bytes(&self) -> u64 {
        if self.remote {
            OBJECT_BYTES
        } else {
            PART_BYTES
        }
    }

    /// How much a commit holds in memory.
    pub(super) fn commit_bytes(&self) -> u64 {
        if self.remote { OBJECT_BYTES } else { 0 }
    }

    /// The transaction of a file that has nothing in it yet.
    fn transaction(&self, sequence: u64) -> Transaction {
        let (run, token, subtask) = (&self.run, &self.token, self.subtask);
        let name = format!("part-{run}-{token}-{subtask}-{sequence}.{}", self.extension);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Transaction {
            run: Some(*run),
            token: Some(*token),
            subtask,
            sequence,
            staged_path: text(self.staging.join(&name)),
            final_path: text(self.base.join(&name)),
            ..Default::default()
        }
    }
}

/// A file that isn't a finished transaction yet.
#[derive(Debug)]
pub(crate) struct Part {
    /// `None`: an object, which is written when it is whole.
    file: Option<Arc<File>>,
    transaction: Transaction,
    buffer: Vec<u8>,
    opened: Instant,
}

impl Part {
    /// Makes the file, and the directories above it.
    pub(crate) async fn open(
        effects: &Effects,
        places: &Places,
        sequence: u64,
    ) -> Result<Self, TaskError> {
        let transaction = places.transaction(sequence);
        if places.remote {
            effects.allowed()?;
            return Ok(Self::new(None, transaction));
        }
        let path = PathBuf::from(&transaction.staged_path);
        let (base, staging) = (places.base.clone(), places.staging.clone());
        let create = move |effects: &Effects| {
            effects.allowed()?;
            create(&base, &staging, &path).map_err(|e| TaskError::io("creating", &path, &e))
        };
        let file = Arc::new(effects.run(create).await?);
        Ok(Self::new(Some(file), transaction))
    }

    fn new(file: Option<Arc<File>>, transaction: Transaction) -> Self {
        Self {
            file,
            transaction,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            opened: Instant::now(),
        }
    }

    /// Lets `fill` append text that holds `rows` rows.
    pub(crate) async fn append(
        &mut self,
        effects: &Effects,
        rows: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let before = self.buffer.len();
        fill(&mut self.buffer)?;
        let added = &self.buffer[before..];
        let transaction = &mut self.transaction;
        transaction.crc32c = crc32c::crc32c_append(transaction.crc32c, added);
        transaction.length += added.len() as u64;
        transaction.rows += rows as u64;
        match &self.file {
            Some(file) if self.buffer.len() >= BUFFER_BYTES => {
                let file = file.clone();
                self.flush(effects, file).await
            }
            _ => Ok(()),
        }
    }

    async fn flush(&mut self, effects: &Effects, file: Arc<File>) -> Result<(), TaskError> {
        let buffer = std::mem::take(&mut self.buffer);
        let path = self.transaction.staged_path.clone();
        let write = move |_: &Effects| {
            let written = (&*file).write_all(&buffer);
            written.map_err(|e| TaskError::io("writing", Path::new(&path), &e))?;
            Ok(buffer)
        };
        self.buffer = effects.run(write).await?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the file durable; it is a transaction now.
    pub(crate) async fn close(mut self, effects: &Effects) -> Result<Transaction, TaskError> {
        let Some(file) = self.file.clone() else {
            return self.close_object(effects).await;
        };
        self.flush(effects, file.clone()).await?;
        let path = PathBuf::from(&self.transaction.staged_path);
        let sync = move |effects: &Effects| {
            effects.allowed()?;
            let synced = file.sync_all().and_then(|()| match path.parent() {
                Some(directory) => sync_directory(directory),
                None => Ok(()),
            });
            synced.map_err(|e| TaskError::io("syncing", &path, &e))
        };
        effects.run(sync).await?;
        Ok(self.transaction)
    }

    /// Writes the object whole: its name appears with all of its bytes or not at all.
    async fn close_object(self, effects: &Effects) -> Result<Transaction, TaskError> {
        let (path, bytes) = (self.transaction.staged_path.clone(), self.buffer);
        let write = move |effects: &Effects| {
            effects.allowed()?;
            if effects.remote()?.put_create(&path, bytes.into())? {
                return Ok(());
            }
            Err(TaskError::task(format!(
                "{path} is there already, and is another"
            )))
        };
        effects.run(write).await?;
        Ok(self.transaction)
    }

    pub(crate) fn length(&self) -> u64 {
        self.transaction.length
    }

    /// Bytes in memory.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }
}

fn create(base: &Path, staging: &Path, path: &Path) -> io::Result<File> {
    let mut tries = 0;
    loop {
        let fresh = !staging.is_dir();
        fs::create_dir_all(staging)?;
        if fresh {
            sync_new_directories(base, staging)?;
        }
        tries += 1;
        match File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < OPEN_TRIES => {}
            other => return other,
        }
    }
}

/// The names of `_staging` and of what is in it have to be durable before a checkpoint lists them;
/// so has that of the output directory itself.
fn sync_new_directories(base: &Path, staging: &Path) -> io::Result<()> {
    let above = staging.ancestors().skip(1);
    for directory in above
        .take_while(|d| d.starts_with(base))
        .chain(base.parent())
    {
        match sync_directory(directory) {
            // The parent of the output may be unreadable; what is below it is ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}
