//! Certificates for tests: an authority in memory that writes what a process is configured with. Nothing of
//! it is in the program.

use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use time::{Duration, OffsetDateTime};

/// An authority with a directory for what it issues.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// Files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// `regent://ROLE/NAME`, or another URI; empty: none.
    pub uri: &'a str,
    /// Host names and addresses.
    pub hosts: &'a [&'a str],
    /// From now; negative: it has expired.
    pub valid_for: Duration,
    /// Whether it may be a server's.
    pub server: bool,
}

impl<'a> Wanted<'a> {
    /// A process on this machine.
    #[must_use]
    pub fn process(uri: &'a str) -> Self {
        Self {
            uri,
            hosts: &["localhost", "127.0.0.1"],
            valid_for: Duration::days(1),
            server: true,
        }
    }

    /// Somebody who only asks.
    #[must_use]
    pub fn client(uri: &'a str) -> Self {
        Self {
            uri,
            hosts: &[],
            valid_for: Duration::days(1),
            server: false,
        }
    }
}

impl Authority {
    /// A new authority that writes below `dir`.
    ///
    /// # Panics
    /// When the directory can't be written: a test can't go on then.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        std::fs::create_dir_all(dir).expect("the directory can be made");
        std::fs::write(dir.join("ca.pem"), certificate.pem())
            .expect("the directory can be written");
        Self {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    ///
    /// # Panics
    /// As [`Authority::new`].
    pub fn issue(&self, name: &str, wanted: &Wanted<'_>) -> Issued {
        let hosts: Vec<String> = wanted.hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("hosts are names or addresses");
        if !wanted.uri.is_empty() {
            let uri = Ia5String::try_from(wanted.uri).expect("URIs are ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if wanted.server {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(2);
        params.not_after = now + wanted.valid_for;
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority signs");
        let issued = Issued {
            certificate: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
            ca: self.dir.join("ca.pem"),
        };
        std::fs::write(&issued.certificate, certificate.pem()).expect("it can be written");
        std::fs::write(&issued.key, key.serialize_pem()).expect("it can be written");
        issued
    }
}
