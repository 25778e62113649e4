//! Bounds on what others can make a JobManager hold: messages and connections.

use regent_coordinator::{JobManager, JobManagerConfig};
use regent_ha::{Dialer, Member, Node};
use regent_protocol::MAX_MESSAGE_BYTES;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{JobRef, Nothing};
use regent_protocol::view::JobSummary;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::cluster::{Client, Cluster, PATIENCE, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long_is_refused_and_nothing_else_happens() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let job = "x".repeat(MAX_MESSAGE_BYTES);
    let code = client.code_of(Query::JobShow(JobRef { job })).await;
    assert_eq!(code, tonic::Code::OutOfRange);
    let jobs: Vec<JobSummary> = client.read(Query::JobList(Nothing {})).await.unwrap();
    assert!(jobs.is_empty());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_may_be_are_closed_and_places_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let address = || format!("127.0.0.1:{}", regent_ports::free_port());
    let config: JobManagerConfig = serde_json::from_value(serde_json::json!({
        "node-id": 1,
        "data-dir": dir.path().join("jm-1"),
        "listen": { "api": address(), "peer": address() },
        "storage": { "checkpoint-dir": dir.path().join("checkpoints") },
        "limits": { "connections": 16 },
    }))
    .unwrap();
    let (api, peer) = (config.listen.api.clone(), config.listen.peer.clone());
    let manager = JobManager::start(config).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(TcpStream::connect(&api).await.unwrap());
    }
    let mut surplus = TcpStream::connect(&api).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, surplus.read(&mut [0])).await;
    assert!(
        matches!(read.unwrap(), Ok(0) | Err(_)),
        "it is closed at once"
    );
    // Clients have taken every place of theirs; a cluster is formed all the same, over the peers' address.
    let member = Member {
        node_id: 1,
        node: Node {
            name: "jm-1".to_owned(),
            api: api.clone(),
            peer,
        },
    };
    regent_ha::bootstrap(&Dialer::plain(), &[member], None)
        .await
        .unwrap();
    open.clear();
    let client = Client { endpoint: api };
    until("there is room again", async || client.try_status().await).await;
    manager.shutdown().await;
}
