//! A disk that is full, refuses or shortens; and the promise that every callback is called.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::log::sim::Fault;

/// Appends one by one until the disk is full; answers the first index refused.
fn fill(log: &LogStore, from: u64) -> u64 {
    for index in from..from + 1000 {
        match append(log, index..index + 1) {
            Ok(()) => {}
            Err(LogError::DiskFull { .. }) => return index,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never full");
}

#[test]
fn short_writes_are_finished() {
    let disk = SimDisk::default();
    disk.inject(Fault::ShortWrites);
    let log = open(&disk).unwrap();
    append(&log, 0..60).unwrap();
    drop(log);
    disk.clear_faults();
    assert_eq!(
        indexes(&open(&disk).unwrap()),
        (0..60).collect::<Vec<u64>>()
    );
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..10).unwrap();
    disk.set_free(Some(2500));
    let refused = fill(&log, 10);
    assert_eq!(log.state().last.unwrap().0, refused - 1);
    assert_eq!(log.state().last_flushed, log.state().last);
    assert_eq!(indexes(&log).len() as u64, refused);
    assert!(log.metrics().disk_full);
    assert!(!log.metrics().poisoned);
    // Step-down needs the vote, repair needs truncation and purging: more than the segment holds.
    for n in 0..12u64 {
        log.save_vote(Bytes::from(format!("vote {n}")))
            .wait()
            .unwrap();
    }
    log.truncate_after(Some(refused - 2)).wait().unwrap();
    assert!(append(&log, refused - 1..refused).is_err());
    let before = whole(&log);
    assert_eq!(before.state.vote, Some(Bytes::from("vote 11")));
    drop(log);
    // Full at opening, too.
    let log = open(&disk).unwrap();
    assert_eq!(whole(&log), before);
    assert!(append(&log, refused - 1..refused).is_err());
    // Purging frees segments, and appending works again without a restart.
    log.purge(refused - 3, log_id(refused - 3, 1))
        .wait()
        .unwrap();
    log.barrier().wait().unwrap();
    append(&log, refused - 1..refused + 5).unwrap();
    assert!(!log.metrics().disk_full);
    let before = whole(&log);
    drop(log);
    assert_eq!(whole(&open(&disk).unwrap()), before);
}

#[test]
fn appends_that_wait_behind_a_refused_one_are_refused_with_it() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..3).unwrap();
    disk.set_free(Some(0));
    let release = hold_writer(&log, 3);
    let (sender, answers) = channel();
    for index in 4..40 {
        let sender = sender.clone();
        let done: Callback = Box::new(move |result| sender.send((index, result)).unwrap());
        log.append(vec![record(index)], done);
    }
    let vote = log.save_vote(Bytes::from("v"));
    drop(sender);
    drop(release);
    vote.wait().unwrap();
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 36, "each exactly once");
    let accepted = answers.iter().filter(|(_, result)| result.is_ok()).count() as u64;
    assert!(answers.iter().all(|(index, result)| match result {
        Ok(()) => *index < 4 + accepted,
        Err(LogError::DiskFull { .. }) => *index >= 4 + accepted,
        Err(_) => false,
    }));
    assert_eq!(indexes(&log), (0..4 + accepted).collect::<Vec<u64>>());
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(indexes(&log), (0..4 + accepted).collect::<Vec<u64>>());
    assert_eq!(log.state().vote, Some(Bytes::from("v")));
}

#[test]
fn a_disk_full_in_the_middle_of_a_segment_leaves_no_trace() {
    for skip in 0..3 {
        let disk = SimDisk::default();
        let log = open(&disk).unwrap();
        append(&log, 0..3).unwrap();
        disk.inject(Fault::Write(skip, ErrorKind::StorageFull));
        let mut next = 3;
        for _ in 0..10 {
            if append(&log, next..next + 1).is_ok() {
                next += 1;
            }
        }
        assert_eq!(next, 12, "one of ten was refused");
        assert_eq!(indexes(&log), (0..12).collect::<Vec<u64>>());
        drop(log);
        let log = open(&disk).unwrap();
        assert_eq!(indexes(&log), (0..12).collect::<Vec<u64>>());
    }
}

#[test]
fn a_vote_refused_in_place_goes_to_the_reserve() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..3).unwrap();
    disk.set_free(Some(0));
    disk.inject(Fault::Write(0, ErrorKind::StorageFull));
    log.save_vote(Bytes::from("v")).wait().unwrap();
    assert!(log.metrics().disk_full);
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(log.state().vote, Some(Bytes::from("v")));
    assert_eq!(indexes(&log), vec![0, 1, 2]);
}

#[test]
fn a_new_log_on_a_full_disk_is_refused() {
    let disk = SimDisk::default();
    disk.set_free(Some(100));
    assert!(matches!(
        open(&disk).unwrap_err(),
        LogError::DiskFull { .. }
    ));
    disk.set_free(None);
    append(&open(&disk).unwrap(), 0..3).unwrap();
}

