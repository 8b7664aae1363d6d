//! Connections with a chosen source address, PROXY header, server name and certificate, and plain HTTP/1.1 over
//! them: requests go out byte for byte as they are written here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use wasm_tests::fixtures::ca::Leaf;

use crate::protobuf;
use crate::request::{Link, METADATA, Request};

/// Limit of a connection attempt, and of an exchange.
const LIMIT: Duration = Duration::from_secs(20);
/// Header that becomes the payload of the validated token.
pub(crate) const PAYLOAD_HEADER: &str = "x-conformance-payload";

/// Headers that become [`METADATA`].
pub(crate) fn metadata_header(place: usize) -> String {
    format!("x-conformance-metadata-{place}")
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// The other side said this was the last answer.
    pub(crate) closing: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
}

/// What TLS is spoken with.
pub(crate) struct Tls<'t> {
    /// The one protocol that is offered, by which the listener finds the filter chain.
    pub(crate) alpn: &'t str,
    pub(crate) leaf: Option<&'t Leaf>,
}

impl Connection {
    /// Opens a connection; no `tls` is plaintext.
    pub(crate) async fn open(
        listener: SocketAddr,
        link: &Link,
        tls: Option<Tls<'_>>,
    ) -> io::Result<Self> {
        tokio::time::timeout(LIMIT, Self::open_unlimited(listener, link, tls)).await?
    }

    async fn open_unlimited(
        listener: SocketAddr,
        link: &Link,
        tls: Option<Tls<'_>>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((link.source, 0).into())?;
        let mut plain = socket.connect(listener).await?;
        plain.set_nodelay(true)?;
        plain.write_all(proxy_header(link).as_bytes()).await?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(plain),
            Some(tls) => {
                let name = match &link.sni {
                    Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
                    // No server name is sent for an address.
                    None => ServerName::IpAddress(listener.ip().into()),
                };
                let connector = TlsConnector::from(Arc::new(config(&tls)));
                Box::new(connector.connect(name, plain).await?)
            }
        };
        Ok(Self {
            stream,
            buffer: Vec::new(),
            closing: false,
        })
    }

    /// Sends a request as it is written and reads the answer.
    pub(crate) async fn exchange(&mut self, request: &Request, id: &str) -> io::Result<Answer> {
        tokio::time::timeout(LIMIT, async {
            self.stream.write_all(&bytes(request, id)).await?;
            self.answer().await
        })
        .await?
    }

    /// Says something and hears as much in return, or nothing where the other side closes.
    pub(crate) async fn say(&mut self, said: &[u8]) -> io::Result<Vec<u8>> {
        let conversation = async {
            self.stream.write_all(said).await?;
            while self.buffer.len() < said.len() {
                self.more().await?;
            }
            Ok(std::mem::take(&mut self.buffer))
        };
        match tokio::time::timeout(LIMIT, conversation).await? {
            Err::<_, io::Error>(error) if is_end(error.kind()) => Ok(Vec::new()),
            heard => heard,
        }
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break end;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
        let length: usize = headers
            .get("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        while self.buffer.len() < length {
            self.more().await?;
        }
        self.buffer.drain(..length);
        self.closing = headers
            .get("connection")
            .is_some_and(|value| value == "close");
        Ok(Answer { status, headers })
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// How a connection ends that the other side cuts: with or without TLS's good-bye.
fn is_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// PROXY protocol version 1.
fn proxy_header(link: &Link) -> String {
    let family = if link.remote.is_ipv4() {
        "TCP4"
    } else {
        "TCP6"
    };
    let (from, to) = (link.remote, link.destination);
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        from.ip(),
        to.ip(),
        from.port(),
        to.port()
    )
}

fn bytes(request: &Request, id: &str) -> Vec<u8> {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\nx-request-id: {id}\r\n",
        request.method, request.path, request.host
    );
    let mut add = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
    for (name, value) in &request.headers {
        add(name, value);
    }
    if let Some(payload) = &request.payload {
        add(PAYLOAD_HEADER, &protobuf::base64(payload));
    }
    for place in 0..METADATA.len() {
        if let Some(value) = &request.metadata[place] {
            add(&metadata_header(place), &protobuf::base64(value));
        }
    }
    if matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
        add("content-length", "0");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn config(tls: &Tls<'_>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match tls.leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("certificates");
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
            builder
                .with_client_auth_cert(chain, key)
                .expect("chain and key")
        }
    };
    config.alpn_protocols = vec![tls.alpn.as_bytes().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// The server is this suite's own Envoy; who it says it is is not what is tested.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
