//! Free ranges of ports on loopback. Two tests of one run never get the same range; another program
//! may still take a port between the look and its use.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A local cluster uses this many ports from its base on.
const SPAN: u16 = 50;
/// Below the range from which the system takes ports for outgoing connections.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

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
    let mut free = candidates.filter(|base| (*base..*base + SPAN).all(is_free));
    free.next()
        .expect("50 free ports in a row between 12000 and 31000")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
