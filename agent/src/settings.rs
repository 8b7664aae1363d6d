//! What an agent needs to be told.

use std::path::PathBuf;

use identity::{SpiffeId, x509::SvidProfile};

use crate::key::KeyAlgorithm;

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the authority listens: `host:port`.
    pub authority: String,
    /// DNS name (or IP address) the authority's certificate must carry.
    pub authority_name: String,
    /// PEM file with the root certificates that may vouch for the authority. Nothing else does: the
    /// system's roots are not used, and the file is read once, at start.
    pub bundle: PathBuf,
    /// Folder of the agent's own key and certificate; made if it does not exist.
    pub data_dir: PathBuf,
    /// File with the join token. Read only when there is no certificate of its own to renew, and
    /// deleted once the certificate it bought is kept.
    pub join_token_file: Option<PathBuf>,
    /// The Unix socket to serve SDS and HTTP on.
    pub socket: PathBuf,
    /// The identity this agent expects to get; another one is an error. `None` takes what the
    /// token or the kept certificate says.
    pub spiffe_id: Option<SpiffeId>,
    /// Which keys to make, for itself and for workloads.
    pub key_algorithm: KeyAlgorithm,
    /// Which profile the certificates must fit.
    pub svid_profile: SvidProfile,
}

impl Settings {
    /// Name in the authority's certificate unless told otherwise.
    pub const DEFAULT_AUTHORITY_NAME: &str = "countersign-authority";

    /// Settings with defaults for everything that has one.
    pub fn new(
        authority: impl Into<String>,
        bundle: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
        socket: impl Into<PathBuf>,
    ) -> Self {
        Self {
            authority: authority.into(),
            authority_name: Self::DEFAULT_AUTHORITY_NAME.to_owned(),
            bundle: bundle.into(),
            data_dir: data_dir.into(),
            join_token_file: None,
            socket: socket.into(),
            spiffe_id: None,
            key_algorithm: KeyAlgorithm::default(),
            svid_profile: SvidProfile::Strict,
        }
    }
}
