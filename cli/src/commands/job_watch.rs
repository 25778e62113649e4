//! `job show --watch`: the same picture every second, over every failover, until the job has ended.

use std::process::ExitCode;
use std::time::Duration;

use regent_protocol::v1::JobRef;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::JobDetail;
use tokio::time::sleep;

use super::job_wait::{is_terminal, passes_by_itself};
use super::{Context, Done, job_tables};
use crate::output;

/// Between two pictures.
const PAUSE: Duration = Duration::from_secs(1);
/// A look that takes longer is begun again.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn watch(context: &Context, job: JobRef, stale: bool) -> Done {
    let client = context.client.with_timeout(LOOK);
    while !output::reader_is_gone() {
        let query = Query::JobShow(job.clone());
        match client.read::<JobDetail>(query, stale).await {
            Ok(job) => {
                output::print_next(context.format, &job, job_tables::detail)?;
                if is_terminal(&job.state) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(failure) if passes_by_itself(&failure) => {
                output::note(&format!("still waiting: {}", failure.message));
            }
            Err(failure) => return Err(failure),
        }
        sleep(PAUSE).await;
    }
    Ok(ExitCode::SUCCESS)
}
