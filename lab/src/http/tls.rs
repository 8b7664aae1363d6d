//! TLS for the client: roots, an identity, and what is asked of the server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Version;

/// TLS settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file that cannot be read or holds nothing of use.
    #[error("{} cannot be read as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A root that is no certificate.
    #[error("{} holds a root that is no certificate", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: webpki::Error,
    },
    /// Chain and key do not fit.
    #[error("client certificate cannot be used")]
    Identity(#[source] rustls::Error),
}

/// A client's certificate chain and key.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("chain", &self.chain.len())
            .field("key", &"[elided]")
            .finish()
    }
}

impl Identity {
    /// From PEM files: chain leaf first, and the leaf's key.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Pem {
            path: key.to_owned(),
            source,
        };
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
        Ok(Self {
            chain: certificates(chain)?,
            key: Arc::new(key),
        })
    }
}

/// What is asked of the server beyond a chain to one of the roots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerCheck {
    /// Nothing. For tests that look at the server themselves.
    AnyVerified,
    /// Exactly this one URI SAN (X509-SVID §2: an SVID has exactly one).
    SpiffeId(String),
}

/// Whether sessions are resumed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Resumption {
    /// Every connection is a full handshake.
    #[default]
    Never,
    /// As soon as the server offers it; for tests that it does not, or of what happens when it does. Sessions are
    /// kept in the [`Tls`] value, so connections to resume have to be opened with the same one.
    WhenOffered,
}

/// TLS settings of a client; TLS 1.2 and 1.3.
#[derive(Clone, Debug)]
pub struct Tls {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates of `roots` (PEM).
    ///
    /// The server's name is never checked: workloads have SPIFFE IDs, see [`ServerCheck`]. No server name is
    /// sent.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        roots: &Path,
        identity: Option<Identity>,
        server: ServerCheck,
        resumption: Resumption,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier {
            roots: certificates(roots)?,
            server,
            provider: Arc::clone(&provider),
        });
        for root in &verifier.roots {
            let failed = |source| TlsError::Root {
                path: roots.to_owned(),
                source,
            };
            anchor_from_trusted_cert(root).map_err(failed)?;
        }
        let config = |alpn: &[u8]| -> Result<Arc<ClientConfig>, TlsError> {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Identity)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
            let mut config = match &identity {
                None => builder.with_no_client_auth(),
                Some(identity) => builder
                    .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                    .map_err(TlsError::Identity)?,
            };
            config.alpn_protocols = vec![alpn.to_vec()];
            if resumption == Resumption::Never {
                config.resumption = rustls::client::Resumption::disabled();
            }
            Ok(Arc::new(config))
        };
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        Ok(Self {
            http1: config(b"http/1.1")?,
            http2: config(b"h2")?,
            name,
        })
    }

    /// A handshake over a connection that is not for HTTP.
    ///
    /// # Errors
    /// What rustls says of the server, or the connection ends.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.http1));
        connector.connect(self.server_name(), stream).await
    }

    pub(super) fn connector(&self, version: Version) -> Result<TlsConnector, TlsError> {
        Ok(TlsConnector::from(Arc::clone(match version {
            Version::Http1 => &self.http1,
            Version::Http2 => &self.http2,
        })))
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(failed(pem::Error::Io(io::Error::other(
            "no certificate in it",
        ))));
    }
    Ok(found)
}

/// Chain by webpki, identity by its URI SAN.
#[derive(Debug)]
struct Verifier {
    roots: Vec<CertificateDer<'static>>,
    server: ServerCheck,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = |error: webpki::Error| {
            rustls::Error::InvalidCertificate(match error {
                webpki::Error::CertExpired { .. } => CertificateError::Expired,
                webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
                webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
                other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
            })
        };
        let anchors: Vec<TrustAnchor<'_>> = self
            .roots
            .iter()
            .map(anchor_from_trusted_cert)
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        certificate
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &anchors,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(refused)?;
        let mut names = certificate.valid_uri_names();
        match (&self.server, names.next(), names.next()) {
            (ServerCheck::AnyVerified, _, _) => Ok(ServerCertVerified::assertion()),
            (ServerCheck::SpiffeId(wanted), Some(found), None) if found == wanted => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
