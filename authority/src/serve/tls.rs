//! TLS of the gRPC listener: 1.3 only, client certificates optional but verified.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::proof::foreign::{ForeignCas, MAX_CHAIN};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The root is not usable as a trust anchor.
    #[error("the root is not usable as a trust anchor")]
    Root(#[source] rustls::Error),
    /// A foreign CA has our root's key: certificates of ours that are not on record would pass.
    #[error("a foreign CA of proofs.x509pop is this authority's own root")]
    ForeignIsOurs,
    /// The verifier of client certificates cannot be made.
    #[error("cannot make the verifier of client certificates")]
    Verifier(#[source] VerifierBuilderError),
    /// The protocol version is not there.
    #[error("TLS 1.3 is not available")]
    Version(#[source] rustls::Error),
}

/// The serving certificate, which can be exchanged while serving.
#[derive(Debug)]
pub(crate) struct ServingCertificate(RwLock<Arc<CertifiedKey>>);

impl ServingCertificate {
    pub(crate) const fn new(key: Arc<CertifiedKey>) -> Self {
        Self(RwLock::new(key))
    }

    /// New connections get `key` from now on.
    pub(crate) fn replace(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// First and last second of the certificate in use, seconds since the Unix epoch.
    pub(crate) fn validity(&self) -> Option<(i64, i64)> {
        let key = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let (_, leaf) = X509Certificate::from_der(key.cert.first()?).ok()?;
        let validity = leaf.validity();
        Some((
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        ))
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// The provider of all cryptography, passed explicitly so that nothing depends on a global.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientCertificate {
    /// It may; a token proves who it is as well.
    Optional,
    /// It must, or there is no connection.
    Required,
}

/// A listener's TLS: a client shows a certificate below `root` or a root of the `foreign` CAs,
/// and it must be good. Below which one it is, is found out when it is used as a proof.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn server_config(
    root: &[u8],
    foreign: &ForeignCas,
    certificate: Arc<ServingCertificate>,
    client: ClientCertificate,
) -> Result<(ServerConfig, OurCertificates), TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(root.to_vec()))
        .map_err(TlsError::Root)?;
    let ours = if foreign.is_empty() {
        OurCertificates::All
    } else {
        let own = roots.roots.first().map(|own| &own.subject_public_key_info);
        if foreign
            .anchors()
            .any(|one| Some(&one.subject_public_key_info) == own)
        {
            return Err(TlsError::ForeignIsOurs);
        }
        OurCertificates::Below(verifier(roots.clone(), client)?)
    };
    roots.roots.extend(foreign.anchors().cloned());
    let verifier = verifier(roots, client)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Version)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would keep a client certificate that was verified long ago.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok((config, ours))
}

fn verifier(
    roots: RootCertStore,
    client: ClientCertificate,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if client == ClientCertificate::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    let inner = verifier.build().map_err(TlsError::Verifier)?;
    Ok(Arc::new(Bounded(inner)))
}

/// Looks at chains of at most [`MAX_CHAIN`] certificates. Anybody can send dozens of one name, and
/// which of them is above which is then searched for, for seconds of our time.
#[derive(Debug)]
struct Bounded(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Bounded {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if intermediates.len() >= MAX_CHAIN {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        self.0.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Tells, of certificates that passed the handshake, ours from those of foreign CAs. It is about
/// room for connections only: as a proof each certificate is looked at on its own.
#[derive(Clone, Debug)]
pub(crate) enum OurCertificates {
    /// There are no foreign CAs.
    All,
    /// Those below our root.
    Below(Arc<dyn ClientCertVerifier>),
}

impl OurCertificates {
    pub(crate) fn vouch_for(&self, chain: &[CertificateDer<'_>]) -> bool {
        match (self, chain.split_first()) {
            (_, None) => false,
            (Self::All, Some(_)) => true,
            (Self::Below(verifier), Some((leaf, intermediates))) => verifier
                .verify_client_cert(leaf, intermediates, UnixTime::now())
                .is_ok(),
        }
    }
}
