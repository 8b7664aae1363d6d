//! The Envoys under measurement.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::address::{Admin, Endpoint};
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{self, InboundFilter};
use envoy_config::tls::TlsSource;
use envoy_config::{AGENT_HTTP_CLUSTER, Bootstrap};
use identity::x509::SvidProfile;
use lab::envoy::{Binary, Envoy, Options, StartError};
use lab::http::{Connection, Target, Tls, Version};
use lab::ready::{self, NotYet};
use policy::config::{
    AllowedLog, DecisionLog, DenyListConfig, Direction, MAX_CONFIG_BYTES, PluginConfig,
    SCHEMA_VERSION, StaleList, TrustEntry,
};
use policy::path::PathNormalization;
use serde_json::Value;

use super::admin_socket;
use super::policies::{ALLOWED_PATH, REFUSED_PATH, Shape};
use crate::failure::Failure;
use crate::mesh::{Authority, TRUST_DOMAIN};

/// How long a first answer may take: the filter needs its deny list before.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How long an Envoy may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a deny list may take from the authority to the filter.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// Longer than a run: no connection is retired while it is measured.
const AGE: Duration = Duration::from_secs(6 * 3600);

/// What decides about requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guard {
    /// Nothing beyond mutual TLS.
    Nothing,
    /// Envoy's own RBAC filter.
    Native(Shape),
    /// Our filter with its defaults and a deny list.
    Filter(Shape),
    /// The same, with a line in Envoy's log for every allowed request.
    Logging(Shape),
    /// A module that decides nothing, with our filter's configuration: what Envoy and V8 take for any.
    Floor,
    /// A service outside of Envoy, put there by [`crate::ext_authz`].
    ExtAuthz,
}

/// What all of them have in common.
#[derive(Clone)]
pub(crate) struct Servers {
    binary: Binary,
    dir: PathBuf,
    agent: PathBuf,
    app: SocketAddr,
    module: PathBuf,
    issuer: String,
    list_keys: Vec<String>,
}

impl Servers {
    pub(crate) async fn new(
        dir: &Path,
        agent: &Path,
        app: SocketAddr,
        authority: &mut Authority,
    ) -> Result<Self, Failure> {
        let status = authority.status().await?;
        Ok(Self {
            binary: lab::envoy::find().map_err(Failure::part("Envoy"))?,
            dir: dir.to_owned(),
            agent: agent.to_owned(),
            app,
            module: module()?,
            issuer: status.intermediate.map(|ca| ca.pem).unwrap_or_default(),
            list_keys: status.deny_list_key_pems,
        })
    }

    /// The same with another build of the filter.
    pub(crate) fn with_module(&self, module: &Path) -> Self {
        Self {
            module: module.to_owned(),
            ..self.clone()
        }
    }

    /// Envoy's version.
    pub(crate) fn release(&self) -> String {
        self.binary.release().to_string()
    }

    /// Starts one with one worker, on another port if somebody was faster. `index` tells the files of the cases
    /// apart.
    pub(crate) async fn start(
        &self,
        index: usize,
        name: &'static str,
        guard: Guard,
    ) -> Result<Server, Failure> {
        self.start_with(index, name, guard, |_| Ok(())).await
    }

    /// The same, with a change to what Envoy is started with.
    pub(crate) async fn start_with(
        &self,
        index: usize,
        name: &'static str,
        guard: Guard,
        mut change: impl FnMut(&mut Value) -> Result<(), Failure>,
    ) -> Result<Server, Failure> {
        let started = lab::ports::retry(
            3,
            |error: &Failure| is_taken(error),
            async || {
                let port = lab::ports::free().map_err(Failure::part("port"))?;
                let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let bootstrap = self.bootstrap(listen, index, guard)?;
                let options = Options::new(&format!("envoy-{index}"), &self.dir)
                    .concurrency(1)
                    .log_level("warning,wasm:info");
                let failed = Failure::part("Envoy's bootstrap");
                let mut json = serde_json::to_value(&bootstrap).map_err(failed)?;
                change(&mut json)?;
                let text = json.to_string();
                let mut envoy =
                    Envoy::launch_yaml(&self.binary, &text, bootstrap.admin(), &options)
                        .map_err(Failure::part("Envoy"))?;
                // Ten thousand policies are read by every VM before the listener opens.
                let ready = envoy.wait_ready(START_LIMIT).await;
                ready.map_err(Failure::part("Envoy"))?;
                Ok((envoy, listen))
            },
        );
        let (envoy, listen) = started.await?;
        Ok(Server {
            name,
            envoy,
            target: listen.into(),
        })
    }

    fn bootstrap(
        &self,
        listen: SocketAddr,
        index: usize,
        guard: Guard,
    ) -> Result<Bootstrap, Failure> {
        let tls = TlsSource::Sds {
            socket_path: self.agent.clone(),
            certificate: "default".to_owned(),
            validation: "ROOTCA".to_owned(),
        };
        let mut server = sidecar::Server::new("httpbin", listen, Endpoint::Ip(self.app), tls);
        server.envoy = self.binary.version();
        server.admin = Admin::Unix(admin_socket(&self.dir, index));
        // What policies cost is measured, not how they come.
        server.mesh.max_inline_bytes = MAX_CONFIG_BYTES;
        server.connection_age = ConnectionAge::at_most(AGE);
        server.filter = match guard {
            Guard::Nothing | Guard::ExtAuthz => InboundFilter::None,
            Guard::Native(shape) => InboundFilter::NativeRbac {
                rules: shape.native(),
            },
            Guard::Filter(shape) => self.filter(shape, AllowedLog::None),
            Guard::Logging(shape) => self.filter(shape, AllowedLog::All),
            Guard::Floor => self.floor()?,
        };
        if matches!(server.filter, InboundFilter::Wasm { .. }) {
            server.agent_http = Some(self.agent.clone());
        }
        server
            .bootstrap()
            .map_err(Failure::part("Envoy's bootstrap"))
    }

