//! The CA hierarchy: a root, and an intermediate that signs leaves.
//!
//! Everything lives in one folder, which appears whole or not at all: [`init()`] writes a temporary
//! folder, syncs it to disk and renames it. Of two that race, one wins and both use its keys.

use std::io;
use std::path::PathBuf;

use identity::UnixTime;

pub use self::certificate::CaCertificate;
pub use self::init::{CaInit, Created, init};
pub use self::key::{CaKey, CaKeyError, FileKey, KeyAlgorithm, UnknownKeyAlgorithm};
pub use self::load::{CertificateAuthority, load};
use crate::crypto::NoRandomness;

mod certificate;
pub(crate) mod files;
mod init;
mod key;
mod load;

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
    /// A date that X.509 cannot hold.
    #[error("{time} is not a date a certificate can hold")]
    BadDate {
        /// The time.
        time: UnixTime,
    },
}
