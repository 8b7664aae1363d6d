//! `WasmPlugin` (extensions.istio.io/v1alpha1).

use std::collections::{BTreeMap, BTreeSet};

use policy::Protocol;
use policy::config::{Direction, MAX_INLINE_BYTES, PluginConfig, compile};
use serde::Serialize;

use super::{Metadata, Resource, check_metadata};
use crate::error::{Checks, Problem, SpecErrors};
use crate::plugin::{check_shared, check_size, for_filter};

/// When istio-agent fetches an image again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub enum ImagePullPolicy {
    /// Once. Needs a tag or digest that does not move.
    #[default]
    IfNotPresent,
    /// Each time the plug-in's configuration changes.
    Always,
}

/// Where in the chain istiod puts the filter; native authorization is always behind it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// In front of the validation of tokens; policies must not look at them then.
    Authn,
    /// Between the validation of tokens and Istio's own authorization.
    #[default]
    Authz,
}

/// The filter in front of workloads, in place of nothing: it runs beside Istio's own authorization, before
/// it (phase AUTHZ), and a proxy that cannot load it denies everything (FAIL_CLOSE).
#[derive(Clone, Debug)]
pub struct WasmPlugin {
    /// Resource name.
    pub name: String,
    /// Namespace; the root namespace makes it apply to the whole mesh.
    pub namespace: String,
    /// Labels of the workloads it is for; empty for all of the namespace.
    pub labels: BTreeMap<String, String>,
    /// Where the module is: `oci://`, `https://` or `file://`.
    pub url: String,
    /// SHA-256 of the module or image, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// When an image is fetched again.
    pub image_pull_policy: ImagePullPolicy,
    /// Where in the chain.
    pub phase: Phase,
    /// Ports of the workload it is for; empty for all. A plug-in for HTTP is on HTTP ports only, one for TCP on
    /// every port unless they are named: on an HTTP port it would decide about whole connections.
    pub ports: BTreeSet<u16>,
    /// The filter's configuration; `direction` is inbound, and `protocol` makes the plug-in's type.
    pub config: PluginConfig,
}

impl WasmPlugin {
    /// Checks the spec and builds the resource.
    ///
    /// A deny list is polled from the cluster `countersign_agent_http`, which an
    /// [`EnvoyFilter`](super::EnvoyFilter) with `agent_http` adds. What policies look at beyond that needs one with
    /// [`FilterState`](super::FilterState) of [`FilterState::needed`](super::FilterState::needed). CUSTOM policies
    /// are asked by istiod's own `ext_authz` in front; their providers are the configuration's `customProviders`.
    ///
    /// Not checked: whether the module exists.
    ///
    /// # Errors
    /// Everything wrong with the spec, each with its field path.
    pub fn resource(&self) -> Result<Resource, SpecErrors> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        checks.done()?;
        Ok(Resource {
            api_version: "extensions.istio.io/v1alpha1",
            kind: "WasmPlugin",
            metadata: Metadata {
                name: self.name.clone(),
                namespace: self.namespace.clone(),
            },
            spec: super::Spec::WasmPlugin(Box::new(Spec {
                selector: (!self.labels.is_empty()).then(|| Selector {
                    match_labels: self.labels.clone(),
                }),
                url: self.url.clone(),
                sha256: self.sha256.clone(),
                image_pull_policy: self.image_pull_policy,
                phase: self.phase,
                fail_strategy: "FAIL_CLOSE",
                kind: match self.config.protocol {
                    Protocol::Http => "HTTP",
                    Protocol::Tcp => "NETWORK",
                },
                r#match: vec![Traffic {
                    mode: "SERVER",
                    ports: self
                        .ports
                        .iter()
                        .map(|number| Port { number: *number })
                        .collect(),
                }],
                plugin_name: "countersign",
                plugin_config: for_filter(&self.config),
            })),
        })
    }

    fn check(&self, checks: &mut Checks) {
        check_metadata(&self.name, &self.namespace, &self.labels, checks);
        let schemes = ["oci://", "https://", "file://"];
        if !schemes
            .iter()
            .any(|scheme| self.url.len() > scheme.len() && self.url.starts_with(scheme))
        {
            checks.refuse(
                "url",
                Problem::BadText {
                    value: self.url.clone(),
                    expected: "oci://…, https://… or file://…",
                },
            );
        }
        if let Some(sha256) = &self.sha256
            && (sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            checks.refuse(
                "sha256",
                Problem::BadText {
                    value: sha256.clone(),
                    expected: "64 hexadecimal digits",
                },
            );
        }
        check_shared("config", &self.config, Direction::Inbound, checks);
        check_size(
            "config",
            &for_filter(&self.config),
            MAX_INLINE_BYTES,
            checks,
        );
        if self.ports.contains(&0) {
            checks.refuse("ports", Problem::NoPort);
        }
        let looks_at_claims = || {
            let compiled = compile(&self.config);
            compiled.is_ok_and(|compiled| compiled.needs().claims)
        };
        if self.phase == Phase::Authn && looks_at_claims() {
            let problem = Problem::Contradicts {
                other: "config.policies".to_owned(),
                why: "policies look at tokens (those of a bundle may), which are validated behind this phase",
            };
            checks.refuse("phase", problem);
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    image_pull_policy: ImagePullPolicy,
    phase: Phase,
    fail_strategy: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    r#match: Vec<Traffic>,
    plugin_name: &'static str,
    plugin_config: PluginConfig,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
struct Traffic {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Serialize)]
struct Port {
    number: u16,
}
