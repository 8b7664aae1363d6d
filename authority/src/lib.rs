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
pub use crate::data_dir::{DataDirError, is_running};
pub use crate::rules_file::{IssuanceSettings, RulesFileError};
pub use crate::serve::access::{AdminSettings, BadPattern, IdentityPattern};
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
pub mod config;
pub mod inventory;
pub mod issuance;
pub mod issue;
pub mod limits;
pub mod metrics;
pub mod proof;
pub mod revoke;
pub mod upstream;

mod app;
mod crypto;
mod data_dir;
mod health;
mod rules_file;
mod serve;
mod settings;
