//! One Envoy with a filter chain for each set of policies and each side, found by the protocol a client offers in
//! TLS (ALPN), or for plaintext by the address the PROXY header names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::ext_authz::{ExtensionProvider, ExternalAuthorizationGrpc};
use envoy_config::sidecar::{InboundFilter, Server};
use envoy_config::tls::TlsSource;
use lab::envoy::Binary;
use lab::process::{Child, Command};
use policy::config::PluginConfig;
use policy::{Action, AuthorizationPolicy};
use serde_json::{Value, json};
use wasm_tests::fixtures::ca::Authority;

use crate::client::{PAYLOAD_HEADER, metadata_header};
use crate::group::{Group, LABELS, PROVIDERS};
use crate::outcome::TOLD;
use crate::request::{Caller, METADATA};

/// Who decides in a filter chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Native,
    Ours,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Native, Self::Ours];

    /// What a client offers to get to the set's chain.
    pub(crate) fn alpn(self, group: usize) -> String {
        match self {
            Self::Native => format!("native-{group}"),
            Self::Ours => format!("ours-{group}"),
        }
    }

    /// The destination that leads a plaintext connection to the set's chain: RFC 2544's range, halved.
    pub(crate) fn plaintext(self, group: usize) -> Ipv4Addr {
        let [high, low] = u16::try_from(group).expect("few sets").to_be_bytes();
        match self {
            Self::Native => Ipv4Addr::new(198, 18, high, low),
            Self::Ours => Ipv4Addr::new(198, 19, high, low),
        }
    }
}

/// What the Envoy is made with.
pub(crate) struct Setting<'s> {
    pub(crate) dir: &'s Path,
    pub(crate) tls: TlsSource,
    pub(crate) module: PathBuf,
    pub(crate) authority: &'s Authority,
    pub(crate) binary: &'s Binary,
}

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) listener: SocketAddr,
}

