//! The signed deny list on its way from the authority to the filters.

use std::sync::Arc;

use identity::{
    UnixTime,
    deny_list::{DenyListError, ListKey, verify},
    x509::{BadSignature, SignatureAlgorithm, VerifySignature},
};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

/// A verified list as the filters get it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeldList {
    /// JWS compact serialization, exactly as the authority sent it.
    pub(crate) jws: Arc<str>,
    /// Epoch of the list.
    pub(crate) epoch: u64,
    /// Its number in the epoch.
    pub(crate) sequence: u64,
    /// When it stops being fresh.
    pub(crate) expires: UnixTime,
}

impl HeldList {
    /// Checks a list with the keys of the trust bundle, as every filter will with its own pinned
    /// ones, so that a list no filter would take does not replace one they do.
    ///
    /// # Errors
    /// [`ListError`]; the list held before stays.
    pub(crate) fn accept(
        wire: &api::agent::DenyListSnapshot,
        keys: &[ListKey],
        held: Option<&Self>,
        now: UnixTime,
    ) -> Result<Self, ListError> {
        let floor = held.map(|held| (held.epoch, held.sequence));
        let list = verify(&wire.jws, keys, &AwsLc, now, floor)?;
        if (list.epoch(), list.sequence()) != (wire.epoch, wire.sequence) {
            return Err(ListError::OtherNumber {
                announced: (wire.epoch, wire.sequence),
                signed: (list.epoch(), list.sequence()),
            });
        }
        let jws = std::str::from_utf8(&wire.jws).map_err(|source| ListError::NotText { source })?;
        Ok(Self {
            jws: Arc::from(jws),
            epoch: list.epoch(),
            sequence: list.sequence(),
            expires: list.expires(),
        })
    }
}

/// Why a list is not passed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListError {
    /// The filters would refuse it.
    #[error("the deny list does not verify")]
    Unverified(#[from] DenyListError),
    /// What is announced beside it is not what is signed.
    #[error(
        "the deny list is announced as epoch {}, sequence {}, but signed as epoch {}, sequence {}",
        announced.0, announced.1, signed.0, signed.1
    )]
    OtherNumber {
        /// Epoch and sequence in the message.
        announced: (u64, u64),
        /// Epoch and sequence in the list.
        signed: (u64, u64),
    },
    /// The JWS is no text.
    #[error("the deny list is not text")]
    NotText {
        /// Where it stops being text.
        #[source]
        source: std::str::Utf8Error,
    },
}

/// Signature checks by aws-lc. Deny lists are signed with ES256 and nothing else.
struct AwsLc;

impl VerifySignature for AwsLc {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if algorithm != SignatureAlgorithm::EcdsaSha256 {
            return Err(BadSignature);
        }
        let (rest, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_why| BadSignature)?;
        if !rest.is_empty() {
            return Err(BadSignature);
        }
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
            &spki.subject_public_key.data,
        )
        .verify(message, signature)
        .map_err(|_why| BadSignature)
    }
}
