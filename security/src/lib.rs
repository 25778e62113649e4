//! Who is at the other end of a connection, and what that one may do.
//!
//! | module | what it is |
//! | --- | --- |
//! | `config` | the section `security` of both roles' configuration |
//! | `identity` | roles, and the name that a certificate gives its holder |
//! | `credentials` | certificate, key and CA read from files and checked, each problem one line |
//! | `problem` | what TLS says, in words that name the remedy |
//! | `tokens` | bearer tokens, one file for each role |
//! | `renewal` | all of these read again while the process runs |
//! | `dialer` | connections to others |
//! | `door` | connections from others: TLS, limits of number and time |
//! | `connection` | a connection of either kind |
//! | `authority` | **the one table of who may do what**, and the caller that is checked against it |
//! | `gatekeeper` | stands before every server: finds out who calls, and refuses by path |
//!
//! Without TLS everybody who reaches a process is trusted, which is why such a process listens on loopback
//! only. This crate knows no message of Regent's: what a decoded request needs is said by whoever decodes
//! it, as a [`Deed`].

mod authority;
mod config;
mod connection;
mod credentials;
mod dialer;
mod door;
mod gatekeeper;
mod identity;
mod problem;
mod renewal;
mod tokens;

pub use authority::{Caller, Deed, Denied, allowed};
pub use config::{SecurityConfig, TlsFiles, TokenFiles};
pub use connection::{Connection, Origin};
pub use credentials::{Credentials, SecurityError, Validity};
pub use dialer::Dialer;
pub use door::{Door, DoorLimits, Incoming};
pub use gatekeeper::{Gatekeeper, GatekeeperLayer, Rule};
pub use identity::{Identity, Role};
pub use problem::tls_words;
pub use renewal::{LOOK_EVERY, RenewalStatus};
pub use tokens::{Tokens, read_token};

/// What a process is secured with: its own credentials, and the tokens that it takes.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// `None`: no TLS; everybody is trusted.
    pub credentials: Option<std::sync::Arc<Credentials>>,
    /// Tokens that callers may show.
    pub tokens: std::sync::Arc<Tokens>,
    pub(crate) renewals: std::sync::Arc<renewal::Renewals>,
}

impl Security {
    /// Reads and checks everything that the section names. `roles`: which roles the certificate may have;
    /// `hosts`: the names that others will dial.
    ///
    /// # Errors
    /// The first file that can't be used, with the key that names it and the remedy.
    pub fn load(
        config: &SecurityConfig,
        roles: &[Role],
        hosts: &[&str],
    ) -> Result<Self, SecurityError> {
        config.check()?;
        let Some(files) = &config.tls else {
            return Ok(Self::default());
        };
        let credentials = Credentials::load(files, roles, hosts)?;
        let tokens = Tokens::load(&config.tokens)?;
        Ok(Self {
            credentials: Some(std::sync::Arc::new(credentials)),
            tokens: std::sync::Arc::new(tokens),
            renewals: std::sync::Arc::default(),
        })
    }

    /// Connections to others under this process's certificate.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.credentials.as_deref())
    }
}
