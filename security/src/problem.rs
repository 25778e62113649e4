//! What TLS says, in words that name the remedy. Pure.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// What is wrong with a certificate; continues "the certificate …".
pub(crate) fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "has expired; have it renewed".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "expired {} ago; have it renewed",
            span(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        CertificateError::NotValidYet => "isn't valid yet; look at the clocks".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "becomes valid in {}; look at the clocks",
            span(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "isn't signed by the authority in the CA file".to_owned()
        }
        CertificateError::NotValidForName => "isn't valid for the name that was dialled".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "isn't valid for `{}`, only for {}; issue it with that subject alternative name",
            expected.to_str(),
            names(presented)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this use; its extended key usage must hold serverAuth and clientAuth \
             (clientAuth alone for clients)"
                .to_owned()
        }
        other => format!("can't be used ({other})"),
    }
}

fn names(presented: &[String]) -> String {
    match presented {
        [] => "no name at all".to_owned(),
        some => some.join(", "),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What ended a handshake, as seen from here.
pub(crate) fn of_handshake(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => {
            format!("the certificate shown there {}", of_certificate(problem))
        }
        Error::NoCertificatesPresented => "no certificate was shown".to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => {
            "what answers doesn't speak TLS; is security.tls configured there?".to_owned()
        }
        other => format!("no TLS connection: {other}"),
    }
}

/// What the other side said before it hung up.
pub(crate) fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate of the cluster's authority".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it refuses this certificate: it has expired".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown => {
            "it refuses this certificate: its own CA file holds another authority".to_owned()
        }
        other => format!("it ended the TLS connection ({other:?})"),
    }
}

/// The words for an error of a connection, if TLS is what it is about.
pub(crate) fn of_io(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<Error>().map(of_handshake)
}

/// The words for an error of a request, if TLS is what is behind it.
#[must_use]
pub fn tls_words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(of_handshake(error));
        }
        let io = error.downcast_ref::<std::io::Error>();
        if let Some(words) = io.and_then(of_io) {
            return Some(words);
        }
        cause = error.source();
    }
    None
}

/// The present moment, as certificates count it.
pub(crate) fn now() -> UnixTime {
    UnixTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_the_unit_that_people_would_take() {
        assert_eq!(span(5), "5 s");
        assert_eq!(span(180), "3 min");
        assert_eq!(span(86_400), "24 h");
        assert_eq!(span(3 * 86_400), "3 days");
    }
}
