//! Telling systemd how a process is: ready, alive, stopping (`sd_notify`), without its library.
//!
//! The watchdog is fed only while the process's own `/livez` answers, so it is tied to local progress and
//! never to a leader or a majority. Without `NOTIFY_SOCKET` in the environment nothing is done.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use regent_security::Dialer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Between two looks at `/livez` before the process is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long `/livez` may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The first line of an answer is short.
const ANSWER_BYTES: usize = 64;

/// The way to the service manager.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often the watchdog wants to be fed, at half of its patience.
    feed_every: Option<Duration>,
}

impl Notifier {
    /// What the service manager asks for in the environment, if this process runs under one.
    pub(super) fn from_environment() -> Option<Self> {
        let path = std::env::var("NOTIFY_SOCKET").ok()?;
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let socket = UnixDatagram::unbound();
        let (Ok(address), Ok(socket)) = (address, socket) else {
            tracing::warn!(path, "NOTIFY_SOCKET can't be used");
            return None;
        };
        let micros = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok());
        Some(Self {
            socket,
            address,
            feed_every: micros.map(|micros: u64| Duration::from_micros(micros / 2)),
        })
    }

    /// Says that the process is ready once `/livez` on `api` answers, and feeds the watchdog as long as it
    /// does.
    pub(super) async fn run(self, api: String, dialer: Dialer) {
        while !alive(&dialer, &api).await {
            sleep(LOOK_AGAIN).await;
        }
        self.tell("READY=1");
        let Some(feed_every) = self.feed_every else {
            return;
        };
        loop {
            if alive(&dialer, &api).await {
                self.tell("WATCHDOG=1");
            } else {
                tracing::error!("no local progress: the watchdog is not fed");
            }
            sleep(feed_every).await;
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::warn!(%error, state, "the service manager was not told");
        }
    }
}

/// Tells that the process was asked to stop.
pub(super) fn stopping() {
    if let Some(notifier) = Notifier::from_environment() {
        notifier.tell("STOPPING=1");
    }
}

/// Whether `/livez` answers 200.
async fn alive(dialer: &Dialer, api: &str) -> bool {
    matches!(
        timeout(ANSWER_WITHIN, livez(dialer, api)).await,
        Ok(Ok(true))
    )
}

async fn livez(dialer: &Dialer, api: &str) -> std::io::Result<bool> {
    let mut stream = dialer.open_self(api).await?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut first = Vec::with_capacity(ANSWER_BYTES);
    stream
        .take(ANSWER_BYTES as u64)
        .read_to_end(&mut first)
        .await?;
    Ok(first.starts_with(b"HTTP/1.1 200"))
}

/// Where a process reaches itself: what it listens on, over loopback if that is every address.
pub(super) fn own_address(listen: &str) -> String {
    let Some((host, port)) = listen.rsplit_once(':') else {
        return listen.to_owned();
    };
    match host {
        "0.0.0.0" => format!("127.0.0.1:{port}"),
        "[::]" => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn page(listener: TcpListener, status: &'static str) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(asked[..read].starts_with(b"GET /livez "));
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[test]
    fn a_process_reaches_itself_over_loopback() {
        assert_eq!(own_address("0.0.0.0:7101"), "127.0.0.1:7101");
        assert_eq!(own_address("[::]:7101"), "[::1]:7101");
        assert_eq!(own_address("10.0.0.5:7101"), "10.0.0.5:7101");
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_only_while_livez_answers() {
        let dir = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let notifier = || Notifier {
            socket: UnixDatagram::unbound().unwrap(),
            address: SocketAddr::from_pathname(dir.path().join("notify")).unwrap(),
            feed_every: Some(Duration::from_millis(5)),
        };
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bad = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (good_api, bad_api) = (good.local_addr().unwrap(), bad.local_addr().unwrap());
        tokio::spawn(page(good, "200 OK"));
        tokio::spawn(page(bad, "503 Service Unavailable"));
        let silent = tokio::spawn(notifier().run(bad_api.to_string(), Dialer::plain()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        manager.set_nonblocking(true).unwrap();
        assert!(
            manager.recv(&mut [0; 64]).is_err(),
            "told although not alive"
        );
        silent.abort();
        manager.set_nonblocking(false).unwrap();
        let fed = tokio::spawn(notifier().run(good_api.to_string(), Dialer::plain()));
        let told = tokio::task::spawn_blocking(move || {
            let mut told = Vec::new();
            for _ in 0..3 {
                let mut buffer = [0; 64];
                let length = manager.recv(&mut buffer).unwrap();
                told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            told
        });
        assert_eq!(told.await.unwrap(), ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
        fed.abort();
    }
}
