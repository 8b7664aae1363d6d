//! The workload that policies are compiled for.

use policy::path::PathNormalization;
use policy::{Protocol, Scope, WorkloadKind};
use serde_json::Value;
use wasm_tests::runner::{Sources, Written};

use crate::args::{PathForm, PolicyProtocol, ProxyKind, ScopeArgs};

/// The scope as given; without `--custom-provider` it has every provider that the policies name.
pub(super) fn resolve(args: &ScopeArgs, sources: &[&Sources]) -> Scope {
    let mut scope = Scope::new(args.trust_domain.clone(), &args.namespace);
    scope.workload.labels.extend(args.labels.iter().cloned());
    scope.root_namespace.clone_from(&args.root_namespace);
    scope.trust_domain_aliases.clone_from(&args.aliases);
    scope.path_normalization = path_form(args.path_normalization);
    scope.protocol = protocol(args.protocol);
    scope.kind = match args.proxy {
        ProxyKind::Sidecar => WorkloadKind::Sidecar,
        ProxyKind::Gateway => WorkloadKind::Gateway,
        ProxyKind::Waypoint => WorkloadKind::Waypoint,
    };
    scope.targets.clone_from(&args.targets);
    scope.custom_providers = if args.custom_providers.is_empty() {
        sources
            .iter()
            .flat_map(|sources| providers(sources))
            .collect()
    } else {
        args.custom_providers.iter().cloned().collect()
    };
    scope
}

pub(super) fn path_form(form: PathForm) -> PathNormalization {
    match form {
        PathForm::None => PathNormalization::None,
        PathForm::Base => PathNormalization::Base,
        PathForm::MergeSlashes => PathNormalization::MergeSlashes,
        PathForm::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
    }
}

pub(super) fn protocol(protocol: PolicyProtocol) -> Protocol {
    match protocol {
        PolicyProtocol::Http => Protocol::Http,
        PolicyProtocol::Tcp => Protocol::Tcp,
    }
}

/// The providers that policies name.
pub(super) fn providers(sources: &Sources) -> impl Iterator<Item = String> + '_ {
    let name = |written: &Written| {
        let name = written.part("spec.provider.name")?;
        name.as_str().map(str::to_owned)
    };
    sources.policies().iter().filter_map(name)
}

/// What to say where policies were read, and none of them applies: the labels that would select the workload.
pub(super) fn hint(args: &ScopeArgs, sources: &Sources) -> Option<String> {
    let mut wanted: Vec<String> = Vec::new();
    for written in sources.policies() {
        let namespace = written.namespace();
        let labels = written
            .part("spec.selector.matchLabels")
            .and_then(Value::as_object);
        let mut flags: Vec<String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some(format!("-l {key}={}", value.as_str()?)))
            .collect();
        if namespace != args.namespace && namespace != args.root_namespace {
            flags.insert(0, format!("-n {namespace}"));
        }
        let flags = flags.join(" ");
        if !flags.is_empty() && !wanted.contains(&flags) {
            wanted.push(flags);
        }
    }
    (!wanted.is_empty()).then(|| wanted.join(", or "))
}
