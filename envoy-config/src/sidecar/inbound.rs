//! What a server's filter chain has to be for the resources in its plug-in configuration.

use std::path::Path;

use policy::config::{CompiledConfig, Direction, PluginConfig, compile};
use policy::request_authentication::rules;
use policy::{Action, MtlsMode, MtlsModes, RequestAuthentication, Resource, Resources, Scope};

use crate::cluster::Cluster;
use crate::error::{Checks, Problem};
use crate::ext_authz::{Custom, CustomFilter, Providers};
use crate::http::{FORWARDED_CERTIFICATE, FilterStateValue, HttpFilter};
use crate::jwt::Jwt;
use crate::plugin::{check_plugin, check_size, for_filter};
use crate::rbac;
use crate::tls::TlsSource;

use super::{MeshSettings, Server};

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

/// The configuration as the filter gets it, told which providers are asked beside it. Of CUSTOM policies in a bundle
/// the proxy is told nothing, so a filter with a bundle knows no provider, and refuses them.
pub(super) fn written(mesh: &MeshSettings, config: &PluginConfig) -> PluginConfig {
    let mut config = for_filter(config);
    let providers = match config.policy_bundle {
        None => mesh.extension_providers.as_slice(),
        Some(_) => &[],
    };
    let providers = providers.iter();
    config.custom_providers = providers.map(|provider| provider.name.clone()).collect();
    config
}

impl Inbound {
    /// Of a configuration with errors nothing; those are for `check_plugin` to report.
    pub(super) fn new(server: &Server, config: &PluginConfig, checks: &mut Checks) -> Self {
        let Some((compiled, resources)) = read(&server.mesh, config) else {
            return Self::default();
        };
        let mut inbound = Self::default();
        inbound.custom(server, &resources, &compiled, checks);
        inbound.tokens(server, &resources, &compiled, checks);
        inbound.state = filter_state(server, &compiled);
        inbound.mtls = mtls(&compiled, &resources, server.listen.port());
        inbound
    }

    fn custom(
        &mut self,
        server: &Server,
        resources: &Resources,
        compiled: &CompiledConfig,
        checks: &mut Checks,
    ) {
        let providers = providers(&server.mesh, &server.tls);
        let custom = custom(resources, &compiled.scope, &providers, checks);
        let forwarded = compiled.forwarded_client_cert.is_some();
        let filters = custom.filters.into_iter();
        self.before
            .extend(filters.filter_map(|filter| match filter {
                CustomFilter::Rbac(filter) => Some(HttpFilter::translated_rbac(filter)),
                // Whoever comes here can have written that header; only our filter knows whom to believe.
                CustomFilter::Ask(message) if forwarded => Some(HttpFilter::ext_authz(
                    message.without(FORWARDED_CERTIFICATE),
                )),
                CustomFilter::Ask(message) => Some(HttpFilter::ext_authz(*message)),
                CustomFilter::AskTcp(_) => None,
            }));
        self.clusters.extend(custom.clusters);
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

/// A configuration as it compiles and the resources in it; of one with errors nothing, those are for
/// `check_plugin` to report.
pub(super) fn read(
    mesh: &MeshSettings,
    config: &PluginConfig,
) -> Option<(CompiledConfig, Resources)> {
    let compiled = compile(&written(mesh, config)).ok()?;
    let parsed = config.policies.iter().map(Resource::from_value);
    let resources = parsed.collect::<Result<Resources, _>>().ok()?;
    Some((compiled, resources))
}

/// What a `PeerAuthentication` says of a port, checked with the rest of the configuration.
pub(super) fn mtls(
    compiled: &CompiledConfig,
    resources: &Resources,
    port: u16,
) -> Option<MtlsMode> {
    let modes = MtlsModes::compile(&resources.peer_authentication, &compiled.scope);
    modes.unwrap_or_default().written(Some(port))
}

/// What the CUSTOM policies need. Only the filter knows certificate attributes, so of all policies only those are
/// translated.
pub(super) fn custom(
    resources: &Resources,
    scope: &Scope,
    providers: &Providers<'_>,
    checks: &mut Checks,
) -> Custom {
    let policies = resources.authorization.iter();
    let custom = policies.filter(|policy| policy.spec.action == Action::Custom);
    match rbac::translate(&custom.cloned().collect::<Vec<_>>(), scope) {
        Ok(rbac) => Custom::new(&rbac, providers, scope.protocol, checks),
        Err(errors) => {
            for error in errors {
                checks.refuse("filter.config.policies", Problem::Policy(error));
            }
            Custom::default()
        }
    }
}

/// The providers of a server, to be checked and asked.
pub(super) fn providers<'a>(mesh: &'a MeshSettings, tls: &'a TlsSource) -> Providers<'a> {
    Providers {
        list: &mesh.extension_providers,
        identities: &mesh.provider_identities,
        tls,
    }
}

/// Our filter on the way in, its configuration, and the providers.
pub(super) fn check_filter(
    module: &Path,
    config: &PluginConfig,
    agent_http: Option<&Path>,
    mesh: &MeshSettings,
    tls: &TlsSource,
    checks: &mut Checks,
) {
    checks.file_path("filter.module", module);
    let (told, direction) = (written(mesh, config), Direction::Inbound);
    check_plugin("filter.config", &told, direction, agent_http, checks);
    check_size("filter.config", &told, mesh.max_inline_bytes, checks);
    check_left_out(config, checks);
    providers(mesh, tls).check("mesh", checks);
}

/// What is not sent to the filter has no other to check it.
fn check_left_out(config: &PluginConfig, checks: &mut Checks) {
    let parsed = config.policies.iter().map(Resource::from_value);
    let resources: Resources = parsed.filter_map(Result::ok).collect();
    for error in RequestAuthentication::validate_all(&resources.request_authentication) {
        checks.refuse("filter.config.policies", Problem::Policy(error));
    }
}

fn filter_state(server: &Server, compiled: &CompiledConfig) -> Vec<FilterStateValue> {
    let mut values = Vec::new();
    if server.wants_peer_certificate() {
        values.push(FilterStateValue::peer_certificate());
    }
    let needs = compiled.needs();
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
