//! Orders that come twice, late, early or out of order, and strangers at the data plane.

use std::time::Duration;

use regent_protocol::v1::data_plane_client::DataPlaneClient;
use regent_protocol::v1::{Epoch, SubscribeRequest, TaskKey, TaskPhase, frame};
use serde_json::json;
use tonic::Code;

use crate::graph::attempt;
use crate::jobs::{CARRIER_HEADER, by_carrier, expected_by_carrier, numbers};
use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_twice_is_one_and_an_older_one_is_refused() {
    let kit = Kit::start(1).await;
    let job = numbers(("blackhole", json!({})), None, 1);
    let first = kit.deploy(&job, 5, None);
    kit.deploy(&job, 5, None);
    kit.until_running(&first).await;
    assert_eq!(kit.engine(0).held_tasks().len(), 3);

    let second = kit.deploy(&job, 6, None);
    kit.until_running(&second).await;
    kit.until_all(&first, TaskPhase::Canceled).await;
    let stale = kit.engine(0).deploy(kit.order(&job, 4, None)).unwrap_err();
    assert!(stale.ends_with("is later and known here"), "{stale}");

    // Ended attempts are held until they are let go of, running ones whatever is said.
    assert_eq!(kit.engine(0).held_tasks().len(), 6);
    kit.engine(0).forget(&[first, second.clone()]);
    assert_eq!(kit.engine(0).held_tasks().len(), 3);
    kit.cancel(&second).await;
    kit.engine(0).forget(&[second]);
    assert!(kit.engine(0).held_tasks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_with_a_word() {
    let kit = Kit::start(1).await;
    let job = numbers(("blackhole", json!({})), None, 1);
    let wide = job.clone().with_parallelism("seq", 5);
    let error = kit.engine(0).deploy(kit.order(&wide, 5, None)).unwrap_err();
    assert_eq!(error, "5 slots are asked of a worker with 4");
    let mut nameless = kit.order(&job, 5, None);
    nameless.attempt = None;
    assert!(kit.engine(0).deploy(nameless).is_err());
    let mut odd = job;
    odd.vertices[1].inputs[0].by = vec!["colour".into()];
    let error = kit.engine(0).deploy(kit.order(&odd, 5, None)).unwrap_err();
    assert_eq!(error, "there is no column colour");
    assert!(kit.engine(0).held_tasks().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_deployment_may_arrive_a_while_apart() {
    let kit = Kit::start(2).await;
    let job = by_carrier(&kit.path("out"), 2, None);
    let order = kit.order(&job, 5, None);
    kit.engine(1).deploy(order.clone()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    kit.engine(0).deploy(order).unwrap();
    kit.finish(&job, &attempt(&job, 5), 1).await;
    assert_eq!(kit.output("out", CARRIER_HEADER), expected_by_carrier());
}

fn task(vertex: &str, subtask: u32) -> Option<TaskKey> {
    Some(TaskKey {
        vertex: vertex.into(),
        subtask,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_handed_out_once_to_who_names_it_right() {
    let kit = Kit::start(2).await;
    let epoch = |term| Epoch {
        generation: 1,
        term,
        node: 1,
    };
    kit.engine(0).observe_epoch(&epoch(5));
    let job = numbers(("blackhole", json!({})), None, 2);
    // Only the sending half is deployed: this test plays the other engine.
    kit.engine(0).deploy(kit.order(&job, 7, None)).unwrap();
    let address = kit.nodes[0].as_ref().unwrap().address.clone();
    let mut client = DataPlaneClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let request = SubscribeRequest {
        epoch: Some(epoch(5)),
        attempt: Some(attempt(&job, 7)),
        upstream: task("seq", 0),
        downstream: task("count", 1),
        input: 0,
    };
    type Spoil = fn(&mut SubscribeRequest);
    let cases: [(Code, Spoil); 5] = [
        (Code::Aborted, |r| r.epoch.as_mut().unwrap().term = 4),
        (Code::Aborted, |r| r.epoch = None),
        (Code::NotFound, |r| r.input = 1),
        (Code::InvalidArgument, |r| r.upstream = None),
        (Code::FailedPrecondition, |r| {
            r.attempt.as_mut().unwrap().token.as_mut().unwrap().index = 6;
        }),
    ];
    for (code, spoil) in cases {
        let mut spoilt = request.clone();
        spoil(&mut spoilt);
        let status = client.subscribe(spoilt).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    let mut frames = client
        .subscribe(request.clone())
        .await
        .unwrap()
        .into_inner();
    let first = frames.message().await.unwrap().unwrap();
    assert!(matches!(first.frame, Some(frame::Frame::Batch(_))));
    let again = client.subscribe(request).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    // Going away without having seen the end fails the sender.
    drop(frames);
    let failure = kit.failure(&attempt(&job, 7)).await;
    assert_eq!(failure.failure_kind, "channel");
}
