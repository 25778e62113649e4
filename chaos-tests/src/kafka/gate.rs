//! An address behind which one broker takes the place of another, at one moment: clients see a broker that was away
//! and is back, and nothing of how the other one was filled.
//!
//! The same topic of another broker has another id. Asked for the id that it doesn't know, tansu answers with none at
//! all, over which librdkafka 2.12 ends its process. A topic that gets more partitions keeps its id, so this is none
//! of what is tried here: clients are told of versions of `Fetch` that name topics, and not of those with ids.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last version of `Fetch` with names of topics.
const FETCH_BY_NAME: i16 = 12;
/// All requests and their versions.
const VERSIONS_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Inner {
    target: Option<SocketAddr>,
    /// Both ends of each connection that was passed on to it.
    open: Vec<TcpStream>,
}

/// The address; it serves until the test's process ends.
#[derive(Debug)]
pub struct Gate {
    /// `127.0.0.1:port`.
    pub address: String,
    inner: Arc<Mutex<Inner>>,
}

impl Gate {
    /// Opens one that leads nowhere yet: connections are closed at once.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let inner = Arc::<Mutex<Inner>>::default();
        let shared = inner.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Who can't be passed on is closed, as by a broker that isn't there.
                let _ = pass_on(&shared, near);
            }
        });
        Self { address, inner }
    }

    /// From now on it leads to this broker. Connections to the one before are closed.
    ///
    /// # Panics
    /// If that is no address.
    pub fn lead_to(&self, broker: &str) {
        let target = broker.parse().expect("an address");
        let mut inner = lock(&self.inner);
        inner.target = Some(target);
        for stream in inner.open.drain(..) {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass_on(inner: &Mutex<Inner>, near: TcpStream) -> io::Result<()> {
    // Held until both ends are noted: nobody may be passed on to a broker that was just left.
    let mut inner = lock(inner);
    let target = inner.target.ok_or(io::ErrorKind::ConnectionRefused)?;
    let far = TcpStream::connect(target)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        inner.open.push(stream.try_clone()?);
    }
    let (near_copy, far_copy) = (near.try_clone()?, far.try_clone()?);
    pump(near_copy, far_copy, |_, _| Ok(()));
    pump(far, near, |broker, client| {
        client.write_all(&first_answer(broker)?)
    });
    Ok(())
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    first: fn(&mut TcpStream, &mut TcpStream) -> io::Result<()>,
) {
    std::thread::spawn(move || {
        // However it ends, both directions end.
        let _ = first(&mut from, &mut to).and_then(|()| io::copy(&mut from, &mut to));
        for stream in [&from, &to] {
            stream.shutdown(Shutdown::Both).ok();
        }
    });
}

/// What a client asks first on each connection is which requests the broker takes, in which versions.
fn first_answer(broker: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    broker.read_exact(&mut length)?;
    let bytes = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    if bytes > VERSIONS_BYTES_MAX {
        return Err(io::Error::other(format!("an answer of {bytes} bytes")));
    }
    let mut answer = vec![0; bytes];
    broker.read_exact(&mut answer)?;
    fetch_by_name(&mut answer);
    Ok([&length[..], &answer].concat())
}

/// Correlation, code and count; then of each request its key, lowest and highest version, and no tags.
fn fetch_by_name(answer: &mut [u8]) {
    const COUNT_AT: usize = 4 + 2;
    let more = |byte: &&u8| **byte & 0x80 != 0;
    let count = answer.iter().skip(COUNT_AT).take_while(more).count() + 1;
    let entries = answer.iter_mut().skip(COUNT_AT + count);
    let mut entries: Vec<&mut u8> = entries.collect();
    for entry in entries.chunks_exact_mut(7) {
        let [kind, key, _, _, high, low, _] = entry else {
            continue;
        };
        if [**kind, **key] == [0, 1] && i16::from_be_bytes([**high, **low]) > FETCH_BY_NAME {
            [**high, **low] = FETCH_BY_NAME.to_be_bytes();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_versions_of_fetch_are_lowered() {
        let told = |fetch: u8| {
            let head = [0, 0, 0, 9, 0, 0, 4];
            let entries = [
                [0, 0, 0, 3, 0, 13, 0],
                [0, 1, 0, 4, 0, fetch, 0],
                [0, 18, 0, 0, 0, 4, 0],
            ];
            [&head[..], &entries.concat(), &[0, 0, 0, 0, 0]].concat()
        };
        for (before, after) in [(17, 12), (12, 12), (11, 11)] {
            let mut answer = told(before);
            fetch_by_name(&mut answer);
            assert_eq!(answer, told(after));
        }
        fetch_by_name(&mut []);
    }
}
