//! A real S3 server process (moto's) on loopback, and a proxy before it that makes it fail: errors, lost
//! answers, silence, slowness, refusals, and not being there at all.
//!
//! The proxy reads one request per connection, asks the server, and hands the answer back, unless a fault
//! is set for such requests.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::command::kill;
use crate::wait::{pause, wait_until};

/// What a request to the server itself is signed with: nothing that would be checked.
const CREDENTIALS: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
     SignedHeaders=host, Signature=0";

/// Nothing the proxy waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server; ended with its owner.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl Moto {
    /// Starts the `moto_server` that `REGENT_MOTO` names, and waits until it answers.
    ///
    /// # Panics
    /// If it isn't named, or doesn't answer.
    #[must_use]
    pub fn start(log: &Path) -> Self {
        let program = std::env::var_os("REGENT_MOTO");
        let program = program.expect("REGENT_MOTO names moto_server; `make test-s3` installs it");
        let port = regent_ports::free_port();
        let log = std::fs::File::create(log).expect("the log can be made");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("moto_server can be started");
        let address = format!("127.0.0.1:{port}");
        let moto = Self { child, address };
        let answers = || TcpStream::connect(&moto.address).ok().map(drop);
        wait_until(PATIENCE, "moto_server answers", answers);
        moto
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// If it can't be made.
    pub fn create_bucket(&self, bucket: &str) {
        let answer = self.ask("PUT", &format!("/{bucket}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Keys of a bucket below a prefix, asked without the proxy. At most a thousand.
    #[must_use]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let answer = self.ask("GET", &format!("/{bucket}?list-type=2&prefix={prefix}"));
        let keys = answer.split("<Key>").skip(1);
        keys.filter_map(|rest| rest.split("</Key>").next().map(str::to_owned))
            .collect()
    }

    /// Writes an object, past the proxy.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn put(&self, bucket: &str, key: &str, content: &str) {
        let answer = self.send("PUT", &format!("/{bucket}/{key}"), content);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// An object's content, past the proxy.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> String {
        let answer = self.ask("GET", &format!("/{bucket}/{key}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let content = answer.split_once("\r\n\r\n").map(|(_, content)| content);
        content.unwrap_or_default().to_owned()
    }

    fn ask(&self, method: &str, path: &str) -> String {
        self.send(method, path, "")
    }

    fn send(&self, method: &str, path: &str, content: &str) -> String {
        let length = content.len();
        // Objects are given to nobody who names no credentials; which they are isn't looked at.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {CREDENTIALS}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{content}",
            self.address
        );
        let answer = forward(&self.address, request.as_bytes()).expect("moto_server answers");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown; the server never sees it.
    Unavailable,
    /// 403 AccessDenied; the server never sees it.
    Denied,
    /// The server did it, and the answer is lost.
    AnswerLost,
    /// No answer for so many milliseconds, then the connection ends; the server never sees it.
    Silence(u64),
    /// The answer comes so many milliseconds late.
    Slow(u64),
    /// The connection is closed at once.
    Down,
}

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writing an object.
    Put,
    /// Reading one.
    Get,
    /// Listing.
    List,
    /// Deleting, one or many.
    Delete,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Put, Self::Get, Self::List, Self::Delete];

    fn of(head: &str) -> Self {
        let line = head.lines().next().unwrap_or_default();
        let mut words = line.split(' ');
        let (method, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        match method {
            "PUT" => Self::Put,
            "POST" | "DELETE" => Self::Delete,
            _ if path.contains("list-type=") => Self::List,
            _ => Self::Get,
        }
    }
}

/// A fault for every Nth request of these kinds.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whom it hits.
    pub kinds: Vec<Kind>,
    /// 1: each of them.
    pub every: usize,
    /// What happens.
    pub fault: Fault,
}

#[derive(Debug, Default)]
struct Shared {
    rule: Mutex<Option<Rule>>,
    seen: AtomicUsize,
    hits: AtomicUsize,
    bulk_deletes: AtomicUsize,
    stop: AtomicBool,
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    /// What clients are told: `http://127.0.0.1:port`.
    pub endpoint: String,
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one before this server.
    ///
    /// # Panics
    /// If no port can be listened on.
    #[must_use]
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("it has an address")
            .to_string();
        let shared = Arc::new(Shared::default());
        let (accepting, server) = (Arc::clone(&shared), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, server) = (Arc::clone(&accepting), server.clone());
                // A client that goes away is no concern of anybody's.
                std::thread::spawn(move || serve(client, &server, &shared).ok());
            }
        });
        let endpoint = format!("http://{address}");
        Self {
            endpoint,
            address,
            shared,
        }
    }

    /// From now on; `None`: everything works.
    pub fn set(&self, rule: Option<Rule>) {
        *self
            .shared
            .rule
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rule;
        self.shared.hits.store(0, Ordering::SeqCst);
    }

    /// Requests hurt since the rule was set.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// Requests that deleted many objects at once.
    #[must_use]
    pub fn bulk_deletes(&self) -> usize {
        self.shared.bulk_deletes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        TcpStream::connect(&self.address).ok();
    }
}

impl Shared {
    fn fault(&self, head: &str) -> Option<Fault> {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rule
            .as_ref()
            .filter(|rule| rule.kinds.contains(&Kind::of(head)))?;
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if !seen.is_multiple_of(rule.every) {
            return None;
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        Some(rule.fault)
    }
}

fn serve(mut client: TcpStream, server: &str, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let (head, request) = read_request(&mut client)?;
    if head.starts_with("POST ") {
        shared.bulk_deletes.fetch_add(1, Ordering::SeqCst);
    }
    let fault = shared.fault(&head);
    match fault {
        Some(Fault::Unavailable) => {
            return client.write_all(&refusal("503 Service Unavailable", "SlowDown"));
        }
        Some(Fault::Denied) => return client.write_all(&refusal("403 Forbidden", "AccessDenied")),
        Some(Fault::Silence(millis)) => {
            pause(Duration::from_millis(millis));
            return Ok(());
        }
        Some(Fault::Down) => return Ok(()),
        Some(Fault::AnswerLost | Fault::Slow(_)) | None => {}
    }
    let answer = forward(server, &request)?;
    match fault {
        Some(Fault::AnswerLost) => return Ok(()),
        Some(Fault::Slow(millis)) => pause(Duration::from_millis(millis)),
        _ => {}
    }
    client.write_all(&answer)
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    );
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The head, and the whole request as it goes on: with `Connection: close`.
fn read_request(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        read_more(client, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let length: usize = length.unwrap_or(0);
    while bytes.len() < end + 4 + length {
        read_more(client, &mut bytes)?;
    }
    let kept = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut request = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
    request.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    request.extend_from_slice(&bytes[end + 4..]);
    Ok((head, request))
}

fn read_more(client: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match client.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}

/// The server's whole answer.
fn forward(server: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(server)?;
    upstream.set_read_timeout(Some(PATIENCE))?;
    upstream.write_all(request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}
