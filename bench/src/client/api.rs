//! A client of real JobManagers: a small logged command, and a job's history read linearizably.
//!
//! The command cancels a job that has ended: the smallest change a client can ask for. It goes through
//! the whole way (authorised, forwarded if need be, one log entry, its request id kept in the state).

use std::time::Duration;

use bytes::Bytes;
use regent_protocol::v1;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::NodeStatus;
use tonic::transport::Channel;

use crate::Outcome;

/// Writes under one base. Request ids are kept for 100,000 entries, which many clients fill soon.
const WRITES_PER_BASE: u32 = 128;
const TIMEOUT_MS: u64 = 10_000;

#[derive(Debug)]
pub(crate) struct ApiClient {
    client: JobManagerApiClient<Channel>,
    job: String,
    actor: String,
    base: (u64, u64),
    writes: u32,
}

impl ApiClient {
    pub(crate) async fn connect(member: &str, job: &str) -> Outcome<Self> {
        let mut connected = Self {
            client: JobManagerApiClient::new(super::connect(member).await?),
            job: job.to_owned(),
            // The longest that is kept: entries of about the size of the peers' values.
            actor: "a".repeat(128),
            base: (0, 0),
            writes: 0,
        };
        connected.learn_base().await?;
        Ok(connected)
    }

    async fn learn_base(&mut self) -> Outcome<()> {
        let status = self.client.node_status(v1::NodeStatusRequest {}).await?;
        let status: NodeStatus = serde_json::from_slice(&status.into_inner().json)?;
        self.base = (status.generation, status.applied_index);
        Ok(())
    }

    async fn change(&mut self, change: Change) -> Outcome<()> {
        let request = v1::ChangeRequest {
            request_id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
            base_generation: self.base.0,
            base_index: self.base.1,
            timeout_ms: TIMEOUT_MS,
            actor: self.actor.clone(),
            change: Some(change),
            ..v1::ChangeRequest::default()
        };
        self.client.change(request).await?;
        Ok(())
    }

    fn job(&self) -> v1::JobRef {
        v1::JobRef {
            job: self.job.clone(),
        }
    }

    pub(crate) async fn write(&mut self) -> Outcome<()> {
        self.writes += 1;
        if self.writes.is_multiple_of(WRITES_PER_BASE) {
            self.learn_base().await?;
        }
        self.change(Change::CancelJob(self.job())).await
    }

    pub(crate) async fn read(&mut self) -> Outcome<()> {
        let request = v1::ReadRequest {
            timeout_ms: TIMEOUT_MS,
            query: Some(Query::JobHistory(self.job())),
            ..v1::ReadRequest::default()
        };
        self.client.read(request).await?;
        Ok(())
    }
}

/// A client that submits jobs.
#[derive(Debug)]
pub(crate) struct Submitter {
    client: ApiClient,
}

impl Submitter {
    pub(crate) async fn connect(member: &str) -> Outcome<Self> {
        let client = ApiClient::connect(member, "").await?;
        Ok(Self { client })
    }

    /// Submits a job file; answers the job's id.
    pub(crate) async fn submit(&mut self, text: &str) -> Outcome<String> {
        let digits = rand::random::<[u8; 16]>().map(|byte| format!("{byte:02x}"));
        let job = digits.concat();
        let submit = v1::SubmitJob {
            job_id: job.clone(),
            job_file: text.to_owned(),
            file_name: "benchmark.yaml".to_owned(),
            working_dir: "/".to_owned(),
            ..v1::SubmitJob::default()
        };
        self.client.writes += 1;
        if self.client.writes.is_multiple_of(WRITES_PER_BASE) {
            self.client.learn_base().await?;
        }
        self.client.change(Change::SubmitJob(submit)).await?;
        Ok(job)
    }

    /// A small linearizable read: fails while nobody serves.
    pub(crate) async fn touch(&mut self) -> Outcome<()> {
        let request = v1::ReadRequest {
            timeout_ms: TIMEOUT_MS,
            query: Some(Query::WorkerList(v1::Nothing {})),
            ..v1::ReadRequest::default()
        };
        self.client.client.read(request).await?;
        Ok(())
    }
}

/// Makes the job that clients ask about: submitted, and canceled. Waits until a leader serves.
pub(crate) async fn prepare(member: &str) -> Outcome<String> {
    let mut submitter = Submitter::connect(member).await?;
    let job = submitter.submit(SMALL_JOB).await?;
    submitter.client.job = job.clone();
    let cancel = Change::CancelJob(submitter.client.job());
    submitter.client.change(cancel).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(job)
}

const SMALL_JOB: &str = "name: benchmark\nvertices:\n  - { id: in, source: sequence, with: { end: 1 } }\n  \
                         - { id: out, sink: blackhole, inputs: [ in ] }\n";
