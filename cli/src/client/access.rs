//! What a client shows of itself: a certificate and a token, named by options or the environment.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use regent_security::{Credentials, Dialer, Role, SecurityError, TlsFiles, read_token};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::failure::Failure;

/// Options that say who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct AccessArgs {
    /// Authority that the cluster's certificates are of; with it connections use TLS
    #[arg(
        long,
        global = true,
        env = "REGENT_TLS_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_ca: Option<PathBuf>,
    /// Your certificate
    #[arg(
        long,
        global = true,
        env = "REGENT_TLS_CERTIFICATE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_certificate: Option<PathBuf>,
    /// Your certificate's key
    #[arg(
        long,
        global = true,
        env = "REGENT_TLS_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    tls_key: Option<PathBuf>,
    /// File with the bearer token of your role
    #[arg(
        long,
        global = true,
        env = "REGENT_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    token_file: Option<PathBuf>,
}

/// How a client reaches replicas. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) dialer: Dialer,
    bearer: Option<Arc<MetadataValue<Ascii>>>,
}

impl Access {
    /// Reads the files that the options name.
    pub(crate) fn load(args: &AccessArgs) -> Result<Self, Failure> {
        let dialer = match tls_files(args)? {
            None => Dialer::plain(),
            Some(files) => {
                let credentials = Credentials::load(&files, &Role::ALL, &[]);
                Dialer::new(Some(&credentials.map_err(|error| in_options(&error))?))
            }
        };
        let Some(file) = &args.token_file else {
            return Ok(Self {
                dialer,
                bearer: None,
            });
        };
        if !dialer.is_secure() {
            return Err(Failure::invalid(
                "--token-file: a token is sent over TLS only; add --tls-ca, --tls-certificate and --tls-key",
            ));
        }
        let token = read_token("--token-file", file).map_err(|error| in_options(&error))?;
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| Failure::invalid("--token-file: it can't be sent in a header"))?;
        bearer.set_sensitive(true);
        Ok(Self {
            dialer,
            bearer: Some(Arc::new(bearer)),
        })
    }

    /// The `Authorization` line of a request by hand; empty without a token.
    pub(crate) fn header(&self) -> String {
        let shown = self.bearer.as_ref().and_then(|bearer| bearer.to_str().ok());
        shown.map_or_else(String::new, |bearer| format!("Authorization: {bearer}\r\n"))
    }
}

impl Interceptor for Access {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            let bearer = MetadataValue::clone(bearer);
            request.metadata_mut().insert("authorization", bearer);
        }
        Ok(request)
    }
}

/// All three files or none.
fn tls_files(args: &AccessArgs) -> Result<Option<TlsFiles>, Failure> {
    match (&args.tls_ca, &args.tls_certificate, &args.tls_key) {
        (None, None, None) => Ok(None),
        (Some(ca), Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            ca: ca.clone(),
        })),
        _ => Err(Failure::invalid(
            "--tls-ca, --tls-certificate and --tls-key go together (or REGENT_TLS_CA, \
             REGENT_TLS_CERTIFICATE and REGENT_TLS_KEY); one of them is missing",
        )),
    }
}

/// The same problem with the option's name instead of the configuration's key.
fn in_options(error: &SecurityError) -> Failure {
    let option = match error.key {
        "security.tls.certificate" => "--tls-certificate",
        "security.tls.key" => "--tls-key",
        "security.tls.ca" => "--tls-ca",
        other => other,
    };
    Failure::invalid(format!("{option}: {}", error.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_go_together_and_a_token_needs_them() {
        let some = || Some(PathBuf::from("/no/such/file"));
        let half = AccessArgs {
            tls_ca: some(),
            ..AccessArgs::default()
        };
        let token = AccessArgs {
            token_file: some(),
            ..AccessArgs::default()
        };
        let unreadable = AccessArgs {
            tls_ca: some(),
            tls_certificate: some(),
            tls_key: some(),
            token_file: None,
        };
        for (args, word) in [
            (half, "go together"),
            (token, "over TLS only"),
            (unreadable, "--tls-certificate: /no/such/file"),
        ] {
            let failure = Access::load(&args).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(word), "{failure:?}");
        }
        assert!(Access::load(&AccessArgs::default()).is_ok());
    }
}