    fn floor(&self) -> Result<InboundFilter, Failure> {
        let failed = "the module that decides nothing";
        let binary = wat::parse_str(include_str!("../floor.wat")).map_err(Failure::part(failed))?;
        let module = self.dir.join("floor.wasm");
        std::fs::write(&module, binary).map_err(Failure::part(failed))?;
        let floor = self.with_module(&module);
        Ok(floor.filter(Shape::One, AllowedLog::None))
    }

    fn filter(&self, shape: Shape, allowed: AllowedLog) -> InboundFilter {
        let issuers = vec![self.issuer.clone()];
        let config = PluginConfig {
            schema_version: SCHEMA_VERSION,
            direction: Direction::Inbound,
            workload: policy::WorkloadScope {
                namespace: "default".to_owned(),
                labels: BTreeMap::from([("app".to_owned(), "httpbin".to_owned())]),
            },
            trust_domain: TRUST_DOMAIN.to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: "istio-system".to_owned(),
            svid_profile: SvidProfile::Strict,
            trust: BTreeMap::from([(TRUST_DOMAIN.to_owned(), TrustEntry { issuers })]),
            policies: shape.istio(),
            path_normalization: PathNormalization::default(),
            deny_list: Some(DenyListConfig {
                cluster: AGENT_HTTP_CLUSTER.to_owned(),
                path: "/v1/denylist".to_owned(),
                poll_milliseconds: 500,
                keys: self.list_keys.clone(),
                authority: None,
                stale: StaleList::Deny,
                floor: None,
            }),
            secure_naming: None,
            decision_log: DecisionLog {
                allowed,
                response_header: false,
                headers: Vec::new(),
            },
            ..PluginConfig::new(Direction::Inbound, TRUST_DOMAIN)
        };
        InboundFilter::Wasm {
            module: self.module.clone(),
            config: Box::new(config),
        }
    }
}

/// The built filter.
fn module() -> Result<PathBuf, Failure> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm");
    let named = std::env::var_os("COUNTERSIGN_WASM").filter(|named| !named.is_empty());
    let path = named.map_or(built, PathBuf::from);
    path.canonicalize()
        .map_err(Failure::part("the filter (./justw wasm builds it)"))
}

fn is_taken(failure: &Failure) -> bool {
    let Failure::Part { source, .. } = failure else {
        return false;
    };
    source
        .downcast_ref()
        .is_some_and(StartError::is_address_in_use)
}

/// A running Envoy of one case.
pub(crate) struct Server {
    name: &'static str,
    envoy: Envoy,
    target: Target,
}

impl Server {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) const fn admin(&self) -> &lab::envoy::AdminClient {
        self.envoy.admin()
    }

    pub(crate) fn process_id(&mut self) -> u32 {
        self.envoy.process().id()
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let stopped = self.envoy.stop().await;
        stopped.map(drop).map_err(Failure::part("stopping Envoy"))
    }

    /// Waits until the filter decides by this deny list or a later one.
    pub(crate) async fn has_list(&self, sequence: u64) -> Result<(), Failure> {
        const GAUGE: &str = "countersign_deny_list_sequence";
        ready::until("the long deny list", LIST_LIMIT, None, async || {
            let stats = self.envoy.admin().stats(GAUGE).await?;
            match stats.values().max() {
                Some(held) if *held >= sequence => Ok(()),
                held => Err(NotYet(format!(
                    "list {held:?} is held, {sequence} is waited for"
                ))),
            }
        })
        .await
        .map_err(Failure::part(self.name))
    }

    /// Waits until requests pass, then makes sure that exactly those cases refuse which should: what does
    /// not decide would be measured as fast.
    pub(crate) async fn is_guarded(&self, guard: Guard, tls: &Tls) -> Result<(), Failure> {
        let open = async || Connection::open(&self.target, Some(tls), Version::Http1).await;
        let mut connection = open().await.map_err(Failure::part(self.name))?;
        ready::until(
            "first answer 200",
            FIRST_ANSWER,
            None,
            async || match connection.get(ALLOWED_PATH).await?.status {
                200 => Ok(()),
                other => Err(NotYet(format!("answer {other}"))),
            },
        )
        .await
        .map_err(Failure::part(self.name))?;
        let answer = connection.get(REFUSED_PATH).await;
        let found = answer.map_err(Failure::part(self.name))?.status;
        let (status, wanted) = match guard {
            Guard::Nothing | Guard::Floor => (200, "status 200"),
            _ => (403, "status 403"),
        };
        if found == status {
            return Ok(());
        }
        Err(Failure::Unexpected {
            case: format!("{}, GET {REFUSED_PATH}", self.name),
            wanted,
            found: found.to_string(),
        })
    }
}
