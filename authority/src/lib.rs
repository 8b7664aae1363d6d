//! The certificate authority: attest, authorize, sign, record; revocation and signed deny lists.
//!
//! [`start`] brings an authority up in a data folder and returns once it listens; [`serve()`] does
//! that and runs until told to stop. What it serves is in the `api` crate.
//!
//! The data folder holds the CA (`ca/`), the record (`countersign.db`) and how far it had come
//! (`position.json`), the keys of the deny list and of the audit log, the root as `bundle.pem`, the
//! administration socket and a lock file. One authority at a time.

#![forbid(unsafe_code)]

pub use crate::app::{Ready, Running, ServeError, serve, start};
pub use crate::crypto::{AwsLcVerifier, NoRandomness};
pub use crate::data_dir::DataDirError;
pub use crate::serve::admin_socket::AdminSocketError;
pub use crate::serve::own_certificate::OwnCertificateError;
pub use crate::serve::tls::TlsError;
pub use crate::settings::{RecordSettings, Settings, SettingsError, names};

pub mod audit;
pub mod backup;
pub mod bench;
pub mod bundles;
pub mod ca;
pub mod clock;
pub mod inventory;
pub mod issue;
pub mod revoke;

mod app;
mod crypto;
mod data_dir;
mod serve;
mod settings;
