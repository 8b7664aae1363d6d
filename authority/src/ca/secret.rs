//! Private keys encrypted at rest: PKCS#8 with PBES2 (RFC 8018 §6.2), scrypt (RFC 7914) and
//! AES-256-CBC, as OpenSSL reads it.
//!
//! CBC has no authentication: whoever can write to the file can damage the key, which is noticed,
//! for it is then no longer the certificate's. A wrong passphrase is noticed by the padding and by
//! what is inside not being a key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::scrypt::Params as ScryptParams;
use pkcs8::pkcs5::{EncryptionScheme, Error as Pkcs5Error};
use zeroize::Zeroizing;

use crate::crypto::{NoRandomness, random_bytes};

/// What opens an encrypted key; zeroed when it goes, never printed.
#[derive(Clone)]
pub struct Passphrase(Arc<Zeroizing<Vec<u8>>>);

/// Why a text is no passphrase, or a file holds none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("cannot read the passphrase file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Everybody can read the file.
    #[error(
        "the passphrase file {} can be read or written by everybody (mode {mode:o}): take that right away (`chmod o-rwx`)",
        path.display()
    )]
    OpenToAll {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is nothing in it.
    #[error("the passphrase is empty")]
    Empty,
    /// Too short to encrypt anything new with.
    #[error(
        "the passphrase has {found} bytes, a new one needs at least {}",
        Passphrase::MIN_BYTES
    )]
    TooShort {
        /// Its length, in bytes.
        found: usize,
    },
    /// Not UTF-8, where it must be.
    #[error("the PIN is not UTF-8")]
    NotText,
    /// Longer than any passphrase.
    #[error("the passphrase has more than {} bytes", Passphrase::MAX_BYTES)]
    TooLong,
}

impl Passphrase {
    /// Shortest passphrase a new key is encrypted with, bytes. Shorter ones still open old keys.
    pub const MIN_BYTES: usize = 12;
    /// Longest passphrase, bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Takes a passphrase as somebody typed it.
    ///
    /// # Errors
    /// [`PassphraseError::Empty`] and [`PassphraseError::TooLong`].
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            length if length > Self::MAX_BYTES => Err(PassphraseError::TooLong),
            _ => Ok(Self(Arc::new(bytes))),
        }
    }

    /// Reads the first line of a file, without its end: a file of its owner's, a systemd credential
    /// (`%d/NAME` in a unit), a mounted secret.
    ///
    /// # Errors
    /// [`PassphraseError`]; also if everybody can read or write the file.
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o007 != 0 {
            return Err(PassphraseError::OpenToAll {
                path: path.to_owned(),
                mode,
            });
        }
        // One byte more than allowed, so that a longer one is noticed and a huge one not read.
        let limit = Self::MAX_BYTES.saturating_add(3);
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Self::new(Zeroizing::new(line.to_vec()))
    }

    /// The passphrase as text, which a PIN must be.
    ///
    /// # Errors
    /// [`PassphraseError::NotText`].
    pub(crate) fn to_text(&self) -> Result<Zeroizing<String>, PassphraseError> {
        std::str::from_utf8(&self.0)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_not_text| PassphraseError::NotText)
    }

    /// Whether a new key may be encrypted with it.
    ///
    /// # Errors
    /// [`PassphraseError::TooShort`].
    pub fn check_new(&self) -> Result<(), PassphraseError> {
        match self.0.len() {
            found if found < Self::MIN_BYTES => Err(PassphraseError::TooShort { found }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase([elided])")
    }
}

/// Where the passphrase of the CA's keys comes from. Never an argument, never the environment: both
/// can be read by others on the machine.
#[derive(Clone, Debug, Default)]
pub enum PassphraseSource {
    /// There is none: keys are plain files or live elsewhere.
    #[default]
    None,
    /// The first line of a file, read whenever it is needed.
    File(PathBuf),
    /// Typed by somebody, and kept in memory.
    Typed(Passphrase),
}

impl PassphraseSource {
    /// The passphrase; `None` if there is none.
    ///
    /// # Errors
    /// [`PassphraseError`] of the file.
    pub fn get(&self) -> Result<Option<Passphrase>, PassphraseError> {
        match self {
            Self::None => Ok(None),
            Self::File(path) => Passphrase::read(path).map(Some),
            Self::Typed(passphrase) => Ok(Some(passphrase.clone())),
        }
    }
}

/// Why a key could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The passphrase does not open it.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// It is no `EncryptedPrivateKeyInfo`.
    #[error("the encrypted key is damaged")]
    Malformed,
    /// Encrypted in a way that is not supported.
    #[error(
        "it is encrypted by {oid}, which is not supported: re-encrypt it with `openssl pkcs8 -topk8 -scrypt`"
    )]
    Unsupported {
        /// The object identifier of the algorithm at fault.
        oid: String,
    },
    /// Opening it would take more memory or time than any honest key does.
    #[error("opening it would cost {found} ({what}), the limit is {limit}")]
    TooCostly {
        /// Memory in bytes, or iterations.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The passphrase is not good enough.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// No random salt.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The library failed.
    #[error("encryption failed")]
    Failed,
}

