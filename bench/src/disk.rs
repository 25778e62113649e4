//! What the disk can do by itself: 4 KiB written and synced, one after the other, into preallocated space.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::Outcome;
use crate::figures::Samples;

const BLOCK_BYTES: usize = 4_096;
const WRITES: u64 = 2_000;

/// Latencies of writing and syncing on the disk of `dir`. Blocks the thread for about a second.
pub(crate) fn probe(dir: &Path) -> Outcome<Samples> {
    let path = dir.join("regent-bench-disk-probe");
    let measured = measure(&path);
    std::fs::remove_file(&path).ok();
    measured
}

fn measure(path: &Path) -> Outcome<Samples> {
    let file = File::create(path)?;
    // Zeros first, so that a sync has no file size to bring to the disk: as the log's segments are.
    let block = [0u8; BLOCK_BYTES];
    for at in 0..WRITES {
        file.write_all_at(&block, at * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let block = [7u8; BLOCK_BYTES];
    let begun = Instant::now();
    let mut micros = Vec::new();
    for at in 0..WRITES {
        let started = Instant::now();
        file.write_all_at(&block, at * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        micros.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Samples::new(micros, begun.elapsed().as_secs_f64(), 0))
}
