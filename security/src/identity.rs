//! Roles, and how a certificate names its holder: a URI `regent://ROLE/NAME` among its subject alternative
//! names, for example `regent://peer/jm-1` or `regent://operator/anna`. The name `*` is one certificate for
//! several processes.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;

const SCHEME: &str = "regent://";
const NAME_CHARS_MAX: usize = 64;

/// What somebody is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Somebody of the cluster's people; by itself nothing, a token says what.
    Client,
    /// Reads.
    Viewer,
    /// Reads, runs and ends jobs, drains workers.
    Operator,
    /// May do everything that clients can do.
    Admin,
    /// A TaskManager.
    Worker,
    /// A JobManager.
    Peer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
        Self::Worker,
        Self::Peer,
    ];
    /// Roles of people and scripts, as opposed to processes of the cluster.
    pub const CLIENTS: [Self; 4] = [Self::Client, Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written in certificates and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Worker => "worker",
            Self::Peer => "peer",
        }
    }

    /// How far it reaches among the clients' roles; `None` for processes.
    pub(crate) fn reach(self) -> Option<u8> {
        match self {
            Self::Client => Some(0),
            Self::Viewer => Some(1),
            Self::Operator => Some(2),
            Self::Admin => Some(3),
            Self::Worker | Self::Peer => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no role (client, viewer, operator, admin, worker or peer)")
        })
    }
}

/// The holder of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Which one it is; `*`: one of several that share the certificate.
    pub name: String,
}

impl Identity {
    /// Whether this may call itself `name`.
    #[must_use]
    pub fn may_be_called(&self, name: &str) -> bool {
        self.name == "*" || self.name == name
    }

    /// Reads the one name that a certificate gives. The error continues "its certificate …".
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| format!("can't be read ({error})"))?;
        let mut ours = parsed
            .valid_uri_names()
            .filter(|uri| uri.starts_with(SCHEME));
        let first = ours
            .next()
            .ok_or("names no role; it needs the subject alternative name URI:regent://ROLE/NAME")?;
        if ours.next().is_some() {
            return Err("names two roles; one URI regent://ROLE/NAME is needed".to_owned());
        }
        first.parse()
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(uri: &str) -> Result<Self, String> {
        let rest = uri.strip_prefix(SCHEME).unwrap_or(uri);
        let wrong = || format!("names `{uri}`, which isn't regent://ROLE/NAME");
        let (role, name) = rest.split_once('/').ok_or_else(wrong)?;
        let role = role
            .parse()
            .map_err(|problem| format!("names `{uri}`: {problem}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let named = (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(plain);
        if !named && name != "*" {
            return Err(wrong());
        }
        Ok(Self {
            role,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_role_and_holder() {
        let anna: Identity = "regent://operator/anna".parse().unwrap();
        assert_eq!((anna.role, anna.name.as_str()), (Role::Operator, "anna"));
        assert!(anna.may_be_called("anna"));
        assert!(!anna.may_be_called("tm-1"));
        let any: Identity = "regent://worker/*".parse().unwrap();
        assert!(any.may_be_called("tm-1"));
        for wrong in [
            "regent://peer",
            "regent://peer/",
            "regent://root/a",
            "regent://peer/a/b",
            "regent://peer/a b",
            "regent://peer/**",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_role_has_a_name_of_its_own() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
    }
}
