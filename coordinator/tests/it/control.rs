//! What works without any worker: probes, reads, changes, errors.

use regent_protocol::error::ErrorKind;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{CleanupList, Nothing};
use regent_protocol::view;

use crate::cluster::{Cluster, http, of, submission, until};

pub(crate) const ENDLESS: &str = "
name: endless
parallelism: 2
checkpointing: { interval: 200ms }
vertices:
  - { id: numbers, source: sequence, with: { rate: 100 } }
  - { id: out, sink: blackhole, inputs: [ numbers ], with: {} }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_workers_waits_and_can_be_cancelled() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let submitted = client.submit(ENDLESS).await.unwrap();
    assert_eq!(
        (submitted.state.as_str(), submitted.already),
        ("CREATED", false)
    );
    let job = submitted.job_id;
    let shown = until("the reason is shown", async || {
        let shown = client.show(&job).await;
        shown.reason.is_some().then_some(shown)
    })
    .await;
    assert_eq!(
        shown.reason.as_deref(),
        Some("not-enough-slots (needs 2, free 0)")
    );
    assert_eq!((shown.attempt, shown.restarts), (0, 0));

    // By name, by prefix, by id.
    for name in ["endless", &job[..8], &job] {
        assert_eq!(client.show(name).await.job_id, job);
    }
    let error = client
        .read::<view::JobDetail>(Query::JobShow(of("nothing")))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);

    let changed: view::JobChanged = client
        .change(Change::CancelJob(of("endless")))
        .await
        .unwrap();
    assert_eq!(changed.state, "CANCELED");
    let result = client.is_clean(&job).await;
    assert_eq!(
        (result.state.as_str(), result.output_complete),
        ("CANCELED", true)
    );
    let listed: Vec<view::JobSummary> = client.read(Query::JobList(Nothing {})).await.unwrap();
    assert_eq!(listed.len(), 1);
    let ledger: Vec<view::ArtefactView> = client
        .read(Query::CleanupList(CleanupList { dirty: false }))
        .await
        .unwrap();
    assert!(ledger.is_empty());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_conflicts_and_invalid_files() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0);
    let request = client.request(submission(ENDLESS)).await;
    let first: view::Submitted = client.send(request.clone()).await.unwrap();
    let again: view::Submitted = client.send(request.clone()).await.unwrap();
    assert_eq!(
        (again.job_id.clone(), again.already),
        (first.job_id.clone(), true)
    );

    let Some(Change::SubmitJob(mut other)) = request.change.clone() else {
        panic!()
    };
    other.job_file = ENDLESS.replace("rate: 100", "rate: 200");
    let conflict = client
        .change::<view::Submitted>(Change::SubmitJob(other))
        .await
        .unwrap_err();
    assert_eq!(conflict.kind, ErrorKind::Refused);
    assert!(conflict.message.contains("another graph"), "{conflict}");

    let broken = ENDLESS.replace("sequence", "sequense");
    let error = client.submit(&broken).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error.message.contains("sequence"),
        "names the nearest: {error}"
    );

    let mut dry = client.request(submission(ENDLESS)).await;
    dry.dry_run = true;
    let only_checked: view::Submitted = client.send(dry).await.unwrap();
    assert!(!only_checked.already);
    let listed: Vec<view::JobSummary> = client.read(Query::JobList(Nothing {})).await.unwrap();
    assert_eq!(listed.len(), 1);

    let mut nameless = client.request(submission(ENDLESS)).await;
    nameless.request_id = bytes::Bytes::new();
    let error = client.send::<view::Submitted>(nameless).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_answers_and_http_tells_who_leads() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let job = cluster
        .client(follower)
        .submit(ENDLESS)
        .await
        .unwrap()
        .job_id;
    for index in 0..3 {
        assert_eq!(cluster.client(index).show(&job).await.name, "endless");
        let status = cluster.client(index).status().await;
        assert_eq!(status.members.len(), 3);
        assert_eq!(status.leader, Some(leader as u64 + 1));
        assert_eq!(
            status.role,
            if index == leader {
                "leader"
            } else {
                "follower"
            }
        );
        let api = &cluster.configs[index].listen.api;
        assert_eq!(http(api, "/livez").await.0, 200);
        until("it is ready", async || {
            (http(api, "/readyz").await.0 == 200).then_some(())
        })
        .await;
        assert_eq!(
            http(api, "/leader").await.0,
            if index == leader { 200 } else { 503 }
        );
        let (code, text) = http(api, "/metrics").await;
        assert_eq!(code, 200);
        assert!(text.contains("regent_jobs{state=\"CREATED\"} 1"), "{text}");
    }
    let history: Vec<view::Reign> = cluster
        .client(follower)
        .read(Query::LeaderHistory(Nothing {}))
        .await
        .unwrap();
    assert!(history.last().unwrap().to_ms.is_none());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_reads_and_writes_say_so_in_time() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.stop((leader + 1) % 3).await;
    cluster.stop((leader + 2) % 3).await;
    let client = cluster.client(leader);
    until("the loss is noticed", async || {
        let query = Query::JobList(Nothing {});
        let error = client
            .read_within::<Vec<view::JobSummary>>(query, 2_000)
            .await
            .err()?;
        (error.kind == ErrorKind::NoQuorum).then_some(())
    })
    .await;
    let begun = tokio::time::Instant::now();
    let mut request = client.request(submission(ENDLESS)).await;
    request.timeout_ms = 2_000;
    let error = client.send::<view::Submitted>(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoQuorum, "{error}");
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        client.status().await.members.len(),
        3,
        "local knowledge needs nobody"
    );
    cluster.restart((leader + 1) % 3).await;
    until("it works again", async || client.submit(ENDLESS).await.ok()).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_from_the_log_what_was_written_anywhere_before() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    for round in 1..=20usize {
        let written = cluster.client(followers[round % 2]).submit(ENDLESS).await;
        let job = written.unwrap().job_id;
        for follower in followers {
            let client = cluster.client(follower);
            let listed: Vec<view::JobSummary> =
                client.read(Query::JobList(Nothing {})).await.unwrap();
            assert_eq!(listed.len(), round);
            let history: Vec<view::HistoryEvent> =
                client.read(Query::JobHistory(of(&job))).await.unwrap();
            assert!(!history.is_empty());
        }
    }
    let unknown = cluster
        .client(followers[0])
        .read::<Vec<view::HistoryEvent>>(Query::JobHistory(of("nothing")))
        .await
        .unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Failed);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_through_one_follower_each_get_their_own_answer() {
    let cluster = Cluster::start(3).await;
    let follower = (cluster.leader().await + 1) % 3;
    let client = cluster.client(follower);
    let mut requests = Vec::new();
    for number in 0..40 {
        let name = format!("job-{number}");
        let file = ENDLESS.replace("endless", &name);
        requests.push((name, client.request(submission(&file)).await));
        // Answered with an error, in between.
        let wrong = submission(&ENDLESS.replace("sequence", "sequense"));
        requests.push((String::new(), client.request(wrong).await));
    }
    let sent = requests
        .into_iter()
        .map(async |(name, request)| (name, client.send::<view::Submitted>(request).await));
    for (name, answer) in futures::future::join_all(sent).await {
        match name.as_str() {
            "" => assert_eq!(answer.unwrap_err().kind, ErrorKind::Invalid),
            name => assert_eq!(client.show(&answer.unwrap().job_id).await.name, name),
        }
    }
    cluster.shutdown().await;
}
