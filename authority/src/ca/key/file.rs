//! Keys that files hold.

use std::fmt;
use std::fs;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256,
};
use futures::future::BoxFuture;
use identity::pem;
use zeroize::Zeroizing;

use crate::ca::key::{CaKey, CaKeyError, Custody, KeyAlgorithm};
use crate::ca::secret::{self, Passphrase};

/// A key read from a file into memory; the library zeroes it when it goes.
pub struct FileKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
    custody: Custody,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl FileKey {
    /// Reads a PKCS#8 PEM file that is not encrypted.
    ///
    /// # Errors
    /// [`CaKeyError`] if it cannot be read or holds no key of a supported kind.
    pub fn read(path: &Path) -> Result<Self, CaKeyError> {
        let text = Zeroizing::new(fs::read(path).map_err(CaKeyError::Read)?);
        Self::from_pem(&text)
    }

    /// Parses a PEM text that is not encrypted.
    ///
    /// # Errors
    /// [`CaKeyError`] if it holds no key of a supported kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, CaKeyError> {
        Self::open(text, None)
    }

    /// Parses a PEM text: PKCS#8, PKCS#8 encrypted with `passphrase`, or as OpenSSL writes keys by
    /// itself, SEC 1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`). Parameters before the key,
    /// which `openssl ecparam -genkey` writes, are passed over.
    ///
    /// # Errors
    /// [`CaKeyError`]: a wrong passphrase, no passphrase, damage and an unsupported key are told
    /// apart.
    pub fn open(text: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, CaKeyError> {
        if text.len() > MAX_PEM_BYTES {
            return Err(CaKeyError::NotPem);
        }
        let text = std::str::from_utf8(text).map_err(|_not_text| CaKeyError::NotPem)?;
        let (label, block) = find_key(text).ok_or(CaKeyError::NotPem)?;
        if block.contains("Proc-Type:") {
            return Err(CaKeyError::OldEncryption);
        }
        let der = pem::single(block, label, MAX_PEM_BYTES)
            .map(Zeroizing::new)
            .map_err(|_malformed| CaKeyError::NotPem)?;
        if label != ENCRYPTED {
            return Self::from_der(&der, Custody::PlainFile);
        }
        let passphrase = passphrase.ok_or(CaKeyError::NoPassphrase)?;
        let opened = secret::decrypt(&der, passphrase)?;
        if !is_one_sequence(&opened) {
            // By chance a wrong passphrase leaves a right padding.
            return Err(secret::SecretError::WrongPassphrase.into());
        }
        Self::from_der(&opened, Custody::EncryptedFile)
    }

    /// Makes a new key, in memory.
    ///
    /// # Errors
    /// [`CaKeyError::Generate`].
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, CaKeyError> {
        let failed = |_unspecified| CaKeyError::Generate;
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => Pair::Ecdsa(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?,
            ),
            KeyAlgorithm::EcdsaP384 => Pair::Ecdsa(
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(failed)?,
            ),
            KeyAlgorithm::Rsa2048 => {
                Pair::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(failed)?)
            }
        };
        Ok(Self::of(pair, algorithm, Custody::PlainFile))
    }

    /// The key as PEM: encrypted PKCS#8 with a passphrase, plain PKCS#8 without.
    ///
    /// # Errors
    /// [`CaKeyError`] if the passphrase is too short or the library fails.
    pub fn to_pem(&self, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>, CaKeyError> {
        let der = self.to_pkcs8()?;
        Ok(Zeroizing::new(match passphrase {
            None => pem::encode(&der, PKCS8),
            Some(passphrase) => pem::encode(&secret::encrypt(&der, passphrase)?, ENCRYPTED),
        }))
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CaKeyError> {
        let failed = |_unspecified| CaKeyError::Unsupported;
        Ok(Zeroizing::new(match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
        }))
    }

    /// PKCS#8, SEC 1 or PKCS#1; which one shows by itself.
    fn from_der(der: &[u8], custody: Custody) -> Result<Self, CaKeyError> {
        for (scheme, algorithm) in EC_KINDS {
            let scheme: &'static EcdsaSigningAlgorithm = scheme;
            let pair = EcdsaKeyPair::from_pkcs8(scheme, der)
                .or_else(|_other| EcdsaKeyPair::from_private_key_der(scheme, der));
            if let Ok(pair) = pair {
                return Ok(Self::of(Pair::Ecdsa(pair), algorithm, custody));
            }
        }
        let pair = rsa::KeyPair::from_pkcs8(der)
            .or_else(|_other| rsa::KeyPair::from_der(der))
            .map_err(|_rejected| CaKeyError::Unsupported)?;
        if pair.public_modulus_len() < RSA_MIN_BYTES {
            return Err(CaKeyError::Unsupported);
        }
        Ok(Self::of(Pair::Rsa(pair), KeyAlgorithm::Rsa2048, custody))
    }

    fn of(pair: Pair, algorithm: KeyAlgorithm, custody: Custody) -> Self {
        let public_key = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        };
        Self {
            pair,
            algorithm,
            public_key,
            custody,
        }
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
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn custody(&self) -> Custody {
        self.custody.clone()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, CaKeyError>> {
        Box::pin(async move { self.sign_now(message) })
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey")
            .field("algorithm", &self.algorithm)
            .field("custody", &self.custody)
            .field("private", &"[elided]")
            .finish_non_exhaustive()
    }
}

/// Whether the key in `text` is encrypted; false also where there is none.
pub(crate) fn is_encrypted(text: &[u8]) -> bool {
    std::str::from_utf8(text)
        .ok()
        .and_then(find_key)
        .is_some_and(|(label, _)| label == ENCRYPTED)
}

/// The first block that is a private key, with its label.
fn find_key(text: &str) -> Option<(&'static str, &str)> {
    [PKCS8, ENCRYPTED, SEC1, PKCS1]
        .into_iter()
        .filter_map(|label| {
            let start = text.find(&format!("-----BEGIN {label}-----"))?;
            let end_line = format!("-----END {label}-----");
            let rest = text.get(start..)?;
            let end = rest.find(&end_line)?.checked_add(end_line.len())?;
            Some((start, label, rest.get(..end)?))
        })
        .min_by_key(|(start, ..)| *start)
        .map(|(_, label, block)| (label, block))
}

/// Whether `der` is one SEQUENCE and nothing else, as every private key is.
fn is_one_sequence(der: &[u8]) -> bool {
    x509_parser::der_parser::parse_der(der)
        .is_ok_and(|(rest, value)| rest.is_empty() && value.as_sequence().is_ok())
}

const EC_KINDS: [(&EcdsaSigningAlgorithm, KeyAlgorithm); 2] = [
    (&ECDSA_P256_SHA256_ASN1_SIGNING, KeyAlgorithm::EcdsaP256),
    (&ECDSA_P384_SHA384_ASN1_SIGNING, KeyAlgorithm::EcdsaP384),
];
/// Label of a PKCS#8 key (RFC 7468 §10).
const PKCS8: &str = "PRIVATE KEY";
/// Label of an encrypted PKCS#8 key (RFC 7468 §11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// Label of an EC key as OpenSSL writes it (RFC 5915 §4).
const SEC1: &str = "EC PRIVATE KEY";
/// Label of an RSA key as OpenSSL writes it.
const PKCS1: &str = "RSA PRIVATE KEY";
/// 2048 bits.
const RSA_MIN_BYTES: usize = 256;
/// Far beyond any key.
const MAX_PEM_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_is_the_key_read_for_each_kind() {
        let passphrase = Passphrase::new(Zeroizing::new(b"a long passphrase".to_vec())).unwrap();
        let other = Passphrase::new(Zeroizing::new(b"another passphrase".to_vec())).unwrap();
        for algorithm in [
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384,
            KeyAlgorithm::Rsa2048,
        ] {
            let key = FileKey::generate(algorithm).unwrap();
            let plain = key.to_pem(None).unwrap();
            let read = FileKey::from_pem(plain.as_bytes()).unwrap();
            assert_eq!(read.public_key(), key.public_key());
            assert_eq!(read.algorithm(), algorithm);
            assert_eq!(read.custody(), Custody::PlainFile);

            let sealed = key.to_pem(Some(&passphrase)).unwrap();
            assert!(is_encrypted(sealed.as_bytes()) && !is_encrypted(plain.as_bytes()));
            let read = FileKey::open(sealed.as_bytes(), Some(&passphrase)).unwrap();
            assert_eq!(read.public_key(), key.public_key());
            assert_eq!(read.custody(), Custody::EncryptedFile);
            assert!(matches!(
                FileKey::open(sealed.as_bytes(), None),
                Err(CaKeyError::NoPassphrase)
            ));
            assert!(matches!(
                FileKey::open(sealed.as_bytes(), Some(&other)),
                Err(CaKeyError::Secret(secret::SecretError::WrongPassphrase))
            ));
            assert!(!format!("{read:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(matches!(
            FileKey::from_pem(old.as_bytes()),
            Err(CaKeyError::OldEncryption)
        ));
        let key = FileKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let text = key.to_pem(None).unwrap();
        for length in 0..text.len() - 1 {
            assert!(matches!(
                FileKey::from_pem(&text.as_bytes()[..length]),
                Err(CaKeyError::NotPem)
            ));
        }
        for bad in [&b""[..], b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n"] {
            assert!(matches!(FileKey::from_pem(bad), Err(CaKeyError::NotPem)));
        }
        let nothing = pem::encode(&[0x30, 0], PKCS8);
        assert!(matches!(
            FileKey::from_pem(nothing.as_bytes()),
            Err(CaKeyError::Unsupported)
        ));
    }
}
