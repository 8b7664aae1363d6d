//! The signed deny list on its way from the authority to the filters.

use identity::{
    UnixTime,
    deny_list::{Check, DenyList, DenyListError, History, ListKey, ListSigners, Update},
    x509::{BadSignature, SignatureAlgorithm, VerifySignature},
};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

/// A verified list as the filters get it, and what changed in those before it.
#[derive(Clone, Debug)]
pub(crate) struct HeldList(History);

impl HeldList {
    /// Checks an update with the keys of the trust bundle, as every filter will with what it pins, so
    /// that a list no filter would take does not replace one they do.
    ///
    /// # Errors
    /// [`DenyListError`]; the list held before stays.
    pub(crate) fn accept(
        update: Vec<u8>,
        keys: &[ListKey],
        held: Option<&Self>,
        now: UnixTime,
    ) -> Result<Self, DenyListError> {
        let check = Check {
            signers: &ListSigners::Keys(keys.to_vec()),
            verifier: &AwsLc,
            now,
            floor: held.map(|held| held.list().position()),
            held: held.map(Self::list),
        };
        let update = Update::parse(update)?;
        let head = update.head().to_vec();
        let list = update.verify(&check)?;
        Ok(Self(match held {
            // The same once more, as a stream's first message may be.
            Some(held) if held.list().position() == list.position() => held.0.clone(),
            Some(held) => held.0.followed_by(head, list),
            None => History::new(head, list),
        }))
    }

    /// The list.
    pub(crate) const fn list(&self) -> &DenyList {
        self.0.list()
    }

    /// The update for a filter that holds the list at `held`; `None` where it has this one.
    pub(crate) fn since(&self, held: (u64, u64)) -> Option<Vec<u8>> {
        self.0.since(Some(held))
    }
}

/// Signature checks by aws-lc. Deny lists and policy bundles are signed with ES256 and nothing else.
pub(crate) struct AwsLc;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use identity::deny_list::{Entries, Head};

    use super::*;
    use crate::{schedule::UnixMillis, status::Status, world::Snapshot};

    #[test]
    fn the_status_calls_a_list_stale_from_the_second_on_in_which_filters_do() {
        let entries = Entries::default();
        let head = Head::of(&entries, (1, 1), UnixTime::from_secs(1000), 60).unwrap();
        let list = DenyList::new(head, Arc::new(entries)).unwrap();
        let snapshot = Snapshot {
            deny_list: Some(Arc::new(HeldList(History::new(Vec::new(), list.clone())))),
            ..Snapshot::default()
        };
        for second in [1000, 1059, 1060, 1061] {
            let status = Status::of(&snapshot, UnixMillis::from_secs(second));
            let filters = list.is_stale(UnixTime::from_secs(second));
            assert_eq!(status.deny_list.unwrap().stale, filters, "{second}");
            assert_eq!(filters, second >= 1060);
        }
    }
}
