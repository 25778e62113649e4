//! Certificates, tokens and doors, with real files and real connections over loopback.

#![allow(clippy::unwrap_used, reason = "a test that can't go on is to panic")]

mod doors;
mod files;
mod renewal;

use regent_certificates::Issued;
use regent_security::{SecurityConfig, TlsFiles};

fn tls(issued: &Issued) -> TlsFiles {
    TlsFiles {
        certificate: issued.certificate.clone(),
        key: issued.key.clone(),
        ca: issued.ca.clone(),
    }
}

fn config(issued: &Issued) -> SecurityConfig {
    SecurityConfig {
        tls: Some(tls(issued)),
        ..SecurityConfig::default()
    }
}
