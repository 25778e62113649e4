//! Free ports on loopback for tests and benchmarks. No port is given twice, nor to two runs of one user at the same
//! time, and none is of those that the system takes for outgoing connections: `bind` to port 0 gives such ones, which
//! another test's connection can have before they are listened on. Another program may still take a port between the
//! look and its use.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Uid;

/// A local cluster uses this many ports from its base on.
const SPAN: u16 = 50;
/// Below the range from which the system takes ports for outgoing connections, and below those among which the
/// demonstration looks: it asks nobody, and would find the range free of a cluster that is just being started.
const FIRST: u16 = 12_000;
const LAST: u16 = 28_000;

static NEXT: AtomicU16 = AtomicU16::new(0);
/// What is left of the range from which single ports are given.
static REST: Mutex<Range<u16>> = Mutex::new(0..0);
/// The locks of the ranges that this process got: they end with it, however it ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A base port of which it and the 49 that follow are free.
///
/// # Panics
/// If there is no such range.
#[must_use]
pub fn base_port() -> u16 {
    let ranges = (LAST - FIRST) / SPAN;
    // Runs that go on at the same time start at different places.
    let offset = u16::try_from(std::process::id() % u32::from(ranges)).unwrap_or(0);
    let candidates = (0..ranges).map(|_| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        FIRST + (offset + turn) % ranges * SPAN
    });
    let mut free = candidates.filter(|base| claimed(*base) && (*base..*base + SPAN).all(is_free));
    free.next()
        .expect("50 free ports in a row between 12000 and 28000")
}

/// Whether no other process has the range, which is then ours.
fn claimed(base: u16) -> bool {
    let dir = std::env::temp_dir().join(format!("regent-ports-{}", Uid::current()));
    std::fs::create_dir_all(&dir).expect("a directory for the locks of ports");
    let path = dir.join(base.to_string());
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).open(path);
    let lock = lock.expect("the lock of a range of ports");
    let ours = lock.try_lock().is_ok();
    if ours {
        HELD.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lock);
    }
    ours
}

/// A port that is free.
///
/// # Panics
/// If there is no free range left.
#[must_use]
pub fn free_port() -> u16 {
    let mut rest = REST.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match rest.next() {
            Some(port) if is_free(port) => return port,
            Some(_) => {}
            None => {
                let base = base_port();
                *rest = base..base + SPAN;
            }
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut given: BTreeSet<u16> = (0..SPAN + 10).map(|_| free_port()).collect();
        let base = base_port();
        given.extend(base..base + SPAN);
        assert_eq!(given.len(), usize::from(2 * SPAN + 10));
        assert!(given.iter().all(|port| (FIRST..LAST).contains(port)));
    }
}
