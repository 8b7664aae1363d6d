//! Who may sign deny lists.

use crate::deny_list::ListKey;
use crate::deny_list::error::SignerError;
use crate::deny_list::list::DenyList;
use crate::signed::SignedError;
use crate::x509::{IssuerKey, SvidProfile, VerifySignature, X509Svid};
use crate::{SpiffeId, UnixTime};

/// Who may sign deny lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListSigners {
    /// Whoever has one of these keys.
    Keys(Vec<ListKey>),
    /// Whoever has a certificate of exactly this identity, valid now, from one of these issuers.
    ///
    /// It must be an X509-SVID of the strict profile for a P-256 key, without any extended key
    /// usage: those that workloads and the authority's own listener show in TLS have some, so none
    /// of these keys can sign lists.
    Authority {
        /// The SPIFFE ID of the signer.
        id: SpiffeId,
        /// The keys that may sign its certificate.
        issuers: Vec<IssuerKey>,
    },
}

impl ListSigners {
    /// Whether every list that these take is taken by `other`.
    #[must_use]
    pub fn are_covered_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keys(keys), Self::Keys(others)) => keys.iter().all(|key| others.contains(key)),
            (
                Self::Authority { id, issuers },
                Self::Authority {
                    id: other,
                    issuers: others,
                },
            ) => id == other && issuers.iter().all(|issuer| others.contains(issuer)),
            _ => false,
        }
    }

    /// The key that signed a list by its header: the key id, and the signer's certificate in DER
    /// where there is one. A certificate that `held` denies is refused.
    pub(crate) fn key(
        &self,
        kid: &str,
        certificate: Option<&[u8]>,
        verifier: &dyn VerifySignature,
        now: UnixTime,
        held: Option<&DenyList>,
    ) -> Result<ListKey, SignedError> {
        match self {
            Self::Keys(keys) => keys
                .iter()
                .find(|key| key.kid() == kid)
                .cloned()
                .ok_or_else(|| SignedError::UnknownKey {
                    kid: kid.chars().take(64).collect(),
                }),
            Self::Authority { id, issuers } => {
                let certificate = certificate.ok_or(SignerError::NoCertificate)?;
                let signer = signer(certificate, id, issuers, verifier, now)?;
                if held.is_some_and(|held| held.state_of(&signer).is_some()) {
                    return Err(SignerError::Denied.into());
                }
                let key = ListKey::from_spki_der(signer.spki_der())
                    .map_err(|_other_kind| SignerError::OtherKey)?;
                if key.kid() != kid {
                    return Err(SignerError::OtherKey.into());
                }
                Ok(key)
            }
        }
    }
}

fn signer(
    der: &[u8],
    id: &SpiffeId,
    issuers: &[IssuerKey],
    verifier: &dyn VerifySignature,
    now: UnixTime,
) -> Result<X509Svid, SignerError> {
    let signer = X509Svid::parse(der, SvidProfile::Strict).map_err(SignerError::Certificate)?;
    if signer.id() != id {
        return Err(SignerError::OtherIdentity {
            found: signer.id().clone(),
        });
    }
    if !signer.extended_key_usages().is_empty() {
        return Err(SignerError::ForTls);
    }
    signer.check_time(now).map_err(SignerError::Certificate)?;
    signer
        .check_signature(issuers, verifier)
        .map_err(SignerError::Certificate)?;
    Ok(signer)
}
