//! The closed loop: each client has one connection and one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{Client, Kind, Target};
use crate::figures::Samples;

/// Which operation is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A durable write.
    Write,
    /// A read that sees every write completed before it.
    Read,
}

/// How long a load runs before it counts, and while it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What the servers used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Written to the disk.
    pub(crate) bytes: u64,
    /// Of processor.
    pub(crate) cpu_seconds: f64,
}

/// Loads the members with `clients` clients spread over them, and answers what was measured,
/// and what the servers used meanwhile.
pub(crate) async fn closed_loop(
    target: &Arc<Target>,
    operation: Operation,
    clients: usize,
    span: Span,
    used: impl Fn() -> Used,
) -> Outcome<(Samples, Used)> {
    let mut all = Vec::new();
    for number in 0..clients {
        all.push(Client::connect(target, number).await?);
    }
    let counts = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = all
        .into_iter()
        .map(|client| tokio::spawn(repeat(client, operation, counts.clone(), stop.clone())))
        .collect();
    tokio::time::sleep(span.warm_up).await;
    counts.store(true, Ordering::Relaxed);
    let (begun, before) = (Instant::now(), used());
    tokio::time::sleep(span.measured).await;
    counts.store(false, Ordering::Relaxed);
    let after = used();
    let seconds = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let (mut micros, mut errors) = (Vec::new(), 0);
    for task in tasks {
        let (own, failed) = task.await?;
        micros.extend(own);
        errors += failed;
    }
    let used = Used {
        bytes: after.bytes - before.bytes,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
    };
    Ok((Samples::new(micros, seconds, errors), used))
}

async fn repeat(
    mut client: Client,
    operation: Operation,
    counts: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> (Vec<u32>, u64) {
    let (mut micros, mut errors) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let done = match operation {
            Operation::Write => client.write().await,
            Operation::Read => client.read().await,
        };
        let took = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
        match done {
            Ok(()) if counts.load(Ordering::Relaxed) => micros.push(took),
            Ok(()) => {}
            Err(error) => {
                if errors == 0 {
                    eprintln!("{:?} {operation:?}: {error}", client.kind());
                }
                errors += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    (micros, errors)
}

/// Whether this kind of server can be asked this.
pub(crate) fn offered(kind: Kind, operation: Operation) -> bool {
    operation == Operation::Write || kind != Kind::Door
}
