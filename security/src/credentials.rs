//! Certificate, key and authority of one process, read from files and checked at start: whatever is wrong
//! is said then, in one line, and not by a peer that hangs up. The files may be read again while the process
//! runs: connections made from then on use what they hold now.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use crate::config::TlsFiles;
use crate::identity::{Identity, Role};
use crate::problem;

/// Larger files are no certificates, keys or tokens.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What can't be used: the key in the configuration, and cause and remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SecurityError {
    /// Key, spelled as in the file.
    pub key: &'static str,
    /// Cause and remedy in one line.
    pub problem: String,
}

impl SecurityError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self {
            key,
            problem: problem.into(),
        }
    }
}

const CERTIFICATE: &str = "security.tls.certificate";
const KEY: &str = "security.tls.key";
const CA: &str = "security.tls.ca";

/// What one process shows, and whom it believes. Clones share it, renewals included.
#[derive(Clone)]
pub struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    roles: Vec<Role>,
    hosts: Vec<String>,
    /// Stays the same over all renewals.
    identity: Identity,
    current: RwLock<Arc<Material>>,
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then.
    pub from_s: u64,
    /// Until then, inclusive.
    pub until_s: u64,
}

/// What the files held when they were read.
pub(crate) struct Material {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    validity: Option<Validity>,
    for_members: Arc<ServerConfig>,
    for_all: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.shared.identity)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads and checks the files. `roles`: which the certificate may name; `hosts`: what others dial.
    ///
    /// # Errors
    /// A file that can't be read or holds something else, a key that doesn't fit, a certificate that is
    /// expired, of another authority, of a wrong role, or not valid for a host.
    pub fn load(files: &TlsFiles, roles: &[Role], hosts: &[&str]) -> Result<Self, SecurityError> {
        let (material, identity) = read_all(files, roles, hosts)?;
        Ok(Self {
            shared: Arc::new(Shared {
                files: files.clone(),
                roles: roles.to_vec(),
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                identity,
                current: RwLock::new(Arc::new(material)),
            }),
        })
    }

    /// Reads the files again; `true` if they hold something else than before. What can't be used changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Credentials::load`], and a certificate that names somebody else: who a process is can't change
    /// while it runs.
    pub fn renew(&self) -> Result<bool, SecurityError> {
        let shared = &self.shared;
        let hosts: Vec<&str> = shared.hosts.iter().map(String::as_str).collect();
        let (material, identity) = read_all(&shared.files, &shared.roles, &hosts)?;
        if identity != shared.identity {
            let shown = shared.files.certificate.display();
            return Err(SecurityError::new(
                CERTIFICATE,
                format!(
                    "{shown}: it is the certificate of {identity}, and this process is {}; put its own there, \
                     or start the process again",
                    shared.identity
                ),
            ));
        }
        if material.is_same_as(&self.current()) {
            return Ok(false);
        }
        let current = shared.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        Ok(true)
    }

    /// Whom the certificate names.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// When the certificate that is in use is valid; `None` if it doesn't say so in a known way.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.current().validity
    }

    pub(crate) fn current(&self) -> Arc<Material> {
        let current = self.shared.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}

fn read_all(
    files: &TlsFiles,
    roles: &[Role],
    hosts: &[&str],
) -> Result<(Material, Identity), SecurityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(CERTIFICATE, &files.certificate)?;
    let roots = Arc::new(roots(&files.ca)?);
    let key = fitting_key(&provider, files, chain)?;
    let shown = files.certificate.display();
    let wrong = |text: String| SecurityError::new(CERTIFICATE, format!("{shown}: {text}"));
    check_use(&provider, &roots, &key.cert, hosts).map_err(&wrong)?;
    let identity =
        Identity::of(&key.cert[0]).map_err(|text| wrong(format!("the certificate {text}")))?;
    if !roles.contains(&identity.role) {
        let wanted: Vec<_> = roles.iter().map(|role| role.name()).collect();
        return Err(wrong(format!(
            "it is the certificate of a {}; one with the role {} is needed here",
            identity.role,
            wanted.join(" or ")
        )));
    }
    Ok((Material::new(provider, Arc::new(key), roots), identity))
}

impl Material {
    fn new(
        provider: Arc<CryptoProvider>,
        key: Arc<CertifiedKey>,
        roots: Arc<RootCertStore>,
    ) -> Self {
        Self {
            validity: validity(&provider, &roots, &key.cert),
            for_members: Arc::new(server(&provider, &key, &roots, false)),
            for_all: Arc::new(server(&provider, &key, &roots, true)),
            client: Arc::new(client(&provider, &roots, Some(&key))),
            provider,
            key,
            roots,
        }
    }

