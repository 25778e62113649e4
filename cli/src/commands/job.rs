//! `regent job`: submit, list, show, stop, cancel, and what became of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_coordinator::job_file::{self, JobFileSource, OwnCode, Parse};
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{JobRef, Nothing, SubmitJob};
use regent_protocol::view::{JobChanged, Submitted};

use super::savepoint::{self, StopArgs, TakeArgs, absolute};
use super::{Context, Done, job_explain, job_tables, job_wait, job_watch};
use crate::args::ChangeArgs;
use crate::client::{Identity, random_hex};
use crate::failure::Failure;
use crate::output::{self, table};

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    verb: JobVerb,
}

#[derive(Debug, Subcommand)]
enum JobVerb {
    /// Submit a job file; returns once the job is stored by a majority
    #[command(after_help = "\
Examples:
  regent job submit job.yaml
  regent job submit job.yaml --wait --set parallelism=4
  regent job submit job.yaml --from-savepoint /srv/savepoints/savepoint-1.17-4 --set parallelism=8
  regent job submit job.yaml --job-id 0123456789abcdef0123456789abcdef   (again: the same job)")]
    Submit(SubmitArgs),
    /// All jobs
    #[command(after_help = "Example:\n  regent job list -o json")]
    List {
        #[command(flatten)]
        read: ReadArgs,
    },
    /// One job: tasks, figures, checkpoints, failures
    #[command(after_help = "\
Examples:
  regent job show flights-per-carrier
  regent job show flights-per-carrier --watch")]
    Show {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        read: ReadArgs,
        /// Print it again every second, until the job has ended or you interrupt
        #[arg(long)]
        watch: bool,
    },
    /// Cancel a job; returns once CANCELED is stored, not when everything is removed
    #[command(after_help = "Example:\n  regent job cancel flights-per-carrier")]
    Cancel {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End a job with a savepoint: its output up to there is committed, and it is FINISHED
    #[command(after_help = "\
Example:
  regent job stop flights-per-carrier --savepoint-path /srv/savepoints")]
    Stop(StopArgs),
    /// Take a savepoint of a job that goes on; returns once it is complete
    #[command(after_help = "Example:\n  regent job savepoint flights-per-carrier /srv/savepoints")]
    Savepoint(TakeArgs),
    /// How a job ended
    #[command(after_help = "Example:\n  regent job result 3fa4 -o json")]
    Result {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Why a job isn't running, and what to do about it; works without a leader
    #[command(after_help = "\
Examples:
  regent job explain flights-per-carrier
  regent job explain 3fa4 -o json | jq -r '.causes[].code'")]
    Explain {
        #[command(flatten)]
        job: JobName,
    },
    /// What happened to a job, oldest first
    #[command(after_help = "Example:\n  regent job history flights-per-carrier")]
    History {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// The options of `job submit`.
#[derive(Debug, Args)]
struct SubmitArgs {
    /// Job file, YAML or JSON, at most 1 MiB
    file: PathBuf,
    /// Id of the job, 32 hex digits; submitting the same id and file again answers with the same job
    #[arg(long, value_name = "HEX", value_parser = parse_job_id)]
    job_id: Option<String>,
    /// Stay until the job has ended, with its progress on stderr; exit 0 on FINISHED, else 1
    #[arg(long)]
    wait: bool,
    /// Start from a savepoint or a retained checkpoint, at any parallelism; files sinks must append
    #[arg(long, value_name = "PATH")]
    from_savepoint: Option<String>,
    /// Drop state of the savepoint that no vertex of this job claims
    #[arg(long, requires = "from_savepoint")]
    allow_unclaimed_state: bool,
    /// Override a key of the job file; vertices are named by id, as in vertices.flights.with.rate=100
    #[arg(long, value_name = "KEY=VALUE", value_parser = job_file::parse_override)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Which job is meant.
#[derive(Debug, Args)]
pub(super) struct JobName {
    /// Job id, a unique beginning of it (at least 4 digits), or a unique name
    #[arg(value_name = "JOB")]
    name: String,
}

impl JobName {
    pub(super) fn to_ref(&self) -> JobRef {
        JobRef {
            job: self.name.clone(),
        }
    }
}

/// Options of a linearizable read.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// Take what the nearest replica has, which may be old; needs no leader
    #[arg(long)]
    pub(super) stale: bool,
}

fn parse_job_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be 32 hex digits".to_owned())
    }
}

pub(crate) async fn run(args: JobArgs, context: &Context) -> Done {
    match args.verb {
        JobVerb::Submit(args) => submit(&args, context).await,
        JobVerb::List { read } => {
            let query = Query::JobList(Nothing {});
            context.show(query, read.stale, job_tables::list).await
        }
        JobVerb::Show { job, read, watch } => {
            if watch {
                return job_watch::watch(context, job.to_ref(), read.stale).await;
            }
            let query = Query::JobShow(job.to_ref());
            context.show(query, read.stale, job_tables::detail).await
        }
        JobVerb::Cancel { job, change } => cancel(&job, &change, context).await,
        JobVerb::Stop(args) => savepoint::stop(&args, context).await,
        JobVerb::Savepoint(args) => savepoint::take(&args, context).await,
        JobVerb::Result { job, read } => {
            let query = Query::JobResult(job.to_ref());
            context.show(query, read.stale, job_tables::result).await
        }
        JobVerb::Explain { job } => job_explain::run(&job, context).await,
        JobVerb::History { job, read } => {
            let query = Query::JobHistory(job.to_ref());
            context.show(query, read.stale, job_tables::history).await
        }
    }
}

async fn submit(args: &SubmitArgs, context: &Context) -> Done {
    let (job, warnings) = prepare(args)?;
    let mut identity = Identity::new(&args.change);
    if args.job_id.is_none() {
        identity = identity.pin("--job-id", &job.job_id);
    }
    let change = Change::SubmitJob(job);
    let submitted: Submitted = context.client.change(change, &mut identity).await?;
    context.print(&submitted, submitted_text)?;
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
    if args.change.dry_run {
        output::note("dry run: the job would be accepted; nothing was stored");
        return Ok(ExitCode::SUCCESS);
    }
    if args.wait {
        return job_wait::wait(&context.client, &submitted.job_id).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads and checks the job file here, so that a mistake in it needs no cluster to be found.
fn prepare(args: &SubmitArgs) -> Result<(SubmitJob, Vec<String>), Failure> {
    let file = &args.file;
    let text = job_file::read_limited(file).map_err(|e| Failure::invalid(e.to_string()))?;
    let working_dir = std::env::current_dir()
        .map_err(|e| Failure::failed(format!("the working directory can't be read: {e}")))?;
    let name = file.display().to_string();
    let source = JobFileSource {
        text: &text,
        name: &name,
        working_dir: &working_dir,
        overrides: &args.set,
    };
    let warnings = checked(source)?;
    let job = SubmitJob {
        job_id: args.job_id.clone().unwrap_or_else(|| random_hex(16)),
        job_file: text,
        file_name: name,
        working_dir: utf8(&working_dir)?,
        from_savepoint: args
            .from_savepoint
            .as_deref()
            .map(absolute)
            .transpose()?
            .unwrap_or_default(),
        allow_unclaimed_state: args.allow_unclaimed_state,
        set: args.set.iter().map(|(k, v)| format!("{k}={v}")).collect(),
    };
    Ok((job, warnings))
}

/// What a job file's mistakes are without asking anybody. Where a name may be somebody's own code or a slip of
/// the pen, only the cluster knows, and answers.
fn checked(source: JobFileSource<'_>) -> Result<Vec<String>, Failure> {
    let found = match job_file::parse_with(source, &OwnCode::unknown()) {
        Ok(Parse::Done(job)) => return Ok(job.warnings),
        Ok(Parse::Asks(_)) => return Ok(Vec::new()),
        Err(found) => found.to_string(),
    };
    match job_file::parse_with(source, &OwnCode::default()) {
        Err(built_in_only) if built_in_only.to_string() != found => Ok(Vec::new()),
        _ => Err(Failure::invalid(found)),
    }
}

fn utf8(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::invalid(format!("{}: the path isn't UTF-8", path.display())))
}

fn submitted_text(submitted: &Submitted) -> String {
    table::pairs(&[
        ("job", submitted.job_id.clone()),
        ("state", submitted.state.clone()),
        (
            "already",
            if submitted.already { "yes" } else { "no" }.to_owned(),
        ),
    ])
}

async fn cancel(job: &JobName, args: &ChangeArgs, context: &Context) -> Done {
    let mut identity = Identity::new(args);
    let change = Change::CancelJob(job.to_ref());
    let changed: JobChanged = context.client.change(change, &mut identity).await?;
    context.print(&changed, |c| {
        table::pairs(&[("job", c.job_id.clone()), ("state", c.state.clone())])
    })?;
    if args.dry_run {
        output::note("dry run: nothing was changed");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_have_32_digits() {
        assert_eq!(parse_job_id(&"AB".repeat(16)).unwrap(), "ab".repeat(16));
        assert!(parse_job_id("ab").is_err());
        assert!(parse_job_id(&"zz".repeat(16)).is_err());
    }
}
