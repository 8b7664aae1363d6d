//! An X509-SVID with its private key, as obtained from the authority.

use std::{fmt, sync::Arc};

use identity::{
    SpiffeId,
    x509::{SvidError, SvidProfile, X509Svid},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::{
    key::PrivateKey,
    schedule::{Lifetime, UnixMillis},
};

/// A certificate chain and the key of its leaf, checked to belong together.
#[derive(Clone)]
pub(crate) struct Svid {
    leaf: X509Svid,
    chain: Vec<CertificateDer<'static>>,
    chain_pem: String,
    key: Arc<PrivateKey>,
    key_pem: Zeroizing<String>,
}

impl Svid {
    /// Puts together a key and a chain in PEM, leaf first, without the root.
    ///
    /// Checks the leaf against the X509-SVID profile and that its public key is that of `key`. Does
    /// not check signatures, validity times or which identity it is: see [`Svid::expect`].
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) fn new(
        key: PrivateKey,
        chain_pem: String,
        profile: SvidProfile,
    ) -> Result<Self, ChainError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| ChainError::Pem { source })?;
        let leaf = chain.first().ok_or(ChainError::NoLeaf)?;
        let leaf = X509Svid::parse(leaf, profile).map_err(|source| ChainError::Leaf { source })?;
        if leaf.spki_der() != key.spki_der() {
            return Err(ChainError::ForeignKey);
        }
        Ok(Self {
            leaf,
            chain,
            chain_pem,
            key_pem: key.to_pem(),
            key: Arc::new(key),
        })
    }

    /// Reads the answer to `CreateCertificate`: leaf, intermediates, and last the root bundle,
    /// which is left out (relying parties have their own).
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) fn from_answer(
        key: PrivateKey,
        cert_chain: &[String],
        profile: SvidProfile,
    ) -> Result<Self, ChainError> {
        let Some((_root, chain)) = cert_chain.split_last() else {
            return Err(ChainError::NoLeaf);
        };
        let mut pem = String::new();
        for certificate in chain {
            pem.push_str(certificate);
            if !certificate.ends_with('\n') {
                pem.push('\n');
            }
        }
        Self::new(key, pem, profile)
    }

    /// Insists on an identity and on a certificate that has not expired.
    ///
    /// # Errors
    /// [`ChainError::OtherIdentity`], [`ChainError::Expired`].
    pub(crate) fn expect(self, id: Option<&SpiffeId>, now: UnixMillis) -> Result<Self, ChainError> {
        if let Some(wanted) = id.filter(|wanted| *wanted != self.id()) {
            return Err(ChainError::OtherIdentity {
                wanted: wanted.clone(),
                found: self.id().clone(),
            });
        }
        if self.has_expired(now) {
            return Err(ChainError::Expired {
                not_after: self.not_after().as_secs(),
                now: now.as_secs(),
            });
        }
        Ok(self)
    }

    /// The identity certified.
    pub(crate) fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// Serial number, lower-case hex.
    pub(crate) fn serial(&self) -> &str {
        self.leaf.serial_hex()
    }

    /// SHA-256 of the leaf's DER: what distinguishes one certificate from the next.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        digest(self.leaf.der())
    }

    /// The leaf's public key, SubjectPublicKeyInfo.
    pub(crate) fn spki_der(&self) -> &[u8] {
        self.leaf.spki_der()
    }

    /// The first instant of its validity.
    pub(crate) fn not_before(&self) -> UnixMillis {
        UnixMillis::from_secs(self.leaf.validity().not_before.as_secs())
    }

    /// The last instant of its validity.
    pub(crate) fn not_after(&self) -> UnixMillis {
        UnixMillis::from_secs(self.leaf.validity().not_after.as_secs())
    }

    /// Whether it is over.
    pub(crate) fn has_expired(&self, now: UnixMillis) -> bool {
        now > self.not_after()
    }

    /// How long it serves, having been obtained at `obtained`.
    pub(crate) fn lifetime(&self, obtained: UnixMillis) -> Lifetime {
        Lifetime::new(obtained, self.not_after())
    }

    /// Leaf and intermediates, leaf first, without the root.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Leaf and intermediates, PEM, leaf first, without the root.
    pub(crate) fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key, PKCS #8, PEM.
    pub(crate) fn key_pem(&self) -> &Zeroizing<String> {
        &self.key_pem
    }

    /// Chain and key as rustls presents them.
    pub(crate) fn certified_key(&self) -> Result<rustls::sign::CertifiedKey, ChainError> {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&self.key.to_rustls())
            .map_err(|source| ChainError::Key { source })?;
        Ok(rustls::sign::CertifiedKey::new(self.chain.clone(), key))
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id().to_string())
            .field("serial", &self.serial())
            .field("not_after", &self.not_after())
            .field("key", &"[elided]")
            .finish()
    }
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(computed.as_ref());
    out
}

/// Why what the authority (or the data folder) gave is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not PEM.
    #[error("the certificate chain is not PEM")]
    Pem {
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate besides the root bundle.
    #[error("the certificate chain holds no leaf")]
    NoLeaf,
    /// The leaf is no X509-SVID.
    #[error("the certificate is not a valid X509-SVID")]
    Leaf {
        /// Which rule it breaks.
        #[source]
        source: SvidError,
    },
    /// The leaf certifies somebody else's key.
    #[error("the certificate is for another key than the one in the request")]
    ForeignKey,
    /// rustls cannot use the key.
    #[error("the private key cannot be used for TLS")]
    Key {
        /// What it says.
        #[source]
        source: rustls::Error,
    },
    /// It certifies another identity than asked for.
    #[error("the certificate is for {found}, asked for was {wanted}")]
    OtherIdentity {
        /// The identity asked for.
        wanted: SpiffeId,
        /// The identity certified.
        found: SpiffeId,
    },
    /// It is over already.
    #[error("the certificate expired at {not_after}, it is {now} now (seconds since 1970)")]
    Expired {
        /// End of validity, seconds since the epoch.
        not_after: i64,
        /// This machine's clock, seconds since the epoch.
        now: i64,
    },
}
