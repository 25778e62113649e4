//! SIGKILL at random of a process that appends, votes, truncates and purges: whatever it was told is
//! durable must be there when the log is opened again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use regent_storage::log::{LogConfig, LogRecord, LogStore};

use crate::{child, rounds};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 32 << 10,
        cache_bytes: 4 << 10,
        ..LogConfig::default()
    }
}

fn entry(index: u64, term: u64) -> LogRecord {
    let len = (index * 37 % 400) as usize;
    LogRecord {
        index,
        log_id: Bytes::from(format!("{term}-{index}")),
        payload: Bytes::from(vec![(index + term) as u8; len]),
    }
}

fn term_of(record: &LogRecord) -> u64 {
    let text = String::from_utf8(record.log_id.to_vec()).unwrap();
    text.split_once('-').unwrap().0.parse().unwrap()
}

/// Not a test of its own: what the parent starts and kills.
#[test]
fn child_that_appends() {
    let Some(dir) = child::work_dir() else { return };
    let log = LogStore::open(dir, config()).unwrap();
    child::say("ready");
    let end = Instant::now() + Duration::from_secs(20);
    let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let mut next = log.state().last.map_or(0, |(index, _)| index + 1);
    let mut term = u64::from(std::process::id());
    while Instant::now() < end {
        let count = rng.random_range(1..20);
        let records = (next..next + count)
            .map(|index| entry(index, term))
            .collect();
        let last = next + count - 1;
        let say = Box::new(move |result: Result<(), _>| {
            result.unwrap();
            child::say(&format!("ack {last}"));
        });
        log.append(records, say);
        next += count;
        match rng.random_range(0..20) {
            0 => {
                log.save_vote(Bytes::from(format!("{next}")))
                    .wait()
                    .unwrap();
                child::say(&format!("vote {next}"));
            }
            1 if next > 50 => {
                let keep = next - 1 - rng.random_range(0..10);
                log.barrier().wait().unwrap();
                child::say(&format!("cut {keep}"));
                log.truncate_after(Some(keep)).wait().unwrap();
                next = keep + 1;
                term += 1;
            }
            2 if next > 300 => {
                let upto = next - 200;
                let record = log.read(upto, upto + 1, 1).unwrap();
                if let Some(record) = record.first() {
                    log.purge(record.index, record.log_id.clone())
                        .wait()
                        .unwrap();
                    child::say(&format!("purged {upto}"));
                }
            }
            3 => log.save_committed(Bytes::from(format!("{next}"))).unwrap(),
            _ => {}
        }
    }
}

/// What the child was told, in its own order.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Option<u64>,
    purged: Option<u64>,
    vote: Option<u64>,
}

impl Told {
    fn take(&mut self, line: &str) {
        let Some((word, number)) = line.split_once(' ') else {
            return;
        };
        let number: u64 = number.parse().unwrap();
        match word {
            "ack" => self.acknowledged = Some(number),
            "cut" => self.acknowledged = self.acknowledged.map(|index| index.min(number)),
            "purged" => self.purged = Some(number),
            "vote" => self.vote = Some(number),
            other => panic!("unknown word {other}"),
        }
    }
}

#[test]
fn a_killed_process_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut told = Told::default();
    let mut total = 0;
    for round in 0..rounds() {
        let running = child::start("log_kill::child_that_appends", dir.path());
        running.expect("ready");
        let said = running.kill_after(Duration::from_millis(rng.random_range(1..120)));
        said.iter().for_each(|line| told.take(line));
        total += said.len();
        let log = LogStore::open(dir.path(), config()).unwrap();
        check(&log, &told, round);
    }
    assert!(total > rounds() as usize, "the children did work: {total}");
}

fn check(log: &LogStore, told: &Told, round: u32) {
    let state = log.state();
    let last = state.last.as_ref().map(|(index, _)| *index);
    assert!(
        last >= told.acknowledged,
        "round {round}: {last:?}, told {told:?}"
    );
    let purged = state.last_purged.as_ref().map(|(index, _)| *index);
    assert!(
        purged >= told.purged,
        "round {round}: {purged:?}, told {told:?}"
    );
    let vote = state
        .vote
        .map(|vote| String::from_utf8(vote.to_vec()).unwrap().parse().unwrap());
    assert!(vote >= told.vote, "round {round}: {vote:?}, told {told:?}");
    let records = log.read(0, u64::MAX, usize::MAX).unwrap();
    let mut expected = purged.map_or(0, |index| index + 1);
    for record in &records {
        assert_eq!(record.index, expected, "round {round}: no holes");
        assert_eq!(
            *record,
            entry(record.index, term_of(record)),
            "round {round}"
        );
        expected += 1;
    }
    assert_eq!(
        Some(expected),
        last.map(|last| last + 1).or(Some(0)),
        "round {round}"
    );
}
