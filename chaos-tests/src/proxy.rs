//! Connections between named processes that can be cut, one direction at a time, and mended again; or reset.
//!
//! A cut is silent, as in a network: nothing is reset, bytes wait until it is mended. A reset ends connections that are
//! open, as a router does that has forgotten them; new ones can be made at once. Who connects is found out from the
//! system's table of sockets, so that the processes need not know that they talk through a proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};

/// Bytes that are handed on at once.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Inner {
    pids: BTreeMap<String, u32>,
    /// (from, to): nothing that the first says reaches the second.
    cut: BTreeSet<(String, String)>,
    open: Vec<Connection>,
}

/// An open connection, as far as it takes to end it.
#[derive(Debug)]
struct Connection {
    from: String,
    to: String,
    sockets: [TcpStream; 2],
    reset: Arc<AtomicBool>,
}

impl Connection {
    fn is_between(&self, one: &str, other: &str) -> bool {
        (&*self.from, &*self.to) == (one, other) || (&*self.from, &*self.to) == (other, one)
    }

    /// Whoever hands bytes on stops, and closing the sockets then resets them instead of ending them in order.
    fn reset(self) {
        self.reset.store(true, Ordering::SeqCst);
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        for socket in &self.sockets {
            setsockopt(socket, sockopt::Linger, &at_once).expect("a socket can be told to reset");
            // It may be closed already.
            socket.shutdown(Shutdown::Read).ok();
        }
    }
}

/// All connections of a test.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    inner: Arc<Mutex<Inner>>,
    mended: Arc<Condvar>,
}

impl Proxy {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process has that pid.
    pub fn name(&self, process: &str, pid: u32) {
        self.lock().pids.insert(process.to_owned(), pid);
    }

