//! A log on a real file system that runs full, by a limit on the size of this process's files.

use bytes::Bytes;
use regent_storage::log::{LogConfig, LogError, LogRecord, LogStore};

use crate::child;

fn record(index: u64) -> LogRecord {
    let payload = Bytes::from(vec![index as u8; 1000]);
    LogRecord {
        index,
        log_id: Bytes::from_static(b"1-1"),
        payload,
    }
}

/// Not a test of its own: it lowers a limit of its process.
#[test]
fn child_with_a_limit() {
    let Some(dir) = child::work_dir() else { return };
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{SigSet, Signal};
    // Blocked here and so in the writer's thread: the write then fails instead of killing.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let config = LogConfig {
        segment_bytes: 16 << 10,
        ..LogConfig::default()
    };
    let log = LogStore::open(dir, config).unwrap();
    log.append_receipt((0..10).map(record).collect())
        .wait()
        .unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 8 << 10, 8 << 10).unwrap();
    let mut answers = Vec::new();
    for index in 10..40 {
        let answer = log.append_receipt(vec![record(index)]).wait();
        answers.push(match answer {
            Ok(()) => "ok",
            Err(LogError::Poisoned { .. }) => "poisoned",
            Err(_) => "refused",
        });
    }
    child::say(&format!("answers {}", answers.join(" ")));
}

#[test]
fn a_write_that_the_system_refuses_is_never_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = child::start("log_limits::child_with_a_limit", dir.path());
    let answers = running.expect("answers");
    let accepted = answers.split(' ').filter(|word| *word == "ok").count() as u64;
    assert!(
        answers.contains("poisoned") || answers.contains("refused"),
        "{answers}"
    );
    drop(running);
    let log = LogStore::open(dir.path(), LogConfig::default()).unwrap();
    let records = log.read(0, u64::MAX, usize::MAX).unwrap();
    assert!(
        records.len() as u64 >= 10 + accepted,
        "{} of {answers}",
        records.len()
    );
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(at, found)| *found == record(at as u64))
    );
}