    /// A certificate has one key, so certificates and authorities are all there is to compare.
    fn is_same_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert && self.roots.roots == other.roots.roots
    }

    /// A name that the certificate is valid for, to reach oneself under.
    pub(crate) fn own_name(&self) -> Option<ServerName<'static>> {
        let parsed = webpki::EndEntityCert::try_from(&self.key.cert[0]).ok()?;
        let mut names = parsed.valid_dns_names();
        names.find_map(|name| ServerName::try_from(name.to_owned()).ok())
    }

    /// How connections from others are taken. `strangers`: also from those without a certificate.
    pub(crate) fn server(&self, strangers: bool) -> Arc<ServerConfig> {
        match strangers {
            true => Arc::clone(&self.for_all),
            false => Arc::clone(&self.for_members),
        }
    }

    /// How connections to others are made, with the certificate.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// How connections to others are made without one.
    pub(crate) fn stranger(&self) -> Arc<ClientConfig> {
        Arc::new(client(&self.provider, &self.roots, None))
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    key: &Arc<CertifiedKey>,
    roots: &Arc<RootCertStore>,
    strangers: bool,
) -> ServerConfig {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let verifier = match strangers {
        true => verifier.allow_unauthenticated(),
        false => verifier,
    };
    let verifier = verifier
        .build()
        .expect("`check_use` built one of the same roots");
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has the ciphers of TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Always(Arc::clone(key))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Every connection shows its certificate anew, so that an expired one ends with its connections.
    config.send_tls13_tickets = 0;
    config
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    key: Option<&Arc<CertifiedKey>>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has the ciphers of TLS 1.3")
        .with_root_certificates(Arc::clone(roots));
    let mut config = match key {
        Some(key) => config.with_client_cert_resolver(Arc::new(Always(Arc::clone(key)))),
        None => config.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Shows the one certificate that there is.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Reads a file of limited size.
pub(crate) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    let wrong = |text: String| SecurityError::new(key, format!("{}: {text}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = read(key, path)?;
    let wrong = |text: String| SecurityError::new(key, format!("{}: {text}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("holds no certificate in PEM".to_owned())),
        Err(error) => Err(wrong(format!("is no PEM file ({error})"))),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, SecurityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, path)? {
        roots.add(certificate).map_err(|error| {
            let text = format!("{}: can't be an authority ({error})", path.display());
            SecurityError::new(CA, text)
        })?;
    }
    Ok(roots)
}

/// The key, once it is known to be the certificate's.
fn fitting_key(
    provider: &CryptoProvider,
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, SecurityError> {
    let shown = files.key.display();
    let wrong = |text: String| SecurityError::new(KEY, format!("{shown}: {text}"));
    let bytes = read(KEY, &files.key)?;
    let der = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        wrong("holds no private key in PEM (an encrypted one can't be used)".to_owned())
    })?;
    let signing = provider
        .key_provider
        .load_private_key(der)
        .map_err(|error| wrong(format!("the key can't be used ({error})")))?;
    let key = CertifiedKey::new(chain, signing);
    match key.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(key),
        Err(_) => Err(wrong(format!(
            "the key doesn't belong to the certificate in {}",
            files.certificate.display()
        ))),
    }
}

/// Whether others will believe the certificate: as a client's always, as a server's for these hosts.
fn check_use(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    hosts: &[&str],
) -> Result<(), String> {
    let (own, between) = chain.split_first().ok_or("holds no certificate")?;
    let said = |error: &Error| match error {
        Error::InvalidCertificate(error) => {
            format!("the certificate {}", problem::of_certificate(error))
        }
        other => format!("the certificate can't be used ({other})"),
    };
    let now = problem::now();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(|error| format!("the CA file can't be used ({error})"))?;
    clients
        .verify_client_cert(own, between, now)
        .map_err(|error| said(&error))?;
    let servers =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(|error| format!("the CA file can't be used ({error})"))?;
    for host in hosts {
        let name = ServerName::try_from((*host).to_owned())
            .map_err(|_| format!("`{host}` can't stand in a certificate"))?;
        servers
            .verify_server_cert(own, between, &name, &[], now)
            .map_err(|error| said(&error))?;
    }
    Ok(())
}

/// Asked about a moment before all time and one after it, the verifier says what the certificate's own
/// bounds are.
fn validity(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
) -> Option<Validity> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .ok()?;
    let (own, between) = chain.split_first()?;
    let asked = |seconds: u64| {
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verifier.verify_client_cert(own, between, moment).err()
    };
    // The year 9999 is the last one that a certificate can name.
    let (before, after) = (asked(0)?, asked(253_402_300_800)?);
    match (before, after) {
        (
            Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }),
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }),
        ) => Some(Validity {
            from_s: not_before.as_secs(),
            until_s: not_after.as_secs(),
        }),
        _ => None,
    }
}
