//! A client of ZooKeeper: setData of a 256-byte node, and sync + getData. Speaks just enough of its
//! protocol: one session, one request in flight, numbers big-endian, texts and bytes with their length.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::VALUE_BYTES;
use crate::Outcome;

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
/// "The node exists already."
const NODE_EXISTS: i32 = -110;
const ANY_VERSION: i32 = -1;
const SESSION_TIMEOUT_MS: i32 = 30_000;
const REPLY_BYTES_MAX: i32 = 1 << 20;

#[derive(Debug)]
pub(crate) struct ZooKeeperClient {
    stream: TcpStream,
    path: String,
    value: Vec<u8>,
    xid: i32,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn int(bytes: &[u8], at: usize) -> Outcome<i32> {
    let four = bytes.get(at..at + 4).ok_or("ZooKeeper's reply is short")?;
    Ok(i32::from_be_bytes(four.try_into()?))
}

impl ZooKeeperClient {
    pub(crate) async fn connect(member: &str, number: usize) -> Outcome<Self> {
        let mut client = Self::session(member).await?;
        client.path = format!("/benchmark/{number}");
        client.create().await?;
        Ok(client)
    }

    async fn session(member: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(member).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            path: String::new(),
            value: vec![b'v'; VALUE_BYTES],
            xid: 0,
        };
        let mut hello = Vec::new();
        hello.extend_from_slice(&0i32.to_be_bytes());
        hello.extend_from_slice(&0i64.to_be_bytes());
        hello.extend_from_slice(&SESSION_TIMEOUT_MS.to_be_bytes());
        hello.extend_from_slice(&0i64.to_be_bytes());
        put_bytes(&mut hello, &[0; 16]);
        hello.push(0);
        client.send(&hello).await?;
        client.receive().await?;
        Ok(client)
    }

    async fn send(&mut self, body: &[u8]) -> Outcome<()> {
        let mut frame = Vec::with_capacity(body.len() + 4);
        put_bytes(&mut frame, body);
        self.stream.write_all(&frame).await?;
        Ok(())
    }

    async fn receive(&mut self) -> Outcome<Vec<u8>> {
        let len = self.stream.read_i32().await?;
        if !(0..=REPLY_BYTES_MAX).contains(&len) {
            return Err(format!("ZooKeeper answers with {len} bytes").into());
        }
        let mut reply = vec![0; usize::try_from(len)?];
        self.stream.read_exact(&mut reply).await?;
        Ok(reply)
    }

    /// Sends one request and answers the reply's error code.
    async fn ask(&mut self, operation: i32, fill: impl FnOnce(&mut Vec<u8>)) -> Outcome<i32> {
        self.xid += 1;
        let mut body = Vec::with_capacity(VALUE_BYTES + 64);
        body.extend_from_slice(&self.xid.to_be_bytes());
        body.extend_from_slice(&operation.to_be_bytes());
        fill(&mut body);
        self.send(&body).await?;
        let reply = self.receive().await?;
        if int(&reply, 0)? != self.xid {
            return Err("ZooKeeper answers out of order".into());
        }
        int(&reply, 12)
    }

    async fn create(&mut self) -> Outcome<()> {
        let (path, value) = (self.path.clone(), self.value.clone());
        let code = self
            .ask(CREATE, |body| {
                put_bytes(body, path.as_bytes());
                put_bytes(body, &value);
                // One entry: everything is allowed to everybody.
                body.extend_from_slice(&1i32.to_be_bytes());
                body.extend_from_slice(&31i32.to_be_bytes());
                put_bytes(body, b"world");
                put_bytes(body, b"anyone");
                body.extend_from_slice(&0i32.to_be_bytes());
            })
            .await?;
        match code {
            0 | NODE_EXISTS => Ok(()),
            code => Err(format!("create {path}: ZooKeeper's error {code}").into()),
        }
    }

    pub(crate) async fn write(&mut self) -> Outcome<()> {
        let (path, value) = (self.path.clone(), self.value.clone());
        let code = self
            .ask(SET_DATA, |body| {
                put_bytes(body, path.as_bytes());
                put_bytes(body, &value);
                body.extend_from_slice(&ANY_VERSION.to_be_bytes());
            })
            .await?;
        done(code)
    }

    pub(crate) async fn read(&mut self) -> Outcome<()> {
        let path = self.path.clone();
        done(
            self.ask(SYNC, |body| put_bytes(body, path.as_bytes()))
                .await?,
        )?;
        let path = self.path.clone();
        let get = |body: &mut Vec<u8>| {
            put_bytes(body, path.as_bytes());
            body.push(0);
        };
        done(self.ask(GET_DATA, get).await?)
    }
}

fn done(code: i32) -> Outcome<()> {
    match code {
        0 => Ok(()),
        code => Err(format!("ZooKeeper's error {code}").into()),
    }
}

/// Makes the nodes' parent; fails until the ensemble serves.
pub(crate) async fn prepare(member: &str) -> Outcome<()> {
    let mut client = ZooKeeperClient::session(member).await?;
    client.path = "/benchmark".to_owned();
    client.create().await
}

/// Whether the server at `address` leads.
pub(crate) async fn is_leader(address: &str) -> Outcome<bool> {
    Ok(about(address).await?.contains("Mode: leader"))
}

/// The server's version, such as `3.8.0`.
pub(crate) async fn version(address: &str) -> Outcome<String> {
    let text = about(address).await?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Zookeeper version: "));
    let number = version.and_then(|version| version.split(['-', ',']).next());
    Ok(number.unwrap_or("of unknown version").to_owned())
}

/// What the server says of itself.
async fn about(address: &str) -> Outcome<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"srvr").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    Ok(tokio::time::timeout(Duration::from_secs(2), asking).await??)
}
