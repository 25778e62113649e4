//! A whole TaskManager (real engine, real sockets, its own data directory) against JobManagers that
//! do what the test says.

mod gateway;
mod leadership;
mod lease;
mod lifecycle;

use std::path::Path;

use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{
    AttemptKey, Column, Deploy, EdgePlan, Epoch, LogToken, Register, SlotAssignment, TaskPhase,
    TaskReport, VertexPlan,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::gateway::{FakeJobManager, FakeSession};
use super::WorkerError;
use crate::config::{Addresses, Advertise, SecurityConfig, StorageConfig, TaskManagerConfig};

const CLUSTER: &str = "c1";

fn epoch(generation: u64, term: u64) -> Epoch {
    Epoch {
        generation,
        term,
        node: 1,
    }
}

fn config(dir: &Path, jobmanagers: &[&FakeJobManager]) -> TaskManagerConfig {
    TaskManagerConfig {
        worker_id: "tm-1".to_owned(),
        data_dir: dir.join("tm-1"),
        slots: 2,
        slot_memory: 64 << 20,
        task_cancellation_timeout: std::time::Duration::from_secs(180),
        listen: Addresses {
            api: "127.0.0.1:0".to_owned(),
            data: "127.0.0.1:0".to_owned(),
        },
        advertise: Advertise::default(),
        jobmanagers: jobmanagers
            .iter()
            .map(|jm| jm.address.to_string())
            .collect(),
        storage: StorageConfig {
            checkpoint_dir: dir.join("checkpoints").display().to_string(),
            shared: false,
            s3: None,
        },
        security: SecurityConfig::default(),
    }
}

/// A running TaskManager.
struct Worker {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    fn start(config: TaskManagerConfig) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(super::run(config, async {
            let _ = stopped.await;
        }));
        Self {
            stop: Some(stop),
            task,
        }
    }

    fn ask_to_stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    async fn stopped(mut self) -> Result<(), WorkerError> {
        let ended = tokio::time::timeout(gateway::SOON, &mut self.task).await;
        ended.expect("it ends in time").expect("it doesn't panic")
    }

    /// As a crash would: no goodbye.
    async fn killed(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn attempt(index: u64) -> AttemptKey {
    AttemptKey {
        job_id: "00000000000000000000000000000001".to_owned(),
        run: Some(LogToken {
            generation: 1,
            index: 5,
        }),
        token: Some(LogToken {
            generation: 1,
            index,
        }),
    }
}

fn vertex(id: &str, kind: &str, operator: &str, from: &[&str], config: &str) -> VertexPlan {
    let edge = |from: &&str| EdgePlan {
        from: (*from).to_owned(),
        partition: "forward".to_owned(),
        by: Vec::new(),
    };
    let column = |name: &str, data_type: &str| Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
    };
    VertexPlan {
        id: id.to_owned(),
        kind: kind.to_owned(),
        operator: operator.to_owned(),
        parallelism: 1,
        inputs: from.iter().map(edge).collect(),
        config_json: config.to_owned(),
        columns: vec![column("value", "int64"), column("at", "timestamp")],
    }
}

/// An endless job of two tasks on the worker that registered so.
fn endless(index: u64, register: &Register) -> Order {
    let source = r#"{"start":0,"end":null,"rate":1000.0,"keys":null}"#;
    Order::Deploy(Deploy {
        attempt: Some(attempt(index)),
        attempt_number: 1,
        job_name: "endless".to_owned(),
        vertices: vec![
            vertex("numbers", "source", "sequence", &[], source),
            vertex("out", "sink", "blackhole", &["numbers"], "{}"),
        ],
        slots: vec![SlotAssignment {
            index: 0,
            worker_id: register.worker_id.clone(),
            incarnation: register.incarnation,
            data_address: register.data_address.clone(),
        }],
        restore: None,
        commit_only: false,
        max_parallelism: 128,
    })
}

fn phase_of(report: &Report, wanted: TaskPhase) -> Option<TaskReport> {
    match report {
        Report::Task(task) if task.phase() == wanted => Some(task.clone()),
        _ => None,
    }
}

/// Deploys the endless job and waits until both of its tasks run.
async fn run_endless(session: &mut FakeSession, register: &Register) {
    session.order(endless(9, register)).await;
    for _ in 0..2 {
        session
            .until(|report| phase_of(report, TaskPhase::Running))
            .await;
    }
}
