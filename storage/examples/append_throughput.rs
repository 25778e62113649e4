//! Prints how many durable entries per second the log takes, one caller at a time and many in
//! flight, beside a bare preallocated file with the same syncs.
//!
//! `cargo run --profile ci -p regent-storage --example append_throughput [DIR]`

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use regent_storage::log::{LogConfig, LogRecord, LogStore, Receipt};

const PAYLOAD: usize = 256;
const TIME: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("regent-append-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    println!(
        "{:<34} {:>12} {:>10} {:>10}",
        "256-byte entries, durable", "entries/s", "p50 µs", "p99 µs"
    );
    for batch in [1, 64, 256] {
        report(
            &format!("bare file, batch {batch}"),
            batch,
            bare_file(&dir, batch)?,
        );
        report(
            &format!("log, batch {batch}"),
            batch,
            log_batches(&dir, batch)?,
        );
    }
    for in_flight in [64, 256] {
        report(
            &format!("log, {in_flight} in flight x 1"),
            1,
            log_in_flight(&dir, in_flight)?,
        );
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn report(what: &str, batch: u64, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_micros();
    let rate = times.len() as f64 * batch as f64 / TIME.as_secs_f64();
    println!("{what:<34} {rate:>12.0} {:>10} {:>10}", at(50), at(99));
}

fn bare_file(dir: &Path, batch: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let file = File::create(dir.join("bare"))?;
    let len = 1 << 30;
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, len)?;
    file.sync_all()?;
    let bytes = vec![7u8; PAYLOAD * batch as usize];
    let (mut times, mut at, start) = (Vec::new(), 0, Instant::now());
    while start.elapsed() < TIME && at + (bytes.len() as u64) < len as u64 {
        let begun = Instant::now();
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(dir.join("bare"))?;
    Ok(times)
}

fn record(index: u64) -> LogRecord {
    LogRecord {
        index,
        log_id: Bytes::from_static(&[3; 17]),
        payload: Bytes::from_static(&[7; PAYLOAD]),
    }
}

fn log_batches(dir: &Path, batch: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let log = LogStore::open(dir.join(format!("log-{batch}")), LogConfig::default())?;
    let (mut times, mut next, start) = (Vec::new(), 0, Instant::now());
    while start.elapsed() < TIME {
        let begun = Instant::now();
        log.append_receipt((next..next + batch).map(record).collect())
            .wait()?;
        next += batch;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn log_in_flight(dir: &Path, in_flight: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let log = LogStore::open(
        dir.join(format!("flight-{in_flight}")),
        LogConfig::default(),
    )?;
    let mut waiting: std::collections::VecDeque<(Instant, Receipt)> = Default::default();
    let (mut times, mut next, start) = (Vec::new(), 0, Instant::now());
    while start.elapsed() < TIME {
        while waiting.len() < in_flight {
            waiting.push_back((Instant::now(), log.append_receipt(vec![record(next)])));
            next += 1;
        }
        if let Some((begun, receipt)) = waiting.pop_front() {
            receipt.wait()?;
            times.push(begun.elapsed());
        }
    }
    Ok(times)
}
