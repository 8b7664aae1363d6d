//! What Istio has in MeshConfig, DestinationRules and istiod's environment, as far as a server depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use identity::SpiffeId;
use policy::config::MAX_INLINE_BYTES;

use crate::ext_authz::ExtensionProvider;

/// Settings of the mesh. Policies and other resources are not here but in the plug-in configuration.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// MeshConfig `extensionProviders` that CUSTOM policies may name.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Provider → SPIFFE IDs that may answer as it. The workload's own key and roots are used towards it; a
    /// provider without an entry is asked in plaintext and has to be on loopback.
    pub provider_identities: BTreeMap<String, BTreeSet<SpiffeId>>,
    /// PEM file with the roots that verify servers of `jwksUri`, the system's for example; needed for `https`.
    pub jwks_roots: Option<PathBuf>,
    /// Longest plug-in configuration with policies in it, in bytes of JSON; what is longer takes a policy bundle.
    /// Only where it is a file of ours and nobody's API server has to take it may this be more than the default.
    pub max_inline_bytes: usize,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            extension_providers: Vec::new(),
            provider_identities: BTreeMap::new(),
            jwks_roots: None,
            max_inline_bytes: MAX_INLINE_BYTES,
        }
    }
}