impl Setting<'_> {
    /// Starts it with these sets.
    pub(crate) async fn start(&self, groups: &[Group]) -> Running {
        let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, lab::ports::free().expect("a port")));
        let mut chains = Vec::new();
        let mut bootstrap = Value::Null;
        for (number, group) in groups.iter().enumerate() {
            let template = self.template(group, listener);
            for side in Side::BOTH {
                chains.extend(chains_of(&template, group, number, side));
            }
            bootstrap = template;
        }
        let place = &mut bootstrap["static_resources"]["listeners"][0];
        place["filter_chains"] = json!(chains);
        self.listen(&mut bootstrap);
        let child = self.launch(&bootstrap).await;
        Running { child, listener }
    }

    /// Has the listener read PROXY headers and the beginning of TLS.
    pub(crate) fn listen(&self, bootstrap: &mut Value) {
        bootstrap["static_resources"]["listeners"][0]["listener_filters"] = json!([
            listener_filter("proxy_protocol", "proxy_protocol.v3.ProxyProtocol"),
            listener_filter("tls_inspector", "tls_inspector.v3.TlsInspector"),
        ]);
    }

    /// The bootstrap that the project itself writes for these policies.
    fn template(&self, group: &Group, listen: SocketAddr) -> Value {
        let app = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut spec = Server::new("conformance", listen, app.into(), self.tls.clone());
        spec.envoy = self.binary.version();
        spec.admin = Admin::Unix(self.dir.join("admin.sock"));
        spec.mesh.extension_providers = providers(group);
        spec.filter = InboundFilter::Wasm {
            module: self.module.clone(),
            config: Box::new(self.config(group, "http")),
        };
        let bootstrap = spec
            .bootstrap()
            .unwrap_or_else(|error| panic!("{}: {error}", group.name));
        serde_json::to_value(bootstrap).expect("JSON")
    }

    pub(crate) fn config(&self, group: &Group, protocol: &str) -> PluginConfig {
        let mut trusted: BTreeSet<&str> = group
            .mesh
            .trust_domains
            .iter()
            .map(String::as_str)
            .collect();
        for request in &group.requests {
            trusted.insert("cluster.local");
            if let Caller::Uri(id) = &request.link.caller {
                trusted.extend(
                    id.strip_prefix("spiffe://")
                        .and_then(|id| id.split('/').next()),
                );
            }
        }
        let is_domain = |name: &&str| identity::TrustDomain::new(*name).is_ok();
        let issuers = json!({"issuers": [self.authority.intermediate_pem]});
        let trust: BTreeMap<&str, &Value> = trusted
            .into_iter()
            .filter(is_domain)
            .map(|name| (name, &issuers))
            .collect();
        let labels: BTreeMap<&str, &str> = LABELS.into_iter().collect();
        let mut config = json!({
            "schemaVersion": 1,
            "direction": "inbound",
            "protocol": protocol,
            "workload": {"namespace": group.mesh.namespace, "labels": labels},
            "trustDomain": group.mesh.trust_domains[0],
            "trustDomainAliases": group.mesh.trust_domains[1..],
            "trust": trust,
            "policies": group.policies,
            "pathNormalization": group.mesh.paths,
            "decisionLog": {"allowed": "all"},
        });
        if has_custom(group) {
            config["customProviders"] = json!(PROVIDERS);
        }
        let text = config.to_string();
        PluginConfig::from_json(text.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", group.name))
    }

    /// Starts Envoy and waits until it is ready.
    pub(crate) async fn launch(&self, bootstrap: &Value) -> Child {
        let config = self.dir.join("envoy.json");
        std::fs::write(&config, bootstrap.to_string()).expect("writable");
        let mut child = Command::new("conformance", self.binary.path(), self.dir)
            .arg("--config-path")
            .arg(&config)
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "--log-level",
                "warning",
            ])
            .args(["--component-log-level", "wasm:info"])
            .start()
            .expect("Envoy starts");
        let target = lab::http::Target::Unix(self.dir.join("admin.sock"));
        lab::ready::http_ok(
            &target,
            "/ready",
            Duration::from_secs(120),
            Some(&mut child),
        )
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", child.log_tail()));
        child
    }
}

fn has_custom(group: &Group) -> bool {
    let is_custom = |policy: &AuthorizationPolicy| policy.spec.action == Action::Custom;
    group.policies.iter().any(is_custom)
}

/// A provider that nobody asks: what it is asked about is not for these filters to decide.
/// The providers that CUSTOM policies of the set may name. Nobody is ever asked: what a set says is compared before.
pub(crate) fn providers(group: &Group) -> Vec<ExtensionProvider> {
    if has_custom(group) {
        PROVIDERS.map(provider).into()
    } else {
        Vec::new()
    }
}

fn provider(name: &str) -> ExtensionProvider {
    ExtensionProvider {
        name: name.to_owned(),
        envoy_ext_authz_grpc: Some(ExternalAuthorizationGrpc {
            service: "127.0.0.1".to_owned(),
            port: 9,
            ..ExternalAuthorizationGrpc::default()
        }),
        ..ExtensionProvider::default()
    }
}

fn listener_filter(name: &str, message: &str) -> Value {
    json!({
        "name": format!("envoy.filters.listener.{name}"),
        "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.listener.{message}")},
    })
}

/// The chain for TLS, and the same for plaintext where a request of the set is that.
fn chains_of(template: &Value, group: &Group, number: usize, side: Side) -> Vec<Value> {
    let mut chain = template["static_resources"]["listeners"][0]["filter_chains"][0].clone();
    let manager = &mut chain["filters"][0]["typed_config"];
    rewrite(manager, group, side);
    named(&mut manager["http_filters"], &side.alpn(number));
    let tls = &mut chain["transport_socket"]["typed_config"];
    tls["require_client_certificate"] = json!(false);
    tls["common_tls_context"]
        .as_object_mut()
        .expect("TLS")
        .remove("alpn_protocols");
    let mut plain = chain.clone();
    chain["filter_chain_match"] = json!({"application_protocols": [side.alpn(number)]});
    let is_plain = |request: &crate::request::Request| request.link.caller == Caller::Plaintext;
    if !group.requests.iter().any(is_plain) {
        return vec![chain];
    }
    let fields = plain.as_object_mut().expect("a chain");
    fields.remove("transport_socket");
    fields.remove("transport_socket_connect_timeout");
    let address = side.plaintext(number).to_string();
    plain["filter_chain_match"] =
        json!({"prefix_ranges": [{"address_prefix": address, "prefix_len": 32}]});
    vec![chain, plain]
}

