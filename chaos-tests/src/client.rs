//! A client that is connected to every replica before anything happens, so that a measurement holds the
//! cluster's time and not that of starting a process; and the pages of figures that processes serve.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use regent_protocol::error::ApiError;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::v1::{ChangeRequest, JobRef, NodeStatusRequest};
use regent_protocol::view::NodeStatus;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cluster::Cluster;

/// Connecting, and asking a replica about itself.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// A page of figures.
const PAGE_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries of a write that a replica couldn't do yet.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Connections to all replicas.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    replicas: BTreeMap<String, JobManagerApiClient<Channel>>,
}

/// A write under way.
#[derive(Debug)]
pub struct Writing<'a> {
    client: &'a Client,
    replica: String,
    task: JoinHandle<Result<Instant, String>>,
}

impl Client {
    /// A client of the JobManagers of this cluster; connections are made by the first request each.
    ///
    /// # Panics
    /// If threads can't be started.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread can be started");
        let _inside = runtime.enter();
        let manifest = cluster.manifest();
        let managers = manifest
            .processes
            .iter()
            .filter(|process| process.role == "jobmanager");
        let connect = |api: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{api}")).expect("an address");
            let channel = endpoint
                .connect_timeout(STATUS_WITHIN)
                .tcp_nodelay(true)
                .connect_lazy();
            JobManagerApiClient::new(channel)
        };
        let replicas = managers
            .map(|process| (process.name.clone(), connect(&process.api)))
            .collect();
        drop(_inside);
        Self { runtime, replicas }
    }

    fn replica(&self, name: &str) -> JobManagerApiClient<Channel> {
        let found = self.replicas.get(name);
        found.unwrap_or_else(|| panic!("a replica {name}")).clone()
    }

    /// What a replica knows by itself; `None` if it doesn't answer.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<NodeStatus> {
        let mut replica = self.replica(name);
        let asked = async move {
            let asking = replica.node_status(NodeStatusRequest {});
            tokio::time::timeout(STATUS_WITHIN, asking).await
        };
        let answered = self.runtime.block_on(asked).ok()?.ok()?;
        serde_json::from_slice(&answered.into_inner().json).ok()
    }

    /// Begins a write through this replica: the cleanup of a job that is clean is to be tried again, which
    /// changes nothing but goes through the log like any other change. It is repeated under one id until it is
    /// accepted or `limit` is over.
    #[must_use]
    pub fn write(&self, name: &str, job: &str, base: &NodeStatus, limit: Duration) -> Writing<'_> {
        let mut replica = self.replica(name);
        let deadline = Instant::now() + limit;
        let id: [u8; 16] = rand::random();
        let mut request = ChangeRequest {
            request_id: id.to_vec().into(),
            base_generation: base.generation,
            base_index: base.applied_index,
            actor: "chaos".to_owned(),
            change: Some(Change::CleanupRetry(JobRef {
                job: job.to_owned(),
            })),
            ..ChangeRequest::default()
        };
        let task = self.runtime.spawn(async move {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                request.timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                let tried = tokio::time::timeout(left, replica.change(request.clone())).await;
                let status = match tried {
                    Ok(Ok(_)) => return Ok(Instant::now()),
                    Ok(Err(status)) => status,
                    Err(_) => return Err("no answer within the limit".to_owned()),
                };
                if !retryable(&status) || left.is_zero() {
                    return Err(status.to_string());
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
        Writing {
            client: self,
            replica: name.to_owned(),
            task,
        }
    }
}

/// The cluster's own "not now", or a connection that isn't there.
fn retryable(status: &Status) -> bool {
    match ApiError::from_status(status) {
        Some(error) => error.kind.retryable(),
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        ),
    }
}

impl Writing<'_> {
    /// When it was accepted, or why it wasn't.
    ///
    /// # Errors
    /// It was refused, or not answered in time.
    pub fn outcome(self) -> Result<Instant, String> {
        let ended = self.client.runtime.block_on(self.task);
        ended.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// When it was accepted.
    ///
    /// # Panics
    /// If it wasn't.
    #[must_use]
    pub fn accepted(self) -> Instant {
        let replica = self.replica.clone();
        let outcome = self.outcome();
        outcome.unwrap_or_else(|error| panic!("a write through {replica}: {error}"))
    }
}

/// A page of figures as a process served it.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Asks the process at this address; `None` if it doesn't answer.
    #[must_use]
    pub fn of(address: &str) -> Option<Self> {
        let socket = address.parse().ok()?;
        let mut stream = TcpStream::connect_timeout(&socket, PAGE_WITHIN).ok()?;
        stream.set_read_timeout(Some(PAGE_WITHIN)).ok()?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| line.starts_with("regent_"));
        let figure = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(figure).collect())
    }

    /// Series of this name whose labels contain all of these, with their values.
    pub fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let of_name = self.0.iter().filter(move |(series, _)| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        of_name
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .map(|(series, value)| (series.as_str(), *value))
    }

    /// The one value of this name with these labels.
    #[must_use]
    pub fn one(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let mut found = self.series(name, labels).map(|(_, value)| value);
        found.next().filter(|_| found.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_whole_name_and_labels() {
        let page = Figures::parse(
            "HTTP/1.1 200 OK\r\n\r\n# HELP regent_a x\nregent_a{step=\"x\"} 1.5\nregent_a{step=\"y\"} 2\nregent_ab 9\n",
        );
        assert_eq!(page.one("regent_a", &["step=\"y\""]), Some(2.0));
        assert_eq!(page.one("regent_a", &[]), None, "there are two");
        let values = page.series("regent_a", &[]).map(|(_, value)| value);
        assert_eq!(values.sum::<f64>(), 3.5);
        assert_eq!(page.one("regent_ab", &[]), Some(9.0));
    }
}
