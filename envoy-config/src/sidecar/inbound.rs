//! What a server's filter chain has to be for the resources in its plug-in configuration.

use policy::config::{CompiledConfig, PluginConfig, compile};
use policy::request_authentication::rules;
use policy::{MtlsMode, MtlsModes, Resource, Resources};

use crate::cluster::Cluster;
use crate::error::{Checks, Problem};
use crate::ext_authz::{Custom, CustomFilter, Providers};
use crate::http::{FilterStateValue, HttpFilter};
use crate::jwt::Jwt;
use crate::plugin::for_filter;
use crate::rbac;

use super::Server;

/// The filters in front of ours, the clusters they need, and how connections are taken.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// CUSTOM's, and the one that validates tokens.
    pub(super) before: Vec<HttpFilter>,
    /// What the filter finds in filter state.
    pub(super) state: Vec<FilterStateValue>,
    pub(super) clusters: Vec<Cluster>,
    /// `None` where no `PeerAuthentication` says anything.
    pub(super) mtls: Option<MtlsMode>,
}

/// The configuration as the filter gets it, told which providers are asked in front of it.
pub(super) fn written(server: &Server, config: &PluginConfig) -> PluginConfig {
    let mut config = for_filter(config);
    let providers = server.mesh.extension_providers.iter();
    config.custom_providers = providers.map(|provider| provider.name.clone()).collect();
    config
}

impl Inbound {
    /// Of a configuration with errors nothing; those are for `check_plugin` to report.
    pub(super) fn new(server: &Server, config: &PluginConfig, checks: &mut Checks) -> Self {
        let told = written(server, config);
        let Ok(compiled) = compile(&told) else {
            return Self::default();
        };
        let parsed = config.policies.iter().map(Resource::from_value);
        let Ok(resources) = parsed.collect::<Result<Resources, _>>() else {
            return Self::default();
        };
        let mut inbound = Self::default();
        inbound.custom(server, &resources, &compiled, checks);
        inbound.tokens(server, &resources, &compiled, checks);
        inbound.state = filter_state(server, &compiled);
        // Checked with the rest of the configuration.
        let modes = MtlsModes::compile(&resources.peer_authentication, &compiled.scope);
        inbound.mtls = modes
            .unwrap_or_default()
            .written(Some(server.listen.port()));
        inbound
    }

    fn custom(
        &mut self,
        server: &Server,
        resources: &Resources,
        compiled: &CompiledConfig,
        checks: &mut Checks,
    ) {
        // Only the filter knows certificate attributes, so of all policies only those are translated.
        let custom: Vec<_> = resources
            .authorization
            .iter()
            .filter(|policy| policy.spec.action == policy::Action::Custom)
            .cloned()
            .collect();
        match rbac::translate(&custom, &compiled.scope) {
            Ok(rbac) => {
                let custom = Custom::new(&rbac, &providers(server), checks);
                self.before
                    .extend(custom.filters.into_iter().map(|filter| match filter {
                        CustomFilter::Rbac(filter) => HttpFilter::translated_rbac(filter),
                        CustomFilter::Ask(message) => HttpFilter::ext_authz(*message),
                    }));
                self.clusters.extend(custom.clusters);
            }
            Err(errors) => {
                for error in errors {
                    checks.refuse("filter.config.policies", Problem::Policy(error));
                }
            }
        }
    }

    fn tokens(
        &mut self,
        server: &Server,
        resources: &Resources,
        compiled: &CompiledConfig,
        checks: &mut Checks,
    ) {
        // What is wrong with them is reported with their configuration.
        let rules = rules(&resources.request_authentication, &compiled.scope).unwrap_or_default();
        let roots = server.mesh.jwks_roots.as_deref();
        if let Some(jwt) = Jwt::new(&rules, roots, checks) {
            self.before.push(HttpFilter::jwt_authn(jwt.filter));
            self.clusters.extend(jwt.clusters);
        }
    }
}

/// The providers of a server, to be checked and asked.
pub(super) fn providers(server: &Server) -> Providers<'_> {
    Providers {
        list: &server.mesh.extension_providers,
        identities: &server.mesh.provider_identities,
        tls: &server.tls,
    }
}

fn filter_state(server: &Server, compiled: &CompiledConfig) -> Vec<FilterStateValue> {
    let mut values = Vec::new();
    if server.wants_peer_certificate() {
        values.push(FilterStateValue::peer_certificate());
    }
    let needs = compiled.policies.needs();
    for (needed, value) in [
        (needs.source_ip, FilterStateValue::direct_address()),
        (needs.remote_ip, FilterStateValue::remote_address()),
        (needs.claims, FilterStateValue::jwt_payload()),
    ] {
        if needed {
            values.push(value);
        }
    }
    values
}