/// Gives the plug-in a name of its own: of two with one name, the filter takes the newer for the older's update.
pub(crate) fn named(filters: &mut Value, name: &str) {
    for filter in filters.as_array_mut().into_iter().flatten() {
        if let Some(plugin) = filter.pointer_mut("/typed_config/config/name") {
            *plugin = json!(name);
        }
    }
}

/// Answers by itself, tells what happened, takes metadata from headers, and decides as this side does.
fn rewrite(manager: &mut Value, group: &Group, side: Side) {
    let fields = manager.as_object_mut().expect("a manager");
    fields.remove("access_log");
    fields["common_http_protocol_options"]
        .as_object_mut()
        .expect("options")
        .retain(|name, _| !name.starts_with("max_connection_duration"));
    // Istio's cases have methods like `method-prefix-x`.
    manager["http_protocol_options"] = json!({"allow_custom_methods": true});
    manager["use_remote_address"] = json!(!group.mesh.believes_headers);
    manager["route_config"] = json!({
        "name": "conformance",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            // A template is no prefix and `OPTIONS *` has no slash: every path is answered.
            "routes": [{"match": {"safe_regex": {"regex": ".*"}}, "direct_response": {"status": 200}}],
        }],
    });
    let told = TOLD.map(|(name, value)| {
        json!({"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
    });
    manager["local_reply_config"] = json!({"mappers": [{
        "filter": {"status_code_filter": {"comparison": {
            "op": "GE", "value": {"default_value": 200, "runtime_key": "conformance.none"},
        }}},
        "headers_to_add": told,
    }]});
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    // What asks the providers of CUSTOM policies.
    filters.retain(|filter| {
        filter["name"] != "envoy.filters.http.ext_authz"
            && filter["name"] != "envoy.filters.http.rbac"
    });
    if group.mesh.only_metadata {
        for filter in filters.iter_mut() {
            // Not by index, which would add the field where there is none.
            if let Some(Value::Array(values)) = filter.pointer_mut(STATE) {
                values.retain(|value| value["object_key"] != envoy_config::JWT_PAYLOAD_KEY);
            }
        }
        filters.retain(|filter| filter.pointer(STATE) != Some(&json!([])));
    }
    if side == Side::Native {
        let router = filters.pop().expect("a router");
        filters.clear();
        filters.extend(group.native.observers.iter().cloned());
        filters.extend(group.native.filters.iter().cloned());
        filters.push(router);
    }
    filters.insert(0, metadata_from_headers());
}

/// Where a `set_filter_state` filter has its values.
const STATE: &str = "/typed_config/on_request_headers";

fn metadata_from_headers() -> Value {
    let rule = |header: String, namespace: &str, key: &str| {
        json!({
            "header": header,
            "remove": true,
            "on_header_present": {
                "metadata_namespace": namespace,
                "key": key,
                "type": "PROTOBUF_VALUE",
                "encode": "BASE64",
            },
        })
    };
    let mut rules = vec![rule(
        PAYLOAD_HEADER.to_owned(),
        "envoy.filters.http.jwt_authn",
        "payload",
    )];
    for (place, (namespace, key)) in METADATA.into_iter().enumerate() {
        rules.push(rule(metadata_header(place), namespace, key));
    }
    json!({
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": rules,
        },
    })
}
