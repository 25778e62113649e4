//! A program with a sink of one's own whose output appears exactly once: a file of lines for each
//! transaction, below `pending` until it is committed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use regent::arrow::array::RecordBatch;
use regent::{Abandoned, Result, Setup, TransactionId, TwoPhaseSink, testing::lines};

/// What stands in the job file's `with`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    folder: PathBuf,
}

struct Lines {
    folder: PathBuf,
    open: Option<File>,
}

impl Lines {
    fn new(setup: &mut Setup) -> Result<Self> {
        let Config { folder } = setup.config()?;
        fs::create_dir_all(folder.join("pending"))?;
        fs::create_dir_all(folder.join("done"))?;
        Ok(Self { folder, open: None })
    }

    /// Makes the names in a folder durable.
    fn sync(&self, folder: &str) -> Result<()> {
        Ok(File::open(self.folder.join(folder))?.sync_all()?)
    }
}

impl TwoPhaseSink for Lines {
    // What isn't committed lies under the id of its transaction, and ids are never used twice.
    const ZOMBIE_SAFE: bool = true;

    fn check(setup: &Setup) -> Result<()> {
        setup.config::<Config>().map(|_| ())
    }

    async fn write(&mut self, id: &TransactionId, rows: RecordBatch) -> Result<()> {
        let path = self.folder.join("pending").join(id.to_string());
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(File::create_new(path)?),
        };
        Ok(file.write_all((lines(&[rows])?.join("\n") + "\n").as_bytes())?)
    }

    async fn pre_commit(&mut self, _: &TransactionId) -> Result<Vec<u8>> {
        if let Some(file) = self.open.take() {
            file.sync_all()?;
            self.sync("pending")?;
        }
        Ok(Vec::new()) // The name is all that `commit` needs.
    }

    async fn commit(&mut self, id: &TransactionId, _: &[u8]) -> Result<()> {
        let (pending, done) = (self.folder.join("pending"), self.folder.join("done"));
        match fs::rename(pending.join(id.to_string()), done.join(id.to_string())) {
            // It was committed before.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
        self.sync("done")
    }

    async fn abort(&mut self, abandoned: &Abandoned) -> Result<()> {
        for entry in fs::read_dir(self.folder.join("pending"))? {
            let entry = entry?;
            let id = entry.file_name().to_string_lossy().parse();
            if id.is_ok_and(|id: TransactionId| abandoned.contains(&id)) {
                // Another subtask may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    regent::main(|registry| registry.two_phase_sink("lines", Lines::new))
}

#[cfg(test)]
#[path = "../two_phase_tests.rs"]
mod tests;
