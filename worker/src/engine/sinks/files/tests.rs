use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use regent_protocol::spec::{FileFormat, IfExists};

use bytes::Bytes;

use super::*;
use crate::engine::Authority;
use crate::engine::ids::AttemptId;

struct Always;
impl Authority for Always {
    fn may_act(&self) -> bool {
        true
    }
}

fn sink(dir: &Path, delivery: Delivery, token: u64, items: Vec<Bytes>) -> FilesSink {
    let spec = FilesSinkSpec {
        path: dir.to_str().unwrap().to_owned(),
        format: FileFormat::Csv,
        delivery,
        if_exists: IfExists::Refuse,
    };
    let columns = [Column {
        name: "n".into(),
        data_type: "int64".into(),
    }];
    let start = SinkStart {
        attempt: AttemptId {
            job: "j".into(),
            run: (1, 5),
            token: (1, token),
        },
        job_name: "job".into(),
        subtask: 3,
        restored: 0,
        items,
        effects: Effects::new(Arc::new(Always)),
    };
    FilesSink::new(&spec, &columns, start).unwrap()
}

fn batch(numbers: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

/// Files below `dir`, staging included, as `path=content`.
fn tree(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(next) = stack.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap().replace('\n', "|");
                let name = path.strip_prefix(dir).unwrap().display();
                lines.push(format!("{name}={text}"));
            }
        }
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn output_appears_when_its_checkpoint_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("deep/out");
    let mut sink = sink(&out, Delivery::ExactlyOnce, 7, vec![]);
    sink.write(batch(&[1, 2])).await.unwrap();
    sink.roll().await.unwrap();
    let first = sink.snapshot(1).unwrap();
    assert_eq!(first.transactions.len(), 1);
    assert_eq!(
        (first.transactions[0].length, first.transactions[0].rows),
        (6, 2)
    );
    sink.write(batch(&[3])).await.unwrap();
    sink.roll().await.unwrap();
    assert_eq!(sink.snapshot(2).unwrap().transactions.len(), 2);
    assert_eq!(
        tree(&out),
        [
            "_staging/1.5-1.7/part-1.5-1.7-3-0.csv=n|1|2|",
            "_staging/1.5-1.7/part-1.5-1.7-3-1.csv=n|3|",
        ]
    );
    assert_eq!(sink.commit(1).await.unwrap(), Committed::All);
    assert_eq!(sink.pending(), 1);
    assert_eq!(
        tree(&out),
        [
            "_staging/1.5-1.7/part-1.5-1.7-3-1.csv=n|3|",
            "part-1.5-1.7-3-0.csv=n|1|2|",
        ]
    );
    assert_eq!(sink.commit(9).await.unwrap(), Committed::Unknown);
    assert_eq!(sink.commit(2).await.unwrap(), Committed::All);
    assert_eq!(sink.commit(1).await.unwrap(), Committed::All);
    assert_eq!(tree(&out).len(), 2);
    assert_eq!(sink.snapshot(3).unwrap().transactions, []);
}

#[tokio::test]
async fn a_barrier_without_rows_makes_no_file_and_the_end_makes_one_with_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink1 = sink(dir.path(), Delivery::ExactlyOnce, 7, vec![]);
    sink1.roll().await.unwrap();
    let state = sink1.snapshot(1).unwrap();
    assert_eq!(state.transactions, []);
    sink1.end().await.unwrap();
    assert_eq!(
        tree(dir.path()),
        ["_staging/1.5-1.7/part-1.5-1.7-3-0.csv=n|"]
    );
    let items = sink1.snapshot(2).unwrap().items;
    sink1.commit(2).await.unwrap();
    // The run has its file: an attempt restored from that checkpoint makes no other.
    let mut again = sink(dir.path(), Delivery::ExactlyOnce, 8, items);
    again.end().await.unwrap();
    assert_eq!(tree(dir.path()), ["part-1.5-1.7-3-0.csv=n|"]);
    // One restored from before the end does.
    let mut early = sink(dir.path(), Delivery::ExactlyOnce, 9, state.items);
    early.end().await.unwrap();
    assert_eq!(early.snapshot(3).unwrap().transactions.len(), 1);
}

#[tokio::test]
async fn at_least_once_appears_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), Delivery::AtLeastOnce, 7, vec![]);
    assert_eq!(sink.deadline(), None);
    sink.write(batch(&[1])).await.unwrap();
    assert!(sink.deadline().is_some());
    sink.roll().await.unwrap();
    assert_eq!(sink.snapshot(1).unwrap().transactions, []);
    assert_eq!(tree(dir.path()), ["part-1.5-1.7-3-0.csv=n|1|"]);
}

#[tokio::test]
async fn large_output_is_checksummed_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), Delivery::ExactlyOnce, 7, vec![]);
    let numbers: Vec<i64> = (0..200_000).collect();
    for part in numbers.chunks(5000) {
        sink.write(batch(part)).await.unwrap();
    }
    sink.end().await.unwrap();
    let listed = sink.snapshot(1).unwrap().transactions;
    let written = fs::read(&listed[0].staged_path).unwrap();
    assert_eq!(listed[0].length, written.len() as u64);
    assert_eq!(listed[0].crc32c, crc32c::crc32c(&written));
    assert_eq!(listed[0].rows, 200_000);
}
