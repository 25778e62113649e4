//! The section `security` of a configuration. Paths only: secrets never stand in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::credentials::SecurityError;

/// Who is let in, and how a process shows who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecurityConfig {
    /// Lets a non-loopback address be used without TLS: trusted networks only.
    #[serde(default)]
    pub insecure_dev: bool,
    /// TLS on every address of the process, with certificates on both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Bearer tokens of clients; they need TLS.
    #[serde(default, skip_serializing_if = "TokenFiles::is_empty")]
    pub tokens: TokenFiles,
}

/// PEM files of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// Its certificate, followed by intermediate ones if there are any.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the authority that all processes and clients of the cluster trust.
    pub ca: PathBuf,
}

/// Files with one bearer token each; absent: nobody has that role by a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TokenFiles {
    /// Reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer: Option<PathBuf>,
    /// Reads, runs and ends jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<PathBuf>,
    /// May do everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<PathBuf>,
}

impl TokenFiles {
    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewer.is_none() && self.operator.is_none() && self.admin.is_none()
    }
}

impl SecurityConfig {
    /// Whether other addresses than loopback may be used.
    #[must_use]
    pub fn lets_others_in(&self) -> bool {
        self.insecure_dev || self.tls.is_some()
    }

    /// Checks what needs no look at the files.
    ///
    /// # Errors
    /// Tokens without TLS: they would be read by whoever listens.
    pub fn check(&self) -> Result<(), SecurityError> {
        if self.tls.is_none() && !self.tokens.is_empty() {
            return Err(SecurityError::new(
                "security.tokens",
                "tokens need TLS, or others on the network could read them; name certificate, key and ca \
                 in security.tls",
            ));
        }
        Ok(())
    }
}
