//! The workload that policies are compiled for.

use clap::{Args, ValueEnum};
use identity::TrustDomain;

use super::value::{pair, target, trust_domain};

/// The workload that policies are compiled for.
#[derive(Debug, Args)]
#[command(next_help_heading = "The workload")]
pub(crate) struct ScopeArgs {
    /// Namespace of the workload
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// A label of the workload; may be given several times
    #[arg(short, long = "label", value_parser = pair, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
    /// The mesh's own trust domain
    #[arg(long, default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: TrustDomain,
    /// Another name of the trust domain; may be given several times
    #[arg(long = "trust-domain-alias", value_parser = trust_domain, value_name = "TRUST_DOMAIN")]
    pub(crate) aliases: Vec<TrustDomain>,
    /// Policies of this namespace apply in every namespace
    #[arg(long, default_value = "istio-system", value_name = "NAMESPACE")]
    pub(crate) root_namespace: String,
    /// The form in which paths reach the filter
    #[arg(long, value_enum, default_value_t = PathForm::DecodeAndMergeSlashes)]
    pub(crate) path_normalization: PathForm,
    /// What the proxy speaks
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    pub(crate) protocol: Protocol,
    /// What kind of proxy it is
    #[arg(long, value_enum, default_value_t = ProxyKind::Sidecar)]
    pub(crate) proxy: ProxyKind,
    /// What `targetRefs` may name: KIND/NAMESPACE/NAME, with GROUP/ before it if it has one
    #[arg(long = "target", value_parser = target, value_name = "TARGET")]
    pub(crate) targets: Vec<policy::Target>,
    /// A provider that CUSTOM policies may name; any if not given
    #[arg(long = "custom-provider", value_name = "NAME")]
    pub(crate) custom_providers: Vec<String>,
}

/// Istio's `pathNormalization`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum PathForm {
    /// As the client wrote them
    None,
    /// RFC 3986
    Base,
    /// And no empty segments
    MergeSlashes,
    /// And no escaped slashes
    DecodeAndMergeSlashes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Protocol {
    /// Requests
    Http,
    /// Connections
    Tcp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProxyKind {
    /// Beside a workload
    Sidecar,
    /// At the mesh's edge
    Gateway,
    /// Before a namespace or service
    Waypoint,
}
