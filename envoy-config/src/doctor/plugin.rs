//! Our filter in somebody's configuration.

use std::collections::BTreeMap;

use policy::config::{CompiledConfig, PluginConfig, compile};
use policy::{MtlsMode, MtlsModes, Resource};
use serde_json::Value;

use super::{each_object, every_field, is_type};

/// Filters that are configured elsewhere than where they stand (ECDS), and whether there is a hold anywhere.
#[derive(Debug)]
pub(super) struct Plugins<'c> {
    by_name: BTreeMap<&'c str, &'c Value>,
    /// Whether a cluster holds requests by our filter.
    pub(super) hold: bool,
}

impl<'c> Plugins<'c> {
    pub(super) fn find(config: &'c Value) -> Self {
        let mut plugins = Self {
            by_name: BTreeMap::new(),
            hold: false,
        };
        each_object("", config, every_field, &mut |_, object| {
            if is_type(object, "TypedExtensionConfig")
                && let Some(name) = object.get("name").and_then(Value::as_str)
                && let Some(config) = object.get("typed_config")
            {
                plugins.by_name.insert(name, config);
            }
        });
        // A dump has clusters before the filters that they name.
        each_object("", config, every_field, &mut |_, object| {
            if is_type(object, "HttpProtocolOptions") {
                let filters = object.get("http_filters").and_then(Value::as_array);
                let ours = |filter| plugins.typed_config(filter).is_some_and(is_ours);
                let holds = filters.is_some_and(|list| list.iter().any(ours));
                plugins.hold |= holds;
            }
        });
        plugins
    }

    /// A filter's configuration, in place or by its name.
    pub(super) fn typed_config(&self, filter: &'c Value) -> Option<&'c Value> {
        let in_place = filter.get("typed_config");
        let by_name = || {
            let name = filter.get("name")?.as_str()?;
            self.by_name.get(name).copied()
        };
        in_place.or_else(by_name)
    }

    /// Place of our filter in a chain, and what it is told. Of a filter whose configuration it would refuse, only
    /// the place: it denies everything then.
    pub(super) fn ours(&self, filters: &'c [Value]) -> Option<(usize, Option<Ours>)> {
        filters.iter().enumerate().find_map(|(place, filter)| {
            let config = self.typed_config(filter).filter(|config| is_ours(config))?;
            Some((place, Ours::read(config)))
        })
    }
}

pub(super) fn is_ours(config: &Value) -> bool {
    is_type(config, "Wasm")
        && config.pointer("/config/root_id").and_then(Value::as_str) == Some("countersign")
}

/// Our filter's configuration.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) config: PluginConfig,
    pub(super) compiled: CompiledConfig,
    resources: Vec<Resource>,
}

impl Ours {
    fn read(filter: &Value) -> Option<Self> {
        let text = filter.pointer("/config/configuration/value")?.as_str()?;
        let config = PluginConfig::from_json(text.as_bytes()).ok()?;
        let compiled = compile(&config).ok()?;
        let read = config.policies.iter().map(Resource::from_value);
        Some(Self {
            resources: read.filter_map(Result::ok).collect(),
            config,
            compiled,
        })
    }

    /// Providers that CUSTOM policies of the workload are left to.
    pub(super) fn asked_providers(&self) -> impl Iterator<Item = &str> {
        let scope = &self.compiled.scope;
        self.resources.iter().filter_map(move |resource| {
            let Resource::AuthorizationPolicy(policy) = resource else {
                return None;
            };
            let provider = policy.spec.provider.as_ref()?.name.as_str();
            (policy.spec.action == policy::Action::Custom && scope.applies(policy))
                .then_some(provider)
        })
    }

    /// Whether plaintext is allowed on any port, by a resource that says so.
    pub(super) fn takes_plaintext(&self) -> bool {
        let authentication = self.resources.iter().filter_map(|resource| match resource {
            Resource::PeerAuthentication(one) => Some(one.clone()),
            _ => None,
        });
        let all: Vec<_> = authentication.collect();
        let modes = MtlsModes::compile(&all, &self.compiled.scope).unwrap_or_default();
        let plain = |mode| matches!(mode, MtlsMode::Permissive | MtlsMode::Disable);
        modes.written(None).is_some_and(plain) || modes.ports().any(|(_, mode)| plain(mode))
    }
}
