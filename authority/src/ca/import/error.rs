//! Why a CA is not taken over.

use std::io;
use std::path::PathBuf;

use identity::UnixTime;

use crate::ca::CaError;
use crate::ca::certificate::Weakness;
use crate::ca::crl::CrlError;
use crate::ca::import::files::MAX_FILE_BYTES;
use crate::ca::key::CaKeyError;
use crate::ca::path::PathError;

/// Why a CA is not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{name} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Its name.
        name: String,
    },
    /// A secret's value is not base64.
    #[error("{name} in the secret is not base64")]
    NotBase64 {
        /// Its name.
        name: String,
    },
    /// No layout has all of its files there.
    #[error("incomplete: {missing} is missing beside {found:?}")]
    Incomplete {
        /// The first file that is missing.
        missing: &'static str,
        /// What is there.
        found: Vec<String>,
    },
    /// A certificate is no CA's, or does not parse.
    #[error("{file}: {problem}")]
    NotCa {
        /// The file.
        file: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Its signature or key is too weak or not supported.
    #[error("{file}: {weakness} ({subject})")]
    Weak {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
        /// What is weak.
        weakness: Weakness,
    },
    /// Certificates in a chain file that no chain needs.
    #[error("{file} holds {subject}, which is not between the CA and its root")]
    Stray {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
    },
    /// More than one root.
    #[error("{file} holds {found} different roots, expected one")]
    SeveralRoots {
        /// The file.
        file: &'static str,
        /// How many.
        found: usize,
    },
    /// The root is not signed by itself.
    #[error("{file}: {subject} is not signed by itself, so it is no root")]
    NotSelfSigned {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
    },
    /// No chain of valid signatures leads to the root.
    #[error("no certificate in the files has signed {subject}")]
    BrokenChain {
        /// The one whose issuer is missing.
        subject: String,
    },
    /// Not valid now.
    #[error("{subject} is valid from {not_before} to {not_after}, and it is {now} now")]
    NotValidNow {
        /// The certificate's subject.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// Nothing that it signs would validate.
    #[error("nothing below it would validate")]
    Path(#[source] PathError),
    /// The key cannot be used.
    #[error("{file} does not hold a usable private key")]
    Key {
        /// The file.
        file: &'static str,
        /// What is wrong.
        #[source]
        source: CaKeyError,
    },
    /// The key is not the certificate's.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The key's file.
        key: &'static str,
        /// The certificate's file.
        certificate: &'static str,
    },
    /// Its subject would be written in another way in what it signs.
    #[error("the subject {subject} has a form that cannot be repeated byte for byte as issuer")]
    UnusableSubject {
        /// The certificate's subject.
        subject: String,
    },
    /// A revocation list in it is not good.
    #[error("{file} is not good")]
    Crl {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: CrlError,
    },
    /// There is a CA already.
    #[error("there is a CA in {} already; it was left as it is", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// The files cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
}
