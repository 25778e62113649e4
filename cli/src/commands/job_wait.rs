//! `job submit --wait`: stays with a job until it has ended, over every failover.

use std::process::ExitCode;
use std::time::Duration;

use regent_protocol::error::ErrorKind;
use regent_protocol::v1::JobRef;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::JobDetail;
use tokio::time::{Instant, sleep};

use super::Done;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::output::words::{count, plural, size};

/// Between two looks at the job.
const PAUSE: Duration = Duration::from_millis(250);
/// A look that takes longer is begun again.
const LOOK: Duration = Duration::from_secs(5);
/// Unchanged figures are said again only this often.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Waits for the end of the job: FINISHED is success, FAILED and CANCELED are failures.
pub(super) async fn wait(client: &Client, job_id: &str) -> Done {
    let client = client.with_timeout(LOOK);
    let mut teller = Teller::default();
    loop {
        let query = Query::JobShow(JobRef {
            job: job_id.to_owned(),
        });
        match client.read::<JobDetail>(query, false).await {
            Ok(job) => {
                teller.tell(&job);
                if let Some(end) = end_of(&job) {
                    return end;
                }
            }
            Err(failure) if passes_by_itself(&failure) => teller.tell_silence(&failure),
            Err(failure) => return Err(failure),
        }
        sleep(PAUSE).await;
    }
}

/// Whether asking again later may help.
pub(super) fn passes_by_itself(failure: &Failure) -> bool {
    [ErrorKind::NoLeader, ErrorKind::NoQuorum]
        .iter()
        .any(|kind| kind.exit_code() == failure.code)
}

/// The command's end if the job has ended.
fn end_of(job: &JobDetail) -> Option<Done> {
    match job.state.as_str() {
        "FINISHED" => Some(Ok(ExitCode::SUCCESS)),
        "FAILED" | "CANCELED" => {
            let cause = job
                .reason
                .clone()
                .or_else(|| job.failures.last().map(|f| f.cause.clone()));
            let because = cause.map_or_else(String::new, |c| format!(": {c}"));
            Some(Err(Failure::failed(format!(
                "job {} is {}{because}; see `regent job show {}`",
                job.name, job.state, job.job_id
            ))))
        }
        _ => None,
    }
}

/// Says on stderr what changed, and not more often than people can read.
#[derive(Debug, Default)]
struct Teller {
    said: Option<(String, Instant)>,
    line: String,
}

impl Teller {
    fn tell(&mut self, job: &JobDetail) {
        let kind = format!("{} {}", job.state, job.attempt);
        let line = progress(job);
        let due = match &self.said {
            Some((said, at)) => *said != kind || (line != self.line && at.elapsed() >= SAY_EVERY),
            None => true,
        };
        if due {
            output::note(&line);
            self.said = Some((kind, Instant::now()));
            self.line = line;
        }
    }

    fn tell_silence(&mut self, failure: &Failure) {
        output::note(&format!("still waiting: {}", failure.message));
        self.said = None;
    }
}

/// One line: state, records read and written, checkpoints. Of an ended job nobody counts records.
fn progress(job: &JobDetail) -> String {
    let mut line = format!("{:<11} attempt {}", job.state, job.attempt);
    if !is_terminal(&job.state) {
        let read = job
            .vertices
            .first()
            .and_then(|v| v.records_in.max(v.records_out));
        let written = job.vertices.last().and_then(|v| v.records_in);
        line.push_str(&format!(
            ", {} read, {} written",
            count(read.unwrap_or_default()),
            count(written.unwrap_or_default())
        ));
    }
    line.push_str(&format!(
        ", {}",
        plural(job.checkpoints.completed, "checkpoint")
    ));
    if let Some(latest) = &job.checkpoints.latest {
        let bytes = size(latest.size_bytes);
        line.push_str(&format!(" (latest {}, {bytes})", latest.id));
    }
    if let Some(reason) = &job.reason {
        line.push_str(&format!(": {reason}"));
    }
    line
}

/// Whether a job in this state has ended.
pub(super) fn is_terminal(state: &str) -> bool {
    ["FINISHED", "FAILED", "CANCELED"].contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str) -> JobDetail {
        JobDetail {
            state: state.to_owned(),
            name: "x".to_owned(),
            ..JobDetail::default()
        }
    }

    #[test]
    fn only_terminal_states_end_the_wait() {
        for state in ["CREATED", "RUNNING", "FAILING", "RESTARTING", "RECONCILING"] {
            assert!(end_of(&job(state)).is_none(), "{state}");
        }
        assert!(end_of(&job("FINISHED")).unwrap().is_ok());
        for state in ["FAILED", "CANCELED"] {
            assert_eq!(end_of(&job(state)).unwrap().unwrap_err().code, 1);
        }
    }

    #[test]
    fn the_line_has_state_records_and_checkpoints() {
        assert_eq!(
            progress(&job("RUNNING")),
            "RUNNING     attempt 0, 0 read, 0 written, 0 checkpoints"
        );
        assert_eq!(
            progress(&job("FINISHED")),
            "FINISHED    attempt 0, 0 checkpoints"
        );
    }
}
