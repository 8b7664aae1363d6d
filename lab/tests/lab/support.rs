//! Certificates by openssl, sidecars on free ports, and the built filter.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{Client, Server, Upstream};
use envoy_config::tls::TlsSource;
use identity::SpiffeId;
use lab::envoy::{Binary, Envoy, Options};
use lab::http::{Identity, Resumption, ServerCheck, Tls};
use serde_json::Value;

/// The built filter. A missing one is a failure: nothing is skipped.
pub(crate) fn wasm_module() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm");
    let path = std::env::var_os("COUNTERSIGN_WASM").map_or(default, PathBuf::from);
    assert!(
        path.is_file(),
        "the filter is not built at {}: run `just wasm`",
        path.display()
    );
    path.canonicalize().unwrap()
}

pub(crate) fn spiffe_id(name: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{name}")
}

/// A root and leaves in a temporary folder.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        pki.key("root.key");
        pki.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "root.key",
            "-out",
            "root.pem",
            "-days",
            "2",
            "-subj",
            "/CN=lab root",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        pki
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(self.dir())
            .output();
        let output = output.expect("openssl is needed");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn key(&self, file: &str) {
        self.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            file,
        ]);
    }

    /// `FILE.pem` and `FILE.key` with the SPIFFE ID of `name`, good for a day.
    pub(crate) fn leaf(&self, file: &str, name: &str) -> TlsSource {
        let (key, csr, pem) = (
            format!("{file}.key"),
            format!("{file}.csr"),
            format!("{file}.pem"),
        );
        self.key(&key);
        self.openssl(&["req", "-new", "-key", &key, "-subj", "/", "-out", &csr]);
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,URI:{}\n",
            spiffe_id(name)
        );
        fs::write(self.dir().join("extensions"), extensions).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-out",
            &pem,
            "-CAcreateserial",
            "-days",
            "1",
            "-extfile",
            "extensions",
        ]);
        let path = |name: &str| self.dir().join(name);
        TlsSource::Files {
            certificate: path(&pem),
            key: path(&key),
            root: path("root.pem"),
        }
    }

    /// TLS settings of a test client with the leaf `file`, or without a certificate.
    pub(crate) fn tls(
        &self,
        file: Option<&str>,
        server: ServerCheck,
        resumption: Resumption,
    ) -> Tls {
        let path = |name: String| self.dir().join(name);
        let identity = file.map(|file| {
            let (chain, key) = (path(format!("{file}.pem")), path(format!("{file}.key")));
            Identity::from_pem_files(&chain, &key).unwrap()
        });
        Tls::new(&path("root.pem".to_owned()), identity, server, resumption).unwrap()
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Starts a sidecar on a free port; another one if somebody was faster.
async fn start(
    binary: &Binary,
    name: &str,
    dir: &Path,
    make: impl Fn(u16) -> envoy_config::Bootstrap,
) -> (Envoy, SocketAddr) {
    lab::ports::retry(3, lab::envoy::StartError::is_address_in_use, async || {
        let port = lab::ports::free().unwrap();
        let options = Options::new(name, dir).concurrency(1);
        Ok((
            Envoy::start(binary, &make(port), &options).await?,
            loopback(port),
        ))
    })
    .await
    .unwrap()
}

pub(crate) struct Sidecar {
    pub(crate) envoy: Envoy,
    pub(crate) address: SocketAddr,
    pub(crate) access_log: PathBuf,
}

impl Sidecar {
    pub(crate) async fn server(
        binary: &Binary,
        dir: &Path,
        name: &str,
        app: SocketAddr,
        tls: TlsSource,
        change: impl Fn(&mut Server),
    ) -> Self {
        let access_log = dir.join(format!("{name}.access"));
        let (envoy, address) = start(binary, name, dir, |port| {
            let mut server = Server::new(name, loopback(port), app.into(), tls.clone());
            server.envoy = binary.version();
            server.admin = Admin::Unix(dir.join(format!("{name}.sock")));
            server.access_log = Some(access_log.clone());
            change(&mut server);
            server.bootstrap().unwrap()
        })
        .await;
        Self {
            envoy,
            address,
            access_log,
        }
    }

    pub(crate) async fn client(
        binary: &Binary,
        dir: &Path,
        upstreams: Vec<Upstream>,
        change: impl Fn(&mut Client),
    ) -> Self {
        let access_log = dir.join("client.access");
        let (envoy, address) = start(binary, "client", dir, |port| {
            let mut client = Client::new("client", loopback(port), upstreams.clone());
            client.envoy = binary.version();
            client.admin = Admin::Unix(dir.join("client.sock"));
            client.access_log = Some(access_log.clone());
            change(&mut client);
            client.bootstrap().unwrap()
        })
        .await;
        Self {
            envoy,
            address,
            access_log,
        }
    }

    /// Lines of its access log, once there are at least `count`.
    pub(crate) async fn access(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} lines in {}", self.access_log.display());
        // Envoy writes its log every ten seconds or on demand, and the demand is asynchronous.
        self.envoy.admin().post("/reopen_logs").await.unwrap();
        lab::ready::until(&what, Duration::from_secs(20), None, async || {
            let lines = self.access_now();
            if lines.len() < count {
                return Err(lab::ready::NotYet(format!("{} lines", lines.len())));
            }
            Ok(lines)
        })
        .await
        .unwrap()
    }

    pub(crate) fn access_now(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.access_log).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub(crate) fn upstream(address: SocketAddr, allowed: &[&str], tls: TlsSource) -> Upstream {
    let allowed: BTreeSet<SpiffeId> = allowed
        .iter()
        .map(|name| spiffe_id(name).parse().unwrap())
        .collect();
    Upstream::new("httpbin", address.into(), allowed, tls)
}

pub(crate) fn short_age() -> ConnectionAge {
    ConnectionAge::at_most(Duration::from_secs(2))
}
