//! Certificates, keys, authorities and tokens that are replaced while a process runs. The files are read
//! again now and then, and at once at SIGHUP; connections and requests from then on are held against what
//! they hold. Files that can't be used change nothing, and that is told until they can: in the log, as a
//! metric and in the status.
//!
//! What the files hold is compared and not their times: secrets are often mounted as links that are
//! exchanged.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::Security;
use crate::credentials::{Credentials, SecurityError, Validity};

/// Between two looks at the files.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What renewals have come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenewalStatus {
    /// How often the files held something new that came into use.
    pub renewed: u64,
    /// Why what the files hold isn't used; `None`: it is.
    pub refused: Option<String>,
    /// Of the certificate that is in use; `None` without TLS.
    pub validity: Option<Validity>,
}

/// Shared between whoever renews and whoever tells of it.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<RenewalStatus>);

impl Renewals {
    fn lock(&self) -> MutexGuard<'_, RenewalStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Security {
    /// What renewals have come to so far.
    #[must_use]
    pub fn renewal(&self) -> RenewalStatus {
        let credentials = self.credentials.as_deref();
        RenewalStatus {
            validity: credentials.and_then(Credentials::validity),
            ..self.renewals.lock().clone()
        }
    }

    /// Reads the files again now and then, and at SIGHUP; for ever. Dropping it ends it. Without TLS there
    /// is nothing to read, and SIGHUP does nothing.
    pub async fn keep_fresh(self) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                () = sleep(LOOK_EVERY) => false,
                () = told(hangup.as_mut()) => true,
            };
            if asked {
                tracing::info!("SIGHUP: certificates and tokens are read again");
            }
            if self.credentials.is_none() {
                continue;
            }
            let security = self.clone();
            // Reading files may block. What is wrong with them was remembered and said.
            let looked = tokio::task::spawn_blocking(move || security.renew().is_ok()).await;
            if let Err(error) = looked {
                tracing::error!(%error, "certificates and tokens could not be read again");
            }
        }
    }

    /// Reads the files again, uses what can be used, and remembers what can't; `true` if something is new.
    ///
    /// # Errors
    /// The first file that can't be used. What was in use instead stays so.
    pub fn renew(&self) -> Result<bool, SecurityError> {
        let credentials = self.credentials.as_deref();
        let credentials = credentials.map_or(Ok(false), Credentials::renew);
        let tokens = self.tokens.renew();
        let renewed = matches!(credentials, Ok(true)) || matches!(tokens, Ok(true));
        let refused = credentials.err().or(tokens.err());
        self.remember(renewed, refused.as_ref().map(ToString::to_string));
        refused.map_or(Ok(renewed), Err)
    }

    fn remember(&self, renewed: bool, refused: Option<String>) {
        let mut status = self.renewals.lock();
        if renewed {
            status.renewed += 1;
            tracing::info!("renewed certificates or tokens are in use");
        }
        // The same problem is said once, not at every look.
        if status.refused != refused {
            match &refused {
                Some(problem) => tracing::error!("the files on disk are not used: {problem}"),
                None => tracing::info!("the files on disk are used again"),
            }
        }
        status.refused = refused;
    }
}

async fn told(hangup: Option<&mut Signal>) {
    let told = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if told.is_none() {
        // Never again: a handler that can't be had is no reason to read all the time.
        std::future::pending::<()>().await;
    }
}
