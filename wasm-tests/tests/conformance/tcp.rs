//! The same over TCP: Envoy's network RBAC beside our network filter. A connection that is let through comes to an
//! application that sends back what it gets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::sidecar::InboundFilter;
use envoy_config::sidecar::TcpServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::client::{Connection, Tls};
use crate::envoy::{Running, Setting, Side, named, providers};
use crate::group::Group;
use crate::outcome::{self, Outcome};
use crate::report::Report;
use crate::request::Link;
use crate::run::Leaves;

/// Connections at a time.
const AT_A_TIME: usize = 8;
/// What the client says and wants to hear.
const SAID: &[u8] = b"ping\n";

/// Tries every request of every set on both sides and adds the comparison.
pub(crate) async fn run(
    setting: &Setting<'_>,
    groups: Vec<Group>,
    leaves: Leaves,
    report: &mut Report,
) {
    let log = setting.dir.join("connections.log");
    let mut running = start(setting, &groups, &log).await;
    let groups = Arc::new(groups);
    let tries: usize = groups.iter().map(|group| group.requests.len()).sum();
    assert!(
        tries < 30_000,
        "{tries} requests, and each side's has a port of its own"
    );
    let tried = try_all(&groups, running.listener, Arc::new(leaves)).await;
    running
        .child
        .stop(Duration::from_secs(5))
        .await
        .expect("Envoy stops");
    let read =
        |path: &Path| String::from_utf8_lossy(&std::fs::read(path).expect("a log")).into_owned();
    let connections = connections(&read(&log));
    let decisions = outcome::decisions(&read(running.child.stderr()), "connection");
    for (number, place, [native, ours]) in tried {
        let group = &groups[number];
        let native = native.and_then(|tried| {
            let line = connections.get(&tried.port);
            self::native(
                tried.passed,
                line.ok_or("no line in the log of connections")?,
            )
        });
        let ours = ours.and_then(|tried| {
            let line = connections
                .get(&tried.port)
                .ok_or("no line in the log of connections")?;
            let id = line["id"].to_string();
            outcome::ours(tried.passed, decisions.get(id.trim_matches('"')))
        });
        report.add(group, &group.requests[place], native, ours);
    }
}

/// What became of a connection, as its client sees it.
struct Tried {
    passed: bool,
    /// Where its PROXY header says it comes from: a port of its own, which ports of clients are not.
    port: u16,
}

type Both = [Result<Tried, String>; 2];

async fn try_all(
    groups: &Arc<Vec<Group>>,
    listener: SocketAddr,
    leaves: Arc<Leaves>,
) -> Vec<(usize, usize, Both)> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = Vec::new();
    for number in 0..groups.len() {
        let (groups, leaves, places) =
            (Arc::clone(groups), Arc::clone(&leaves), Arc::clone(&places));
        tasks.push(tokio::spawn(async move {
            let _place = places.acquire().await.expect("open");
            let mut tried = Vec::new();
            for (place, request) in groups[number].requests.iter().enumerate() {
                let mut both = [const { Err(String::new()) }; 2];
                for (side, slot) in Side::BOTH.into_iter().zip(0..) {
                    let alpn = side.alpn(number);
                    let leaf = leaves.get(&request.link.caller);
                    let tls = Tls { alpn: &alpn, leaf };
                    both[slot] = one(listener, &request.link, tls)
                        .await
                        .map_err(|error| error.to_string());
                }
                tried.push((number, place, both));
            }
            tried
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("no panic"));
    }
    all
}

async fn one(listener: SocketAddr, link: &Link, tls: Tls<'_>) -> std::io::Result<Tried> {
    static PORT: AtomicU16 = AtomicU16::new(1);
    let mut link = link.clone();
    link.remote.set_port(PORT.fetch_add(1, Ordering::Relaxed));
    let mut connection = Connection::open(listener, &link, Some(tls)).await?;
    let heard = connection.say(SAID).await?;
    if !heard.is_empty() && heard != SAID {
        return Err(std::io::Error::other(format!("heard {heard:?}")));
    }
    Ok(Tried {
        passed: heard == SAID,
        port: link.remote.port(),
    })
}

/// Lines of the listener's access log by the port in the PROXY header.
fn connections(log: &str) -> BTreeMap<u16, Value> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).ok()?;
        let port = value["client"].as_str()?.rsplit_once(':')?.1.parse().ok()?;
        Some((port, value))
    };
    log.lines().filter_map(line).collect()
}

