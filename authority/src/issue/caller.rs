//! Who asks for a certificate, and how that was proven.

use std::collections::BTreeMap;
use std::fmt;

use identity::{SpiffeId, UnixTime};

use crate::inventory::{CertificateRecord, Origin, TokenRecord};
use crate::proof::Proven;

/// Somebody whose proof held.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one a request, on the stack of its task"
)]
pub enum Caller {
    /// Holder of a join token.
    JoinToken(TokenRecord),
    /// Holder of a certificate of ours and its key.
    Certificate(CertificateRecord),
    /// Holder of a token, or a certificate, of somebody who is trusted to vouch for callers.
    Proven(Box<Proven>),
    /// The operator, over the administration socket or with an operator's certificate.
    Operator {
        /// User id of the process at the other end of the socket, as the kernel tells it.
        uid: Option<u32>,
        /// Over the network, the identity in the operator's certificate.
        id: Option<SpiffeId>,
    },
    /// The authority itself, for its serving certificate.
    Authority,
    /// The authority itself, for the certificate of the deny list's key.
    ListSigner,
}

/// How a caller proved who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// A single-use token.
    JoinToken,
    /// A TLS client certificate.
    ClientCertificate,
    /// A Kubernetes service account token.
    Kubernetes,
    /// An OpenID Connect token.
    Oidc,
    /// A TLS client certificate of a foreign CA.
    ForeignCertificate,
    /// The administration socket, which only its owner can open.
    Operator,
    /// None needed.
    Authority,
}

impl Proof {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::JoinToken,
        Self::ClientCertificate,
        Self::Kubernetes,
        Self::Oidc,
        Self::ForeignCertificate,
        Self::Operator,
        Self::Authority,
    ];

    /// Stable name, as the inventory holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::ClientCertificate => "client_certificate",
            Self::Kubernetes => "kubernetes",
            Self::Oidc => "oidc",
            Self::ForeignCertificate => "x509pop",
            Self::Operator => "operator",
            Self::Authority => "authority",
        }
    }
}

impl Caller {
    /// How the caller proved who it is.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match self {
            Self::JoinToken(_) => Proof::JoinToken,
            Self::Certificate(_) => Proof::ClientCertificate,
            Self::Proven(proven) => proven.proof(),
            Self::Operator { .. } => Proof::Operator,
            Self::Authority | Self::ListSigner => Proof::Authority,
        }
    }

    /// The identity the caller proved, if it proved one.
    #[must_use]
    pub fn identity(&self) -> Option<&SpiffeId> {
        match self {
            Self::JoinToken(token) => Some(&token.spiffe_id),
            Self::Certificate(certificate) => Some(&certificate.spiffe_id),
            Self::Proven(proven) => proven.spiffe_id(),
            Self::Operator { .. } | Self::Authority | Self::ListSigner => None,
        }
    }

    /// What the caller proved, each as `type:value`. A certificate of ours stands for what the proof
    /// it goes back to showed.
    #[must_use]
    pub fn selectors(&self) -> Vec<String> {
        match self {
            Self::JoinToken(token) => vec![format!("join:id:{}", token.spiffe_id)],
            Self::Certificate(certificate) => certificate.origin.selectors.clone(),
            Self::Proven(proven) => proven.selectors().to_vec(),
            Self::Operator { id: Some(id), .. } => vec![format!("operator:id:{id}")],
            Self::Operator { uid: Some(uid), .. } => vec![format!("operator:uid:{uid}")],
            Self::Operator { .. } | Self::Authority | Self::ListSigner => Vec::new(),
        }
    }

    /// The proof that a certificate issued to this caller at `now` goes back to.
    #[must_use]
    pub fn origin(&self, now: UnixTime) -> Origin {
        match self {
            Self::Certificate(certificate) => certificate.origin.clone(),
            _ => Origin {
                proven_at: now,
                proven_by: self.proof().as_str().to_owned(),
                evidence_sha256: match self {
                    Self::JoinToken(token) => token.hash.clone(),
                    Self::Proven(proven) => proven.evidence_sha256().to_owned(),
                    _ => String::new(),
                },
                selectors: self.selectors(),
            },
        }
    }
}

impl fmt::Display for Caller {
    /// As the record names it: a SPIFFE ID, `<subject> of <proof>`, `uid:<number>` or `authority`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken(token) => write!(f, "{}", token.spiffe_id),
            Self::Certificate(certificate) => write!(f, "{}", certificate.spiffe_id),
            Self::Proven(proven) => write!(f, "{proven}"),
            Self::Operator { id: Some(id), .. } => write!(f, "{id}"),
            Self::Operator { uid: Some(uid), .. } => write!(f, "uid:{uid}"),
            Self::Operator { .. } => f.write_str("uid:unknown"),
            Self::Authority | Self::ListSigner => f.write_str("authority"),
        }
    }
}

/// What a caller asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wish {
    /// The identity, where it is not simply the caller's own.
    pub spiffe_id: Option<SpiffeId>,
    /// Lifetime in seconds; zero or less for the default.
    pub ttl_seconds: i64,
    /// What the request says about itself (`owner`, `costCentre` …). Not proven.
    pub metadata: BTreeMap<String, String>,
}

/// A lifetime rule of the authority, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    /// Given when nothing is asked for.
    pub default_ttl: i64,
    /// More than this is refused, not shortened (as istiod does).
    pub max_ttl: i64,
    /// How far before now a certificate's validity starts, for peers whose clock is behind. Never
    /// more than a quarter of the lifetime, so that clients that renew at half of the validity
    /// period do not find themselves past it at once.
    pub backdate: i64,
}

impl Lifetimes {
    /// Start of validity of a certificate made at `now` for `ttl` seconds.
    pub(super) fn not_before(&self, now: UnixTime, ttl: i64) -> Option<UnixTime> {
        now.plus_secs(-self.backdate.clamp(0, ttl / 4))
    }
}
