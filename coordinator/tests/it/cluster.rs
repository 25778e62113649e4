//! A cluster of JobManagers on free loopback ports, and a client of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use regent_coordinator::{JobManager, JobManagerConfig};
use regent_ha::{Member, Node};
use regent_ports::free_port;
use regent_protocol::error::ApiError;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{ChangeRequest, JobRef, NodeStatusRequest, ReadRequest, SubmitJob};
use regent_protocol::view;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` answers; panics with `what` when patience is over.
pub(crate) async fn until<T, F: AsyncFnMut() -> Option<T>>(what: &str, mut probe: F) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) configs: Vec<JobManagerConfig>,
    pub(crate) managers: Vec<Option<JobManager>>,
}

impl Cluster {
    /// Started and bootstrapped.
    pub(crate) async fn start(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let configs: Vec<_> = (1..=size).map(|node| config(dir.path(), node)).collect();
        let mut managers = Vec::new();
        for config in &configs {
            managers.push(Some(JobManager::start(config.clone()).await.unwrap()));
        }
        let members: Vec<Member> = configs.iter().map(member).collect();
        regent_ha::bootstrap(&regent_ha::Dialer::plain(), &members, None)
            .await
            .unwrap();
        let cluster = Self {
            dir,
            configs,
            managers,
        };
        cluster.leader().await;
        cluster
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.configs
            .iter()
            .map(|config| config.listen.api.clone())
            .collect()
    }

    /// Index of the replica that serves as leader.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader serves", async || {
            for (index, manager) in self.managers.iter().enumerate() {
                let Some(manager) = manager else { continue };
                let leads = manager.replica().leadership().borrow().reign().is_some();
                if leads && http(&self.configs[index].listen.api, "/leader").await.0 == 200 {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    pub(crate) async fn stop(&mut self, index: usize) {
        self.managers[index].take().unwrap().shutdown().await;
    }

    pub(crate) async fn restart(&mut self, index: usize) {
        let config = self.configs[index].clone();
        self.managers[index] = Some(JobManager::start(config).await.unwrap());
    }

    pub(crate) async fn shutdown(mut self) {
        for manager in self.managers.iter_mut().filter_map(Option::take) {
            manager.shutdown().await;
        }
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.dir.path().join("checkpoints")
    }

    /// A client of this replica.
    pub(crate) fn client(&self, index: usize) -> Client {
        Client {
            endpoint: self.configs[index].listen.api.clone(),
        }
    }
}

fn config(dir: &Path, node: u64) -> JobManagerConfig {
    let (api, peer) = (free_port(), free_port());
    let json = serde_json::json!({
        "node-id": node,
        "data-dir": dir.join(format!("jm-{node}")),
        "listen": { "api": format!("127.0.0.1:{api}"), "peer": format!("127.0.0.1:{peer}") },
        "timing": { "custom": { "heartbeat": "50ms", "election-min": "400ms", "election-max": "600ms" } },
        "storage": { "checkpoint-dir": dir.join("checkpoints") },
        "workers": { "lease": "4s", "heartbeat": "200ms" },
    });
    serde_json::from_value(json).unwrap()
}

fn member(config: &JobManagerConfig) -> Member {
    Member {
        node_id: config.node_id,
        node: Node {
            name: config.display_name(),
            api: config.listen.api.clone(),
            peer: config.listen.peer.clone(),
        },
    }
}

/// A client of one replica.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) endpoint: String,
}

impl Client {
    async fn api(&self) -> JobManagerApiClient<tonic::transport::Channel> {
        JobManagerApiClient::connect(format!("http://{}", self.endpoint))
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self) -> view::NodeStatus {
        let answer = self
            .api()
            .await
            .node_status(NodeStatusRequest {})
            .await
            .unwrap();
        serde_json::from_slice(&answer.into_inner().json).unwrap()
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, query: Query) -> Result<T, ApiError> {
        self.read_within(query, 10_000).await
    }

    pub(crate) async fn read_within<T: DeserializeOwned>(
        &self,
        query: Query,
        timeout_ms: u64,
    ) -> Result<T, ApiError> {
        let request = ReadRequest {
            query: Some(query),
            timeout_ms,
            ..ReadRequest::default()
        };
        match self.api().await.read(request).await {
            Ok(answer) => Ok(serde_json::from_slice(&answer.into_inner().json).unwrap()),
            Err(status) => Err(ApiError::from_status(&status).expect("Regent's own error")),
        }
    }

    /// The gRPC code that a read is refused with.
    pub(crate) async fn code_of(&self, query: Query) -> tonic::Code {
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        self.api().await.read(request).await.unwrap_err().code()
    }

    /// What the replica says of itself, if it answers.
    pub(crate) async fn try_status(&self) -> Option<view::NodeStatus> {
        let api = JobManagerApiClient::connect(format!("http://{}", self.endpoint));
        let mut api = api.await.ok()?;
        let answer = api.node_status(NodeStatusRequest {}).await.ok()?;
        serde_json::from_slice(&answer.into_inner().json).ok()
    }

    /// A change under a new request id.
    pub(crate) async fn change<T: DeserializeOwned>(&self, change: Change) -> Result<T, ApiError> {
        let request = self.request(change).await;
        self.send(request).await
    }

    pub(crate) async fn request(&self, change: Change) -> ChangeRequest {
        let base = self.status().await;
        ChangeRequest {
            request_id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
            base_generation: base.generation,
            base_index: base.applied_index,
            timeout_ms: 10_000,
            change: Some(change),
            ..ChangeRequest::default()
        }
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        request: ChangeRequest,
    ) -> Result<T, ApiError> {
        match self.api().await.change(request).await {
            Ok(answer) => Ok(serde_json::from_slice(&answer.into_inner().json).unwrap()),
            Err(status) => Err(ApiError::from_status(&status).expect("Regent's own error")),
        }
    }

    pub(crate) async fn submit(&self, job_file: &str) -> Result<view::Submitted, ApiError> {
        self.change(submission(job_file)).await
    }

    pub(crate) async fn show(&self, job: &str) -> view::JobDetail {
        self.read(Query::JobShow(of(job))).await.unwrap()
    }

    pub(crate) async fn result(&self, job: &str) -> view::JobResultView {
        self.read(Query::JobResult(of(job))).await.unwrap()
    }

    /// Waits until the job is in this state.
    pub(crate) async fn reaches(&self, job: &str, state: &str) -> view::JobDetail {
        until(&format!("job {job} is {state}"), async || {
            let query = Query::JobShow(of(job));
            let shown: view::JobDetail = self.read(query).await.ok()?;
            (shown.state == state).then_some(shown)
        })
        .await
    }

    /// Waits until nothing of the job is left to clean.
    pub(crate) async fn is_clean(&self, job: &str) -> view::JobResultView {
        until(&format!("job {job} is clean"), async || {
            let result = self.result(job).await;
            result.clean.then_some(result)
        })
        .await
    }
}

pub(crate) fn of(job: &str) -> JobRef {
    JobRef {
        job: job.to_owned(),
    }
}

pub(crate) fn submission(job_file: &str) -> Change {
    let id: [u8; 16] = rand::random();
    Change::SubmitJob(SubmitJob {
        job_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        job_file: job_file.to_owned(),
        file_name: "job.yaml".to_owned(),
        working_dir: "/".to_owned(),
        ..SubmitJob::default()
    })
}

/// A plain HTTP GET: status and body.
pub(crate) async fn http(address: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
        return (0, String::new());
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
