//! Which status each refusal and failure has, and whether istio-agent tries again.

use identity::{SpiffeId, UnixTime};
use tonic::Code;

use super::*;
use crate::inventory::CertificateState;
use crate::issue::CsrError;
use crate::proof::{FetchError, KeySourceError, TokenFault};

/// What istio-agent tries again, five times, by its own table.
fn is_retried(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
    )
}

/// The table. There is no arm for the rest: a new variant does not compile until it has its line.
fn expected(refusal: &Refusal) -> Code {
    match refusal {
        // Another proof is needed; the same one again does not help.
        Refusal::Proof(fault) => match fault {
            ProofFault::Missing
            | ProofFault::BadHeader
            | ProofFault::JoinTokensOff
            | ProofFault::UnknownToken
            | ProofFault::TokenExpired
            | ProofFault::TokenSpentByOther
            | ProofFault::TokenSpent
            | ProofFault::UnknownCertificate
            | ProofFault::CertificateExpired
            | ProofFault::RenewalOff
            | ProofFault::TooOld { .. }
            | ProofFault::ForeignCertificate { .. } => Code::Unauthenticated,
            ProofFault::Token(fault) => match fault {
                TokenFault::TooLarge { .. }
                | TokenFault::Malformed { .. }
                | TokenFault::Duplicate { .. }
                | TokenFault::Algorithm { .. }
                | TokenFault::Critical
                | TokenFault::UnknownKey
                | TokenFault::Signature
                | TokenFault::Issuer { .. }
                | TokenFault::Cluster { .. }
                | TokenFault::Audience
                | TokenFault::NoExpiry
                | TokenFault::Expired { .. }
                | TokenFault::NotYetValid { .. }
                | TokenFault::NotServiceAccount { .. }
                | TokenFault::NotReviewed => Code::Unauthenticated,
            },
            // Known, and not wanted.
            ProofFault::CertificateNotGood { .. } => Code::PermissionDenied,
        },
        // It may not have that; somebody has to change something here first.
        Refusal::ForeignTrustDomain { .. }
        | Refusal::Reserved { .. }
        | Refusal::NotParented { .. }
        | Refusal::TokenBoundElsewhere { .. }
        | Refusal::EntryGone { .. }
        | Refusal::NotRenewable { .. }
        | Refusal::IdentitySuspended { .. }
        | Refusal::NoIdentity { .. }
        | Refusal::Impersonation { .. } => Code::PermissionDenied,
        // The rules: what they do not allow, and what is wrong with the request itself.
        Refusal::Rules(denial) if denial.is_mistake() => Code::InvalidArgument,
        Refusal::Rules(_) => Code::PermissionDenied,
        // Istiod's CSR_ERROR and TTL_ERROR: the same request again is as wrong.
        Refusal::Csr(_)
        | Refusal::CsrNames { .. }
        | Refusal::TtlTooLong { .. }
        | Refusal::BadField { .. } => Code::InvalidArgument,
    }
}

fn faults() -> Vec<ProofFault> {
    let at = UnixTime::from_secs(0);
    let found = String::new;
    let tokens = [
        TokenFault::TooLarge { len: 1 },
        TokenFault::Malformed { part: "form" },
        TokenFault::Duplicate { part: "claims" },
        TokenFault::Algorithm { found: found() },
        TokenFault::Critical,
        TokenFault::UnknownKey,
        TokenFault::Signature,
        TokenFault::Issuer { found: found() },
        TokenFault::Cluster { found: found() },
        TokenFault::Audience,
        TokenFault::NoExpiry,
        TokenFault::Expired { at },
        TokenFault::NotYetValid { at },
        TokenFault::NotServiceAccount { problem: "" },
        TokenFault::NotReviewed,
    ];
    let mut faults = vec![
        ProofFault::Missing,
        ProofFault::BadHeader,
        ProofFault::JoinTokensOff,
        ProofFault::UnknownToken,
        ProofFault::TokenExpired,
        ProofFault::TokenSpentByOther,
        ProofFault::TokenSpent,
        ProofFault::UnknownCertificate,
        ProofFault::CertificateExpired,
        ProofFault::RenewalOff,
        ProofFault::TooOld { age: 2, max: 1 },
        ProofFault::ForeignCertificate { problem: "" },
        ProofFault::CertificateNotGood {
            state: CertificateState::Suspended,
        },
        ProofFault::CertificateNotGood {
            state: CertificateState::Revoked,
        },
    ];
    faults.extend(tokens.into_iter().map(ProofFault::Token));
    faults
}

