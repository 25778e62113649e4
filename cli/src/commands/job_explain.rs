//! `regent job explain`: why a job isn't running, and what to do. Without a leader it says what the
//! nearest replica has stored, and why there is no leader.

use std::process::ExitCode;

use regent_protocol::error::ErrorKind;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{Cause, JobExplained};

use super::job::JobName;
use super::{Context, Done};
use crate::explain;
use crate::failure::Failure;

pub(super) async fn run(job: &JobName, context: &Context) -> Done {
    let query = Query::JobExplain(job.to_ref());
    let told: Result<JobExplained, Failure> = context.client.read(query.clone(), false).await;
    let told = match told {
        Err(failure) if nobody_leads(&failure) => without_leader(query, context, failure).await?,
        told => told?,
    };
    context.print(&told, text)?;
    Ok(ExitCode::SUCCESS)
}

fn nobody_leads(failure: &Failure) -> bool {
    [ErrorKind::NoLeader, ErrorKind::NoQuorum]
        .iter()
        .any(|kind| kind.exit_code() == failure.code)
}

/// What is stored, with the reason why nothing moves in front. Fails as the first try if nobody answers.
async fn without_leader(
    query: Query,
    context: &Context,
    failure: Failure,
) -> Result<JobExplained, Failure> {
    let survey = context.client.survey().await;
    if survey.answers().next().is_none() {
        return Err(failure);
    }
    let mut told: JobExplained = context.client.read(query, true).await?;
    let group = explain::leader(&survey);
    let cause = Cause {
        code: "no-leader".to_owned(),
        text: format!("nothing is decided for any job: {}", group.summary),
        remedy: group.remedy,
    };
    told.causes.insert(0, cause);
    told.causes.retain(|cause| cause.code != "no-leader-asked");
    told.stale = true;
    Ok(told)
}

fn text(told: &JobExplained) -> String {
    let mut text = format!("{} ({}) is {}\n", told.name, told.job_id, told.state);
    for cause in &told.causes {
        text.push_str(&format!("\n{}: {}\n", cause.code, cause.text));
        if let Some(remedy) = &cause.remedy {
            text.push_str(&format!("  do: {remedy}\n"));
        }
    }
    if told.stale {
        text.push_str("\nThis is what a replica has stored; it may be old.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_with_their_remedies() {
        let told = JobExplained {
            job_id: "ab".to_owned(),
            name: "flights".to_owned(),
            state: "CREATED".to_owned(),
            causes: vec![
                Cause::new("not-enough-slots", "it needs 4 slots").remedy("start TaskManagers"),
                Cause::new("running", "it runs"),
            ],
            ..JobExplained::default()
        };
        assert_eq!(
            text(&told),
            "flights (ab) is CREATED\n\nnot-enough-slots: it needs 4 slots\n  do: start TaskManagers\n\nrunning: it runs\n"
        );
    }
}
