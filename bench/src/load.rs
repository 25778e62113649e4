//! The closed loop: each client has one connection and one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{Client, Kind, Target, repeat_inside};
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

impl Used {
    fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
        }
    }
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
    if target.kind == Kind::Inside {
        return inside(target, clients, span, used).await;
    }
    let mut all = Vec::new();
    for number in 0..clients {
        all.push(Client::connect(target, number).await?);
    }
    let (micros, errors, used) = repeat_all(all, operation, span, used).await?;
    let used = match used {
        [before, after] => after.since(before),
    };
    Ok((
        Samples::new(micros, span.measured.as_secs_f64(), errors),
        used,
    ))
}

/// The clients are inside the leader's process, and so is what they use of processor.
async fn inside(
    target: &Target,
    clients: usize,
    span: Span,
    used: impl Fn() -> Used,
) -> Outcome<(Samples, Used)> {
    let load = repeat_inside(&target.members, clients, span);
    let watch = async {
        tokio::time::sleep(span.warm_up).await;
        let before = used();
        tokio::time::sleep(span.measured).await;
        used().since(before)
    };
    let (measured, used) = tokio::join!(load, watch);
    let measured = measured?;
    let seconds = span.measured.as_secs_f64();
    Ok((
        Samples::new(measured.micros, seconds, measured.errors),
        used,
    ))
}

/// Has each client repeat the operation; answers microseconds, errors, and what `used` said before and after.
pub(crate) async fn repeat_all<T>(
    all: Vec<Client>,
    operation: Operation,
    span: Span,
    used: impl Fn() -> T,
) -> Outcome<(Vec<u32>, u64, [T; 2])> {
    let counts = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = all
        .into_iter()
        .map(|client| tokio::spawn(repeat(client, operation, counts.clone(), stop.clone())))
        .collect();
    tokio::time::sleep(span.warm_up).await;
    counts.store(true, Ordering::Relaxed);
    let before = used();
    tokio::time::sleep(span.measured).await;
    counts.store(false, Ordering::Relaxed);
    let after = used();
    stop.store(true, Ordering::Relaxed);
    let (mut micros, mut errors) = (Vec::new(), 0);
    for task in tasks {
        let (own, failed) = task.await?;
        micros.extend(own);
        errors += failed;
    }
    Ok((micros, errors, [before, after]))
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
    operation == Operation::Write || !matches!(kind, Kind::Door | Kind::Inside)
}
