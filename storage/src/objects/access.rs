//! How S3 is reached, as configured. Secrets come from a file only, in the format of AWS's own
//! `credentials` file; without one, the provider's (instance or container) credentials are used.

use std::path::PathBuf;

/// Access to an S3-compatible service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Access {
    /// URL of the service; absent: the provider's own.
    pub endpoint: Option<String>,
    /// Region; absent: `us-east-1`.
    pub region: Option<String>,
    /// File with the credentials.
    pub credentials_file: Option<PathBuf>,
}

/// Why S3 can't be reached as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The file can't be read.
    #[error("storage.s3.credentials-file {path}: {cause}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The client refuses the settings.
    #[error("storage.s3, bucket {bucket}: {cause}")]
    Refused {
        /// The bucket.
        bucket: String,
        /// Why.
        cause: String,
    },
}

#[cfg(feature = "s3")]
pub(super) use credentials::Credentials;

#[cfg(feature = "s3")]
mod credentials {
    use std::path::Path;

    use super::AccessError;

    /// A key pair, as AWS's own tools keep it.
    #[derive(Default, PartialEq, Eq)]
    pub(in super::super) struct Credentials {
        pub(in super::super) key_id: String,
        pub(in super::super) secret: String,
        pub(in super::super) session: Option<String>,
    }

    impl Credentials {
        pub(in super::super) fn read(path: &Path) -> Result<Self, AccessError> {
            let refuse = |cause: String| AccessError::Credentials {
                path: path.to_path_buf(),
                cause,
            };
            let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
            Self::parse(&text).map_err(refuse)
        }

        /// `[default]`, or lines without any heading. Never says what it read.
        fn parse(text: &str) -> Result<Self, String> {
            let mut found = Self::default();
            let mut ours = true;
            for (at, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with(['#', ';']) {
                    continue;
                }
                if let Some(heading) = line.strip_prefix('[') {
                    ours = heading.trim_end_matches(']').trim() == "default";
                    continue;
                }
                let Some((key, value)) = line.split_once('=') else {
                    return Err(format!("line {} is not `key = value`", at + 1));
                };
                let value = value.trim().to_owned();
                match key.trim() {
                    "aws_access_key_id" if ours => found.key_id = value,
                    "aws_secret_access_key" if ours => found.secret = value,
                    "aws_session_token" if ours => found.session = Some(value),
                    _ => {}
                }
            }
            let missing = [
                ("aws_access_key_id", &found.key_id),
                ("aws_secret_access_key", &found.secret),
            ];
            match missing.iter().find(|(_, value)| value.is_empty()) {
                Some((key, _)) => Err(format!("{key} is missing (in `[default]`)")),
                None => Ok(found),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn credentials_are_those_of_the_default_profile() {
            let text = "# mine\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id = AK\n\
                        aws_secret_access_key=S=\n\naws_session_token = T\n";
            let read = Credentials::parse(text).unwrap();
            let got = (
                read.key_id.as_str(),
                read.secret.as_str(),
                read.session.as_deref(),
            );
            assert_eq!(got, ("AK", "S=", Some("T")));
        }

        #[test]
        fn what_is_wrong_is_named_and_nothing_of_it_is_told() {
            for (text, cause) in [
                ("", "aws_access_key_id is missing"),
                ("aws_access_key_id = AK", "aws_secret_access_key is missing"),
                (
                    "[x]\naws_access_key_id = AK",
                    "aws_access_key_id is missing",
                ),
                ("\ns3cret", "line 2"),
            ] {
                let error = Credentials::parse(text).err().unwrap();
                assert!(
                    error.contains(cause) && !error.contains("s3cret"),
                    "{error}"
                );
            }
        }
    }
}
