//! The checking job: numbered records through a keyed aggregation to an exactly-once sink, beside
//! whatever else runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{JobRef, StopJob, SubmitJob};
use regent_protocol::view::{JobChanged, JobDetail, Submitted};
use tokio::time::{Instant, sleep};

use crate::args::ChangeArgs;
use crate::client::{Client, Identity, random_hex};
use crate::failure::Failure;

/// Keys; a multiple of the parallelism and a divisor of 128, so that a key's numbers come from one subtask.
pub(super) const KEYS: u64 = 16;
/// Slots that it needs.
pub(super) const PARALLELISM: u64 = 2;
/// Records per second.
pub(super) const RATE: u64 = 1_000;
/// Between two checkpoints.
const INTERVAL: &str = "500ms";
const PAUSE: Duration = Duration::from_millis(50);

/// A submitted checking job.
#[derive(Debug, Clone)]
pub(super) struct CheckingJob {
    pub(super) id: String,
    pub(super) name: String,
    dir: PathBuf,
}

impl CheckingJob {
    /// Submits one that writes below `dir`, which every worker must see.
    pub(super) async fn submit(client: &Client, dir: &Path) -> Result<Self, Failure> {
        let id = random_hex(16);
        let name = format!("drill-{}", &id[..8]);
        let path = dir
            .to_str()
            .ok_or_else(|| Failure::invalid(format!("{}: the path isn't UTF-8", dir.display())))?;
        let job = SubmitJob {
            job_id: id.clone(),
            job_file: text(&name, path),
            file_name: format!("{name}.yaml"),
            working_dir: path.to_owned(),
            ..SubmitJob::default()
        };
        let mut identity = Identity::new(&ChangeArgs::default());
        let submitted: Submitted = client.change(Change::SubmitJob(job), &mut identity).await?;
        Ok(Self {
            id: submitted.job_id,
            name,
            dir: dir.to_owned(),
        })
    }

    pub(super) fn reference(&self) -> JobRef {
        JobRef {
            job: self.id.clone(),
        }
    }

    /// Where its records are committed.
    pub(super) fn output(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// Waits until it is as `reached` says.
    pub(super) async fn until(
        &self,
        client: &Client,
        what: &str,
        limit: Duration,
        reached: impl Fn(&JobDetail) -> bool,
    ) -> Result<JobDetail, Failure> {
        let client = client.with_timeout(Duration::from_secs(3));
        let deadline = Instant::now() + limit;
        let mut last = "it can't be read".to_owned();
        while Instant::now() < deadline {
            let look: Result<JobDetail, Failure> =
                client.read(Query::JobShow(self.reference()), false).await;
            match look {
                Ok(job) if reached(&job) => return Ok(job),
                Ok(job) => {
                    let reason = job.reason.map_or_else(String::new, |r| format!(": {r}"));
                    last = format!("it is {}{reason}", job.state);
                    if ["FAILED", "CANCELED"].contains(&job.state.as_str()) {
                        break;
                    }
                }
                Err(failure) => last = failure.message,
            }
            sleep(PAUSE).await;
        }
        Err(Failure::failed(format!(
            "{what} of the checking job {} didn't come: {last}",
            self.name
        )))
    }

    /// Ends it with a savepoint, so that everything it has counted is committed.
    pub(super) async fn finish(&self, client: &Client) -> Result<(), Failure> {
        let stop = StopJob {
            job: self.id.clone(),
            savepoint_path: self.dir.join("savepoints").display().to_string(),
            drain: false,
        };
        let client = client.with_timeout(Duration::from_secs(60));
        let mut identity = Identity::new(&ChangeArgs::default());
        let stopped: JobChanged = client.change(Change::StopJob(stop), &mut identity).await?;
        let finished = |job: &JobDetail| job.state == "FINISHED";
        let limit = Duration::from_secs(60);
        if stopped.state != "FINISHED" {
            self.until(&client, "FINISHED", limit, finished).await?;
        }
        Ok(())
    }

    /// Ends it without looking at its output: the drill broke off.
    pub(super) async fn give_up(&self, client: &Client) {
        let mut identity = Identity::new(&ChangeArgs::default());
        let client = client.with_timeout(Duration::from_secs(5));
        let cancelled: Result<JobChanged, Failure> = client
            .change(Change::CancelJob(self.reference()), &mut identity)
            .await;
        if let Err(failure) = cancelled {
            crate::output::note(&format!(
                "the checking job {} could not be cancelled ({}); do: regent job cancel {}",
                self.name, failure.message, self.id
            ));
        }
    }
}

fn text(name: &str, dir: &str) -> String {
    let out = serde_json::Value::from(format!("{dir}/out"));
    format!(
        r#"name: {name}
parallelism: {PARALLELISM}
checkpointing: {{ interval: {INTERVAL}, tolerable-failed-checkpoints: 1000 }}
restart-strategy: {{ type: fixed-delay, attempts: 100000, delay: 100ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: {RATE}, keys: {KEYS} }} }}
  - id: counted
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with:
      group-by: [key]
      emit: changes
      compute: {{ nth: {{ count: "*" }}, number: {{ max: value }}, at: {{ max: at }} }}
  - id: out
    sink: files
    inputs: [ counted ]
    with: {{ path: {out}, format: csv, delivery: exactly-once }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_coordinator::job_file::{JobFileSource, parse};

    #[test]
    fn the_job_file_is_valid_and_needs_the_slots_that_are_checked_for() {
        let text = text("drill-1", "/tmp/with \"odd\" name");
        let source = JobFileSource {
            text: &text,
            name: "drill.yaml",
            working_dir: Path::new("/"),
            overrides: &[],
        };
        let parsed = parse(source).unwrap();
        assert_eq!(u64::from(parsed.graph.slots_needed()), PARALLELISM);
        assert_eq!((KEYS % PARALLELISM, 128 % KEYS), (0, 0));
    }
}
