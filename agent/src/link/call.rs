//! `CreateCertificate`, and what its failures mean.

use std::{collections::BTreeMap, error::Error, fmt, io, time::Duration};

use api::istio::{
    IMPERSONATED_IDENTITY, IstioCertificateRequest, JOIN_SCHEME,
    istio_certificate_service_client::IstioCertificateServiceClient,
};
use identity::SpiffeId;
use prost_types::{Struct, Value, value::Kind};
use rustls::AlertDescription;
use tonic::{Code, Status, metadata::MetadataValue, transport::Channel};
use zeroize::Zeroizing;

/// A join token. Wiped when dropped, never printed.
#[derive(Clone)]
pub(crate) struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// The token in `text`, without the white space around it; `None` if there is nothing else.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let token = text.trim();
        (!token.is_empty()).then(|| Self(Zeroizing::new(token.to_owned())))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken([elided])")
    }
}

/// What to ask for. Who asks is proved by the token, or else by the channel's client certificate.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// PKCS #10, PEM.
    pub(crate) csr_pem: String,
    /// Lifetime in seconds; zero leaves it to the authority.
    pub(crate) ttl_seconds: i64,
    /// The workload to ask for; `None` asks for the caller's own certificate.
    pub(crate) workload: Option<&'a SpiffeId>,
    /// Proof of a first call.
    pub(crate) token: Option<&'a JoinToken>,
}

/// Asks the authority for one certificate: PEM, leaf first, the root bundle last.
pub(crate) async fn create_certificate(
    channel: Channel,
    request: Request<'_>,
) -> Result<Vec<String>, CallError> {
    let metadata = request.workload.map(|id| Struct {
        fields: BTreeMap::from([(
            IMPERSONATED_IDENTITY.to_owned(),
            Value {
                kind: Some(Kind::StringValue(id.to_string())),
            },
        )]),
    });
    let mut call = tonic::Request::new(IstioCertificateRequest {
        csr: request.csr_pem,
        validity_duration: request.ttl_seconds,
        metadata,
    });
    if let Some(JoinToken(token)) = request.token {
        let header = Zeroizing::new(format!("{JOIN_SCHEME} {}", token.as_str()));
        let mut header = MetadataValue::try_from(header.as_str())
            .map_err(|source| CallError::BadToken { source })?;
        header.set_sensitive(true);
        call.metadata_mut().insert("authorization", header);
    }
    let mut client = IstioCertificateServiceClient::new(channel);
    let answer = tokio::time::timeout(CALL_TIMEOUT, client.create_certificate(call))
        .await
        .map_err(|_elapsed| CallError::TimedOut {
            after: CALL_TIMEOUT,
        })?;
    Ok(answer?.into_inner().cert_chain)
}

/// Why the authority did not answer a call with what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It decided against it; asking again the same way will not help until somebody changes that.
    #[error("the authority refuses: {message} ({code:?})")]
    Refused {
        /// Class of the refusal.
        code: Code,
        /// The authority's words.
        message: String,
    },
    /// Who answers is not the authority the pinned bundle vouches for.
    #[error("whoever answers at the authority's address is not trusted")]
    Untrusted {
        /// What is wrong with the certificate it shows.
        #[source]
        source: rustls::Error,
    },
    /// It does not accept the agent's certificate: it is of another authority, or over.
    #[error("the authority does not accept this agent's certificate")]
    OwnRefused {
        /// The TLS alert it sent.
        #[source]
        source: rustls::Error,
    },
    /// It cannot be reached or cannot answer now.
    #[error("the authority cannot be reached: {message} ({code:?})")]
    Unavailable {
        /// Class of the failure.
        code: Code,
        /// What is known of the cause.
        message: String,
    },
    /// It did not answer in time.
    #[error("the authority did not answer within {} s", after.as_secs())]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// The join token holds what no token can hold.
    #[error("the join token holds characters that cannot be sent")]
    BadToken {
        /// What is wrong with it.
        #[source]
        source: tonic::metadata::errors::InvalidMetadataValue,
    },
}

impl CallError {
    /// Whether trying again, unchanged, is pointless.
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Untrusted { .. }
                | Self::OwnRefused { .. }
                | Self::BadToken { .. }
        )
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match tls_fault(&status) {
            Some(source @ rustls::Error::InvalidCertificate(_)) => {
                return Self::Untrusted { source };
            }
            Some(source @ rustls::Error::AlertReceived(alert)) if blames_certificate(alert) => {
                return Self::OwnRefused { source };
            }
            _ => {}
        }
        let code = status.code();
        match code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused {
                code,
                message: status.message().to_owned(),
            },
            _ => Self::Unavailable {
                code,
                message: describe(&status),
            },
        }
    }
}

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What rustls says, if the call failed at TLS.
fn tls_fault(status: &Status) -> Option<rustls::Error> {
    causes(status).find_map(|cause| cause.downcast_ref::<rustls::Error>().cloned())
}

/// Whether an alert is about the certificate it answers (RFC 8446 §6.2).
const fn blames_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

/// The message of a status with that of its deepest cause.
fn describe(status: &Status) -> String {
    match causes(status).last() {
        Some(deepest) if deepest.to_string() != status.message() => {
            format!("{}: {deepest}", status.message())
        }
        _ => status.message().to_owned(),
    }
}

/// The causes of an error, outermost first. An `io::Error` hides the error it wraps from
/// `source()`, so it is asked for it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let inner = |error: &'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    };
    std::iter::successors(inner(error), move |error| inner(*error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_refusal_from_a_failure() {
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::InvalidArgument,
        ] {
            assert!(CallError::from(Status::new(code, "no")).is_permanent());
        }
        for code in [
            Code::Unavailable,
            Code::Internal,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
            Code::Unknown,
        ] {
            assert!(!CallError::from(Status::new(code, "later")).is_permanent());
        }
    }

    #[test]
    fn finds_the_fault_of_a_certificate_behind_an_io_error() {
        let fault = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let status =
            Status::from_error(Box::new(io::Error::new(io::ErrorKind::InvalidData, fault)));
        assert!(matches!(
            CallError::from(status),
            CallError::Untrusted { .. }
        ));
    }

    #[test]
    fn tells_an_alert_about_the_own_certificate_from_other_alerts() {
        let alert = |alert| {
            let fault = rustls::Error::AlertReceived(alert);
            let fault = io::Error::new(io::ErrorKind::InvalidData, fault);
            CallError::from(Status::from_error(Box::new(fault)))
        };
        assert!(matches!(
            alert(AlertDescription::CertificateExpired),
            CallError::OwnRefused { .. }
        ));
        assert!(!alert(AlertDescription::InternalError).is_permanent());
    }

    #[test]
    fn a_token_is_trimmed_and_never_printed() {
        assert!(JoinToken::new(" \n").is_none());
        let token = JoinToken::new("secret\n").unwrap();
        assert_eq!(token.0.as_str(), "secret");
        assert_eq!(format!("{token:?}"), "JoinToken([elided])");
    }
}
