//! From what a connection presents to a proven caller.

use identity::UnixTime;
use zeroize::Zeroizing;

use crate::crypto::sha256_hex;
use crate::inventory::{CertificateState, Inventory, InventoryError};
use crate::issue::caller::Caller;
use crate::issue::refusal::{ProofFault, Refusal};
use crate::proof::{Proofs, TokenFault, Unavailable};

/// What a request came with.
#[derive(Default)]
pub(crate) struct Presented {
    /// The `authorization` header.
    pub(crate) authorization: Option<Zeroizing<String>>,
    /// The TLS client certificate and what was sent with it, DER, leaf first; TLS has verified them
    /// up to our root, or to one of a foreign CA that is trusted.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The header `clusterid`, by which istio-agent and ztunnel name their cluster.
    pub(crate) cluster: Option<String>,
}

/// Why there is no caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    /// The proof does not hold.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody can tell now whether it does.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl From<ProofFault> for AttestError {
    fn from(fault: ProofFault) -> Self {
        Self::Refused(fault.into())
    }
}

impl From<TokenFault> for AttestError {
    fn from(fault: TokenFault) -> Self {
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
    proofs: &Proofs,
    inventory: &Inventory,
    now: UnixTime,
) -> Result<Caller, AttestError> {
    match (&presented.authorization, presented.chain.first()) {
        (Some(header), _) => {
            token(header, presented.cluster.as_deref(), proofs, inventory, now).await
        }
        (None, Some(leaf)) => match certificate(leaf, inventory, now).await {
            // Not one of ours, but perhaps of somebody whose certificates are accepted. One that we
            // issued and took back is never looked at as another's.
            Err(AttestError::Refused(Refusal::Proof(ProofFault::UnknownCertificate)))
                if !proofs.foreign().is_empty() =>
            {
                let proven = proofs.foreign().prove(&presented.chain, now)?;
                Ok(Caller::Proven(Box::new(proven)))
            }
            known => known,
        },
        (None, None) => Err(ProofFault::Missing.into()),
    }
}

async fn token(
    header: &str,
    cluster: Option<&str>,
    proofs: &Proofs,
    inventory: &Inventory,
    now: UnixTime,
) -> Result<Caller, AttestError> {
    // RFC 9110 §11.1: the scheme's name is case-insensitive.
    let (scheme, token) = header.split_once(' ').ok_or(ProofFault::BadHeader)?;
    if token.is_empty() {
        return Err(ProofFault::BadHeader.into());
    }
    if scheme.eq_ignore_ascii_case(BEARER) {
        let proven = proofs.bearer(token, cluster, now).await?;
        return Ok(Caller::Proven(Box::new(proven)));
    }
    if !scheme.eq_ignore_ascii_case(api::istio::JOIN_SCHEME) {
        return Err(ProofFault::BadHeader.into());
    }
    if !proofs.join_tokens() {
        return Err(ProofFault::JoinTokensOff.into());
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

/// RFC 6750 §2.1.
const BEARER: &str = "Bearer";
