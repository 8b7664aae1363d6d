//! Revocation lists of CAs (RFC 5280 §5): the ones we sign, and the ones others signed for us.
//!
//! A verifier that checks the whole chain (Envoy does) needs a list of every CA in it: with one
//! missing it refuses every peer. So a bundle of lists is whole or there is none.

use identity::x509::VerifySignature as _;
use identity::{UnixTime, pem};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use crate::ca::key::CaKey;
use crate::ca::make::Unsigned;
use crate::ca::{CaCertificate, CaError};
use crate::crypto::AwsLcVerifier;

/// Name of a bundle of lists, as Istio has it.
pub const FILE: &str = "ca-crl.pem";

/// Why a revocation list is not good.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// It does not parse.
    #[error("it is not PEM revocation lists (X509 CRL) and nothing else")]
    Malformed,
    /// None of the CAs has signed it.
    #[error("the list of {issuer} is not signed by a CA of the chain")]
    NotSigned {
        /// The issuer it names.
        issuer: String,
    },
    /// It is outdated, or has no end: then nobody notices that a newer one is missing.
    #[error("the list of {issuer} ended at {next_update}, and it is {now} now")]
    Outdated {
        /// The issuer.
        issuer: String,
        /// Its end.
        next_update: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// It revokes a CA of the chain.
    #[error("the list of {issuer} revokes {subject}")]
    Revokes {
        /// The issuer.
        issuer: String,
        /// The CA that is revoked.
        subject: String,
    },
}

/// A list that was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckedCrl {
    /// SHA-256 of the certificate of the CA that signed it.
    pub issuer_sha256: String,
    /// One PEM block.
    pub pem: String,
    /// When it ends.
    pub next_update: UnixTime,
}

/// Checks PEM lists against a chain of CAs: each is signed by one of them, not outdated, and revokes
/// none of them. Not checked: what else is on them.
///
/// # Errors
/// [`CrlError`].
pub fn check(
    text: &str,
    chain: &[&CaCertificate],
    now: UnixTime,
) -> Result<Vec<CheckedCrl>, CrlError> {
    let ders = pem::blocks(text, LABEL, MAX_BYTES).map_err(|_bad| CrlError::Malformed)?;
    ders.iter().map(|der| check_one(der, chain, now)).collect()
}

fn check_one(der: &[u8], chain: &[&CaCertificate], now: UnixTime) -> Result<CheckedCrl, CrlError> {
    let (rest, list) =
        CertificateRevocationList::from_der(der).map_err(|_bad| CrlError::Malformed)?;
    if !rest.is_empty() {
        return Err(CrlError::Malformed);
    }
    let name = list.issuer().to_string();
    let signer = chain.iter().find(|ca| is_signed_by(&list, ca));
    let signer = signer.ok_or_else(|| CrlError::NotSigned {
        issuer: name.clone(),
    })?;
    let next_update = list.next_update().map_or(UnixTime::from_secs(0), |end| {
        UnixTime::from_secs(end.timestamp())
    });
    if next_update < now {
        return Err(CrlError::Outdated {
            issuer: name,
            next_update,
            now,
        });
    }
    for revoked in list.iter_revoked_certificates() {
        let serial = hex::encode(revoked.raw_serial());
        let hit = chain
            .windows(2)
            .filter_map(|pair| pair.split_first())
            .find(|(ca, above)| ca.serial() == serial && above.first() == Some(signer));
        if let Some((ca, _)) = hit {
            return Err(CrlError::Revokes {
                issuer: name,
                subject: ca.subject().to_owned(),
            });
        }
    }
    Ok(CheckedCrl {
        issuer_sha256: signer.sha256().to_owned(),
        pem: pem::encode(der, LABEL),
        next_update,
    })
}

fn is_signed_by(list: &CertificateRevocationList<'_>, ca: &CaCertificate) -> bool {
    let algorithm = crate::issue::csr::signature_algorithm(&list.signature_algorithm);
    list.issuer().as_raw() == ca.subject_der()
        && algorithm.is_some_and(|algorithm| {
            AwsLcVerifier
                .verify(
                    algorithm,
                    ca.spki_der(),
                    list.tbs_cert_list.as_ref(),
                    &list.signature_value.data,
                )
                .is_ok()
        })
}

/// The issuer of a list, DER; `None` if it does not parse.
pub(crate) fn issuer_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(list.issuer().as_raw().to_vec())
}

/// Signs a list of `issuer` that revokes nothing: PEM.
///
/// # Errors
/// [`CaError`].
pub(crate) async fn sign_empty(
    issuer: &CaCertificate,
    key: &dyn CaKey,
    now: UnixTime,
    seconds: i64,
) -> Result<String, CaError> {
    let next = now
        .plus_secs(seconds)
        .ok_or(CaError::BadDate { time: now })?;
    // Seconds since 1970: a later list has a higher number, without a counter that could be lost.
    let number = u64::try_from(now.as_secs()).unwrap_or(1);
    let unsigned = Unsigned::empty_crl(issuer, key, number, now, next)?;
    Ok(pem::encode(&unsigned.sign(key).await?, LABEL))
}

/// Label of a list (RFC 7468 §6).
pub(crate) const LABEL: &str = "X509 CRL";
/// Far beyond the lists of a chain's CAs.
const MAX_BYTES: usize = 1 << 20;
