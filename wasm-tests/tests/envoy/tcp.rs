//! TCP through the built filter: what gets through to whom, and when the application is connected to.

mod custom;
mod inbound;
mod modes;
mod outbound;
mod table;
mod worlds;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::sidecar::{InboundFilter, SpeaksFirst, TcpServer};
use identity::chain;
use lab::http::Tls;
use lab::tcp::{BANNER, Heard, TcpApp, TcpClient};
use serde_json::{Value, json};
use wasm_tests::fixtures::ca::Leaf;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use crate::running::{Failed, Running, decisions};
use crate::support::{World, loopback, plugin_config};

/// Longer than anything that comes takes to come.
const SOON: Duration = Duration::from_secs(5);
/// Long enough for bytes that must not come.
const WHILE: Duration = Duration::from_millis(700);

/// A TCP server's Envoy and the application behind it.
struct Served {
    envoy: Running,
    address: SocketAddr,
    app: TcpApp,
    admin: PathBuf,
}

impl Served {
    async fn open(&self, tls: &Tls) -> TcpClient {
        TcpClient::open(self.address, Some(tls))
            .await
            .expect("a handshake")
    }

    fn decisions(&self) -> Vec<Value> {
        decisions(&self.envoy.log())
    }

    async fn stat(&self, name: &str) -> u64 {
        let admin = lab::envoy::AdminClient::new(&Admin::Unix(self.admin.clone())).expect("admin");
        admin.stat(name).await.expect("a statistic")
    }
}

/// Who says the first bytes of the application's protocol, and what they are.
const fn greeting(first: SpeaksFirst) -> &'static [u8] {
    match first {
        SpeaksFirst::Server => BANNER,
        SpeaksFirst::Client => b"",
    }
}

/// Numbers the servers of a test, so that each has its own socket.
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// Starts one.
async fn serve(
    world: &World,
    leaf: &Leaf,
    name: &str,
    first: SpeaksFirst,
    filter: InboundFilter,
    change: impl Fn(&mut TcpServer),
    rewrite: impl Fn(&mut Value),
) -> Served {
    let app = TcpApp::start(greeting(first)).await.expect("a port");
    let name = &format!("{name}-{}", SERVERS.fetch_add(1, Ordering::Relaxed));
    let tls = world.files(name, leaf);
    let admin = world.path(&format!("{name}.admin"));
    let started = lab::ports::retry(3, Failed::is_lost_race, async || {
        let address = loopback(lab::ports::free().expect("a port"));
        let mut spec = TcpServer::new(name, address, app.address().into(), tls.clone());
        spec.envoy = world.binary.version();
        spec.speaks_first = first;
        spec.filter = filter.clone();
        spec.admin = Admin::Unix(admin.clone());
        spec.access_log = Some(world.path(&format!("{name}.access.log")));
        change(&mut spec);
        let bootstrap = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
        Ok((world.launch(name, &bootstrap, &rewrite).await?, address))
    });
    let (envoy, address) = started
        .await
        .unwrap_or_else(|error: Failed| panic!("{}", error.0));
    Served {
        envoy,
        address,
        app,
        admin,
    }
}

/// A world whose Envoy can have our filter before a TCP application. There is none where the Envoy is too old
/// (docs/tcp.md); then `TcpServer` must refuse such a server and say why.
fn inbound_world() -> Option<World> {
    let world = World::new();
    let envoy = world.binary.version();
    if envoy.has_upstream_connect_mode() {
        return Some(world);
    }
    let tls = world.files("refused", &world.authority.svid(HTTPBIN));
    let mut spec = TcpServer::new("refused", loopback(1), loopback(2).into(), tls);
    spec.envoy = envoy;
    spec.filter = InboundFilter::Wasm {
        module: world.module.clone(),
        config: Box::new(plugin_config(&only_sleep(&world))),
    };
    let refused = spec.bootstrap().expect_err("an Envoy that is too old");
    let said = chain(&refused);
    assert!(said.contains("before 1.37 Envoy neither shows"), "{said}");
    eprintln!("inbound TCP is refused for Envoy {envoy}, as documented");
    None
}

/// A world whose TCP proxy can take bytes before it is connected. An older Envoy must refuse what the test would set:
/// then bytes cannot come early.
async fn early_data_world() -> Option<World> {
    let world = World::new();
    if world.binary.version().has_upstream_connect_mode() {
        return Some(world);
    }
    let tls = world.files("early", &world.authority.svid(HTTPBIN));
    let mut spec = TcpServer::new("early", loopback(1), loopback(2).into(), tls);
    spec.envoy = world.binary.version();
    let bootstrap = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
    let mut json = serde_json::to_value(bootstrap).expect("JSON");
    let config = world.path("early.json");
    std::fs::write(&config, json.to_string()).expect("writable");
    let good = lab::envoy::validate(&world.binary, &config).await;
    good.unwrap_or_else(|error| panic!("{}", chain(&error)));
    tcp_proxy(&mut json, |proxy| {
        proxy["max_early_data_bytes"] = json!(1024)
    });
    let said = world.refusal(&json).await;
    assert!(said.contains("max_early_data_bytes"), "{said}");
    eprintln!("Envoy {} has no early data", world.binary.release());
    None
}

/// A TCP server with our filter.
async fn guarded(
    world: &World,
    first: SpeaksFirst,
    config: &ConfigSpec,
    change: impl Fn(&mut TcpServer),
    rewrite: impl Fn(&mut Value),
) -> Served {
    let filter = InboundFilter::Wasm {
        module: world.module.clone(),
        config: Box::new(plugin_config(config)),
    };
    let leaf = world.authority.svid(HTTPBIN);
    serve(world, &leaf, "server", first, filter, change, rewrite).await
}

/// Inbound TCP without policies.
fn inbound(world: &World) -> ConfigSpec {
    ConfigSpec::inbound(&world.authority).with("protocol", json!("tcp"))
}

/// Inbound TCP for `sleep` alone.
fn only_sleep(world: &World) -> ConfigSpec {
    inbound(world).policy(allow_principal(
        "only-sleep",
        "cluster.local/ns/default/sa/sleep",
    ))
}

/// TLS settings of the client that is allowed, and of one that is not.
fn clients(world: &World) -> (Tls, Tls) {
    let allowed = world.tls("sleep", &world.authority.svid(SLEEP));
    let denied = world.tls("impostor", &world.authority.svid(IMPOSTOR));
    (allowed, denied)
}

/// The network filters of the first listener's first filter chain.
fn filters(bootstrap: &mut Value) -> &mut Vec<Value> {
    bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        .as_array_mut()
        .expect("filters")
}

/// Changes the settings of the TCP proxy.
fn tcp_proxy(bootstrap: &mut Value, change: impl Fn(&mut Value)) {
    let last = filters(bootstrap).last_mut().expect("the TCP proxy");
    change(&mut last["typed_config"]);
}

#[track_caller]
fn assert_nothing_and_closed(heard: &Heard) {
    assert_eq!(
        (heard.bytes.len(), heard.ended),
        (0, true),
        "{:?}",
        String::from_utf8_lossy(&heard.bytes)
    );
}
