//! The CA hierarchy: a root, and an intermediate that signs leaves.
//!
//! Everything lives in one folder, which appears whole or not at all: [`init()`] writes a temporary
//! folder, syncs it to disk and renames it. Of two that race, one wins and both use its keys.

use std::io;
use std::path::PathBuf;

use identity::UnixTime;

pub use self::certificate::{CaCertificate, Weakness};
pub use self::encrypt::{Encrypted, encrypt_keys};
pub use self::init::{CaInit, CaOptions, Created, init, init_with};
pub use self::key::{CaKey, CaKeyError, Custody, FileKey, KeyAlgorithm, UnknownKeyAlgorithm};
pub use self::load::{CertificateAuthority, load, load_with, open_key};
pub use self::make::CaProfile;
pub use self::path::{NameConstraint, PathError, UriHost};
pub use self::pkcs11::{Pkcs11Error, Pkcs11Key, Pkcs11Uri};
pub use self::secret::{Passphrase, PassphraseError, PassphraseSource, SecretError};
pub use self::settings::CaSettings;
pub(crate) use self::settings::log_custody;
use crate::crypto::NoRandomness;

pub mod below;
pub mod ceremony;
mod certificate;
pub mod crl;
pub(crate) mod der;
mod encrypt;
pub mod export;
pub(crate) mod files;
pub mod import;
pub(crate) mod init;
pub mod keeper;
mod key;
pub(crate) mod load;
pub(crate) mod make;
pub(crate) mod next;
pub mod path;
pub mod pkcs11;
mod secret;
mod settings;

/// File names inside the CA folder.
pub mod names {
    /// The root certificate, PEM.
    pub const ROOT_CERTIFICATE: &str = "root.pem";
    /// The root's private key, PKCS#8 PEM. May be absent: it is only needed to sign intermediates.
    pub const ROOT_KEY: &str = "root.key";
    /// The intermediate certificate, PEM.
    pub const INTERMEDIATE_CERTIFICATE: &str = "intermediate.pem";
    /// The intermediate's private key, PKCS#8 PEM.
    pub const INTERMEDIATE_KEY: &str = "intermediate.key";

    /// The file of the key of a later generation's intermediate, named by its key id.
    pub(crate) fn generation_key(certificate: &super::CaCertificate) -> String {
        format!("intermediate-{}.key", hex::encode(certificate.key_id()))
    }

    /// All of them.
    pub(crate) const ALL: [&str; 4] = [
        ROOT_KEY,
        ROOT_CERTIFICATE,
        INTERMEDIATE_KEY,
        INTERMEDIATE_CERTIFICATE,
    ];
}

/// Why there is no CA to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `create` …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The CA folder is gone, although certificates were issued by it.
    #[error(
        "the CA folder {} is missing, but there is a record of what it issued: restore it from a backup",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// There is something where a folder was to be made.
    #[error("{} exists already; it was left as it is", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A ceremony was started and not finished; a root made now would be another one.
    #[error(
        "the intermediate in {} waits for its certificate: finish the ceremony, or remove the folder to make a root here",
        path.display()
    )]
    CeremonyPending {
        /// Its folder.
        path: PathBuf,
    },
    /// A certificate file does not hold one CA certificate.
    #[error("{} is not a CA certificate: {problem}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key file does not hold a usable private key.
    #[error("{} does not hold a usable private key", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CaKeyError,
    },
    /// The key is not the certificate's.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The intermediate was not signed by the root.
    #[error("{} was not signed by the root in {}", intermediate.display(), root.display())]
    NotSignedByRoot {
        /// The intermediate's file.
        intermediate: PathBuf,
        /// The root's file.
        root: PathBuf,
    },
    /// A CA certificate has expired.
    #[error("the certificate in {} expired at {not_after}; it is {now} now", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// The clock is before the start of a CA certificate's validity.
    #[error(
        "the certificate in {} is not valid before {not_before}, and the clock says {now}: is the clock wrong?",
        path.display()
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// First second of its validity.
        not_before: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// A key or certificate could not be made.
    #[error("cannot make the {what}")]
    Generate {
        /// Which one.
        what: &'static str,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// No random serial number.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A name that a subject cannot hold.
    #[error(
        "the {field} {found:?} cannot be: expected 1 to 64 characters, none of them a control character"
    )]
    BadName {
        /// Which one.
        field: &'static str,
        /// The name.
        found: String,
    },
    /// What is to be signed would not validate; nothing was signed.
    #[error("the CA certificate would not validate")]
    Path(#[from] PathError),
    /// No key could be made.
    #[error("cannot make the CA's key")]
    NewKey(#[source] CaKeyError),
    /// A key gave no signature.
    #[error("the CA's key gave no signature")]
    Sign(#[source] CaKeyError),
    /// What was made is no CA certificate: a fault of ours.
    #[error("the certificate that was made is none: {problem}")]
    BadResult {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A date that X.509 cannot hold.
    #[error("{time} is not a date a certificate can hold")]
    BadDate {
        /// The time.
        time: UnixTime,
    },
}
