//! What a healthy log does.

use super::*;

#[test]
fn a_new_log_is_empty() {
    let log = open(&SimDisk::default()).unwrap();
    assert_eq!(log.state(), LogState::default());
    assert_eq!(indexes(&log), Vec::<u64>::new());
    assert!(log.cut_tail().is_none());
}

#[test]
fn everything_is_there_after_reopening() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..40).unwrap();
    log.save_vote(Bytes::from("vote-1")).wait().unwrap();
    log.save_committed(Bytes::from("committed-7")).unwrap();
    log.truncate_after(Some(29)).wait().unwrap();
    log.append_receipt(vec![entry(30, 2)]).wait().unwrap();
    log.purge(4, log_id(4, 1)).wait().unwrap();
    let before = whole(&log);
    assert_eq!(before.state.last, Some((30, log_id(30, 2))));
    assert_eq!(before.state.last_flushed, before.state.last);
    assert_eq!(before.state.last_purged, Some((4, log_id(4, 1))));
    assert_eq!(before.records.len(), 26);
    assert_eq!(before.records[25], entry(30, 2));
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(whole(&log), before);
    assert!(log.cut_tail().is_none());
}

#[test]
fn entries_are_readable_before_they_are_durable() {
    let log = open(&SimDisk::default()).unwrap();
    let (done, answer) = callback();
    log.append((0..3).map(record).collect(), done);
    assert_eq!(indexes(&log), vec![0, 1, 2]);
    answer.recv().unwrap().unwrap();
}

#[test]
fn reading_stops_at_the_limit_but_answers_at_least_one() {
    let log = open(&SimDisk::default()).unwrap();
    append(&log, 0..50).unwrap();
    assert_eq!(log.read(10, 20, usize::MAX).unwrap().len(), 10);
    assert_eq!(log.read(10, 20, 1).unwrap(), vec![record(10)]);
    let some = log.read(3, 50, 1000).unwrap();
    assert!(some.len() > 1);
    assert!(some.len() < 47);
    assert_eq!(log.read(50, 60, 1000).unwrap(), vec![]);
}

#[test]
fn an_append_that_leaves_a_hole_is_refused() {
    let log = open(&SimDisk::default()).unwrap();
    append(&log, 0..3).unwrap();
    let error = append(&log, 4..5).unwrap_err();
    assert!(matches!(
        error,
        LogError::NotContiguous {
            expected: 3,
            found: 4
        }
    ));
    let inner = log
        .append_receipt(vec![record(3), record(5)])
        .wait()
        .unwrap_err();
    assert!(matches!(
        inner,
        LogError::NotContiguous {
            expected: 4,
            found: 5
        }
    ));
    append(&log, 3..4).unwrap();
    assert_eq!(indexes(&log), vec![0, 1, 2, 3]);
}

#[test]
fn sizes_over_the_limit_are_refused() {
    let log = open(&SimDisk::default()).unwrap();
    let long = Bytes::from(vec![0u8; 70_000]);
    let record = LogRecord {
        index: 0,
        log_id: long,
        payload: Bytes::new(),
    };
    let error = log.append_receipt(vec![record]).wait().unwrap_err();
    assert!(matches!(error, LogError::TooLarge { bytes: 70_000, .. }));
}

#[test]
fn a_record_larger_than_a_segment_gets_a_larger_one() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..2).unwrap();
    let large = LogRecord {
        payload: Bytes::from(vec![7u8; 5000]),
        ..record(2)
    };
    log.append_receipt(vec![large.clone()]).wait().unwrap();
    append(&log, 3..5).unwrap();
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(log.read(2, 3, usize::MAX).unwrap(), vec![large]);
    assert_eq!(indexes(&log), vec![0, 1, 2, 3, 4]);
}

#[test]
fn purging_removes_segments_and_keeps_vote_and_position() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    log.save_vote(Bytes::from("v")).wait().unwrap();
    log.save_committed(Bytes::from("c")).unwrap();
    (0..100).for_each(|index| append(&log, index..index + 1).unwrap());
    let before = segments(&disk).len();
    assert!(before > 5);
    log.purge(90, log_id(90, 1)).wait().unwrap();
    log.barrier().wait().unwrap();
    append(&log, 100..101).unwrap();
    assert!(segments(&disk).len() < before);
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(indexes(&log), (91..101).collect::<Vec<u64>>());
    assert_eq!(log.state().vote, Some(Bytes::from("v")));
    assert_eq!(log.state().committed, Some(Bytes::from("c")));
    assert_eq!(log.state().last_purged, Some((90, log_id(90, 1))));
}