    /// From now on nothing that `from` says reaches `to`.
    pub fn cut(&self, from: &str, to: &str) {
        self.lock().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Cuts a process off from these others, in both directions.
    pub fn isolate(&self, process: &str, others: &[String]) {
        for other in others.iter().filter(|other| *other != process) {
            self.cut(process, other);
            self.cut(other, process);
        }
    }

    /// Resets every open connection between these two, whoever made it; how many there were.
    #[must_use]
    pub fn reset(&self, one: &str, other: &str) -> usize {
        let mut inner = self.lock();
        let open = std::mem::take(&mut inner.open);
        let (between, rest): (Vec<_>, Vec<_>) = open
            .into_iter()
            .partition(|open| open.is_between(one, other));
        inner.open = rest;
        drop(inner);
        let count = between.len();
        between.into_iter().for_each(Connection::reset);
        count
    }

    /// Mends everything.
    pub fn mend(&self) {
        self.lock().cut.clear();
        self.mended.notify_all();
    }

    /// Serves `to` at `address`: whoever connects there talks to `target`.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn serve(&self, to: &str, address: SocketAddr, target: SocketAddr) {
        let listener = TcpListener::bind(address).expect("the proxy's port is free");
        let (proxy, to) = (self.clone(), to.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (proxy, to) = (proxy.clone(), to.clone());
                std::thread::spawn(move || proxy.connect(stream, &to, target));
            }
        });
    }

    fn connect(&self, near: TcpStream, to: &str, target: SocketAddr) {
        let from = self.owner(&near);
        // A connection that is begun across a cut is made once that is mended.
        self.wait_while_cut(&from, to);
        let Ok(far) = TcpStream::connect(target) else {
            // Dropping it resets the other side, as a refusal would.
            return;
        };
        let copies = [&near, &far, &near, &far].map(TcpStream::try_clone);
        let [Ok(near_copy), Ok(far_copy), Ok(near_kept), Ok(far_kept)] = copies else {
            return;
        };
        let reset = Arc::new(AtomicBool::new(false));
        self.lock().open.push(Connection {
            from: from.clone(),
            to: to.to_owned(),
            sockets: [near_kept, far_kept],
            reset: Arc::clone(&reset),
        });
        for stream in [&near, &far] {
            // Waiting for more bytes would delay heartbeats; if it can't be set, it is only slower.
            stream.set_nodelay(true).ok();
        }
        let (proxy, back) = (self.clone(), (to.to_owned(), from.clone()));
        let ended = Arc::clone(&reset);
        std::thread::spawn(move || proxy.pump(far_copy, near_copy, (&back.0, &back.1), &ended));
        self.pump(near, far, (&from, to), &reset);
        let mut inner = self.lock();
        inner.open.retain(|open| !Arc::ptr_eq(&open.reset, &reset));
    }

    fn pump(
        &self,
        mut source: TcpStream,
        mut sink: TcpStream,
        (from, to): (&str, &str),
        reset: &AtomicBool,
    ) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(read @ 1..) = source.read(&mut chunk) {
            self.wait_while_cut(from, to);
            if sink.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        if reset.load(Ordering::SeqCst) {
            return;
        }
        // The end of a connection doesn't cross a cut either.
        self.wait_while_cut(from, to);
        for stream in [&source, &sink] {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    fn wait_while_cut(&self, from: &str, to: &str) {
        let direction = (from.to_owned(), to.to_owned());
        let mended = self
            .mended
            .wait_while(self.lock(), |inner| inner.cut.contains(&direction));
        drop(mended);
    }

    /// Name of the process at the other end; empty if it is none of the named ones.
    fn owner(&self, near: &TcpStream) -> String {
        let pids = self.lock().pids.clone();
        let (Ok(peer), Ok(own)) = (near.peer_addr(), near.local_addr()) else {
            return String::new();
        };
        let Some(inode) = inode_of(peer.port(), own.port()) else {
            return String::new();
        };
        let holds = |pid: u32| {
            let open = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten();
            let mut links = open
                .flatten()
                .filter_map(|fd| fs::read_link(fd.path()).ok());
            links.any(|link| link.to_string_lossy() == format!("socket:[{inode}]"))
        };
        let owner = pids.into_iter().find(|(_, pid)| holds(*pid));
        owner.map_or_else(String::new, |(name, _)| name)
    }
}

/// The socket on loopback whose own port is `local` and whose other end is `remote`.
fn inode_of(local: u16, remote: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    let found = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ends = words.get(1)?.ends_with(&local) && words.get(2)?.ends_with(&remote);
        ends.then(|| words.get(9)?.parse().ok()).flatten()
    });
    found.filter(|inode| *inode > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An echo behind a proxy; this process is called `test`.
    fn echo(proxy: &Proxy) -> TcpStream {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = TcpListener::bind(any).expect("a port");
        let target = server.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a connection");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).expect("written");
            }
        });
        let spare = TcpListener::bind(any).expect("a port");
        let address = spare.local_addr().expect("an address");
        drop(spare);
        proxy.name("test", std::process::id());
        proxy.serve("echo", address, target);
        TcpStream::connect(address).expect("connected")
    }

    fn hears(stream: &mut TcpStream, within: u64) -> Option<u8> {
        let limit = Some(Duration::from_millis(within));
        stream.set_read_timeout(limit).expect("a limit");
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn a_reset_ends_what_is_open_between_the_two_and_not_in_order() {
        let proxy = Proxy::default();
        let mut stream = echo(&proxy);
        stream.write_all(&[1]).expect("written");
        assert_eq!(hears(&mut stream, 30_000), Some(1));
        assert_eq!(proxy.reset("test", "somebody"), 0);
        stream.write_all(&[2]).expect("written");
        assert_eq!(hears(&mut stream, 30_000), Some(2), "it isn't somebody");
        assert_eq!(proxy.reset("echo", "test"), 1);
        let ended = stream.read(&mut [0]).expect_err("a reset");
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(proxy.reset("echo", "test"), 0, "nothing is open any more");
    }

    #[test]
    fn a_cut_holds_bytes_of_the_named_process_and_mending_hands_them_on() {
        let proxy = Proxy::default();
        let mut stream = echo(&proxy);
        stream.write_all(&[1]).expect("written");
        assert_eq!(hears(&mut stream, 30_000), Some(1));
        proxy.cut("somebody", "echo");
        stream.write_all(&[2]).expect("written");
        assert_eq!(hears(&mut stream, 30_000), Some(2), "it isn't somebody");
        proxy.cut("test", "echo");
        stream.write_all(&[3]).expect("written");
        assert_eq!(hears(&mut stream, 300), None);
        proxy.mend();
        assert_eq!(hears(&mut stream, 30_000), Some(3));
        proxy.cut("echo", "test");
        stream.write_all(&[4]).expect("written");
        assert_eq!(hears(&mut stream, 300), None, "the answer is cut");
        proxy.mend();
        assert_eq!(hears(&mut stream, 30_000), Some(4));
    }
}
