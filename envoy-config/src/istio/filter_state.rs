//! What the filter finds in filter state, for proxies that istiod configures.

use std::collections::BTreeSet;

use policy::config::{PluginConfig, compile};

use crate::http::FilterStateValue;
use crate::version::EnvoyVersion;

/// A value that a `set_filter_state` filter leaves for plug-ins. A plug-in that needs one and does not find it
/// denies everything.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FilterState {
    /// The client's certificate, for Envoys older than 1.39.
    PeerCertificate,
    /// The address of the TCP peer, for policies with `ipBlocks`: Istio's inbound listeners believe
    /// `x-forwarded-for`.
    DirectRemoteAddress,
    /// The client's address as the proxy sees it, for `remoteIpBlocks`.
    RemoteAddress,
    /// The claims of the token that was validated. Without it the filter reads them one by one where istiod's
    /// chain has them, which costs more and loses types.
    JwtPayload,
}

impl FilterState {
    /// What a plug-in with this configuration needs in an Envoy of this version. Of a configuration with errors,
    /// only what the version needs.
    #[must_use]
    pub fn needed(config: &PluginConfig, envoy: EnvoyVersion) -> BTreeSet<Self> {
        let needs = compile(config).map(|compiled| compiled.needs());
        let needs = needs.unwrap_or_default();
        let all = [
            (
                Self::PeerCertificate,
                !envoy.has_peer_certificate_attribute(),
            ),
            (Self::DirectRemoteAddress, needs.source_ip),
            (Self::RemoteAddress, needs.remote_ip),
            (Self::JwtPayload, needs.claims),
        ];
        let wanted = all.into_iter().filter(|(_, wanted)| *wanted);
        wanted.map(|(value, _)| value).collect()
    }

    pub(super) fn value(self) -> FilterStateValue {
        match self {
            Self::PeerCertificate => FilterStateValue::peer_certificate(),
            Self::DirectRemoteAddress => FilterStateValue::direct_address(),
            Self::RemoteAddress => FilterStateValue::remote_address(),
            Self::JwtPayload => FilterStateValue::jwt_payload(),
        }
    }
}
