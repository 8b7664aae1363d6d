//! From a name Envoy asks for to the secret it gets.

use std::{collections::BTreeSet, sync::Arc};

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret::Type,
    },
};
use identity::SpiffeId;

use crate::{
    schedule::UnixMillis,
    svid::{Svid, digest},
    world::{Roots, Snapshot},
};

/// Name of the certificate of the only identity a process may have.
pub(crate) const DEFAULT: &str = "default";
/// Name of the trust bundle.
pub(crate) const ROOT_CA: &str = "ROOTCA";

/// What a secret is made of.
#[derive(Clone, Debug)]
pub(crate) enum Material {
    /// Certificate chain and private key.
    Certificate(Arc<Svid>),
    /// Root certificates.
    Roots(Arc<Roots>),
}

impl Material {
    /// What tells this material from any other; holds nothing of a private key.
    pub(crate) fn digest(&self) -> [u8; 32] {
        match self {
            Self::Certificate(svid) => svid.sha256(),
            Self::Roots(roots) => digest(roots.root_pem.as_bytes()),
        }
    }

    /// The secret under the name it was asked for.
    pub(crate) fn to_secret(&self, name: &str) -> Secret {
        let content = match self {
            Self::Certificate(svid) => Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(inline(svid.chain_pem())),
                private_key: Some(inline(svid.key_pem())),
                ..TlsCertificate::default()
            }),
            Self::Roots(roots) => Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(inline(&roots.root_pem)),
                ..CertificateValidationContext::default()
            }),
        };
        Secret {
            name: name.to_owned(),
            r#type: Some(content),
        }
    }
}

/// What becomes of a name.
#[derive(Clone, Debug)]
pub(crate) enum Resolution {
    /// It can be served.
    Ready(Material),
    /// It may be had, but there is nothing (valid) to give yet.
    Pending,
    /// The process may not have it.
    Refused(Refusal),
}

/// Resolves a name for a process that may have the identities `permitted`.
pub(crate) fn resolve(
    name: &str,
    snapshot: &Snapshot,
    permitted: &BTreeSet<SpiffeId>,
    now: UnixMillis,
) -> Resolution {
    let refused = |why| {
        Resolution::Refused(Refusal {
            name: name.to_owned(),
            why,
        })
    };
    if permitted.is_empty() {
        return refused(Why::NoIdentity);
    }
    let mut permitted_ids = permitted.iter();
    match name {
        ROOT_CA => match &snapshot.roots {
            Some(roots) => Resolution::Ready(Material::Roots(Arc::clone(roots))),
            None => Resolution::Pending,
        },
        DEFAULT => match (permitted_ids.next(), permitted_ids.next()) {
            (Some(id), None) => certificate(id, snapshot, now),
            _ => refused(Why::Ambiguous {
                count: permitted.len(),
            }),
        },
        _ => match SpiffeId::new(name) {
            Ok(id) if permitted.contains(&id) => certificate(&id, snapshot, now),
            Ok(_) => refused(Why::NotPermitted),
            Err(_) => refused(Why::Unknown),
        },
    }
}

/// An expired certificate is not handed out: whoever holds it keeps it, nobody gets it anew.
fn certificate(id: &SpiffeId, snapshot: &Snapshot, now: UnixMillis) -> Resolution {
    match snapshot.workloads.get(id).and_then(|one| one.svid.as_ref()) {
        Some(svid) if !svid.has_expired(now) => {
            Resolution::Ready(Material::Certificate(Arc::clone(svid)))
        }
        _ => Resolution::Pending,
    }
}

/// A name that is not served to this process.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("secret {name:?} is refused: {why}")]
pub(crate) struct Refusal {
    /// The name asked for.
    pub(crate) name: String,
    /// Why not.
    pub(crate) why: Why,
}

/// Why a name is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Why {
    /// No entry fits the process.
    #[error("no registration entry fits the connecting process")]
    NoIdentity,
    /// Several do.
    #[error(
        "registration entries give the connecting process {count} identities; name one of them"
    )]
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// None of those that do gives this identity.
    #[error("no registration entry gives the connecting process this identity")]
    NotPermitted,
    /// It names nothing.
    #[error("known names are \"default\", \"ROOTCA\" and SPIFFE IDs")]
    Unknown,
}

fn inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())),
        ..DataSource::default()
    }
}
