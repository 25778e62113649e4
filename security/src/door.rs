//! Connections from others: TLS where there are credentials, and limits of number and time.
//!
//! Whoever has shown no certificate yet, or never will, or one that has no business here, gets a part of the
//! places only, so that strangers can't keep those out whom the door is for. A handshake that fails or
//! hangs ends that one connection and nothing else; so does a caller who then says nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream as FuturesStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::Security;
use crate::connection::{Connection, Origin, Patience, Shown, Stream};
use crate::credentials::Credentials;
use crate::identity::{Identity, Role};
use crate::problem;

/// After an error of accepting, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// One line about refused connections in this time.
const MENTION_EVERY: Duration = Duration::from_secs(1);

/// Bounds of one listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorLimits {
    /// Open connections; more are closed at once.
    pub connections: usize,
    /// How long a TLS handshake may take, and after it the first word of a request.
    pub handshake: Duration,
}

impl DoorLimits {
    /// Of these, how many may be held by those whom the door isn't for, or who aren't known yet.
    fn strangers(self) -> usize {
        (self.connections / 4).max(1)
    }
}

/// How connections are taken.
#[derive(Clone)]
pub struct Door {
    credentials: Option<Arc<Credentials>>,
    at_home: &'static [Role],
    strangers: bool,
    limits: DoorLimits,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("tls", &self.credentials.is_some())
            .field("limits", &self.limits)
            .finish()
    }
}

impl Door {
    /// Lets in whoever shows a certificate of the authority, and nobody else. Most places are kept for the
    /// roles that are `at_home` there; others count as strangers.
    #[must_use]
    pub fn for_members(security: &Security, at_home: &'static [Role], limits: DoorLimits) -> Self {
        Self::new(security, limits, (at_home, false))
    }

    /// Lets in those without a certificate as well: probes of load balancers have none. What they may ask
    /// is decided for each request.
    #[must_use]
    pub fn for_all(security: &Security, limits: DoorLimits) -> Self {
        Self::new(security, limits, (&Role::ALL, true))
    }

    fn new(
        security: &Security,
        limits: DoorLimits,
        (at_home, strangers): (&'static [Role], bool),
    ) -> Self {
        Self {
            credentials: security.credentials.clone(),
            at_home,
            strangers,
            limits,
        }
    }

    /// With what the files hold now; `None`: without TLS.
    fn acceptor(&self) -> Option<TlsAcceptor> {
        let current = self.credentials.as_ref()?.current();
        Some(TlsAcceptor::from(current.server(self.strangers)))
    }

    /// Takes connections from a listener.
    #[must_use]
    pub fn open(self, listener: TcpListener) -> Incoming {
        let places = Arc::new(Semaphore::new(self.limits.connections.max(1)));
        let strangers = Arc::new(Semaphore::new(self.limits.strangers()));
        Incoming {
            listener,
            door: self,
            places,
            strangers,
            handshakes: JoinSet::new(),
            pause: None,
            refused: Refusals::default(),
        }
    }
}

/// Connections as they come. Ends never; dropping it closes the listener and pending handshakes.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    door: Door,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    handshakes: JoinSet<Result<Connection, (SocketAddr, String)>>,
    pause: Option<Pin<Box<Sleep>>>,
    refused: Refusals,
}

impl Incoming {
    /// A new connection: ready at once without TLS, else its handshake begins.
    fn admit(&mut self, stream: TcpStream, remote: SocketAddr) -> Option<Connection> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refused.mention(remote, "too many connections");
            return None;
        };
        // An error here is the next read's, too.
        stream.set_nodelay(true).ok();
        let Some(tls) = self.door.acceptor() else {
            return Some(Connection {
                stream: Stream::Plain(stream),
                origin: Some(Origin {
                    remote,
                    shown: Shown::Plain,
                }),
                patience: Some(Patience::of(self.door.limits.handshake)),
                _places: vec![place],
            });
        };
        let Ok(stranger) = Arc::clone(&self.strangers).try_acquire_owned() else {
            self.refused
                .mention(remote, "too many connections of strangers");
            return None;
        };
        let door = self.door.clone();
        self.handshakes
            .spawn(shake_hands(door, tls, (stream, remote), (place, stranger)));
        None
    }

    fn poll_handshakes(&mut self, context: &mut Context<'_>) -> Option<Connection> {
        loop {
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok(Ok(connection)))) => return Some(connection),
                Poll::Ready(Some(Ok(Err((remote, why))))) => self.refused.mention(remote, &why),
                // A handshake that panicked ends its own connection.
                Poll::Ready(Some(Err(_))) => {}
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }
}

impl FuturesStream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(connection) = self.poll_handshakes(context) {
                return Poll::Ready(Some(Ok(connection)));
            }
            if let Some(pause) = &mut self.pause {
                if pause.poll_unpin(context).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match self.listener.poll_accept(context) {
                Poll::Ready(Ok((stream, remote))) => {
                    if let Some(connection) = self.admit(stream, remote) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn shake_hands(
    door: Door,
    tls: TlsAcceptor,
    (stream, remote): (TcpStream, SocketAddr),
    (place, stranger): (OwnedSemaphorePermit, OwnedSemaphorePermit),
) -> Result<Connection, (SocketAddr, String)> {
    let limit = door.limits.handshake;
    let shaken = tokio::time::timeout(limit, tls.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let words = problem::of_io(&error).unwrap_or_else(|| error.to_string());
            return Err((remote, words));
        }
        Err(_) => return Err((remote, format!("no handshake within {limit:?}"))),
    };
    let chain = stream.get_ref().1.peer_certificates();
    let shown = match chain.and_then(|chain| chain.first()) {
        None => Shown::Nothing,
        Some(certificate) => match Identity::of(certificate) {
            Ok(identity) => Shown::Certificate(Arc::new(identity)),
            Err(why) => Shown::Nobody(why.into()),
        },
    };
    let places = match &shown {
        Shown::Certificate(identity) if door.at_home.contains(&identity.role) => vec![place],
        Shown::Certificate(_) | Shown::Plain | Shown::Nothing | Shown::Nobody(_) => {
            vec![place, stranger]
        }
    };
    Ok(Connection {
        stream: Stream::Tls(Box::new(TlsStream::Server(stream))),
        origin: Some(Origin { remote, shown }),
        patience: Some(Patience::of(limit)),
        _places: places,
    })
}

/// Says now and then that connections were refused; a flood of them is no flood of lines.
#[derive(Debug, Default)]
struct Refusals {
    mentioned: Option<Instant>,
    unmentioned: u64,
}

impl Refusals {
    fn mention(&mut self, remote: SocketAddr, why: &str) {
        if self
            .mentioned
            .is_some_and(|at| at.elapsed() < MENTION_EVERY)
        {
            self.unmentioned += 1;
            return;
        }
        let others = std::mem::take(&mut self.unmentioned);
        self.mentioned = Some(Instant::now());
        tracing::warn!(%remote, others, "connection refused: {why}");
    }
}
