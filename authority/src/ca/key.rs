//! Keys that sign certificates.

use std::fmt;
use std::io;
use std::str::FromStr;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use self::file::FileKey;
pub(crate) use self::file::is_encrypted;
use crate::ca::pkcs11::Pkcs11Error;
use crate::ca::secret::{PassphraseError, SecretError};

mod file;

/// Kind of a CA key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, signing with SHA-256.
    #[default]
    EcdsaP256,
    /// RSA with 2048 bits or more, signing PKCS#1 v1.5 with SHA-256; new ones have 2048.
    Rsa2048,
    /// ECDSA on P-384, signing with SHA-384.
    EcdsaP384,
}

impl KeyAlgorithm {
    /// The rcgen name of keys and signatures of this kind.
    pub(crate) fn rcgen(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }

    /// DER of the signature's AlgorithmIdentifier (RFC 5758 §3.2, RFC 4055 §5).
    pub(crate) const fn signature_identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
            Self::EcdsaP384 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
            Self::Rsa2048 => &[
                0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0,
            ],
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Rsa2048 => "rsa-2048",
            Self::EcdsaP384 => "ecdsa-p384",
        })
    }
}

/// A name that is no [`KeyAlgorithm`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key algorithm {found:?} is not one of ecdsa-p256, ecdsa-p384, rsa-2048")]
pub struct UnknownKeyAlgorithm {
    /// The name found.
    pub found: String,
}

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            "rsa-2048" => Ok(Self::Rsa2048),
            "ecdsa-p384" => Ok(Self::EcdsaP384),
            _ => Err(UnknownKeyAlgorithm {
                found: name.to_owned(),
            }),
        }
    }
}

/// Where a private key is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Custody {
    /// A file that whoever reads it has the key.
    PlainFile,
    /// A file that a passphrase opens; the key is in memory while the authority runs.
    EncryptedFile,
    /// A PKCS#11 token, which never gives it away.
    Pkcs11 {
        /// Label of the token.
        token: String,
        /// Label of the key in it.
        object: String,
    },
    /// Not here.
    Elsewhere,
}

impl fmt::Display for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainFile => f.write_str("plain file"),
            Self::EncryptedFile => f.write_str("encrypted file"),
            Self::Pkcs11 { token, object } => {
                write!(f, "PKCS#11 token {token:?}, key {object:?}")
            }
            Self::Elsewhere => f.write_str("not on this machine"),
        }
    }
}

/// A CA's private key, wherever it is kept: a file, a PKCS#11 token, a KMS.
///
/// Signing is asynchronous because such a place may be far away. Implementations must not show the
/// key in `Debug`.
pub trait CaKey: fmt::Debug + Send + Sync {
    /// What kind of key it is.
    fn algorithm(&self) -> KeyAlgorithm;

    /// The public key, as the bit string of a SubjectPublicKeyInfo holds it.
    fn public_key(&self) -> &[u8];

    /// Where it is kept.
    fn custody(&self) -> Custody;

    /// Signs `message`: ECDSA as DER, RSA as PKCS#1 v1.5, over SHA-256 (P-384: SHA-384).
    ///
    /// # Errors
    /// [`CaKeyError`] if the key, or the place that keeps it, gives no signature.
    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, CaKeyError>>;
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaKeyError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// The file holds no PKCS#8 PEM block.
    #[error("no PEM block `PRIVATE KEY` in it")]
    NotPem,
    /// The key is neither ECDSA P-256 or P-384 nor RSA with at least 2048 bits, or is damaged.
    #[error("neither an ECDSA P-256 or P-384 nor an RSA key of 2048 to 8192 bits")]
    Unsupported,
    /// The library gave no signature.
    #[error("signing failed")]
    Sign,
    /// It is encrypted, and there is no passphrase.
    #[error("it is encrypted, and no passphrase is given (a passphrase file, or a prompt)")]
    NoPassphrase,
    /// It is encrypted as OpenSSL did before PKCS#8.
    #[error(
        "it is encrypted in OpenSSL's old way (`Proc-Type: 4,ENCRYPTED`): re-encrypt it with `openssl pkcs8 -topk8 -scrypt`"
    )]
    OldEncryption,
    /// It cannot be opened or sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no passphrase to open it with.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The token failed.
    #[error(transparent)]
    Pkcs11(#[from] Pkcs11Error),
    /// The library made no key.
    #[error("no key could be made")]
    Generate,
}
