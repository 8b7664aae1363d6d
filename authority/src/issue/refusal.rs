//! Why a request is turned down. These are the peer's faults; ours are [`IssueError`]s.
//!
//! [`IssueError`]: crate::issue::IssueError

use identity::SpiffeId;

use crate::inventory::CertificateState;
use crate::issuance::Denial;
use crate::issue::csr::CsrError;
use crate::proof::TokenFault;

/// A rule that failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The caller did not prove who it is.
    #[error(transparent)]
    Proof(#[from] ProofFault),
    /// The CSR is not acceptable.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The issuance rules refuse it.
    #[error(transparent)]
    Rules(#[from] Denial),
    /// A lifetime beyond the maximum.
    #[error("lifetime of {asked} s asked for, limit is {max} s")]
    TtlTooLong {
        /// Seconds asked for.
        asked: i64,
        /// The limit in seconds.
        max: i64,
    },
    /// The identity asked for is not a SPIFFE ID, or the request is otherwise malformed.
    #[error("{field}: {problem}")]
    BadField {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An identity of another trust domain.
    #[error("{wanted} is not in the trust domain {trust_domain}")]
    ForeignTrustDomain {
        /// The identity asked for.
        wanted: SpiffeId,
        /// Ours.
        trust_domain: String,
    },
    /// An identity nobody may have: the trust domain's or the authority's own.
    #[error("{wanted} is reserved")]
    Reserved {
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// No registration entry lets the caller have it.
    #[error("{caller} has no registration entry for {wanted}")]
    NotParented {
        /// The caller.
        caller: SpiffeId,
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// A token is good for one identity only.
    #[error("the join token is bound to {bound}, not to {wanted}")]
    TokenBoundElsewhere {
        /// The identity it is bound to.
        bound: SpiffeId,
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// The registration entry behind the certificate is gone.
    #[error("the registration entry of {wanted} is gone")]
    EntryGone {
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// The operator issued the certificate for as long as the operator saw fit.
    #[error("the certificate of {wanted} was issued by the operator and does not renew itself")]
    NotRenewable {
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// An unexpired certificate of the identity is suspended.
    #[error("{wanted} has a suspended certificate")]
    IdentitySuspended {
        /// The identity asked for.
        wanted: SpiffeId,
    },
    /// Nothing makes an identity of what was proven.
    #[error("nothing makes an identity of {caller}")]
    NoIdentity {
        /// Who it is by the proof's words.
        caller: String,
    },
    /// The caller may not have another's identity.
    #[error("{caller} may not have {wanted}: {problem}")]
    Impersonation {
        /// The caller.
        caller: String,
        /// The identity asked for.
        wanted: SpiffeId,
        /// Why not.
        problem: &'static str,
    },
    /// A CSR that names something else than the identity it gets, where that is asked for.
    #[error("the CSR does not name exactly {wanted}")]
    CsrNames {
        /// The identity it would get.
        wanted: SpiffeId,
    },
}

/// Why a proof does not hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFault {
    /// Neither a token nor a client certificate.
    #[error("neither a token nor a client certificate was presented")]
    Missing,
    /// An `authorization` header that is neither `Join <token>` nor `Bearer <token>`.
    #[error("the authorization header is neither `Join <token>` nor `Bearer <token>`")]
    BadHeader,
    /// Join tokens are not accepted.
    #[error("join tokens are not accepted here")]
    JoinTokensOff,
    /// A bearer token that does not hold.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// Certificates are not good for new ones.
    #[error("renewal with a certificate is not accepted here")]
    RenewalOff,
    /// The certificate goes back to a proof too long ago.
    #[error("the proof behind the certificate is {age} s old, limit is {max} s")]
    TooOld {
        /// Its age in seconds.
        age: i64,
        /// The limit in seconds.
        max: i64,
    },
    /// A certificate of a foreign CA that cannot be used.
    #[error("the foreign certificate cannot be used: {problem}")]
    ForeignCertificate {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A token the authority did not make.
    #[error("unknown join token")]
    UnknownToken,
    /// A token that came too late.
    #[error("the join token has expired")]
    TokenExpired,
    /// A token already used, with another key: somebody else has it.
    #[error("the join token was spent with another key")]
    TokenSpentByOther,
    /// A token already used, with this key, too long ago to be a lost reply.
    #[error("the join token is spent")]
    TokenSpent,
    /// A certificate that is not in the inventory, although our issuer signed it.
    #[error("the client certificate is not in the inventory")]
    UnknownCertificate,
    /// A certificate that expired while its connection stayed open.
    #[error("the client certificate has expired")]
    CertificateExpired,
    /// A certificate that is suspended or revoked.
    #[error("the client certificate is {state}")]
    CertificateNotGood {
        /// Its state.
        state: CertificateState,
    },
}

/// What the caller is told, and may conclude about trying again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalClass {
    /// It did not prove who it is.
    Unauthenticated,
    /// It may not have that.
    Denied,
    /// The request itself is wrong.
    Invalid,
}

impl Refusal {
    /// What the caller is told.
    #[must_use]
    pub const fn class(&self) -> RefusalClass {
        match self {
            // Known, but not accepted: proving it again does not help.
            Self::Proof(ProofFault::CertificateNotGood { .. })
            | Self::ForeignTrustDomain { .. }
            | Self::Reserved { .. }
            | Self::NotParented { .. }
            | Self::TokenBoundElsewhere { .. }
            | Self::EntryGone { .. }
            | Self::NotRenewable { .. }
            | Self::NoIdentity { .. }
            | Self::Impersonation { .. }
            | Self::IdentitySuspended { .. } => RefusalClass::Denied,
            Self::Rules(denial) if !denial.is_mistake() => RefusalClass::Denied,
            Self::Rules(_) => RefusalClass::Invalid,
            Self::Proof(_) => RefusalClass::Unauthenticated,
            Self::Csr(_)
            | Self::CsrNames { .. }
            | Self::TtlTooLong { .. }
            | Self::BadField { .. } => RefusalClass::Invalid,
        }
    }

    /// Stable name of the rule that failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Proof(fault) => fault.code(),
            Self::Csr(error) => error.code(),
            Self::Rules(denial) => denial.code(),
            Self::TtlTooLong { .. } => "ttl_too_long",
            Self::BadField { .. } => "bad_field",
            Self::ForeignTrustDomain { .. } => "foreign_trust_domain",
            Self::Reserved { .. } => "reserved_identity",
            Self::NotParented { .. } => "not_parented",
            Self::TokenBoundElsewhere { .. } => "token_bound_elsewhere",
            Self::EntryGone { .. } => "entry_gone",
            Self::NotRenewable { .. } => "not_renewable",
            Self::IdentitySuspended { .. } => "identity_suspended",
            Self::NoIdentity { .. } => "no_identity",
            Self::Impersonation { .. } => "impersonation_denied",
            Self::CsrNames { .. } => "csr_names_differ",
        }
    }

    /// Id of the issuance rule that refuses, if one does.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Rules(denial) => denial.rule(),
            _ => None,
        }
    }

    /// Whether it looks like an attack rather than a mistake. A bad token never does: anybody can make one, and
    /// alarms are kept up to a number, so that strangers could push those out that count.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        matches!(
            self,
            Self::Proof(
                ProofFault::TokenSpentByOther
                    | ProofFault::UnknownCertificate
                    | ProofFault::CertificateNotGood { .. }
            ) | Self::TokenBoundElsewhere { .. }
                | Self::Impersonation { .. }
        )
    }
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        Self::Proof(fault.into())
    }
}

impl ProofFault {
    /// Stable name of the rule that failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "no_proof",
            Self::BadHeader => "bad_authorization_header",
            Self::JoinTokensOff => "join_tokens_off",
            Self::Token(fault) => fault.code(),
            Self::RenewalOff => "renewal_off",
            Self::TooOld { .. } => "proof_too_old",
            Self::ForeignCertificate { .. } => "foreign_certificate",
            Self::UnknownToken => "unknown_token",
            Self::TokenExpired => "token_expired",
            Self::TokenSpentByOther => "token_spent_by_other",
            Self::TokenSpent => "token_spent",
            Self::UnknownCertificate => "unknown_certificate",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotGood {
                state: CertificateState::Suspended,
            } => "certificate_suspended",
            Self::CertificateNotGood { .. } => "certificate_revoked",
        }
    }
}
