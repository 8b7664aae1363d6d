//! Starting Envoys with the filter, and talking to them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envoy_config::address::Admin;
use envoy_config::sidecar::{Client, InboundFilter, Server, Upstream};
use envoy_config::tls::TlsSource;
use identity::chain;
use lab::envoy::{Binary, Envoy, Options};
use lab::http::{Answer, Identity, Resumption, ServerCheck, Tls};
use lab::upstream::Echo;
use policy::config::PluginConfig;
use serde_json::Value;
use tempfile::TempDir;
use wasm_tests::artefact;
use wasm_tests::fixtures::HTTPBIN;
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec};
use wasm_tests::fixtures::config::ConfigSpec;

use crate::running::{ClientUnderTest, Failed, Running, ServerUnderTest};

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Attempts at finding ports nobody else takes meanwhile.
const ATTEMPTS: u32 = 3;

/// A folder, an authority, an Envoy and the filter.
pub(crate) struct World {
    dir: TempDir,
    /// When it was made, seconds since the epoch: the authority counts from there.
    born: u64,
    pub(crate) authority: Authority,
    pub(crate) binary: Binary,
    pub(crate) module: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(lab::envoy::find().unwrap_or_else(|error| panic!("{error}")))
    }

    /// With the oldest release line the project supports: the Envoy that was named if it is of that line, else the
    /// oldest one there is.
    pub(crate) fn oldest() -> Self {
        let is_oldest = |binary: &Binary| binary.version() == envoy_config::EnvoyVersion::OLDEST;
        let named = lab::envoy::find().ok().filter(is_oldest);
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/envoy");
        let among_tools = || {
            let folders = fs::read_dir(&tools).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
            paths.sort();
            let mut binaries = paths
                .into_iter()
                .filter_map(|path| Binary::at(path.join("envoy")).ok());
            binaries.find(is_oldest)
        };
        let found = named.or_else(among_tools);
        Self::with(found.unwrap_or_else(|| {
            let oldest = envoy_config::EnvoyVersion::OLDEST;
            panic!("no Envoy {oldest}.x in {}", tools.display())
        }))
    }

    fn with(binary: Binary) -> Self {
        let module = artefact::path();
        assert!(
            module.is_file(),
            "no filter at {}: run `just wasm`",
            module.display()
        );
        let module = module.canonicalize().expect("it is there");
        let dir = TempDir::new().expect("a folder");
        let born = now();
        let authority = Authority::new(born);
        fs::write(dir.path().join("root.pem"), &authority.root_pem).expect("writable");
        Self {
            dir,
            born,
            authority,
            binary,
            module,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// What this Envoy says when it refuses a bootstrap that it does not understand.
    pub(crate) async fn refusal(&self, bootstrap: &Value) -> String {
        let config = self.path("refused.json");
        fs::write(&config, bootstrap.to_string()).expect("writable");
        let refused = lab::envoy::validate(&self.binary, &config).await;
        chain(&refused.expect_err("an Envoy that is too old"))
    }

    /// A certificate that ends so many seconds from this call, however long the Envoys took to start.
    pub(crate) fn short_lived(&self, id: &str, seconds: u32) -> Leaf {
        let since = i64::try_from(now() - self.born).expect("a short test");
        let spec = LeafSpec::of(id).valid(-60, since + i64::from(seconds));
        self.authority.issue(&spec)
    }

    /// Writes chain and key of a leaf; the root is the world's.
    pub(crate) fn files(&self, name: &str, leaf: &Leaf) -> TlsSource {
        let (certificate, key) = self.write(name, leaf);
        TlsSource::Files {
            certificate,
            key,
            root: self.root(),
        }
    }

    /// Client TLS settings with this leaf.
    pub(crate) fn tls(&self, name: &str, leaf: &Leaf) -> Tls {
        self.tls_with(name, leaf, Resumption::Never)
    }

    pub(crate) fn tls_with(&self, name: &str, leaf: &Leaf, resumption: Resumption) -> Tls {
        let server = ServerCheck::SpiffeId(HTTPBIN.to_owned());
        self.tls_checking(name, leaf, server, resumption)
    }

    /// The same for servers of any identity.
    pub(crate) fn tls_checking(
        &self,
        name: &str,
        leaf: &Leaf,
        server: ServerCheck,
        resumption: Resumption,
    ) -> Tls {
        let (certificate, key) = self.write(name, leaf);
        let identity = Identity::from_pem_files(&certificate, &key).expect("a chain and its key");
        Tls::new(&self.root(), Some(identity), server, resumption).expect("TLS settings")
    }

    fn write(&self, name: &str, leaf: &Leaf) -> (PathBuf, PathBuf) {
        let (certificate, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        fs::write(&certificate, &leaf.chain_pem).expect("writable");
        fs::write(&key, &leaf.key_pem).expect("writable");
        (certificate, key)
    }

    /// A server's Envoy in front of an [`Echo`], with this plug-in configuration.
    pub(crate) async fn server(&self, config: &ConfigSpec) -> ServerUnderTest {
        self.server_with(config, |_| {}, |_| {}).await
    }

    /// The same, with changes to the spec, and to the bootstrap where the spec rightly cannot say it.
    pub(crate) async fn server_with(
        &self,
        config: &ConfigSpec,
        change: impl Fn(&mut Server),
        rewrite: impl Fn(&mut Value),
    ) -> ServerUnderTest {
        let filter = InboundFilter::Wasm {
            module: self.module.clone(),
            config: Box::new(plugin_config(config)),
        };
        let leaf = self.authority.svid(HTTPBIN);
        self.envoy_server("httpbin", &leaf, filter, change, rewrite)
            .await
    }

    /// A server's Envoy with any identity and filter.
    pub(crate) async fn envoy_server(
        &self,
        name: &str,
        leaf: &Leaf,
        filter: InboundFilter,
        change: impl Fn(&mut Server),
        rewrite: impl Fn(&mut Value),
    ) -> ServerUnderTest {
        let echo = Echo::start().await.expect("a port");
        let tls = self.files(name, leaf);
        let access_log = self.path(&format!("{name}.access.log"));
        let started = lab::ports::retry(ATTEMPTS, Failed::is_lost_race, async || {
            let address = loopback(lab::ports::free().expect("a port"));
            let mut spec = Server::new(name, address, echo.address().into(), tls.clone());
            spec.envoy = self.binary.version();
            spec.filter = filter.clone();
            spec.admin = Admin::Unix(self.path(&format!("{name}.admin")));
            spec.access_log = Some(access_log.clone());
            change(&mut spec);
            let bootstrap = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
            let envoy = self.launch(name, &bootstrap, &rewrite).await?;
            Ok((envoy, address))
        });
        let (envoy, address) = started
            .await
            .unwrap_or_else(|error: Failed| panic!("{}", error.0));
        ServerUnderTest {
            envoy,
            address,
            echo,
            access_log,
            admin: self.path(&format!("{name}.admin")),
        }
    }

    /// A client's Envoy with these upstreams.
    pub(crate) async fn client(
        &self,
        config: Option<&ConfigSpec>,
        upstreams: Vec<Upstream>,
        rewrite: impl Fn(&mut Value),
    ) -> ClientUnderTest {
        let access_log = self.path("client.access.log");
        let started = lab::ports::retry(ATTEMPTS, Failed::is_lost_race, async || {
            let address = loopback(lab::ports::free().expect("a port"));
            let mut spec = Client::new("sleep", address, upstreams.clone());
            spec.envoy = self.binary.version();
            spec.filter = config.map(|config| envoy_config::sidecar::OutboundFilter {
                module: self.module.clone(),
                config: plugin_config(config),
            });
            spec.admin = Admin::Unix(self.path("client.admin"));
            spec.access_log = Some(access_log.clone());
            let bootstrap = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
            Ok((self.launch("client", &bootstrap, &rewrite).await?, address))
        });
        let (envoy, address) = started
            .await
            .unwrap_or_else(|error: Failed| panic!("{}", error.0));
        ClientUnderTest { envoy, address }
    }

    pub(crate) async fn launch(
        &self,
        name: &str,
        bootstrap: &envoy_config::Bootstrap,
        rewrite: &impl Fn(&mut Value),
    ) -> Result<Running, Failed> {
        let json = serde_json::to_value(bootstrap).expect("JSON");
        let mut changed = json.clone();
        rewrite(&mut changed);
        if changed != json {
            return Ok(Running::Rewritten(self.start_json(name, &changed).await));
        }
        let options = Options::new(name, self.dir.path()).log_level("info,wasm:info");
        let started = Envoy::start(&self.binary, bootstrap, &options).await;
        started.map(Running::Checked).map_err(|error| {
            let lost = error.is_address_in_use();
            Failed(chain(&error), lost)
        })
    }

    async fn start_json(&self, name: &str, bootstrap: &Value) -> lab::process::Child {
        let config = self.path(&format!("{name}.json"));
        fs::write(&config, bootstrap.to_string()).expect("writable");
        let mut child = lab::process::Command::new(name, self.binary.path(), self.dir.path())
            .arg("--config-path")
            .arg(&config)
            // One worker: one connection pool, one VM.
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "--log-level",
                "info",
            ])
            .start()
            .expect("Envoy starts");
        let target = lab::http::Target::Unix(self.path(&format!("{name}.admin")));
        lab::ready::http_ok(&target, "/ready", Duration::from_secs(30), Some(&mut child))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        child
    }
}

/// The configuration as `envoy-config` takes it.
pub(crate) fn plugin_config(config: &ConfigSpec) -> PluginConfig {
    PluginConfig::from_json(config.json().as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// A set of SPIFFE IDs.
pub(crate) fn ids(ids: &[&str]) -> BTreeSet<identity::SpiffeId> {
    ids.iter()
        .map(|id| id.parse().expect("a SPIFFE ID"))
        .collect()
}

/// Asserts a denial by the filter: 403, the body that says nothing, and the reason in the log.
#[track_caller]
pub(crate) fn assert_forbidden(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.text().trim()),
        (403, "RBAC: access denied")
    );
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !probe().await {
        assert!(
            begun.elapsed() < limit,
            "{what} did not come within {limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
