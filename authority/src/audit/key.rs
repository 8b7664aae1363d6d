//! The key that signs tree heads: Ed25519, of its own, in a file of the data folder.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use identity::pem;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::audit::merkle::sha256;
use crate::ca::files;
use crate::crypto::NoRandomness;

/// The key that signs tree heads; the library zeroes it when it goes.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: LogPublicKey,
}

/// The key that verifies them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPublicKey([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogKeyError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file holds no Ed25519 key.
    #[error("{} does not hold an Ed25519 key as PEM", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is gone, although tree heads were signed with its key.
    #[error(
        "{} is missing, but the audit log was signed with its key: restore it from a backup",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file holds another key than the log's.
    #[error(
        "{} does not hold the key of the audit log: its id is {found}, the log's is {expected}",
        path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The id of its key.
        found: String,
        /// The id of the log's key.
        expected: String,
    },
    /// No key could be made.
    #[error("cannot make the audit log's key")]
    Generate,
    /// No random name.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl LogKey {
    /// Reads the key in the file `path`, which is made if it is not there: whole, mode 0600.
    ///
    /// # Errors
    /// [`LogKeyError`].
    pub fn open(path: &Path) -> Result<Self, LogKeyError> {
        let io_error = |action| io_error(action, path);
        if !path.try_exists().map_err(io_error("look for"))? {
            create(path)?;
        }
        let text = Zeroizing::new(fs::read(path).map_err(io_error("read"))?);
        let pair = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .ok()
            .and_then(|der| Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok());
        pair.and_then(|pair| {
            let public = pair.public_key().as_ref().try_into().ok()?;
            Some(Self {
                pair,
                public: LogPublicKey(public),
            })
        })
        .ok_or_else(|| LogKeyError::BadKey {
            path: path.to_owned(),
        })
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &LogPublicKey {
        &self.public
    }

    /// Signs `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl LogPublicKey {
    /// Reads a PEM file `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`LogKeyError`].
    pub fn read(path: &Path) -> Result<Self, LogKeyError> {
        let text = fs::read_to_string(path).map_err(io_error("read", path))?;
        Self::from_pem(&text).ok_or_else(|| LogKeyError::BadKey {
            path: path.to_owned(),
        })
    }

    /// Reads a PEM text `PUBLIC KEY`; `None` if it is not an Ed25519 key.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = pem::single(text, PUBLIC_KEY, MAX_PEM_BYTES).ok()?;
        der.strip_prefix(&SPKI)?.try_into().ok().map(Self)
    }

    /// The 32 octets of RFC 8032.
    #[must_use]
    pub const fn raw(&self) -> &[u8; 32] {
        &self.0
    }

    /// PEM `PUBLIC KEY`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(&self.spki(), PUBLIC_KEY)
    }

    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex: the log's id (RFC 6962 §3.2).
    #[must_use]
    pub fn id(&self) -> String {
        sha256(&self.spki()).to_string()
    }

    fn spki(&self) -> Vec<u8> {
        [SPKI.as_slice(), &self.0].concat()
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey")
            .field("id", &self.public.id())
            .field("private", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogKeyError + use<> {
    let path = path.to_owned();
    move |source| LogKeyError::Io {
        action,
        path,
        source,
    }
}

fn create(path: &Path) -> Result<(), LogKeyError> {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_unspecified| LogKeyError::Generate)?;
    let text = Zeroizing::new(pem::encode(der.as_ref(), PRIVATE_KEY));
    let temporary = files::unfinished(path)?;
    files::write_private(&temporary, text.as_bytes()).map_err(io_error("create", path))?;
    // A hard link fails where a rename would replace.
    let linked = match fs::hard_link(&temporary, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&temporary).ok();
    linked.map_err(io_error("create", path))?;
    files::sync_parent(path).map_err(io_error("sync the folder of", path))
}

/// Label of a PKCS#8 key.
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a SubjectPublicKeyInfo.
const PUBLIC_KEY: &str = "PUBLIC KEY";
/// What precedes the 32 octets of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Far beyond any such file.
const MAX_PEM_BYTES: usize = 4096;
