//! Whatever is wrong with the files is said in one line that names the file and the remedy.

use std::fs;

use regent_certificates::{Authority, Wanted};
use regent_security::{Credentials, Role, Security, SecurityConfig, TlsFiles, TokenFiles};

use crate::{config, tls};

fn problem(files: &TlsFiles, hosts: &[&str]) -> (&'static str, String) {
    let error = Credentials::load(files, &[Role::Peer], hosts).unwrap_err();
    assert!(!error.problem.contains('\n'), "{error}");
    (error.key, error.problem)
}

#[test]
fn good_files_name_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let issued = Authority::new(dir.path()).issue("a", &Wanted::process("regent://peer/jm-1"));
    let security = Security::load(&config(&issued), &[Role::Peer], &["127.0.0.1", "localhost"]);
    let credentials = security.unwrap().credentials.unwrap();
    assert_eq!(credentials.identity().to_string(), "peer:jm-1");
}

#[test]
fn files_that_cannot_be_read_or_hold_something_else_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(&dir.path().join("ours"));
    let good = ours.issue("good", &Wanted::process("regent://peer/jm-1"));
    let noise = dir.path().join("noise");
    fs::write(&noise, "no PEM").unwrap();
    for (file, words) in [(dir.path().join("none"), "No such file"), (noise, "in PEM")] {
        let certificate = TlsFiles {
            certificate: file.clone(),
            ..tls(&good)
        };
        let key = TlsFiles {
            key: file.clone(),
            ..tls(&good)
        };
        let ca = TlsFiles {
            ca: file.clone(),
            ..tls(&good)
        };
        for (files, wanted) in [
            (certificate, "security.tls.certificate"),
            (key, "security.tls.key"),
            (ca, "security.tls.ca"),
        ] {
            let (key, problem) = problem(&files, &[]);
            assert_eq!(key, wanted, "{problem}");
            assert!(problem.starts_with(file.to_str().unwrap()), "{problem}");
            assert!(problem.contains(words), "{problem}");
        }
    }
}

#[test]
fn files_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(&dir.path().join("ours"));
    let theirs = Authority::new(&dir.path().join("theirs"));
    let good = ours.issue("good", &Wanted::process("regent://peer/jm-1"));
    let foreign = theirs.issue("foreign", &Wanted::process("regent://peer/jm-1"));
    let old = Wanted {
        valid_for: -time::Duration::days(1),
        ..Wanted::process("regent://peer/jm-1")
    };
    let old = ours.issue("old", &old);
    let key = TlsFiles {
        key: foreign.key.clone(),
        ..tls(&good)
    };
    let ca = TlsFiles {
        ca: foreign.ca,
        ..tls(&good)
    };
    let none: &[&str] = &[];
    let certificate = "security.tls.certificate";
    for (files, hosts, wanted, words) in [
        (
            key,
            none,
            "security.tls.key",
            "doesn't belong to the certificate",
        ),
        (ca, none, certificate, "isn't signed by the authority"),
        (
            tls(&old),
            none,
            certificate,
            "expired 24 h ago; have it renewed",
        ),
        (tls(&good), &["jm-1"], certificate, "isn't valid for `jm-1`"),
    ] {
        let (key, problem) = problem(&files, hosts);
        assert_eq!(key, wanted, "{problem}");
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn the_role_must_be_named_once_and_fit() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    for (uri, words) in [
        ("", "names no role"),
        ("spiffe://x/y", "names no role"),
        ("regent://root/x", "is no role"),
        (
            "regent://worker/tm-1",
            "the certificate of a worker; one with the role peer",
        ),
    ] {
        let issued = authority.issue("a", &Wanted::process(uri));
        let (_, problem) = problem(&tls(&issued), &[]);
        assert!(problem.contains(words), "{uri}: {problem}");
    }
    let client_only = authority.issue(
        "c",
        &Wanted {
            server: false,
            ..Wanted::process("regent://peer/jm-1")
        },
    );
    let (_, problem) = problem(&tls(&client_only), &["127.0.0.1"]);
    assert!(problem.contains("serverAuth"), "{problem}");
}

#[test]
fn tokens_need_tls() {
    let config = SecurityConfig {
        tokens: TokenFiles {
            admin: Some("/etc/regent/admin.token".into()),
            ..TokenFiles::default()
        },
        ..SecurityConfig::default()
    };
    let error = Security::load(&config, &[Role::Peer], &[]).unwrap_err();
    assert_eq!(error.key, "security.tokens");
    assert!(error.problem.contains("security.tls"));
}
