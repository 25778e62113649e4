//! Connections to others. With credentials both sides show certificates, and the one who answers must have
//! the role that is expected there: a worker's certificate can't answer for a JobManager.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use crate::connection::{Connection, Stream};
use crate::credentials::Credentials;
use crate::identity::{Identity, Role};
use crate::problem;

/// Dials others; clones share what it shows.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    tls: Option<Arc<Tls>>,
}

struct Tls {
    credentials: Credentials,
    /// Whether the certificate is shown.
    shown: bool,
}

impl Tls {
    /// With what the files hold now.
    fn connector(&self) -> TlsConnector {
        let current = self.credentials.current();
        TlsConnector::from(match self.shown {
            true => current.client(),
            false => current.stranger(),
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Dialer {
    /// One that shows these credentials; none: connections without TLS.
    #[must_use]
    pub fn new(credentials: Option<&Credentials>) -> Self {
        let tls = credentials.map(|credentials| {
            Arc::new(Tls {
                credentials: credentials.clone(),
                shown: true,
            })
        });
        Self { tls }
    }

    /// Connections without TLS.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// One that believes whom these credentials believe, and shows nothing itself: for trying what those
    /// without a certificate may do.
    #[doc(hidden)]
    #[must_use]
    pub fn stranger(credentials: &Credentials) -> Self {
        Self {
            tls: Some(Arc::new(Tls {
                credentials: credentials.clone(),
                shown: false,
            })),
        }
    }

    /// Whether connections are secured.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// A channel that connects when it is used, and again by itself, to one of the role `expected`.
    #[must_use]
    pub fn lazy(&self, endpoint: &Endpoint, expected: Role) -> Channel {
        match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => {
                let tls = Arc::clone(tls);
                endpoint.connect_with_connector_lazy(service_fn(move |uri| {
                    dial_uri(Arc::clone(&tls), uri, expected)
                }))
            }
        }
    }

    /// A channel that is connected now.
    ///
    /// # Errors
    /// Nobody answers there, or TLS fails; the deepest source says why.
    pub async fn connect(&self, endpoint: &Endpoint, expected: Role) -> Result<Channel, Error> {
        match &self.tls {
            None => endpoint.connect().await,
            Some(tls) => {
                let tls = Arc::clone(tls);
                let connector = service_fn(move |uri| dial_uri(Arc::clone(&tls), uri, expected));
                endpoint.connect_with_connector(connector).await
            }
        }
    }

    /// A bare connection to `host:port`, for HTTP by hand.
    ///
    /// # Errors
    /// Nobody answers there, TLS fails, or the one who answers has none of the roles.
    pub async fn open(&self, address: &str, expected: &[Role]) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &self.tls else {
            return Ok(bare(Stream::Plain(stream)));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        secure(tls, stream, server_name(host)?, expected).await
    }

    /// A bare connection to this very process, whatever address it is reached under.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn open_self(&self, address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &self.tls else {
            return Ok(bare(Stream::Plain(stream)));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = match tls.credentials.current().own_name() {
            Some(name) => name,
            None => server_name(host)?,
        };
        secure(tls, stream, name, &[Role::Peer, Role::Worker]).await
    }
}

async fn dial_uri(tls: Arc<Tls>, uri: Uri, expected: Role) -> io::Result<TokioIo<Connection>> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect(format!("{host}:{port}")).await?;
    let connection = secure(&tls, stream, server_name(host)?, &[expected]).await?;
    Ok(TokioIo::new(connection))
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| io::Error::other(format!("`{host}` can't stand in a certificate")))
}

async fn secure(
    tls: &Tls,
    stream: TcpStream,
    name: ServerName<'static>,
    expected: &[Role],
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let shaken = tls.connector().connect(name, stream).await;
    let stream = shaken.map_err(|error| match problem::of_io(&error) {
        Some(words) => io::Error::other(words),
        None => error,
    })?;
    check_role(stream.get_ref().1.peer_certificates(), expected).map_err(io::Error::other)?;
    Ok(bare(Stream::Tls(Box::new(TlsStream::Client(stream)))))
}

fn check_role(
    shown: Option<&[rustls::pki_types::CertificateDer<'_>]>,
    expected: &[Role],
) -> Result<(), String> {
    let certificate = shown
        .and_then(|chain| chain.first())
        .ok_or("no certificate was shown")?;
    let identity = Identity::of(certificate)
        .map_err(|problem| format!("the certificate shown there {problem}"))?;
    if expected.contains(&identity.role) {
        return Ok(());
    }
    let wanted: Vec<_> = expected.iter().map(|role| role.name()).collect();
    Err(format!(
        "{identity} answers there, a {} was expected",
        wanted.join(" or ")
    ))
}

fn bare(stream: Stream) -> Connection {
    Connection {
        stream,
        origin: None,
        patience: None,
        _places: Vec::new(),
    }
}
