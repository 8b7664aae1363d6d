//! Who asks for a certificate, and how that was proven.

use std::fmt;

use identity::{SpiffeId, UnixTime};

use crate::inventory::{CertificateRecord, TokenRecord};

/// Somebody whose proof held.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it a request, and it is not moved around"
)]
pub enum Caller {
    /// Holder of a join token.
    JoinToken(TokenRecord),
    /// Holder of a certificate of ours and its key.
    Certificate(CertificateRecord),
    /// The operator, over the administration socket.
    Operator {
        /// User id of the process at the other end, as the kernel tells it.
        uid: Option<u32>,
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
    /// The administration socket, which only its owner can open.
    Operator,
    /// None needed.
    Authority,
}

impl Proof {
    /// Stable name, as the inventory holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::ClientCertificate => "client_certificate",
            Self::Operator => "operator",
            Self::Authority => "authority",
        }
    }
}

impl Caller {
    /// How the caller proved who it is.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        match self {
            Self::JoinToken(_) => Proof::JoinToken,
            Self::Certificate(_) => Proof::ClientCertificate,
            Self::Operator { .. } => Proof::Operator,
            Self::Authority | Self::ListSigner => Proof::Authority,
        }
    }

    /// The identity the caller proved, if it proved one.
    #[must_use]
    pub const fn identity(&self) -> Option<&SpiffeId> {
        match self {
            Self::JoinToken(token) => Some(&token.spiffe_id),
            Self::Certificate(certificate) => Some(&certificate.spiffe_id),
            Self::Operator { .. } | Self::Authority | Self::ListSigner => None,
        }
    }
}

impl fmt::Display for Caller {
    /// As the record names it: a SPIFFE ID, `uid:<number>` or `authority`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken(token) => write!(f, "{}", token.spiffe_id),
            Self::Certificate(certificate) => write!(f, "{}", certificate.spiffe_id),
            Self::Operator { uid: Some(uid) } => write!(f, "uid:{uid}"),
            Self::Operator { uid: None } => f.write_str("uid:unknown"),
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
