//! Savepoints: taking one, ending a job with one, disposing of one.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::error::ErrorKind;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::{DisposeSavepoint, StopJob, TakeSavepoint};
use regent_protocol::view::{Disposed, JobChanged};

use super::confirm::confirm;
use super::job::JobName;
use super::{Context, Done};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::failure::Failure;
use crate::output::{self, table};

#[derive(Debug, Args)]
pub(crate) struct SavepointArgs {
    #[command(subcommand)]
    verb: SavepointVerb,
}

#[derive(Debug, Subcommand)]
enum SavepointVerb {
    /// Give up a savepoint or a retained checkpoint: its own files are removed, nothing else
    #[command(after_help = "\
Refused while a job starts from it, or would be restored from it.

Example:
  regent savepoint dispose /srv/savepoints/savepoint-1.17-4 --yes")]
    Dispose {
        /// The savepoint's own directory, as `job savepoint` printed it
        #[arg(value_name = "PATH")]
        path: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// The options of `job savepoint`.
#[derive(Debug, Args)]
pub(super) struct TakeArgs {
    #[command(flatten)]
    job: JobName,
    /// Directory below which the savepoint gets its own [default: `savepoints` in the checkpoint directory]
    #[arg(value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The options of `job stop`.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    job: JobName,
    /// Directory below which the savepoint gets its own
    #[arg(long, value_name = "PATH")]
    savepoint_path: String,
    /// Flush as at the end of input: the job is over, and won't be carried on from the savepoint
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(crate) async fn run(args: SavepointArgs, context: &Context) -> Done {
    let SavepointVerb::Dispose { path, change } = args.verb;
    let path = absolute(&path)?;
    confirm(context, &change, &format!("remove the savepoint {path}"))?;
    let mut identity = Identity::new(&change);
    let request = Change::DisposeSavepoint(DisposeSavepoint { path });
    let disposed: Disposed = context.client.change(request, &mut identity).await?;
    context.print(&disposed, |d| {
        format!("{} is given up, and will be removed", d.path)
    })?;
    dry_run_note(&change);
    Ok(ExitCode::SUCCESS)
}

/// `job savepoint`: returns once it is complete.
pub(super) async fn take(args: &TakeArgs, context: &Context) -> Done {
    let path = args.path.as_deref().map(absolute).transpose()?;
    let request = Change::Savepoint(TakeSavepoint {
        job: args.job.to_ref().job,
        path: path.unwrap_or_default(),
    });
    let mut identity = Identity::new(&args.change);
    let changed: JobChanged = context.client.change(request, &mut identity).await?;
    if changed.path.is_none() && !args.change.dry_run {
        return Err(identity.explain(unfinished(&changed, "the savepoint")));
    }
    print(&changed, &args.change, context)
}

/// `job stop`: returns once the job has ended with its savepoint.
pub(super) async fn stop(args: &StopArgs, context: &Context) -> Done {
    let request = Change::StopJob(StopJob {
        job: args.job.to_ref().job,
        savepoint_path: absolute(&args.savepoint_path)?,
        drain: args.drain,
    });
    let mut identity = Identity::new(&args.change);
    let changed: JobChanged = context.client.change(request, &mut identity).await?;
    let ended = matches!(changed.state.as_str(), "FINISHED" | "FAILED" | "CANCELED");
    if !args.change.dry_run {
        if ended && changed.path.is_none() {
            return Err(Failure::failed(format!(
                "job {} is {} without the savepoint; see `regent job result {}`",
                changed.job_id, changed.state, changed.job_id
            )));
        }
        if !ended {
            return Err(identity.explain(unfinished(&changed, "the stop with its savepoint")));
        }
    }
    print(&changed, &args.change, context)
}

/// The request is stored and goes on by itself: repeating it waits for its outcome.
fn unfinished(changed: &JobChanged, what: &str) -> Failure {
    Failure::new(
        ErrorKind::UnknownOutcome,
        format!(
            "{what} of job {} ({}) is ordered and not complete within --timeout; the command above waits \
             on for the same one",
            changed.job_id, changed.state
        ),
    )
}

fn print(changed: &JobChanged, change: &ChangeArgs, context: &Context) -> Done {
    context.print(changed, |c| {
        let path = c.path.clone().unwrap_or_else(|| "-".to_owned());
        table::pairs(&[
            ("job", c.job_id.clone()),
            ("state", c.state.clone()),
            ("savepoint", path),
        ])
    })?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

/// Says that nothing happened, if that is so.
pub(super) fn dry_run_note(change: &ChangeArgs) {
    if change.dry_run {
        output::note("dry run: nothing was changed");
    }
}

/// A path as processes elsewhere must read it: absolute. URLs stay as they are.
pub(super) fn absolute(path: &str) -> Result<String, Failure> {
    if path.is_empty() {
        return Err(Failure::invalid("an empty path names nothing"));
    }
    if path.contains("://") {
        return Ok(path.to_owned());
    }
    let here = std::env::current_dir()
        .map_err(|e| Failure::failed(format!("the working directory can't be read: {e}")))?;
    let joined = resolved(&here.join(path));
    joined
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::invalid(format!("{path}: the path isn't UTF-8")))
}

/// Without `.` and `..`, by the text alone.
fn resolved(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_and_urls_stay() {
        let here = std::env::current_dir().unwrap();
        let at = |path: &str| here.join(path).to_str().unwrap().to_owned();
        assert_eq!(absolute("sp").unwrap(), at("sp"));
        assert_eq!(absolute("./a/../sp").unwrap(), at("sp"));
        assert_eq!(absolute("/a//b/").unwrap(), "/a/b");
        assert_eq!(absolute("s3://b/x").unwrap(), "s3://b/x");
        assert_eq!(absolute("file:///a/b").unwrap(), "file:///a/b");
        assert_eq!(absolute("").unwrap_err().code, 2);
    }
}
