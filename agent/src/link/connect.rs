//! Connections to the authority.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, verify_server_cert_signed_by_trust_anchor},
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::{
    schedule::UnixMillis,
    svid::{ChainError, Svid},
};

/// How to reach the authority and how to recognise it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    address: String,
    name: ServerName<'static>,
    roots: Arc<RootCertStore>,
}

impl Link {
    /// Reads the pinned bundle. Connects to nothing yet.
    pub(crate) fn new(address: &str, name: &str, bundle: &Path) -> Result<Self, LinkError> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|source| LinkError::ServerName {
                found: name.to_owned(),
                source,
            })?;
        Ok(Self {
            address: address.to_owned(),
            name,
            roots: Arc::new(read_roots(bundle)?),
        })
    }

    /// Where the authority is, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A channel without a client certificate, for joining.
    pub(crate) fn anonymous(&self) -> Result<Channel, LinkError> {
        let config = self.tls()?.with_no_client_auth();
        Ok(self.channel(config))
    }

    /// A channel on which the agent shows its own certificate.
    pub(crate) fn authenticated(&self, own: &Svid) -> Result<Channel, LinkError> {
        let shown = own
            .certified_key()
            .map_err(|source| LinkError::Own { source })?;
        let resolver = rustls::sign::SingleCertAndKey::from(shown);
        let config = self.tls()?.with_client_cert_resolver(Arc::new(resolver));
        Ok(self.channel(config))
    }

    /// Whether the pinned bundle vouches for the agent's own certificate, too. It need not, while a
    /// root is being replaced; otherwise the certificate is of another authority.
    pub(crate) fn vouches_for(&self, own: &Svid, now: UnixMillis) -> bool {
        let Some((leaf, intermediates)) = own.chain().split_first() else {
            return false;
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| {
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &self.roots,
                intermediates,
                at,
                provider.signature_verification_algorithms.all,
            )
            .is_ok()
        })
    }

    fn tls(
        &self,
    ) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, LinkError>
    {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| LinkError::Tls { source })?
            .with_root_certificates(Arc::clone(&self.roots)))
    }

    /// A channel that connects when it is first used and again whenever the connection is lost.
    fn channel(&self, mut config: ClientConfig) -> Channel {
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not show a renewed certificate.
        config.resumption = Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        let (address, name) = (self.address.clone(), self.name.clone());
        Endpoint::from_static("http://countersign-authority")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(tower::service_fn(move |_uri: Uri| {
                let (connector, address, name) = (connector.clone(), address.clone(), name.clone());
                async move {
                    let tcp = TcpStream::connect(&address).await?;
                    tcp.set_nodelay(true)?;
                    let tls = connector.connect(name, tcp).await?;
                    Ok::<_, io::Error>(TokioIo::new(tls))
                }
            }))
    }
}

/// Why the authority cannot even be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The name to expect is no name.
    #[error("{found:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        found: String,
        /// What is wrong with it.
        #[source]
        source: InvalidDnsNameError,
    },
    /// The bundle cannot be read.
    #[error("cannot read the trust bundle {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The bundle is not PEM.
    #[error("the trust bundle {} is not PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The bundle holds no certificate.
    #[error("the trust bundle {} holds no PEM block CERTIFICATE", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the bundle cannot be a trust anchor.
    #[error("the trust bundle {} holds a certificate that cannot be used", path.display())]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refuses its settings.
    #[error("cannot set up TLS")]
    Tls {
        /// What it says.
        #[source]
        source: rustls::Error,
    },
    /// The agent's own certificate cannot be shown.
    #[error("cannot show the agent's own certificate")]
    Own {
        /// Why not.
        #[source]
        source: ChainError,
    },
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Together with the time-out below: how long a connection to nobody goes unnoticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

fn read_roots(path: &Path) -> Result<RootCertStore, LinkError> {
    let text = fs::read(path).map_err(|source| LinkError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|source| LinkError::Pem {
            path: path.to_owned(),
            source,
        })?;
        roots.add(certificate).map_err(|source| LinkError::Anchor {
            path: path.to_owned(),
            source,
        })?;
    }
    if roots.is_empty() {
        return Err(LinkError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_bundle_that_vouches_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let link = || Link::new("127.0.0.1:1", "countersign-authority", &path);
        assert!(matches!(link(), Err(LinkError::Read { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(link(), Err(LinkError::Empty { .. })));
        fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(link(), Err(LinkError::Anchor { .. })));
    }

    #[test]
    fn refuses_a_server_name_that_is_none() {
        assert!(matches!(
            Link::new("127.0.0.1:1", "no name", Path::new("/")),
            Err(LinkError::ServerName { .. })
        ));
    }
}
