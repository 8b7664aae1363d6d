//! The one place where our errors become gRPC statuses.
//!
//! istio-agent retries `Internal` and `Unavailable`, and gives up on `Unauthenticated` and
//! `InvalidArgument`. Callers get the class, and for mistakes of their own the rule; the log and
//! the record have everything.

use identity::chain;
use tonic::Status;

use crate::bundles::PublishBundleError;
use crate::inventory::{BundleError, ChangeError, InventoryError};
use crate::issue::attest::AttestError;
use crate::issue::{IssueError, ProofFault, Refusal, RefusalClass};
use crate::proof::Unavailable;
use crate::revoke::PublishError;

pub(crate) fn of_refusal(refusal: &Refusal) -> Status {
    match refusal.class() {
        RefusalClass::Unauthenticated => Status::unauthenticated(match refusal {
            // About what the caller itself wrote or holds: it had better be able to say why.
            Refusal::Proof(
                ProofFault::Token(_) | ProofFault::TooOld { .. } | ProofFault::RenewalOff,
            ) => format!("{FAILURE}: {}", refusal.code()),
            // Of our secrets an unproven caller learns nothing.
            _ => FAILURE.to_owned(),
        }),
        RefusalClass::Denied => Status::permission_denied(refusal.code()),
        RefusalClass::Invalid => Status::invalid_argument(refusal.to_string()),
    }
}

pub(crate) fn of_issue(error: &IssueError) -> Status {
    match error {
        IssueError::Refused(refusal) => of_refusal(refusal),
        IssueError::Inventory(error) => of_inventory(error),
        // Istiod's CA_NOT_READY and CERT_GEN_ERROR.
        IssueError::Sign(_) | IssueError::NoRandomness(_) | IssueError::LostCertificate { .. } => {
            Status::internal("the certificate could not be made")
        }
    }
}

pub(crate) fn of_attest(error: &AttestError) -> Status {
    match error {
        AttestError::Refused(refusal) => of_refusal(refusal),
        AttestError::Unavailable(error) => of_unavailable(error),
        AttestError::Inventory(error) => of_inventory(error),
    }
}

/// Nobody knows whether the caller is right: it is told to come again, and istio-agent does.
pub(crate) fn of_unavailable(error: &Unavailable) -> Status {
    tracing::error!(error = chain(error), "a proof could not be checked");
    if error.is_busy() {
        Status::resource_exhausted("too many proofs wait to be checked")
    } else {
        Status::unavailable("the proof cannot be checked now")
    }
}

pub(crate) fn of_inventory(error: &InventoryError) -> Status {
    tracing::error!(error = chain(error), "the record failed");
    match error {
        InventoryError::NotCommitted => Status::unavailable("the record could not be written"),
        _ => Status::internal("the record failed"),
    }
}

pub(crate) fn of_publish_bundle(error: &PublishBundleError) -> Status {
    match error {
        PublishBundleError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        PublishBundleError::Refused(refused @ BundleError::Changed { .. }) => {
            Status::failed_precondition(refused.to_string())
        }
        PublishBundleError::Refused(refused) => Status::resource_exhausted(refused.to_string()),
        PublishBundleError::Inventory(error) => of_inventory(error),
        PublishBundleError::Sign(_) => {
            tracing::error!(error = chain(error), "policies could not be published");
            Status::internal("the policies are on record, but could not be signed")
        }
    }
}

pub(crate) fn of_publish(error: &PublishError) -> Status {
    match error {
        PublishError::Refused(refused @ ChangeError::NotFound) => {
            Status::not_found(refused.to_string())
        }
        PublishError::Refused(refused @ ChangeError::Revoked { .. }) => {
            Status::failed_precondition(refused.to_string())
        }
        PublishError::Refused(refused @ ChangeError::ListFull { .. }) => {
            Status::resource_exhausted(refused.to_string())
        }
        PublishError::Inventory(error) => of_inventory(error),
        other => {
            tracing::error!(error = chain(other), "the deny list could not be published");
            Status::internal("the change is on record, but its deny list could not be signed")
        }
    }
}

/// Istiod's words.
const FAILURE: &str = "request authenticate failure";

#[cfg(test)]
mod tests;
