//! Files that are replaced while a process runs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use regent_certificates::{Authority, Issued, Wanted};
use regent_security::{Dialer, Door, DoorLimits, Role, Security, SecurityConfig, TokenFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::config;

const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: DoorLimits = DoorLimits {
    connections: 8,
    handshake: Duration::from_secs(5),
};
const URI: &str = "regent://peer/jm-1";

fn load(issued: &Issued) -> Security {
    Security::load(&config(issued), &[Role::Peer], &["127.0.0.1"]).unwrap()
}

/// As an operator puts files in place of others.
fn replace(old: &Issued, new: &Issued) {
    fs::copy(&new.certificate, &old.certificate).unwrap();
    fs::copy(&new.key, &old.key).unwrap();
}

fn issue(authority: &Authority, name: &str) -> Issued {
    authority.issue(name, &Wanted::process(URI))
}

/// A door that sends back what it hears.
async fn echo(security: &Security) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = Door::for_members(security, &[Role::Peer], LIMITS).open(listener);
    tokio::spawn(async move {
        while let Some(Ok(mut connection)) = incoming.next().await {
            tokio::spawn(async move {
                let mut byte = [0];
                while connection.read_exact(&mut byte).await.is_ok() {
                    if connection.write_all(&byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Whether a byte goes there and back.
async fn echoes(
    connection: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
) -> bool {
    let mut byte = [0];
    let there = async {
        connection.write_all(b"x").await?;
        connection.flush().await?;
        connection.read_exact(&mut byte).await
    };
    timeout(PATIENCE, there).await.unwrap().is_ok()
}

async fn reaches(dialer: &Dialer, address: SocketAddr) -> bool {
    let address = address.to_string();
    let dialled = dialer.open(&address, &[Role::Peer]);
    match timeout(PATIENCE, dialled).await.unwrap() {
        Ok(mut connection) => echoes(&mut connection).await,
        Err(_) => false,
    }
}

#[tokio::test]
async fn an_authority_is_replaced_by_way_of_a_bundle_and_open_connections_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let (old, new) = (Authority::new(&old), Authority::new(&new));
    let (house, guest) = (issue(&old, "house"), issue(&old, "guest"));
    let (security, other) = (load(&house), load(&guest));
    let address = echo(&security).await;
    let dialer = other.dialer();
    let mut open = dialer
        .open(&address.to_string(), &[Role::Peer])
        .await
        .unwrap();
    assert!(echoes(&mut open).await);
    assert_eq!(security.renew(), Ok(false), "nothing has changed");

    // Both authorities are believed: `ca` is one file for house and guest here.
    let next = (issue(&new, "house"), issue(&new, "guest"));
    let old_ca = fs::read_to_string(&house.ca).unwrap();
    let new_ca = fs::read_to_string(&next.0.ca).unwrap();
    fs::write(&house.ca, format!("{old_ca}{new_ca}")).unwrap();
    assert_eq!((security.renew(), other.renew()), (Ok(true), Ok(true)));
    assert!(reaches(&dialer, address).await);
    // One after the other gets a certificate of the new one.
    replace(&house, &next.0);
    assert_eq!(security.renew(), Ok(true));
    assert!(reaches(&dialer, address).await);
    replace(&guest, &next.1);
    assert_eq!(other.renew(), Ok(true));
    assert!(reaches(&dialer, address).await);
    // The old one goes.
    fs::write(&house.ca, new_ca).unwrap();
    assert_eq!((security.renew(), other.renew()), (Ok(true), Ok(true)));
    assert!(reaches(&dialer, address).await);
    assert!(echoes(&mut open).await, "a connection outlives renewals");
    assert_eq!(security.renewal().renewed, 3);
    assert_eq!(security.renewal().refused, None);
}

#[tokio::test]
async fn who_was_issued_by_the_authority_that_went_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let (old, new) = (Authority::new(&old), Authority::new(&new));
    let (house, guest) = (issue(&old, "house"), issue(&old, "guest"));
    let (security, guest) = (load(&house), load(&guest));
    let address = echo(&security).await;
    assert!(reaches(&guest.dialer(), address).await);
    let next = issue(&new, "house");
    replace(&house, &next);
    fs::copy(&next.ca, &house.ca).unwrap();
    assert_eq!(security.renew(), Ok(true));
    assert!(!reaches(&guest.dialer(), address).await);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_and_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let (house, guest) = (issue(&authority, "house"), issue(&authority, "guest"));
    let security = load(&house);
    let address = echo(&security).await;
    let dialer = load(&guest).dialer();
    let before = security.renewal();
    let validity = before.validity.unwrap();
    let length = validity.until_s - validity.from_s;
    assert_eq!(length, 3 * 24 * 3_600, "what the test's authority issues");

    let good = fs::read(&house.certificate).unwrap();
    let expired = Wanted {
        valid_for: -time::Duration::days(1),
        ..Wanted::process(URI)
    };
    let expired = fs::read(authority.issue("expired", &expired).certificate).unwrap();
    let mine = fs::read(authority.issue("mine", &Wanted::process(URI)).certificate).unwrap();
    for (content, words) in [
        (b"".to_vec(), "holds no certificate in PEM"),
        (expired, "the key doesn't belong to the certificate"),
        (mine, "the key doesn't belong to the certificate"),
    ] {
        fs::write(&house.certificate, content).unwrap();
        let error = security.renew().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let now = security.renewal();
        assert_eq!(now.refused, Some(error.to_string()));
        assert_eq!((now.renewed, now.validity), (0, Some(validity)));
        assert!(reaches(&dialer, address).await);
    }
    let stranger = authority.issue("other", &Wanted::process("regent://peer/jm-2"));
    let key = fs::read(&house.key).unwrap();
    replace(&house, &stranger);
    let error = security.renew().unwrap_err().to_string();
    assert!(
        error.contains("of peer:jm-2, and this process is peer:jm-1"),
        "{error}"
    );
    fs::write(&house.certificate, good).unwrap();
    fs::write(&house.key, key).unwrap();
    assert_eq!(security.renew(), Ok(false));
    assert_eq!(security.renewal(), before);
}

#[test]
fn tokens_are_replaced_and_bad_ones_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let issued = issue(&Authority::new(dir.path()), "house");
    let file = dir.path().join("token");
    fs::write(&file, "first-0123456789abcdef").unwrap();
    let config = SecurityConfig {
        tokens: TokenFiles {
            viewer: Some(file.clone()),
            ..TokenFiles::default()
        },
        ..config(&issued)
    };
    let security = Security::load(&config, &[Role::Peer], &[]).unwrap();
    let gives = |token: &str| security.tokens.role(token.as_bytes());
    let write = |file: &Path, text: &str| fs::write(file, text).unwrap();
    write(&file, "second-0123456789abcdef");
    assert_eq!(security.renew(), Ok(true));
    assert_eq!(gives("first-0123456789abcdef"), None);
    assert_eq!(gives("second-0123456789abcdef"), Some(Role::Viewer));
    write(&file, "short");
    let error = security.renew().unwrap_err();
    assert_eq!(error.key, "security.tokens.viewer");
    assert_eq!(gives("second-0123456789abcdef"), Some(Role::Viewer));
}