fn refusals() -> Vec<Refusal> {
    let wanted = || SpiffeId::new("spiffe://example.org/a").unwrap();
    let mut refusals: Vec<Refusal> = faults().into_iter().map(Refusal::Proof).collect();
    refusals.extend([
        Refusal::Csr(CsrError::BadSignature),
        Refusal::CsrNames { wanted: wanted() },
        Refusal::TtlTooLong { asked: 2, max: 1 },
        Refusal::BadField {
            field: "",
            problem: "",
        },
        Refusal::ForeignTrustDomain {
            wanted: wanted(),
            trust_domain: String::new(),
        },
        Refusal::Reserved { wanted: wanted() },
        Refusal::NotParented {
            caller: wanted(),
            wanted: wanted(),
        },
        Refusal::TokenBoundElsewhere {
            bound: wanted(),
            wanted: wanted(),
        },
        Refusal::EntryGone { wanted: wanted() },
        Refusal::NotRenewable { wanted: wanted() },
        Refusal::IdentitySuspended { wanted: wanted() },
        Refusal::NoIdentity {
            caller: String::new(),
        },
        Refusal::Impersonation {
            caller: String::new(),
            wanted: wanted(),
            problem: "",
        },
    ]);
    refusals
}

#[test]
fn a_refusal_is_final_and_each_has_its_status_and_a_name_of_its_own() {
    let mut codes = std::collections::BTreeSet::new();
    for refusal in refusals() {
        let status = of_refusal(&refusal);
        assert_eq!(status.code(), expected(&refusal), "{refusal:?}");
        // istio-agent would ask five times for what five times is refused.
        assert!(!is_retried(status.code()), "{refusal:?}");
        assert!(codes.insert(refusal.code()), "{} twice", refusal.code());
        let snake = refusal
            .code()
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(snake, "{}", refusal.code());
    }
}

#[test]
fn a_failure_of_ours_is_tried_again() {
    let busy = || Unavailable::Busy {
        cluster: String::new(),
    };
    let fetch = || FetchError::TimedOut {
        host: String::new(),
        limit: std::time::Duration::from_secs(1),
    };
    for (error, code) in [
        (busy(), Code::ResourceExhausted),
        (
            Unavailable::Shared(std::sync::Arc::new(busy())),
            Code::ResourceExhausted,
        ),
        (
            Unavailable::ApiServer {
                cluster: String::new(),
                source: fetch(),
            },
            Code::Unavailable,
        ),
        (
            Unavailable::Malformed {
                cluster: String::new(),
            },
            Code::Unavailable,
        ),
        (
            Unavailable::Keys {
                issuer: String::new(),
                source: KeySourceError::Fetch(fetch()),
            },
            Code::Unavailable,
        ),
    ] {
        let status = of_attest(&error.into());
        assert_eq!(status.code(), code);
        assert!(is_retried(status.code()));
    }
    for error in [
        IssueError::Inventory(InventoryError::NotCommitted),
        IssueError::NoRandomness(crate::crypto::NoRandomness),
        IssueError::LostCertificate {
            serial: String::new(),
        },
        IssueError::Inventory(InventoryError::BadRow {
            column: "",
            value: String::new(),
        }),
    ] {
        assert!(is_retried(of_issue(&error).code()), "{error:?}");
    }
}

#[test]
fn whoever_proved_nothing_learns_nothing_of_our_secrets() {
    for fault in faults() {
        let status = of_refusal(&Refusal::Proof(fault.clone()));
        let says_why = status.message() != "request authenticate failure";
        let may = matches!(
            fault,
            ProofFault::Token(_)
                | ProofFault::TooOld { .. }
                | ProofFault::RenewalOff
                | ProofFault::CertificateNotGood { .. }
        );
        assert_eq!(says_why, may, "{fault:?}: {}", status.message());
    }
}
