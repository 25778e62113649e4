//! Jobs on puppets: deployment, checkpoints, endings, cleanup, registration.

use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::worker_gateway_client::WorkerGatewayClient;
use regent_protocol::v1::{Nothing, WorkerDeath};
use regent_protocol::view;

use crate::cluster::{Cluster, of, until};
use crate::control::ENDLESS;
use crate::puppet::Puppet;

pub(crate) fn exactly_once(out: &std::path::Path) -> String {
    format!(
        "
name: once
parallelism: 2
checkpointing: {{ interval: 200ms }}
restart-strategy: {{ type: fixed-delay, attempts: 2, delay: 100ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ end: 1000 }} }}
  - {{ id: out, sink: files, inputs: [ numbers ], with: {{ path: {}, format: csv }} }}
",
        out.display()
    )
}

pub(crate) fn workers(cluster: &Cluster, count: u32) -> Vec<Puppet> {
    (1..=count)
        .map(|n| Puppet::start(&format!("tm-{n}"), 1, cluster.endpoints()))
        .collect()
}

pub(crate) async fn registered(cluster: &Cluster, client: usize, count: usize) {
    let client = cluster.client(client);
    until("workers are registered", async || {
        let query = Query::WorkerList(Nothing {});
        let workers: Vec<view::WorkerView> = client.read(query).await.ok()?;
        let here = workers.iter().filter(|worker| worker.state == "registered");
        (here.count() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_job_finishes_after_its_last_checkpoint_and_is_cleaned() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let puppets = workers(&cluster, 2);
    registered(&cluster, 0, 2).await;
    let out = cluster.dir.path().join("out");
    let job = client.submit(&exactly_once(&out)).await.unwrap().job_id;
    let running = client.reaches(&job, "RUNNING").await;
    assert_eq!(
        (running.attempt, running.restarts, running.adoptions),
        (1, 0, 0)
    );
    assert_eq!(running.tasks.len(), 4);
    let mut hosts: Vec<_> = running
        .tasks
        .iter()
        .filter_map(|task| task.worker.clone())
        .collect();
    hosts.sort();
    assert_eq!(hosts, ["tm-1", "tm-1", "tm-2", "tm-2"], "spread evenly");

    let latest = until("two checkpoints are complete", async || {
        let shown = client.show(&job).await.checkpoints;
        (shown.completed >= 2).then_some(shown.latest).flatten()
    })
    .await;
    let metadata = std::path::Path::new(&latest.path).join("_metadata");
    assert!(
        latest.path.ends_with(&format!("chk-{}", latest.id)),
        "{latest:?}"
    );
    assert!(
        metadata.exists() || client.show(&job).await.checkpoints.latest.unwrap().id > latest.id
    );

    for puppet in &puppets {
        puppet.finish();
    }
    client.reaches(&job, "FINISHED").await;
    let result = client.is_clean(&job).await;
    assert!(result.output_complete);
    assert!(
        puppets[0].orders().contains(&"trigger final".to_owned()),
        "{:?}",
        puppets[0].orders()
    );
    assert!(
        !cluster.checkpoints().join(&job).exists(),
        "checkpoints and their parents are gone"
    );
    until("ended tasks are forgotten", async || {
        puppets
            .iter()
            .all(|puppet| puppet.tasks() == 0)
            .then_some(())
    })
    .await;
    let events: Vec<view::HistoryEvent> = client.read(Query::JobHistory(of(&job))).await.unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(
        names,
        [
            "submitted",
            "deployed",
            "running",
            "last-checkpoint",
            "ended",
            "clean"
        ]
    );
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_is_restarted_as_often_as_its_strategy_says() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let puppets = workers(&cluster, 1);
    let out = cluster.dir.path().join("out");
    let job = client.submit(&exactly_once(&out)).await.unwrap().job_id;
    for attempt in 1..=3 {
        until("the attempt runs", async || {
            let shown = client.show(&job).await;
            (shown.state == "RUNNING" && shown.attempt == attempt).then_some(())
        })
        .await;
        puppets[0].fail("out", 0, "disk full");
    }
    let failed = client.reaches(&job, "FAILED").await;
    assert_eq!((failed.attempt, failed.restarts), (3, 2));
    assert_eq!(failed.failures.len(), 3);
    assert_eq!(failed.failures[0].vertex.as_deref(), Some("out"));
    let result = client.is_clean(&job).await;
    assert_eq!(result.cause.as_deref(), Some("disk full"));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_commits_what_its_latest_checkpoint_lists() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let puppets = workers(&cluster, 1);
    let out = cluster.dir.path().join("out");
    let job = client.submit(&exactly_once(&out)).await.unwrap().job_id;
    until("a checkpoint is complete", async || {
        (client.show(&job).await.checkpoints.completed >= 1).then_some(())
    })
    .await;
    let changed: view::JobChanged = client.change(Change::CancelJob(of(&job))).await.unwrap();
    assert_eq!(changed.state, "CANCELED");
    assert!(client.is_clean(&job).await.output_complete);
    assert!(
        puppets[0].orders().contains(&"commit-only".to_owned()),
        "{:?}",
        puppets[0].orders()
    );
    assert!(!cluster.checkpoints().join(&job).exists());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_deployed_by_itself_when_slots_appear() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let job = client.submit(ENDLESS).await.unwrap().job_id;
    let _puppets = workers(&cluster, 1);
    let running = client.reaches(&job, "RUNNING").await;
    assert_eq!(running.reason, None);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_is_replaced_and_a_reported_death_counts_at_once() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let puppets = workers(&cluster, 2);
    registered(&cluster, 0, 2).await;
    let job = client.submit(ENDLESS).await.unwrap().job_id;
    client.reaches(&job, "RUNNING").await;
    puppets[1].kill();
    let death = WorkerDeath {
        worker_id: "tm-2".into(),
        incarnation: 1,
    };
    let gateway = WorkerGatewayClient::connect(format!("http://{}", cluster.endpoints()[0]));
    let reply = gateway
        .await
        .unwrap()
        .report_worker_death(death)
        .await
        .unwrap();
    assert!(reply.into_inner().leader);
    let again = until("the second attempt runs", async || {
        let shown = client.show(&job).await;
        (shown.state == "RUNNING" && shown.attempt == 2).then_some(shown)
    })
    .await;
    assert!(
        again
            .tasks
            .iter()
            .all(|task| task.worker.as_deref() == Some("tm-1"))
    );
    assert!(
        again.failures[0].cause.contains("tm-2#1 died"),
        "{:?}",
        again.failures
    );
    // The worker comes back as a new process; a copy of the old one is refused.
    let _second = Puppet::start("tm-2", 2, cluster.endpoints());
    registered(&cluster, 0, 2).await;
    cluster.shutdown().await;
}
