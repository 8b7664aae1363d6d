//! A real Envoy that fetches its secrets from the agent.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use identity::x509::{SvidProfile, X509Svid};
use rustls::{
    ClientConfig, RootCertStore,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    authority::Authority,
    harness::{Agent, HTTPBIN, Home, SLEEP, certificate, entry_with, within},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_and_rotates_the_certificate_it_may_have() {
    let envoy = find_envoy();
    let authority = Authority::up().await;
    authority.state().ttl = Duration::from_secs(6);
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &std::fs::read(&envoy).unwrap());
    let this = std::env::current_exe().unwrap();
    authority.entries.send_replace(vec![
        entry_with(
            HTTPBIN,
            &[
                &format!("unix:path:{}", envoy.display()),
                &format!("unix:sha256:{}", hex::encode(digest)),
            ],
        ),
        entry_with(SLEEP, &[&format!("unix:path:{}", this.display())]),
    ]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let running = Envoy::start(&envoy, &home);

    // `default` is httpbin for Envoy and sleep for this process.
    let mut serials = Vec::new();
    rotations(&agent, &authority, &running, &mut serials, 3).await;
    // A restarted agent starts with new certificates; Envoy goes on with what it has until then.
    agent.stop().await;
    let agent = home.started().await;
    rotations(&agent, &authority, &running, &mut serials, 5).await;
    let anonymous = call(running.address, &authority.ca.root_pem, None).await;
    assert!(anonymous.is_err(), "a client without certificate got in");
    // Envoy took every secret it was sent.
    assert_eq!(agent.status().await.rejection, None);
    assert!(!running.log().contains("rejected"), "{}", running.log());
}

/// Calls until so many certificates have been seen. Nothing may fail once one has been.
async fn rotations(
    agent: &Agent,
    authority: &Authority,
    envoy: &Envoy,
    serials: &mut Vec<String>,
    wanted: usize,
) {
    within(async {
        while serials.len() < wanted {
            let (chain, key) = certificate(&agent.secret("default").await.unwrap());
            let own = Some((chain.as_str(), key.as_str()));
            match call(envoy.address, &authority.ca.root_pem, own).await {
                Ok((code, leaf)) => {
                    assert_eq!(code, 200);
                    assert_eq!(leaf.id().to_string(), HTTPBIN);
                    if !serials.iter().any(|seen| seen == leaf.serial_hex()) {
                        serials.push(leaf.serial_hex().to_owned());
                    }
                }
                Err(error) => assert!(serials.is_empty(), "{error}\n{}", envoy.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// An Envoy with one mTLS listener that answers 200, on secrets from the agent.
struct Envoy {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Envoy {
    fn start(program: &Path, home: &Home) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = home.path("envoy.yaml");
        let text = BOOTSTRAP
            .replace("@SOCKET@", home.settings.socket.to_str().unwrap())
            .replace("@PORT@", &port.to_string());
        std::fs::write(&config, text).unwrap();
        let log = home.path("envoy.log");
        let output = File::create(&log).unwrap();
        let child = Command::new(program)
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into(),
            log,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One HTTPS request on a connection of its own: the status code and the server's certificate.
async fn call(
    address: SocketAddr,
    root_pem: &str,
    own: Option<(&str, &str)>,
) -> Result<(u16, X509Svid), Box<dyn std::error::Error>> {
    let config = client_config(root_pem, own);
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("any").unwrap();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    let leaf = tls.get_ref().1.peer_certificates().unwrap()[0].clone();
    let leaf = X509Svid::parse(&leaf, SvidProfile::Strict)?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("host", "any")
        .body(String::new())?;
    let response = client.send_request(request).await?;
    let code = response.status().as_u16();
    response.into_body().collect().await?;
    connection.abort();
    Ok((code, leaf))
}

fn client_config(root_pem: &str, own: Option<(&str, &str)>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap())
        .unwrap();
    let verifier = AnyName {
        roots,
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.resumption = Resumption::disabled();
    config
}

/// Verifies the chain but no name: the test looks at the SPIFFE ID itself.
#[derive(Debug)]
struct AnyName {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = rustls::server::ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The Envoy to test with: `ENVOY`, or the newest under `.tools/envoy` of the workspace.
fn find_envoy() -> PathBuf {
    let found = match std::env::var_os("ENVOY") {
        Some(path) => Some(PathBuf::from(path)),
        None => newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/envoy")),
    };
    let path = found.expect("no Envoy: run `./justw setup`, or set ENVOY to the path of one");
    path.canonicalize()
        .unwrap_or_else(|error| panic!("no Envoy at {}: {error}", path.display()))
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let version = |path: &Path| -> Vec<u32> {
        let name = path.file_name().unwrap().to_string_lossy();
        name.split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let mut versions: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("envoy").is_file())
        .collect();
    versions.sort_by_key(|path| version(path));
    versions.pop().map(|path| path.join("envoy"))
}

const BOOTSTRAP: &str = r#"
node: { id: test, cluster: test }
static_resources:
  clusters:
  - name: agent
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: agent
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: "@SOCKET@" } } } }] }]
  listeners:
  - name: server
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: default
              sds_config: &sds
                resource_api_version: V3
                api_config_source:
                  api_type: GRPC
                  transport_api_version: V3
                  grpc_services: [{ envoy_grpc: { cluster_name: agent } }]
            combined_validation_context:
              default_validation_context:
                match_typed_subject_alt_names:
                - { san_type: URI, matcher: { exact: "spiffe://cluster.local/ns/default/sa/sleep" } }
              validation_context_sds_secret_config: { name: ROOTCA, sds_config: *sds }
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: server
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
"#;
