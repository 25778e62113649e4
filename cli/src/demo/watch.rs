//! Waiting for the cluster to reach a condition, always with a bound.

use std::time::Duration;

use regent_protocol::v1::JobRef;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{JobDetail, LeaderShow};
use tokio::time::{Instant, sleep};

use crate::client::{Client, merge};
use crate::failure::Failure;

const PAUSE: Duration = Duration::from_millis(10);
/// No single step of the story takes longer.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// A look at the cluster that is repeated until it shows what is waited for.
#[derive(Debug)]
pub(super) struct Watch {
    client: Client,
    job_id: String,
}

impl Watch {
    pub(super) fn new(client: &Client, job_id: &str) -> Self {
        Self {
            // Short, so that a look that meets a dying leader is soon begun again.
            client: client.with_timeout(Duration::from_secs(3)),
            job_id: job_id.to_owned(),
        }
    }

    /// The job now, by a linearizable read.
    pub(super) async fn job(&self) -> Result<JobDetail, Failure> {
        let query = Query::JobShow(JobRef {
            job: self.job_id.clone(),
        });
        self.client.read(query, false).await
    }

    /// The first state of the job in which `reached` holds. A job that ends before that never will.
    pub(super) async fn job_until(
        &self,
        what: &str,
        limit: Option<Duration>,
        reached: impl Fn(&JobDetail) -> bool,
    ) -> Result<JobDetail, Failure> {
        let deadline = Instant::now() + limit.unwrap_or(STEP_LIMIT);
        let mut last = String::from("the job can't be read");
        while Instant::now() < deadline {
            match self.job().await {
                Ok(job) if reached(&job) => return Ok(job),
                Ok(job) if is_terminal(&job.state) => {
                    return Err(Failure::failed(format!(
                        "waited for {what}, but the job is {}{}",
                        job.state,
                        job.reason.map_or_else(String::new, |r| format!(": {r}"))
                    )));
                }
                Ok(job) => last = format!("the job is {}, attempt {}", job.state, job.attempt),
                Err(failure) => last = failure.message,
            }
            sleep(PAUSE).await;
        }
        Err(Failure::failed(format!(
            "{what} didn't come in time: {last}"
        )))
    }

    /// The first picture of the group in which `reached` holds.
    pub(super) async fn group_until(
        &self,
        what: &str,
        reached: impl Fn(&LeaderShow) -> bool,
    ) -> Result<LeaderShow, Failure> {
        let deadline = Instant::now() + STEP_LIMIT;
        while Instant::now() < deadline {
            let show = merge(&self.client.survey().await).show;
            if reached(&show) {
                return Ok(show);
            }
            sleep(PAUSE).await;
        }
        Err(Failure::failed(format!("{what} didn't come in time")))
    }
}

pub(super) fn is_terminal(state: &str) -> bool {
    ["FINISHED", "FAILED", "CANCELED"].contains(&state)
}

/// All replicas answer, one leads, and none trails by more than 10 entries.
pub(super) fn is_whole(show: &LeaderShow) -> bool {
    let near = |trails: Option<u64>| trails.is_some_and(|t| t <= 10);
    show.leader.is_some()
        && show.replicas.len() == 3
        && show.replicas.iter().all(|r| near(r.trails_by))
}

/// When the latest completed checkpoint was complete; 0 before the first.
pub(super) fn latest_completed_ms(job: &JobDetail) -> u64 {
    let latest = job.checkpoints.latest.as_ref();
    latest.map_or(0, |c| c.completed_at_ms)
}
