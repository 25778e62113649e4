//! Checkpoints that don't go straight: orders and barriers in any order, aborts, savepoints,
//! commits after the end, states that don't fit.

use std::fs;
use std::time::Duration;

use regent_protocol::v1::{CheckpointAborted, CommitOnly, Restore, TaskPhase};
use regent_worker::engine::EngineEvent;
use serde_json::json;

use crate::graph::attempt;
use crate::jobs::{
    COPY_HEADER, by_carrier, copy, expected_copy, expected_numbers, files_sink, numbers,
};
use crate::kit::Kit;

fn blackhole() -> (&'static str, serde_json::Value) {
    ("blackhole", json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_may_arrive_before_its_order() {
    let kit = Kit::start(2).await;
    let job = numbers(blackhole(), None, 2);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    let order = kit.trigger_order(&attempt, 1, "checkpoint");
    kit.engine(0).trigger(order.clone());
    tokio::time::sleep(Duration::from_millis(100)).await;
    kit.engine(1).trigger(order);
    kit.collect(&job, &attempt, 1).await;
    kit.announce(&job, &attempt, 1).await;
}

/// A leader that dies between its triggers leaves half an alignment, which must not hold rows up.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_alignment_lets_go_and_the_next_checkpoint_works() {
    let kit = Kit::start(2).await;
    let job = numbers(blackhole(), None, 2);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    for (id, by_session) in [(1, false), (3, true)] {
        kit.engine(0)
            .trigger(kit.trigger_order(&attempt, id, "checkpoint"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        for engine in kit.engines() {
            if by_session {
                engine.abort_alignments();
            } else {
                engine.aborted(CheckpointAborted {
                    attempt: Some(attempt.clone()),
                    checkpoint_id: id,
                });
            }
        }
        let before = kit.records_in("count");
        kit.until_rows("count", before + 100_000).await;
        kit.checkpoint(&job, &attempt, id + 1).await;
    }
    let complete = kit.events().iter().any(
        |event| matches!(event, EngineEvent::Ack(ack) if ack.checkpoint_id == 1 && ack.task.as_ref().is_some_and(|t| t.vertex == "out")),
    );
    assert!(!complete, "an aborted checkpoint reached a sink");
}

/// Rows behind the barrier of a cancelled checkpoint are in the final state of the tasks downstream,
/// so these must not answer that checkpoint: a restore would count the rows twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_state_does_not_answer_a_cancelled_checkpoint() {
    let kit = Kit::start(2).await;
    let mut job = numbers(blackhole(), Some(2000), 2);
    let config = &mut job.vertices[0].config_json;
    *config = config.replace("\"rate\":null", "\"rate\":4000.0");
    let attempt = kit.deploy(&job, 5, None);
    kit.until_rows("count", 100).await;
    let order = kit.trigger_order(&attempt, 1, "checkpoint");
    kit.engine(0).trigger(order.clone());
    tokio::time::sleep(Duration::from_millis(100)).await;
    for engine in kit.engines() {
        engine.abort_alignments();
    }
    kit.until_all(&attempt, TaskPhase::Finished).await;
    kit.engine(1).trigger(order);
    kit.checkpoint(&job, &attempt, 2).await;
    let events = kit.events();
    let answered = events.iter().filter_map(|event| match event {
        EngineEvent::Ack(ack) if ack.checkpoint_id == 1 => ack.task.as_ref(),
        _ => None,
    });
    let answered: Vec<String> = answered.map(ToString::to_string).collect();
    assert!(
        answered.contains(&"seq/0".to_owned()),
        "the barrier was sent"
    );
    assert!(
        !answered.iter().any(|task| task.starts_with("count")),
        "{answered:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_barrier_overtakes_a_stuck_one() {
    let kit = Kit::start(2).await;
    let job = numbers(blackhole(), None, 2);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_running(&attempt).await;
    kit.engine(0)
        .trigger(kit.trigger_order(&attempt, 1, "checkpoint"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    kit.checkpoint(&job, &attempt, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_states_go_to_files_and_come_back() {
    let kit = Kit::start(2).await;
    let sink = || ("files", files_sink(&kit.path("out")));
    let mut job = numbers(sink(), Some(3_000_000), 2);
    let slow = job.vertices[0]
        .config_json
        .replace("\"rate\":null", "\"rate\":1000000.0");
    let keys = |config: &str| config.replace("\"keys\":1000", "\"keys\":20000");
    job.vertices[0].config_json = keys(&slow);
    let first = kit.deploy(&job, 5, None);
    kit.until_rows("count", 100_000).await;
    let completed = kit.checkpoint(&job, &first, 1).await;
    kit.cancel(&first).await;
    let files: Vec<String> = fs::read_dir(kit.path("chk-1"))
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(files.contains(&"count-1.state".to_owned()), "{files:?}");

    // A byte that changed is found before anything runs.
    let damaged = kit.path("chk-1/count-1.state");
    let bytes = fs::read(&damaged).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&damaged, flipped).unwrap();
    let second = kit.deploy(&job, 6, Some(completed.restore.clone()));
    let failure = kit.failure(&second).await;
    assert_eq!(failure.failure_kind, "restore");
    assert!(failure.cause.contains("count-1.state"), "{}", failure.cause);
    fs::write(&damaged, bytes).unwrap();

    job.vertices[0].config_json =
        keys(&numbers(sink(), Some(3_000_000), 2).vertices[0].config_json);
    let third = kit.deploy(&job, 7, Some(completed.restore));
    kit.finish(&job, &third, 2).await;
    let rows = kit.output("out", "key,rows,total");
    assert_eq!(rows.len(), 20_000);
    assert!(rows.iter().all(|row| row.split(',').nth(1) == Some("150")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_stop_ends_everything_and_a_plain_one_holds_still() {
    let kit = Kit::start(2).await;
    let job = copy(&kit.path("out"), 2, Some(5000.0));
    let first = kit.deploy(&job, 5, None);
    kit.until_rows("out", 500).await;
    for engine in kit.engines() {
        let mut order = kit.trigger_order(&first, 1, "savepoint");
        order.stop = true;
        engine.trigger(order);
    }
    let savepoint = kit.collect(&job, &first, 1).await;
    kit.announce(&job, &first, 1).await;
    let held = kit.records_in("out");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(kit.records_in("out"), held, "rows behind a stop");
    assert_eq!(kit.output("out", COPY_HEADER).len() as u64, held);
    kit.cancel(&first).await;

    let second = kit.deploy(&job, 6, Some(savepoint.restore));
    kit.until_rows("out", 500).await;
    for engine in kit.engines() {
        let mut order = kit.trigger_order(&second, 2, "savepoint");
        (order.stop, order.drain) = (true, true);
        engine.trigger(order);
    }
    kit.until_all(&second, TaskPhase::Finished).await;
    let drained = kit.collect(&job, &second, 2).await;
    kit.announce(&job, &second, 2).await;
    for vertex in &drained.metadata.vertices {
        assert!(vertex.subtasks.iter().all(|handle| handle.finished));
    }
    kit.cancel(&second).await;

    let last = copy(&kit.path("out"), 1, None);
    let third = kit.deploy(&last, 7, Some(drained.restore));
    kit.finish(&last, &third, 3).await;
    assert_eq!(kit.output("out", COPY_HEADER), expected_copy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_is_committed_without_running() {
    let kit = Kit::start(2).await;
    let job = copy(&kit.path("out"), 2, None);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    kit.trigger(&attempt, 1, "final");
    let completed = kit.collect(&job, &attempt, 1).await;
    kit.cancel(&attempt).await;
    assert!(kit.output("out", COPY_HEADER).is_empty());
    let order = CommitOnly {
        job_id: job.id.clone(),
        run: attempt.run,
        checkpoint_id: 1,
        restore: Some(completed.restore.clone()),
        vertices: vec![],
    };
    for times in 1..=2 {
        kit.engine(times - 1).commit_only(order.clone());
        let errors = kit
            .until("commit-only is done", |events| {
                let done = events.iter().filter_map(|event| match event {
                    EngineEvent::CommitOnlyDone(done) => Some(done.error.clone()),
                    _ => None,
                });
                let done: Vec<String> = done.collect();
                (done.len() == times).then_some(done)
            })
            .await;
        assert!(errors.iter().all(String::is_empty), "{errors:?}");
        assert_eq!(kit.output("out", COPY_HEADER), expected_copy());
    }
    // The same by a deployment that only commits.
    let mut deploy = kit.order(&job, 9, Some(completed.restore));
    deploy.commit_only = true;
    let again = deploy.attempt.clone().unwrap();
    for engine in kit.engines() {
        engine.deploy(deploy.clone()).unwrap();
    }
    kit.finish(&job, &again, 2).await;
    assert_eq!(kit.output("out", COPY_HEADER), expected_copy());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_run_wrote_is_not_committed_again() {
    let kit = Kit::start(1).await;
    let job = copy(&kit.path("out"), 1, None);
    let first = kit.deploy(&job, 5, None);
    kit.until_all(&first, TaskPhase::Finished).await;
    kit.trigger(&first, 1, "savepoint");
    let savepoint = kit.collect(&job, &first, 1).await;
    kit.cancel(&first).await;
    let foreign = Restore {
        foreign: true,
        ..savepoint.restore
    };
    let second = kit.deploy(&job, 6, Some(foreign));
    // Its own checkpoints begin at 1 again.
    kit.finish(&job, &second, 1).await;
    assert!(kit.output("out", COPY_HEADER).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_the_graph_does_not_have_is_refused() {
    let kit = Kit::start(1).await;
    let job = by_carrier(&kit.path("out"), 1, Some(20_000.0));
    let first = kit.deploy(&job, 5, None);
    kit.until_rows("by-carrier", 500).await;
    let completed = kit.checkpoint(&job, &first, 1).await;
    kit.cancel(&first).await;
    let other = copy(&kit.path("out2"), 1, None);
    let second = kit.deploy(&other, 6, Some(completed.restore.clone()));
    let failure = kit.failure(&second).await;
    assert_eq!(failure.failure_kind, "restore");
    assert!(failure.cause.contains("by-carrier"), "{}", failure.cause);

    let allowed = Restore {
        allow_unclaimed_state: true,
        ..completed.restore.clone()
    };
    let third = kit.deploy(&other, 7, Some(allowed));
    kit.finish(&other, &third, 2).await;
    let rows = kit.output("out2", COPY_HEADER).len();
    assert!(0 < rows && rows < expected_copy().len(), "{rows}");

    let wrong = Restore {
        metadata_crc32c: completed.restore.metadata_crc32c ^ 1,
        ..completed.restore
    };
    let fourth = kit.deploy(&job, 8, Some(wrong));
    let failure = kit.failure(&fourth).await;
    assert_eq!(failure.failure_kind, "restore");
    assert!(failure.cause.contains("_metadata"), "{}", failure.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_over_restores_counts_exactly() {
    let kit = Kit::start(2).await;
    let end = 1_500_000;
    let sink = || ("files", files_sink(&kit.path("out")));
    let mut restore = None;
    for (token, parallelism) in [(5, 4), (6, 3)] {
        let mut job = numbers(sink(), Some(end), parallelism);
        let config = &mut job.vertices[0].config_json;
        *config = config.replace("\"rate\":null", "\"rate\":1000000.0");
        let running = kit.deploy(&job, token, restore);
        kit.until_rows("count", 100_000).await;
        restore = Some(kit.checkpoint(&job, &running, token).await.restore);
        kit.cancel(&running).await;
        assert_eq!(running, attempt(&job, token));
    }
    let job = numbers(sink(), Some(end), 2);
    let last = kit.deploy(&job, 7, restore);
    kit.finish(&job, &last, 8).await;
    assert_eq!(kit.output("out", "key,rows,total"), expected_numbers(end));
}
