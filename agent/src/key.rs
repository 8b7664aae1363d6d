//! Private keys: made here, used here, shown to nobody but the TLS stack and the workload.

use std::fmt;

use identity::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::{Zeroize, Zeroizing};

/// Which kind of key to make.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    EcdsaP256,
    /// RSA of 2048 bits, PKCS #1 v1.5 with SHA-256.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

/// A private key. Its encoding is wiped when it is dropped (the copy inside the cryptographic
/// library is the library's), and `Debug` does not show it.
pub(crate) struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    /// Makes a key. RSA takes a good part of a second: call it where blocking is allowed.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let algorithm = match algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        let pair =
            KeyPair::generate_for(algorithm).map_err(|source| KeyError::Generate { source })?;
        Ok(Self { pair })
    }

    /// Reads the first `PRIVATE KEY` block (PKCS #8) of a PEM text.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|source| KeyError::Pem { source })?;
        let pair = KeyPair::try_from(&der).map_err(|source| KeyError::Decode { source })?;
        Ok(Self { pair })
    }

    /// PKCS #8, PEM.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// PKCS #8 as rustls takes it.
    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// A PKCS #10 request for this key, PEM, with an empty subject and, if given, `id` as its only
    /// name. The name is a courtesy to authorities that compare it; ours does not read it.
    pub(crate) fn csr(&self, id: Option<&SpiffeId>) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(id) = id {
            let uri = id
                .to_string()
                .try_into()
                .map_err(|source| KeyError::Csr { source })?;
            params.subject_alt_names = vec![SanType::URI(uri)];
        }
        params
            .serialize_request(&self.pair)
            .and_then(|request| request.pem())
            .map_err(|source| KeyError::Csr { source })
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([elided])")
    }
}

/// Why a key cannot be made or read. Never holds the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cryptographic library made none.
    #[error("cannot make a private key")]
    Generate {
        /// What it says.
        #[source]
        source: rcgen::Error,
    },
    /// The agent stopped meanwhile.
    #[error("interrupted while making a private key")]
    Interrupted,
    /// The text holds no PEM `PRIVATE KEY` block.
    #[error("no PEM block PRIVATE KEY")]
    Pem {
        /// What is wrong with the PEM.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The block holds no usable key.
    #[error("the private key is not PKCS #8 of a supported algorithm")]
    Decode {
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
    /// The request cannot be written.
    #[error("cannot write a certificate request")]
    Csr {
        /// What is wrong.
        #[source]
        source: rcgen::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_is_not_printed() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(again.spki_der(), key.spki_der());
        assert_eq!(format!("{key:?}"), "PrivateKey([elided])");
    }

    #[test]
    fn an_rsa_key_is_pkcs8_too() {
        let key = PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap();
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        let again = PrivateKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.spki_der(), key.spki_der());
        assert!(again.csr(None).unwrap().contains("CERTIFICATE REQUEST"));
    }

    #[test]
    fn refuses_a_text_without_a_key() {
        assert!(matches!(
            PrivateKey::from_pem(b"nothing"),
            Err(KeyError::Pem { .. })
        ));
    }
}
