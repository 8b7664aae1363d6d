//! What Istio has in MeshConfig, DestinationRules and istiod's environment, as far as a server depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use identity::SpiffeId;

use crate::ext_authz::ExtensionProvider;

/// Settings of the mesh. Policies and other resources are not here but in the plug-in configuration.
#[derive(Clone, Debug, Default)]
pub struct MeshSettings {
    /// MeshConfig `extensionProviders` that CUSTOM policies may name.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Provider → SPIFFE IDs that may answer as it. The workload's own key and roots are used towards it; a
    /// provider without an entry is asked in plaintext and has to be on loopback.
    pub provider_identities: BTreeMap<String, BTreeSet<SpiffeId>>,
    /// PEM file with the roots that verify servers of `jwksUri`, the system's for example; needed for `https`.
    pub jwks_roots: Option<PathBuf>,
}
