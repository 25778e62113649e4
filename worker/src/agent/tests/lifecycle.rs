//! Start, stop and restart of the process.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn a_clean_shutdown_ends_with_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let mut worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    run_endless(&mut session, &register).await;
    worker.ask_to_stop();
    let mut last = None;
    while let Some(report) = session.report().await {
        if let Report::Heartbeat(heartbeat) = &report {
            session.answer(heartbeat.sequence).await;
        }
        assert!(
            !matches!(report, Report::Task(_)),
            "stopping isn't a failure: {report:?}"
        );
        last = Some(report);
    }
    assert!(matches!(last, Some(Report::Goodbye(_))), "{last:?}");
    drop(session);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn without_a_leader_it_still_stops() {
    let dir = tempfile::tempdir().unwrap();
    let jm = FakeJobManager::start().await;
    let mut worker = Worker::start(config(dir.path(), &[&jm]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.ask_to_stop();
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn a_restarted_worker_has_a_higher_incarnation_and_refuses_older_leaders() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, first) = jm.lead(CLUSTER, epoch(1, 5)).await;
    session.heartbeat().await;
    worker.killed().await;
    jm.announce(CLUSTER, epoch(1, 4), &jm);
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    assert!(!jm.is_dialled_within(Duration::from_millis(500)).await);
    let (_session, second) = jm.lead(CLUSTER, epoch(1, 6)).await;
    assert_eq!(second.incarnation, first.incarnation + 1);
    assert_eq!(second.highest_epoch, Some(epoch(1, 5)));
    assert_eq!(second.machine_id, first.machine_id);
    assert!(second.tasks.is_empty());
}

#[tokio::test]
async fn a_directory_or_port_in_use_is_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    let (_session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    let error = super::super::run(config(dir.path(), &[&jm]), async {})
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("is in use by another process"),
        "{error}"
    );

    let other = tempfile::tempdir().unwrap();
    let mut same_port = config(other.path(), &[&jm]);
    same_port.listen.api = register.api_address;
    let error = super::super::run(same_port, async {})
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("listen.api") && error.contains("free the port"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

#[tokio::test]
async fn another_workers_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let jm = FakeJobManager::start().await;
    super::super::run(config(dir.path(), &[&jm]), async {})
        .await
        .unwrap();
    let mut other = config(dir.path(), &[&jm]);
    other.worker_id = "tm-2".to_owned();
    let error = super::super::run(other, async {})
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("belongs to worker tm-1"), "{error}");
}

#[tokio::test]
async fn pages_tell_health_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut config = config(dir.path(), &[&jm]);
    config.listen.api.clone_from(&address);
    let _worker = Worker::start(config);
    let mut session = jm_session_after_not_ready(&mut jm, &address).await;
    session.serve_for(Duration::from_millis(200)).await;
    assert!(page(&address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(page(&address, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(page(&address, "/leader").await.starts_with("HTTP/1.1 404"));
    let metrics = page(&address, "/metrics").await;
    assert!(
        metrics.contains("regent_worker_registered{worker=\"tm-1\"} 1"),
        "{metrics}"
    );
}

async fn jm_session_after_not_ready(jm: &mut FakeJobManager, address: &str) -> FakeSession {
    jm.announce(CLUSTER, epoch(1, 5), jm);
    let mut session = jm.registered(CLUSTER, epoch(1, 5), 10_000).await.0;
    session.heartbeat().await;
    let page = page(address, "/readyz").await;
    assert!(
        page.starts_with("HTTP/1.1 503"),
        "no heartbeat was answered: {page}"
    );
    session
}

async fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
