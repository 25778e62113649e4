//! `regent cleanup`: what is still to be removed and why it isn't yet, and what to do about it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{CleanupList, ForgetArtefact, Nothing};
use regent_protocol::view::{ArtefactView, Forgotten, Retried, Verified};

use super::confirm::confirm;
use super::job::{JobName, ReadArgs};
use super::savepoint::dry_run_note;
use super::{Context, Done};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::output::table::Table;
use crate::output::words::{now_ms, or_dash, span};

#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    #[command(subcommand)]
    verb: CleanupVerb,
}

#[derive(Debug, Subcommand)]
enum CleanupVerb {
    /// Artefacts that are given up and not removed yet
    #[command(after_help = "Example:\n  regent cleanup list --dirty")]
    List {
        /// Only those whose retries are used up
        #[arg(long)]
        dirty: bool,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Everything that a job has outside the log, what is in use or kept included
    #[command(after_help = "Example:\n  regent cleanup show flights-per-carrier")]
    Show {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Try now, with a fresh count, what could not be removed
    #[command(after_help = "Example:\n  regent cleanup retry flights-per-carrier")]
    Retry {
        #[command(flatten)]
        job: JobName,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Stop trying to remove an artefact; what is left of it is yours to remove
    #[command(after_help = "Example:\n  regent cleanup forget 17 --yes")]
    Forget {
        /// Number of the artefact, as `cleanup list` prints it
        #[arg(value_name = "ARTEFACT")]
        artefact: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Compare the store with the log: orphans, dangling pointers, wrong sizes; removes nothing
    #[command(after_help = "\
Exit code 1 if anything is found. A large store may need a longer --timeout.

Example:
  regent cleanup verify --timeout 5m -o json")]
    Verify,
}

pub(crate) async fn run(args: &CleanupArgs, context: &Context) -> Done {
    match &args.verb {
        CleanupVerb::List { dirty, read } => {
            let query = Query::CleanupList(CleanupList { dirty: *dirty });
            let text = |artefacts: &Vec<ArtefactView>| table(artefacts, "nothing to clean up");
            context.show(query, read.stale, text).await
        }
        CleanupVerb::Show { job, read } => {
            let query = Query::CleanupShow(job.to_ref());
            let text = |artefacts: &Vec<ArtefactView>| table(artefacts, "nothing is left");
            context.show(query, read.stale, text).await
        }
        CleanupVerb::Retry { job, change } => retry(job, change, context).await,
        CleanupVerb::Forget { artefact, change } => forget(*artefact, change, context).await,
        CleanupVerb::Verify => verify(context).await,
    }
}

async fn retry(job: &JobName, change: &ChangeArgs, context: &Context) -> Done {
    let mut identity = Identity::new(change);
    let request = Change::CleanupRetry(job.to_ref());
    let retried: Retried = context.client.change(request, &mut identity).await?;
    context.print(&retried, |r| {
        format!("the cleanup of job {} is tried again now", r.job_id)
    })?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

async fn forget(artefact: u64, change: &ChangeArgs, context: &Context) -> Done {
    let what = format!("forget artefact {artefact}, whose files then stay until you remove them");
    confirm(context, change, &what)?;
    let mut identity = Identity::new(change);
    let request = Change::CleanupForget(ForgetArtefact { artefact });
    let forgotten: Forgotten = context.client.change(request, &mut identity).await?;
    context.print(&forgotten, |f| {
        format!("artefact {} is forgotten", f.artefact)
    })?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

async fn verify(context: &Context) -> Done {
    let query = Query::CleanupVerify(Nothing {});
    let verified: Verified = context.client.read(query, false).await?;
    context.print(&verified, differences)?;
    Ok(ExitCode::from(u8::from(!verified.is_clean())))
}

fn differences(verified: &Verified) -> String {
    let mut table = Table::new(
        &["WHAT", "PATH", "DETAIL"],
        "the store holds exactly what the log says",
    );
    for orphan in &verified.orphans {
        let detail = "the log knows nothing of it".to_owned();
        table.row(vec!["orphan".to_owned(), orphan.path.clone(), detail]);
    }
    for lost in &verified.dangling {
        let detail = format!("job {}, artefact {}", lost.job_id, lost.artefact);
        table.row(vec!["dangling".to_owned(), lost.path.clone(), detail]);
    }
    for wrong in &verified.wrong_size {
        let detail = format!("{} bytes, should be {}", wrong.found, wrong.expected);
        table.row(vec!["wrong size".to_owned(), wrong.path.clone(), detail]);
    }
    let more = if verified.truncated {
        "there are more than are listed here\n"
    } else {
        ""
    };
    table.render() + more
}

fn table(artefacts: &[ArtefactView], empty: &'static str) -> String {
    let mut table = Table::new(
        &[
            "ARTEFACT",
            "JOB",
            "KIND",
            "STATE",
            ">ATTEMPTS",
            ">NEXT TRY",
            "PATH",
            "LAST ERROR",
        ],
        empty,
    );
    let now = now_ms();
    for artefact in artefacts {
        let due = artefact
            .next_retry_at_ms
            .map(|at| format!("in {}", span(at.saturating_sub(now))));
        table.row(vec![
            artefact.artefact.clone(),
            artefact.job_id.clone(),
            artefact.kind.clone(),
            artefact.state.clone(),
            artefact.attempts.to_string(),
            or_dash(due),
            artefact.path.clone(),
            or_dash(artefact.last_error.clone()),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::{Dangling, Orphan, WrongSize};

    use super::*;

    #[test]
    fn differences_are_named_by_path() {
        let mut verified = Verified::default();
        assert!(differences(&verified).contains("exactly what the log says"));
        verified.orphans.push(Orphan {
            path: "/s/x".to_owned(),
        });
        verified.dangling.push(Dangling {
            path: "/s/y".to_owned(),
            job_id: "j".to_owned(),
            artefact: "7".to_owned(),
        });
        verified.wrong_size.push(WrongSize {
            path: "/s/z".to_owned(),
            expected: 3,
            found: 4,
        });
        verified.truncated = true;
        let text = differences(&verified);
        for word in [
            "orphan",
            "/s/x",
            "dangling",
            "artefact 7",
            "4 bytes, should be 3",
            "more",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