#[test]
fn a_failed_sync_poisons_for_ever_and_is_never_tried_again() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..3).unwrap();
    disk.inject(Fault::Sync(0, ErrorKind::Other));
    assert!(matches!(
        append(&log, 3..4).unwrap_err(),
        LogError::Poisoned { .. }
    ));
    let syncs = disk.syncs();
    assert!(matches!(
        append(&log, 4..5).unwrap_err(),
        LogError::Poisoned { .. }
    ));
    let vote = log.save_vote(Bytes::from("v")).wait().unwrap_err();
    assert!(matches!(vote, LogError::Poisoned { .. }));
    assert!(log.save_committed(Bytes::new()).is_err());
    assert!(log.truncate_after(None).wait().is_err());
    assert!(log.purge(1, Bytes::new()).wait().is_err());
    assert!(log.barrier().wait().is_err());
    assert!(log.read(0, 10, 1000).is_err());
    assert_eq!(disk.syncs(), syncs, "no second sync");
    assert!(log.metrics().poisoned);
    assert!(log.is_poisoned());
    assert!(log.outstanding_since().is_none());
    drop(log);
    // What was acknowledged is there when opened again; the failed one may be.
    let again = indexes(&open(&disk).unwrap());
    assert!(again == vec![0, 1, 2] || again == vec![0, 1, 2, 3]);
}

#[test]
fn a_failed_write_poisons_too() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..3).unwrap();
    disk.inject(Fault::Write(0, ErrorKind::Other));
    let error = append(&log, 3..4).unwrap_err();
    assert!(
        error.to_string().contains("segment-0000000001.log"),
        "{error}"
    );
    drop(log);
    assert_eq!(indexes(&open(&disk).unwrap()), vec![0, 1, 2]);
}

#[test]
fn every_callback_is_called_once_whatever_happens() {
    // Operations of one log, with the power going off at each of the disk's operations.
    for operations in 0..60 {
        let disk = SimDisk::default();
        let Ok(log) = open(&disk) else { continue };
        disk.power_off_after(operations);
        let calls: Vec<_> = (0..40).map(|_| Arc::new(AtomicU32::new(0))).collect();
        for (index, calls) in calls.iter().enumerate() {
            let calls = Arc::clone(calls);
            let done: Callback = Box::new(move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            });
            log.append(vec![record(index as u64)], done);
        }
        log.close();
        let counts: Vec<u32> = calls.iter().map(|c| c.load(Ordering::SeqCst)).collect();
        assert_eq!(counts, vec![1; 40], "power off after {operations}");
    }
}

#[test]
fn after_closing_everything_answers_closed() {
    let log = open(&SimDisk::default()).unwrap();
    append(&log, 0..3).unwrap();
    log.close();
    assert!(matches!(append(&log, 3..4).unwrap_err(), LogError::Closed));
    assert!(matches!(
        log.save_vote(Bytes::new()).wait().unwrap_err(),
        LogError::Closed
    ));
    assert_eq!(indexes(&log), vec![0, 1, 2], "reading still works");
}

#[test]
fn dropping_the_last_handle_writes_what_waits() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    let (done, answer) = callback();
    log.append((0..20).map(record).collect(), done);
    drop(log);
    answer.recv().unwrap().unwrap();
    assert_eq!(indexes(&open(&disk).unwrap()).len(), 20);
}

#[test]
fn a_callback_may_hold_the_last_handle() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    let kept = Mutex::new(Some(log.clone()));
    let (sender, answer) = channel();
    let done: Callback = Box::new(move |result| {
        drop(kept.lock().unwrap().take());
        sender.send(result).unwrap();
    });
    log.append(vec![record(0)], done);
    drop(log);
    answer.recv().unwrap().unwrap();
}

#[test]
fn a_panic_in_a_callback_is_its_own() {
    let log = open(&SimDisk::default()).unwrap();
    log.append(
        vec![record(0)],
        Box::new(|_| panic!("a callback's mistake")),
    );
    append(&log, 1..2).unwrap();
    assert_eq!(indexes(&log), vec![0, 1]);
}

#[test]
fn too_much_waiting_is_refused_not_kept() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
    let config = LogConfig {
        queue_bytes_max: 1000,
        ..small()
    };
    let log = LogStore::open_on(disk, DIR, config).unwrap();
    let release = hold_writer(&log, 0);
    let mut overloaded = false;
    for index in 1..50 {
        let (done, answer) = callback();
        log.append(vec![record(index)], done);
        if let Ok(Err(LogError::Overloaded { .. })) = answer.try_recv() {
            overloaded = true;
            assert_eq!(log.state().last.unwrap().0, index - 1);
            break;
        }
    }
    drop(release);
    assert!(overloaded);
}

#[test]
fn after_one_refusal_what_built_on_it_is_refused_although_space_came_back() {
    let disk = SimDisk::default();
    let log = open_one_by_one(&disk);
    let release = hold_writer(&log, 0);
    let first = log.append_receipt(vec![record(1), record(2)]);
    let second = log.append_receipt(vec![record(3)]);
    let vote = log.save_vote(Bytes::from("v"));
    let third = log.append_receipt(vec![record(4)]);
    disk.inject(Fault::Write(0, ErrorKind::StorageFull));
    drop(release);
    for refused in [first, second, third] {
        assert!(matches!(
            refused.wait().unwrap_err(),
            LogError::DiskFull { .. }
        ));
    }
    vote.wait().unwrap();
    append(&log, 1..3).unwrap();
    let before = whole(&log);
    assert_eq!(before.records.len(), 3);
    drop(log);
    assert_eq!(whole(&open(&disk).unwrap()), before);
}