#[test]
fn purging_beyond_the_end_starts_the_log_anew() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..10).unwrap();
    log.purge(1000, log_id(1000, 3)).wait().unwrap();
    assert_eq!(log.state().last, Some((1000, log_id(1000, 3))));
    assert_eq!(log.state().last_flushed, log.state().last);
    assert!(append(&log, 10..11).is_err());
    append(&log, 1001..1003).unwrap();
    // Purging less than was purged changes nothing.
    log.purge(5, log_id(5, 1)).wait().unwrap();
    let before = whole(&log);
    drop(log);
    assert_eq!(whole(&open(&disk).unwrap()), before);
}

#[test]
fn truncating_all_and_beyond() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 5..10).unwrap();
    log.truncate_after(Some(20)).wait().unwrap();
    assert_eq!(indexes(&log), vec![5, 6, 7, 8, 9]);
    log.truncate_after(None).wait().unwrap();
    assert_eq!(log.state().last, None);
    assert_eq!(log.state().last_flushed, None);
    append(&log, 0..2).unwrap();
    let before = whole(&log);
    drop(log);
    assert_eq!(whole(&open(&disk).unwrap()), before);
}

#[test]
fn old_entries_are_read_from_disk_and_the_cache_stays_small() {
    let log = open(&SimDisk::default()).unwrap();
    (0..20).for_each(|n| append(&log, n * 10..(n + 1) * 10).unwrap());
    assert!(log.metrics().cache_bytes <= small().cache_bytes);
    let expected: Vec<LogRecord> = (0..200).map(record).collect();
    assert_eq!(log.read(0, 200, usize::MAX).unwrap(), expected);
    log.truncate_after(Some(20)).wait().unwrap();
    assert_eq!(log.state().last, Some((20, log_id(20, 1))));
}

#[test]
fn committed_waits_for_company_but_not_beyond_the_end() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..1).unwrap();
    let syncs = log.metrics().sync_count;
    for n in 0..100 {
        log.save_committed(Bytes::from(format!("{n}"))).unwrap();
    }
    assert_eq!(log.metrics().sync_count, syncs);
    assert!(log.metrics().outstanding_since.is_none());
    log.close();
    assert_eq!(log.metrics().sync_count, syncs + 1);
    assert_eq!(
        open(&disk).unwrap().state().committed,
        Some(Bytes::from("99"))
    );
}

#[test]
fn one_sync_serves_all_that_wait() {
    let log = open(&SimDisk::default()).unwrap();
    let release = hold_writer(&log, 0);
    let before = log.metrics().sync_count;
    assert!(log.outstanding_since().is_none(), "the held one is durable");
    let receipts: Vec<_> = (1..4)
        .map(|i| log.append_receipt(vec![record(i)]))
        .collect();
    assert!(log.metrics().outstanding_since.is_some());
    drop(release);
    receipts
        .into_iter()
        .for_each(|receipt| receipt.wait().unwrap());
    assert_eq!(log.metrics().sync_count, before + 1);
    log.barrier().wait().unwrap();
    let metrics = log.metrics();
    assert!(metrics.bytes_on_disk >= 2 * small().segment_bytes);
    assert!(!metrics.poisoned);
}

#[test]
fn the_same_directory_opens_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogStore::open(dir.path(), small()).unwrap();
    append(&log, 0..3).unwrap();
    let again = LogStore::open(dir.path(), small()).unwrap_err();
    assert!(matches!(again, LogError::Locked { .. }), "{again}");
    drop(log);
    let log = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(indexes(&log), vec![0, 1, 2]);
}

#[test]
fn an_entry_replaced_while_waiting_is_never_read_in_its_old_form() {
    let log = open_one_by_one(&SimDisk::default());
    let release = hold_writer(&log, 0);
    // When the old entry 1 has just been written, the new one is still waiting.
    let (sender, seen) = channel();
    let reader = log.clone();
    let read = Box::new(move |_| sender.send(reader.read(1, 2, 1000).unwrap()).unwrap());
    log.append(vec![entry(1, 1)], read);
    let truncated = log.truncate_after(Some(0));
    let appended = log.append_receipt(vec![entry(1, 2)]);
    drop(release);
    assert_eq!(seen.recv().unwrap(), vec![entry(1, 2)]);
    truncated.wait().unwrap();
    appended.wait().unwrap();
    assert_eq!(log.read(0, 9, 1000).unwrap(), vec![record(0), entry(1, 2)]);
}
