//! What a bundle is checked with, what comes of it, and why it is not taken.

use std::sync::Arc;

use identity::deny_list::DenyList;
use identity::policy_bundle::PolicyBundleError;
use identity::x509::Sha256Digest;
use policy::config::ConfigError;
use policy::{PolicySet, Scope};

use crate::host::HostError;
use crate::settings::Plugin;

/// Policies in force, and what they were verified and compiled for.
#[derive(Clone, Debug)]
pub struct Held {
    /// Epoch and sequence.
    pub position: (u64, u64),
    /// SHA-256 of the bundle's policies.
    pub sha256: Sha256Digest,
    /// The workload that they were compiled for.
    pub scope: Scope,
    /// The policies.
    pub policies: Arc<PolicySet>,
}

/// What is known while a bundle is checked.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The configuration, which says for which workload policies are compiled.
    pub plugin: &'a Plugin,
    /// The deny list in hand.
    pub denied: Option<&'a DenyList>,
    /// The time.
    pub now: u64,
}

/// Why a bundle is not taken. No [`std::error::Error`], which would ask for a `Debug` of everything in it, and keep
/// that in the module.
pub(super) enum Refused {
    /// The proxy did not answer.
    Host(HostError),
    /// It does not verify.
    Bundle(PolicyBundleError),
    /// Its policies do not compile.
    Policies(Vec<ConfigError>),
}

impl From<HostError> for Refused {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<PolicyBundleError> for Refused {
    fn from(error: PolicyBundleError) -> Self {
        Self::Bundle(error)
    }
}