fn native(passed: bool, line: &Value) -> Result<Outcome, String> {
    let told = |name: &str| {
        line[name]
            .as_str()
            .filter(|text| *text != "-")
            .map(str::to_owned)
    };
    let denied = told("details").and_then(|details| {
        let id = details
            .strip_prefix("rbac_access_denied_matched_policy[")?
            .strip_suffix(']')?;
        Some(id.to_owned())
    });
    if passed == denied.is_some() {
        return Err(format!("passed: {passed}, and in the log {line}"));
    }
    Ok(Outcome {
        allowed: passed,
        policy: match denied {
            None => told("allow"),
            Some(id) => Some(id).filter(|id| id != "none"),
        },
        audit: told("audit"),
        dry_run_deny: told("dryRunDeny"),
        dry_run_allow: told("dryRunAllow"),
    })
}

async fn start(setting: &Setting<'_>, groups: &[Group], log: &Path) -> Running {
    let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, lab::ports::free().expect("a port")));
    let app = application().await;
    let mut chains = Vec::new();
    let mut bootstrap = Value::Null;
    for (number, group) in groups.iter().enumerate() {
        let mut spec = TcpServer::new("conformance-tcp", listener, app.into(), setting.tls.clone());
        spec.envoy = setting.binary.version();
        spec.admin = Admin::Unix(setting.dir.join("admin.sock"));
        spec.mesh.extension_providers = providers(group);
        spec.filter = InboundFilter::Wasm {
            module: setting.module.clone(),
            config: Box::new(setting.config(group, "tcp")),
        };
        let template = spec
            .bootstrap()
            .unwrap_or_else(|error| panic!("{}: {error}", group.name));
        bootstrap = serde_json::to_value(template).expect("JSON");
        for side in Side::BOTH {
            chains.push(chain(&bootstrap, group, number, side));
        }
    }
    let place = &mut bootstrap["static_resources"]["listeners"][0];
    place["filter_chains"] = json!(chains);
    place["access_log"] = json!([access_log(log)]);
    setting.listen(&mut bootstrap);
    let child = setting.launch(&bootstrap).await;
    Running { child, listener }
}

fn chain(template: &Value, group: &Group, number: usize, side: Side) -> Value {
    let mut chain = template["static_resources"]["listeners"][0]["filter_chains"][0].clone();
    let tls = &mut chain["transport_socket"]["typed_config"];
    tls["require_client_certificate"] = json!(false);
    tls["common_tls_context"]
        .as_object_mut()
        .expect("TLS")
        .remove("alpn_protocols");
    chain["filter_chain_match"] = json!({"application_protocols": [side.alpn(number)]});
    named(&mut chain["filters"], &side.alpn(number));
    let filters = chain["filters"].as_array_mut().expect("filters");
    // What our filter decides is compared, not what a provider says behind it.
    filters.retain(|filter| {
        let kind = filter["typed_config"]["@type"].as_str().expect("a type");
        !kind.ends_with(".ExtAuthz") && !kind.ends_with(".RBAC")
    });
    if side == Side::Native {
        let proxy = filters.pop().expect("a proxy");
        filters.clear();
        filters.extend(group.native.observers.iter().cloned());
        filters.extend(group.native.filters.iter().cloned());
        filters.push(proxy);
    }
    chain
}

fn access_log(path: &Path) -> Value {
    let metadata = |name: &str| {
        format!("%DYNAMIC_METADATA(envoy.filters.network.rbac:{name}_shadow_effective_policy_id)%")
    };
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": {
                "id": "%CONNECTION_ID%",
                "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
                "details": "%CONNECTION_TERMINATION_DETAILS%",
                "allow": metadata("observed_allow"),
                "audit": metadata("observed_audit"),
                "dryRunDeny": metadata("observed_dry_deny"),
                "dryRunAllow": metadata("observed_dry_allow"),
            }},
        },
    })
}

/// Sends back what it gets.
async fn application() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}
