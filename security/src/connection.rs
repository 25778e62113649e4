//! A connection of either kind, with what is known of the other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::identity::Identity;

/// Where a request came from. It is in the extensions of every request of the connection.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The other end's address.
    pub remote: SocketAddr,
    pub(crate) shown: Shown,
}

/// What the other end showed of itself.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// The connection has no TLS.
    Plain,
    /// TLS, and no certificate.
    Nothing,
    /// A certificate of the authority that names nobody, and why.
    Nobody(Arc<str>),
    /// A certificate of the authority.
    Certificate(Arc<Identity>),
}

/// A byte stream with or without TLS.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Stream,
    pub(crate) origin: Option<Origin>,
    /// While it isn't known what the other end speaks; `None` for those who were dialled.
    pub(crate) patience: Option<Patience>,
    /// Places among the connections that are allowed, given back at the end.
    pub(crate) _places: Vec<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What every HTTP/2 connection begins with. A server waits for all of it, or for the first byte that differs.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Ends a connection that doesn't begin to ask. Once it has begun, the server's own limits hold: for the head
/// of a request over HTTP/1, and for answers to pings over HTTP/2.
#[derive(Debug)]
pub(crate) struct Patience {
    ends: Pin<Box<Sleep>>,
    /// Bytes of the preface that were heard.
    heard: usize,
}

impl Patience {
    pub(crate) fn of(limit: Duration) -> Self {
        Self {
            ends: Box::pin(sleep(limit)),
            heard: 0,
        }
    }

    /// Whether it is known now what the other end speaks.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        let expected = &PREFACE[self.heard..];
        let common = bytes.len().min(expected.len());
        self.heard += common;
        bytes[..common] != expected[..common] || self.heard == PREFACE.len()
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let ended = self.ends.as_mut().poll(context);
        ended.map(|()| io::Error::new(io::ErrorKind::TimedOut, "nothing was asked in time"))
    }
}

impl Connected for Connection {
    type ConnectInfo = Option<Origin>;

    fn connect_info(&self) -> Option<Origin> {
        self.origin.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let Some(patience) = &mut self.patience else {
            return polled;
        };
        match polled {
            Poll::Ready(Ok(())) if patience.is_over(&buffer.filled()[before..]) => {
                self.patience = None;
            }
            Poll::Pending => return patience.poll_end(context).map(Err),
            Poll::Ready(_) => {}
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_spoken_is_known_by_a_whole_preface_or_another_first_byte() {
        let patience = || Patience::of(Duration::from_secs(60));
        assert!(patience().is_over(b"GET / HTTP/1.0\r\n"));
        assert!(patience().is_over(b"POST / HTTP/1.1\r\n"));
        assert!(patience().is_over(PREFACE));
        let mut halting = patience();
        assert!(!halting.is_over(b""));
        assert!(!halting.is_over(b"PRI * "));
        assert!(!halting.is_over(b"HTTP/2.0\r\n"));
        assert!(halting.is_over(b"\r\nSM\r\n\r\nand more"));
        let mut other = patience();
        assert!(!other.is_over(b"PRI "));
        assert!(other.is_over(b"x"));
    }
}
