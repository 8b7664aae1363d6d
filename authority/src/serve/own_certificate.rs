//! The authority's own serving certificate: issued by its own intermediate, recorded like any
//! other, renewed while serving.

use std::sync::Arc;
use std::time::Duration;

use identity::{UnixTime, chain};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::issue::{Caller, Issuance, IssueError, Wish};
use crate::serve::tls::{ServingCertificate, provider};

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnCertificateError {
    /// No key or CSR could be made.
    #[error("cannot make a key for the serving certificate")]
    Key(#[source] rcgen::Error),
    /// It was not issued.
    #[error("the serving certificate was not issued")]
    Issue(#[source] IssueError),
    /// TLS cannot use it.
    #[error("TLS cannot use the serving certificate")]
    Tls(#[source] rustls::Error),
    /// The chain does not parse.
    #[error("the serving certificate's chain does not parse")]
    Chain,
}

/// A serving certificate and its last second.
pub(crate) struct OwnCertificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) not_after: UnixTime,
}

/// Makes a new key, which never leaves memory, and a certificate for it.
///
/// # Errors
/// [`OwnCertificateError`].
pub(crate) async fn issue(issuance: &Issuance) -> Result<OwnCertificate, OwnCertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(OwnCertificateError::Key)?;
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(OwnCertificateError::Key)?;
    let issued = issuance
        .issue(&Caller::Authority, &csr, &Wish::default())
        .await
        .map_err(OwnCertificateError::Issue)?;
    // The root stays out: clients have it, or they would not trust us.
    let chain = issued
        .chain
        .iter()
        .take(issued.chain.len().saturating_sub(1))
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_malformed| OwnCertificateError::Chain)?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = provider()
        .key_provider
        .load_private_key(private)
        .map_err(OwnCertificateError::Tls)?;
    Ok(OwnCertificate {
        key: Arc::new(CertifiedKey::new(chain, signer)),
        not_after: issued.not_after,
    })
}

/// Renews the serving certificate at half of what is left, for ever; sooner after a failure.
///
/// Looks at the clock every second: a timer stands still while a machine sleeps, and certificates
/// expire by the clock. A clock that is set back delays nothing.
pub(crate) async fn renew(
    issuance: Issuance,
    serving: Arc<ServingCertificate>,
    mut not_after: UnixTime,
) {
    loop {
        let now = issuance.now();
        let seconds = wait(not_after, now);
        let due = now.plus_secs(seconds).unwrap_or(not_after);
        let mut steps = 0;
        while steps < seconds && issuance.now() < due {
            tokio::time::sleep(STEP).await;
            steps += 1;
        }
        match issue(&issuance).await {
            Ok(own) => {
                serving.replace(own.key);
                not_after = own.not_after;
            }
            Err(error) => tracing::error!(
                error = chain(&error),
                not_after = not_after.as_secs(),
                "the serving certificate was not renewed"
            ),
        }
    }
}

/// Half of the seconds left, at least one, so that failures are tried again ever sooner.
fn wait(not_after: UnixTime, now: UnixTime) -> i64 {
    (not_after.secs_since(now) / 2).max(1)
}

const STEP: Duration = Duration::from_secs(1);
