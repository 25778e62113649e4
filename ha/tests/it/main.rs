//! Clusters of one, three and five replicas in one process, over real sockets and real disks.

// A step that fails fails its test.
#![allow(clippy::unwrap_used)]

mod cluster;
mod failing_over;
mod founding;
mod identity;
mod leading;
mod measuring;
mod membership;
mod rebirth;
mod restarting;
mod snapshots;

/// Whether full counts are wanted.
fn soak() -> bool {
    std::env::var("REGENT_SOAK").is_ok_and(|value| value == "1")
}
