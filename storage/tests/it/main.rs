//! Tests of the crate from outside, on real files and with real processes.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod child;
mod identities;
mod log_kill;
mod log_limits;
mod object_store;
mod snapshots;
mod state_damage;
mod states;

use std::path::Path;

/// Rounds of the tests that kill: a few, or 100 for `REGENT_SOAK=1`.
fn rounds() -> u32 {
    let soak = std::env::var("REGENT_SOAK").is_ok_and(|value| value == "1");
    if soak { 100 } else { 5 }
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