/// Encrypts a PKCS#8 key: `EncryptedPrivateKeyInfo`, DER.
///
/// # Errors
/// [`SecretError`], among them a passphrase that is too short.
pub(crate) fn encrypt(pkcs8_der: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, SecretError> {
    passphrase.check_new()?;
    let salt = random_bytes::<16>()?;
    let iv = random_bytes::<16>()?;
    let cost = ScryptParams::new(LOG_N, BLOCK_SIZE, PARALLELIZATION)
        .map_err(|_invalid| SecretError::Failed)?;
    let parameters = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
        .map_err(|_invalid| SecretError::Failed)?;
    let encrypted = parameters
        .encrypt(passphrase.0.as_slice(), pkcs8_der)
        .map_err(|_failed| SecretError::Failed)?;
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&encrypted).map_err(|_length| SecretError::Failed)?,
    };
    let document =
        pkcs8::SecretDocument::try_from(info).map_err(|_encoding| SecretError::Failed)?;
    Ok(document.as_bytes().to_vec())
}

/// Decrypts an `EncryptedPrivateKeyInfo` to the PKCS#8 key in it.
///
/// # Errors
/// [`SecretError`]. What asks for more than [`MAX_MEMORY`] or [`MAX_ITERATIONS`] is not tried.
pub(crate) fn decrypt(
    der: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let info =
        EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_malformed| unsupported_or_bad(der))?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(SecretError::Unsupported {
            oid: info.encryption_algorithm.oid().to_string(),
        });
    };
    check_cost(&parameters.kdf)?;
    let opened = info
        .encryption_algorithm
        .decrypt(passphrase.0.as_slice(), info.encrypted_data.as_bytes());
    match opened {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(Pkcs5Error::UnsupportedAlgorithm { oid }) => Err(SecretError::Unsupported {
            oid: oid.to_string(),
        }),
        Err(Pkcs5Error::AlgorithmParametersInvalid { .. }) => Err(SecretError::Malformed),
        Err(_) => Err(SecretError::WrongPassphrase),
    }
}

fn check_cost(kdf: &Kdf) -> Result<(), SecretError> {
    if let Some(scrypt) = kdf.scrypt() {
        let factors = [
            scrypt.cost_parameter,
            u64::from(scrypt.block_size),
            u64::from(scrypt.parallelization),
        ];
        // 128·N·r bytes at a time, p times over.
        let found = factors.into_iter().fold(128_u64, u64::saturating_mul);
        if found > MAX_MEMORY {
            return Err(SecretError::TooCostly {
                what: "bytes through scrypt",
                found,
                limit: MAX_MEMORY,
            });
        }
    }
    if let Some(pbkdf2) = kdf.pbkdf2() {
        let found = u64::from(pbkdf2.iteration_count);
        if found > MAX_ITERATIONS {
            return Err(SecretError::TooCostly {
                what: "iterations of PBKDF2",
                found,
                limit: MAX_ITERATIONS,
            });
        }
    }
    Ok(())
}

/// Tells an algorithm the library does not parse from a file that is damaged.
fn unsupported_or_bad(der: &[u8]) -> SecretError {
    use x509_parser::der_parser::parse_der;
    let oid = parse_der(der).ok().and_then(|(_, outer)| {
        let outer = outer.as_sequence().ok()?.first()?.clone();
        let algorithm = outer.as_sequence().ok()?;
        algorithm
            .first()?
            .as_oid()
            .ok()
            .map(|oid| oid.to_id_string())
    });
    oid.map_or(SecretError::Malformed, |oid| SecretError::Unsupported {
        oid,
    })
}

/// N = 2¹⁴: the most that OpenSSL reads without being told to use more memory.
const LOG_N: u8 = 14;
/// r.
const BLOCK_SIZE: u32 = 8;
/// p: makes up for N, which OpenSSL holds down.
const PARALLELIZATION: u32 = 5;
/// 128·N·r·p of the costliest scrypt that is tried, bytes.
const MAX_MEMORY: u64 = 1 << 30;
/// PBKDF2 iterations of the costliest key that is tried.
const MAX_ITERATIONS: u64 = 10_000_000;

#[cfg(test)]
mod tests;
