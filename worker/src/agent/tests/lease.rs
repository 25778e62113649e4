//! The lease's own thread, with nobody else there to stop tasks.

use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::Register;
use tokio::time::timeout;

use super::*;
use crate::agent::lease::{Lease, boottime};
use crate::agent::lease_guard::LeaseGuard;
use crate::engine::{Engine, EngineConfig};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_end_with_the_lease_though_nobody_drives_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let jm = FakeJobManager::start().await;
    let lease = Arc::new(Lease::default());
    let (engine, mut events) = Engine::start(EngineConfig {
        worker_id: "tm-1".to_owned(),
        incarnation: 1,
        slots: 2,
        slot_memory: 64 << 20,
        cancel_within: WITHIN,
        files: crate::agent::files::open(&config(dir.path(), &[&jm]).storage).unwrap(),
        authority: Arc::clone(&lease) as _,
        threads: 1,
        own: Arc::default(),
        dialer: regent_security::Dialer::plain(),
    });
    // Reports are taken, and nothing follows from them.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    assert!(lease.grant(boottime(), Duration::from_secs(2)));
    let guard = LeaseGuard::start(Arc::clone(&lease), engine.clone()).unwrap();
    let Order::Deploy(order) = endless(9, &register()) else {
        unreachable!("endless deploys")
    };
    engine.deploy(order).unwrap();
    assert_eq!(engine.held_tasks().len(), 2);
    timeout(WITHIN, engine.stopped())
        .await
        .expect("the lease is over, and so are the tasks");
    assert!(!lease.holds());
    let ended = engine
        .held_tasks()
        .into_iter()
        .map(|task| guard.explain(task));
    assert!(ended.into_iter().all(|task| task.failure_kind == "lease"));
}

fn register() -> Register {
    Register {
        worker_id: "tm-1".to_owned(),
        incarnation: 1,
        data_address: "127.0.0.1:1".to_owned(),
        ..Register::default()
    }
}
