//! The environment variables that steer a run:
//!
//! - `REGENT_BIN`: the binary under test; without it `regent` beside the test's own folder.
//! - `REGENT_STEPS_BIN`: the same with debug assertions, for tests of named steps; without it `REGENT_BIN`.
//! - `REGENT_SOAK=1`: full counts instead of a few rounds.
//! - `REGENT_DATA`: the year's flights (`flights-2013.csv` or `.csv.gz`), or a folder with them.
//! - `REGENT_SEED`: the seed of all random moments; printed by each test that has some.
//! - `REGENT_MEASURES`: a file to which measured durations are appended, one JSON document a line.
//! - `REGENT_CALM_SECONDS`: how long nothing may happen to leadership, idle and under load each; 600 when
//!   soaking, else 3.
//! - `REGENT_KEEP=1`: directories of clusters are left for inspection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The binary under test.
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("REGENT_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_tests(),
    };
    assert!(
        path.is_file(),
        "{} isn't there: build it with `cargo build --profile ci -p regent`, or set REGENT_BIN",
        path.display()
    );
    path
}

/// The binary whose processes obey orders at named moments: a build with debug assertions.
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn instrumented_binary() -> PathBuf {
    match std::env::var_os("REGENT_STEPS_BIN") {
        Some(path) => PathBuf::from(path),
        None => binary(),
    }
}

/// `target/<profile>/regent`, for a test in `target/<profile>/deps`.
fn beside_tests() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.parent().and_then(Path::parent);
    profile
        .expect("tests lie in target/<profile>/deps")
        .join("regent")
}

/// Whether full counts are wanted.
#[must_use]
pub fn soak() -> bool {
    std::env::var("REGENT_SOAK").is_ok_and(|value| value == "1")
}

/// `quick` rounds, or `full` when soaking.
#[must_use]
pub fn rounds(quick: u32, full: u32) -> u32 {
    if soak() { full } else { quick }
}

/// How long leadership must stay where it is, idle and under load each.
#[must_use]
pub fn calm() -> Duration {
    let named = std::env::var("REGENT_CALM_SECONDS").ok();
    let seconds = named.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or_else(|| rounds(3, 600).into()))
}

/// Where measured durations are collected, if anywhere.
#[must_use]
pub fn measures() -> Option<PathBuf> {
    std::env::var_os("REGENT_MEASURES").map(PathBuf::from)
}

/// Whether directories are kept.
#[must_use]
pub fn keep() -> bool {
    std::env::var("REGENT_KEEP").is_ok_and(|value| value == "1")
}

/// The file with the year's flights, if one was named.
///
/// # Panics
/// If what was named isn't there.
#[must_use]
pub fn year() -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("REGENT_DATA")?);
    let found = if named.is_dir() {
        let names = ["flights-2013.csv", "flights-2013.csv.gz"];
        names
            .iter()
            .map(|name| named.join(name))
            .find(|path| path.is_file())
    } else {
        Some(named.clone()).filter(|path| path.is_file())
    };
    let missing = || {
        panic!(
            "REGENT_DATA={}: no flights-2013.csv[.gz] there",
            named.display()
        )
    };
    Some(found.unwrap_or_else(missing))
}

/// Chance that can be repeated: the seed is printed.
#[must_use]
pub fn chance(test: &str) -> StdRng {
    let named = std::env::var("REGENT_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = named.unwrap_or_else(rand::random);
    println!("{test}: REGENT_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// January's flights, which the repository carries.
#[must_use]
pub fn january() -> PathBuf {
    root().join("deploy/examples/data/flights")
}
