//! `regent logs NAME`: what a process of a local cluster wrote to its log, and with `--follow` what it
//! writes. Reads the file; the cluster needn't run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Done;
use crate::args::GlobalArgs;
use crate::client::discover::local_directory;
use crate::failure::Failure;
use crate::local::Manifest;
use crate::output;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Between two looks at a file that is followed.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regent logs jm-1
  regent logs tm-2 --follow
  regent --dir /srv/regent-local logs jm-3 | grep WARN")]
pub(crate) struct LogsArgs {
    /// Name of the process, as in cluster.json: jm-1, tm-2
    name: String,
    /// Go on with what is written, until interrupted
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(args: &LogsArgs, global: &GlobalArgs) -> Done {
    let path = log_path(args, global)?;
    let mut log = Log::open(&path)?;
    log.print()?;
    while args.follow && !output::reader_is_gone() {
        tokio::time::sleep(PAUSE).await;
        log.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn log_path(args: &LogsArgs, global: &GlobalArgs) -> Result<PathBuf, Failure> {
    let dir = local_directory(global).ok_or_else(|| {
        Failure::failed(
            "no local cluster is here: neither ./cluster.json nor ./regent-local/cluster.json; \
             name its directory by --dir",
        )
    })?;
    let manifest = Manifest::read(&dir)?;
    if manifest.process(&args.name).is_none() {
        let names: Vec<&str> = manifest.processes.iter().map(|p| p.name.as_str()).collect();
        return Err(Failure::failed(format!(
            "there is no process {}; {} has {}",
            args.name,
            dir.display(),
            names.join(", ")
        )));
    }
    Ok(dir.join("logs").join(format!("{}.log", args.name)))
}

/// An open log, read up to some place.
struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|e| fail(path, &e))?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Prints what was written since the last time; a file that was cut short begins again.
    fn print(&mut self) -> Result<(), Failure> {
        let read = |log: &mut Self| -> std::io::Result<Vec<u8>> {
            if log.file.metadata()?.len() < log.file.stream_position()? {
                log.file.seek(SeekFrom::Start(0))?;
            }
            let mut bytes = vec![0; CHUNK_BYTES];
            let count = log.file.read(&mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        loop {
            let bytes = read(self).map_err(|e| fail(&self.path, &e))?;
            if bytes.is_empty() || output::reader_is_gone() {
                return Ok(());
            }
            output::write_stdout_bytes(&bytes)?;
        }
    }
}

fn fail(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
