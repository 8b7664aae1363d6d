//! What is known about one request.

use std::collections::BTreeMap;

use identity::SpiffeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::issue::{Caller, KeyType, VerifiedCsr, Wish};

/// The facts of one request: who asks, as its proof says, and what for. What rules decide on, what
/// is kept for a dry run, and what a test case states.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// How the caller proved who it is, as the record names it.
    pub proof: String,
    /// The identity the proof gives, if it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "id")]
    pub caller_id: Option<SpiffeId>,
    /// What the proof says, each as `type:value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// What the request says about itself; not proven.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The identity asked for; none for "my own".
    #[serde(default, skip_serializing_if = "Option::is_none", with = "id")]
    pub requested_id: Option<SpiffeId>,
    /// Lifetime asked for in seconds; zero or less for none.
    #[serde(default)]
    pub ttl_seconds: i64,
    /// Kind of the key to certify.
    #[serde(default = "default_key", with = "key")]
    pub key: KeyType,
    /// DNS names the CSR asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Longest lifetime of the registration entry behind the request, in seconds, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_ttl_seconds: Option<i64>,
}

impl Facts {
    /// What is known of `by`, whose proof names no identity, nor does the request.
    #[must_use]
    pub fn unnamed(by: &Caller, wish: &Wish, csr: &VerifiedCsr) -> Self {
        Self {
            proof: by.proof().as_str().to_owned(),
            caller_id: None,
            selectors: selectors(by, false),
            metadata: wish.metadata.clone(),
            requested_id: None,
            ttl_seconds: wish.ttl_seconds,
            key: csr.key_type(),
            dns_names: csr.dns_names().to_vec(),
            entry_ttl_seconds: None,
        }
    }

    /// What is known of `by`, who asks for a certificate of `subject` with `csr`. `entry` is the
    /// registration entry behind it: its id and its limit in seconds, zero for none.
    #[must_use]
    pub fn of(
        by: &Caller,
        subject: &SpiffeId,
        wish: &Wish,
        csr: &VerifiedCsr,
        entry: Option<(&str, i64)>,
    ) -> Self {
        let is_own = by.identity() == Some(subject);
        let mut selectors = selectors(by, is_own);
        if let Some((id, _)) = entry {
            selectors.push(format!("entry:id:{id}"));
        }
        let is_asked_for = wish.spiffe_id.is_some() || !is_own;
        Self {
            proof: by.proof().as_str().to_owned(),
            caller_id: by.identity().cloned(),
            selectors,
            metadata: wish.metadata.clone(),
            requested_id: is_asked_for.then(|| subject.clone()),
            ttl_seconds: wish.ttl_seconds,
            key: csr.key_type(),
            dns_names: csr.dns_names().to_vec(),
            entry_ttl_seconds: entry.map(|(_, limit)| limit).filter(|limit| *limit > 0),
        }
    }
}

/// What the proof says. The hash of a join token is left out: it would be kept with the request.
fn selectors(by: &Caller, is_own: bool) -> Vec<String> {
    match by {
        Caller::JoinToken(token) => vec![format!("join:id:{}", token.spiffe_id)],
        Caller::Certificate(certificate) => {
            let kind = if is_own { "renewal" } else { "parent" };
            vec![
                format!("{kind}:id:{}", certificate.spiffe_id),
                format!("{kind}:proof:{}", certificate.proof),
            ]
        }
        Caller::Proven(proven) => proven.selectors().to_vec(),
        Caller::Operator { id: Some(id), .. } => vec![format!("operator:id:{id}")],
        Caller::Operator { uid: Some(uid), .. } => vec![format!("operator:uid:{uid}")],
        Caller::Operator { .. } => vec!["operator:uid:unknown".to_owned()],
        Caller::Authority | Caller::ListSigner => Vec::new(),
    }
}

const fn default_key() -> KeyType {
    KeyType::EcdsaP256
}

mod id {
    use super::{Deserialize, Deserializer, Serializer, SpiffeId};

    pub(super) fn serialize<S: Serializer>(
        id: &Option<SpiffeId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(id),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SpiffeId>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| {
            SpiffeId::new(&text).map_err(|error| {
                serde::de::Error::custom(format!("{text:?} is not a SPIFFE ID: {error}"))
            })
        })
        .transpose()
    }
}

mod key {
    use super::{Deserialize, Deserializer, KeyType, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &KeyType, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyType, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
