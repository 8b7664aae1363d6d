//! From what a connection presents to a proven caller.

use identity::UnixTime;
use zeroize::Zeroizing;

use crate::crypto::sha256_hex;
use crate::inventory::{CertificateState, Inventory, InventoryError};
use crate::issue::caller::Caller;
use crate::issue::refusal::{ProofFault, Refusal};

/// What a request came with.
#[derive(Default)]
pub(crate) struct Presented {
    /// The `authorization` header.
    pub(crate) authorization: Option<Zeroizing<String>>,
    /// The leaf of the TLS client certificate, DER; TLS has verified it up to our root.
    pub(crate) certificate: Option<Vec<u8>>,
}

/// Why there is no caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    /// The proof does not hold.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl From<ProofFault> for AttestError {
    fn from(fault: ProofFault) -> Self {
        Self::Refused(fault.into())
    }
}

/// Finds out who is calling. A token that is presented decides alone: a bad one is never made up
/// for by a good certificate.
///
/// # Errors
/// [`AttestError`].
pub(crate) async fn caller(
    presented: &Presented,
    inventory: &Inventory,
    now: UnixTime,
) -> Result<Caller, AttestError> {
    match (&presented.authorization, &presented.certificate) {
        (Some(header), _) => join_token(header, inventory).await,
        (None, Some(der)) => certificate(der, inventory, now).await,
        (None, None) => Err(ProofFault::Missing.into()),
    }
}

async fn join_token(header: &str, inventory: &Inventory) -> Result<Caller, AttestError> {
    // RFC 9110 §11.1: the scheme's name is case-insensitive.
    let (scheme, token) = header.split_once(' ').ok_or(ProofFault::BadHeader)?;
    if !scheme.eq_ignore_ascii_case(api::istio::JOIN_SCHEME) || token.is_empty() {
        return Err(ProofFault::BadHeader.into());
    }
    let token = inventory.token(&sha256_hex(token.as_bytes())).await?;
    Ok(Caller::JoinToken(token.ok_or(ProofFault::UnknownToken)?))
}

/// The certificate's bytes are looked up whole: whatever they say, only what was issued counts.
pub(crate) async fn certificate(
    der: &[u8],
    inventory: &Inventory,
    now: UnixTime,
) -> Result<Caller, AttestError> {
    let record = inventory.certificate_by_sha256(&sha256_hex(der)).await?;
    let record = record.ok_or(ProofFault::UnknownCertificate)?;
    if record.state != CertificateState::Good {
        return Err(ProofFault::CertificateNotGood {
            state: record.state,
        }
        .into());
    }
    if now > record.not_after {
        return Err(ProofFault::CertificateExpired.into());
    }
    Ok(Caller::Certificate(record))
}
