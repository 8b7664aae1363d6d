//! Why an authority does not run.

use std::io;
use std::net::SocketAddr;

use crate::bundles::PublishBundleError;
use crate::ca::CaError;
use crate::data_dir::DataDirError;
use crate::inventory::InventoryError;
use crate::proof::ProofsError;
use crate::revoke::{ListKeyError, PublishError};
use crate::rules_file::RulesFileError;
use crate::serve::admin_socket::AdminSocketError;
use crate::serve::own_certificate::OwnCertificateError;
use crate::serve::tls::TlsError;
use crate::settings::SettingsError;

/// Why an authority does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What counts as a proof cannot be set up.
    #[error("proofs")]
    Proofs(#[from] ProofsError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no CA to work with.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The record cannot be used.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The issuance rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesFileError),
    /// There is no key for the deny list.
    #[error(transparent)]
    ListKey(#[from] ListKeyError),
    /// The first deny list cannot be signed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The policy bundles cannot be signed.
    #[error(transparent)]
    PublishBundle(#[from] PublishBundleError),
    /// Somebody else listens on the address.
    #[error("the address {address} is in use by another process")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no certificate to serve with.
    #[error(transparent)]
    OwnCertificate(#[from] OwnCertificateError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no administration socket.
    #[error(transparent)]
    AdminSocket(#[from] AdminSocketError),
    /// A part stopped by itself.
    #[error("the {part} stopped by itself")]
    Stopped {
        /// Which one.
        part: &'static str,
    },
}
