//! Keys that sign certificates.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use futures::future::BoxFuture;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Kind of a CA key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, signing with SHA-256.
    #[default]
    EcdsaP256,
    /// RSA with 2048 bits, signing PKCS#1 v1.5 with SHA-256.
    Rsa2048,
}

impl KeyAlgorithm {
    /// The rcgen name of keys and signatures of this kind.
    pub(crate) fn rcgen(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        }
    }

    /// DER of the signature's AlgorithmIdentifier (RFC 5758 §3.2, RFC 4055 §5).
    pub(crate) const fn signature_identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
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
        })
    }
}

/// A name that is no [`KeyAlgorithm`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key algorithm {found:?} is not one of ecdsa-p256, rsa-2048")]
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
            _ => Err(UnknownKeyAlgorithm {
                found: name.to_owned(),
            }),
        }
    }
}

/// A CA's private key, wherever it is kept: a file here, a PKCS#11 token or a KMS later.
///
/// Signing is asynchronous because such a place may be far away. Implementations must not show the
/// key in `Debug`.
pub trait CaKey: fmt::Debug + Send + Sync {
    /// What kind of key it is.
    fn algorithm(&self) -> KeyAlgorithm;

    /// The public key, as the bit string of a SubjectPublicKeyInfo holds it.
    fn public_key(&self) -> &[u8];

    /// Signs `message`: ECDSA as DER, RSA as PKCS#1 v1.5, both over SHA-256.
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
    /// The key is neither ECDSA P-256 nor RSA with at least 2048 bits, or is damaged.
    #[error("neither an ECDSA P-256 nor an RSA key of 2048 bits or more")]
    Unsupported,
    /// The library gave no signature.
    #[error("signing failed")]
    Sign,
}

/// A key read from a file into memory; the library zeroes it when it goes.
pub struct FileKey {
    pair: Pair,
    public_key: Vec<u8>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl FileKey {
    /// Reads a PKCS#8 PEM file.
    ///
    /// # Errors
    /// [`CaKeyError`] if it cannot be read or holds no key of a supported kind.
    pub fn read(path: &Path) -> Result<Self, CaKeyError> {
        let text = Zeroizing::new(fs::read(path).map_err(CaKeyError::Read)?);
        Self::from_pem(&text)
    }

    /// Parses a PKCS#8 PEM text.
    ///
    /// # Errors
    /// [`CaKeyError`] if it holds no key of a supported kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, CaKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_bad| CaKeyError::NotPem)?;
        let der = der.secret_pkcs8_der();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            let public_key = pair.public_key().as_ref().to_vec();
            return Ok(Self {
                pair: Pair::Ecdsa(pair),
                public_key,
            });
        }
        let pair = rsa::KeyPair::from_pkcs8(der).map_err(|_rejected| CaKeyError::Unsupported)?;
        if pair.public_modulus_len() < RSA_MIN_BYTES {
            return Err(CaKeyError::Unsupported);
        }
        let public_key = pair.public_key().as_ref().to_vec();
        Ok(Self {
            pair: Pair::Rsa(pair),
            public_key,
        })
    }

    /// Signs at once.
    ///
    /// # Errors
    /// [`CaKeyError::Sign`] if the library gives no signature.
    pub fn sign_now(&self, message: &[u8]) -> Result<Vec<u8>, CaKeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair
                    .sign(&random, message)
                    .map_err(|_unspecified| CaKeyError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_unspecified| CaKeyError::Sign)?;
                Ok(signature)
            }
        }
    }
}

impl CaKey for FileKey {
    fn algorithm(&self) -> KeyAlgorithm {
        match self.pair {
            Pair::Ecdsa(_) => KeyAlgorithm::EcdsaP256,
            Pair::Rsa(_) => KeyAlgorithm::Rsa2048,
        }
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, CaKeyError>> {
        Box::pin(async move { self.sign_now(message) })
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey")
            .field("algorithm", &self.algorithm())
            .field("private", &"[elided]")
            .finish_non_exhaustive()
    }
}

/// 2048 bits.
const RSA_MIN_BYTES: usize = 256;
