//! The weaknesses by name, with what they mean and what to do.

use std::fmt;

/// A setting that undoes a check.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Weakness {
    /// A filter is switched off, for a route or until something else switches it on.
    FilterDisabled,
    /// Upgraded connections (WebSocket, CONNECT) have a filter chain of their own.
    UpgradeFilters,
    /// A filter that cannot run, or a provider that cannot be asked, lets everything through.
    FailOpen,
    /// Certificates that no root vouches for are accepted.
    AcceptUntrusted,
    /// There are no roots to verify the other side with.
    NoTrustedCa,
    /// Clients need no certificate.
    NoClientCertificate,
    /// TLS sessions can be resumed, which skips verification.
    Resumption,
    /// Hedged requests: the hold sees the newest attempt only.
    Hedging,
    /// A per-try timeout that races with the hold.
    ShortPerTryTimeout,
    /// QUIC, which the checks are not made for.
    Quic,
    /// A Wasm filter whose body callbacks can release held headers.
    StopIteration,
    /// Tokens are validated behind our filter.
    JwtAfterFilter,
    /// A provider is asked behind our filter.
    AskedAfterFilter,
    /// Our filter leaves requests to a provider that nothing in front of it asks.
    CustomNotAsked,
    /// What our filter looks for in filter state is put there behind it.
    StateAfterFilter,
    /// Header names with underscores get to the application.
    HeadersWithUnderscores,
    /// Callers can steer retries, timeouts and hedging by `x-envoy-` headers.
    EnvoyHeaders,
    /// Paths are normalised in another way than the policies were compiled for.
    PathNormalization,
    /// Plaintext is taken where no `PeerAuthentication` says so.
    PlaintextChain,
    /// A connection to the application is opened before our filter has decided.
    ImmediateConnect,
    /// A provider is asked in front of our filter, which then lets go what the provider has not answered about.
    AskedBeforeHold,
    /// The proxy removes the header in which our filter is to find the certificate of a client behind a gateway.
    ForwardedCertificateRemoved,
    /// Our filter's configuration holds more policies than belong in one.
    LargePluginConfig,
    /// Keys for tokens come over a network without TLS.
    KeysOverPlaintext,
    /// Two of our filters have one name and different configurations.
    SharedPluginName,
}

impl Weakness {
    /// Stable name for logs and JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.texts().0
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.texts().2
    }

    /// Name, meaning, remedy.
    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::FilterDisabled => (
                "filter_disabled",
                "a filter is disabled here",
                "remove `disabled`",
            ),
            Self::UpgradeFilters => (
                "upgrade_filters",
                "upgraded connections have filters of their own",
                "remove `filters` from the upgrade, so that it uses the connection manager's",
            ),
            Self::FailOpen => (
                "fail_open",
                "a filter or provider that fails lets requests through",
                "set `failure_policy: FAIL_CLOSED` (Wasm), or take `failure_mode_allow` away (ext_authz)",
            ),
            Self::AcceptUntrusted => (
                "accept_untrusted",
                "certificates that no root vouches for are accepted",
                "set `trust_chain_verification: VERIFY_TRUST_CHAIN`",
            ),
            Self::NoTrustedCa => (
                "no_trusted_ca",
                "no roots are given to verify certificates with",
                "give the context `trusted_ca`, or an SDS validation context",
            ),
            Self::NoClientCertificate => (
                "no_client_certificate",
                "clients need no certificate",
                "set `require_client_certificate: true`",
            ),
            Self::Resumption => (
                "resumption",
                "TLS sessions can be resumed, which skips verification",
                "set `disable_stateless_session_resumption` and `disable_stateful_session_resumption` \
                 (servers), or `max_session_keys: 0` (clients)",
            ),
            Self::Hedging => (
                "hedging",
                "requests are hedged, so the hold sees only the newest attempt",
                "remove `hedge_on_per_try_timeout`",
            ),
            Self::ShortPerTryTimeout => (
                "short_per_try_timeout",
                "the per-try timeout is below 20 ms and races with the hold",
                "make `per_try_timeout` at least 0.020s",
            ),
            Self::Quic => (
                "quic",
                "QUIC is not covered by the checks",
                "take TLS over TCP",
            ),
            Self::StopIteration => (
                "stop_iteration",
                "allow_on_headers_stop_iteration can release held requests",
                "remove `allow_on_headers_stop_iteration`",
            ),
            Self::JwtAfterFilter => (
                "jwt_after_filter",
                "tokens are validated behind our filter, which sees no claims then",
                "put `envoy.filters.http.jwt_authn` in front of our filter (WasmPlugin: phase AUTHZ)",
            ),
            Self::AskedAfterFilter => (
                "asked_after_filter",
                "a provider is asked behind our filter: CUSTOM comes before DENY and ALLOW",
                "put the RBAC filter of CUSTOM and `envoy.filters.http.ext_authz` in front of our filter",
            ),
            Self::CustomNotAsked => (
                "custom_not_asked",
                "our filter leaves a CUSTOM policy to a provider that nothing in front of it asks",
                "put `ext_authz` for the provider in front, or take it out of `customProviders`",
            ),
            Self::StateAfterFilter => (
                "state_after_filter",
                "filter state that our filter reads is set behind it",
                "put `envoy.filters.http.set_filter_state` right in front of our filter",
            ),
            Self::HeadersWithUnderscores => (
                "headers_with_underscores",
                "`a_b` is one header with `a-b` to many applications and another one to policies",
                "set `headers_with_underscores_action: REJECT_REQUEST`",
            ),
            Self::EnvoyHeaders => (
                "envoy_headers",
                "callers can set retries, timeouts and hedging by x-envoy- headers",
                "remove headers with the prefix `x-envoy-` by an early header mutation",
            ),
            Self::PathNormalization => (
                "path_normalization",
                "paths are normalised in another way than `pathNormalization` of the plug-in says",
                "make `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action` the mode's",
            ),
            Self::PlaintextChain => (
                "plaintext_chain",
                "plaintext is taken, and no PeerAuthentication in the plug-in's configuration says so",
                "remove the filter chain, or add the PeerAuthentication that is in force",
            ),
            Self::ImmediateConnect => (
                "immediate_connect",
                "the application gets a connection before the client is decided on",
                "set `upstream_connect_mode: ON_DOWNSTREAM_DATA` where the client speaks first; where the server \
                 does, let our filter hold the connection as a bootstrap of countersign has it \
                 (`countersign.tcp_hold` in filter state, `max_early_data_bytes`)",
            ),
            Self::AskedBeforeHold => (
                "asked_before_hold",
                "a provider is asked in front of our filter, which holds the connection and lets it go with bytes \
                 that the provider has not answered about",
                "put the RBAC filter of CUSTOM and `envoy.filters.network.ext_authz` behind our filter, or take \
                 the mark `countersign.tcp_hold` away",
            ),
            Self::ForwardedCertificateRemoved => (
                "forwarded_certificate_removed",
                "the proxy removes x-forwarded-client-cert, without which every request of the proxy in \
                 `forwardedClientCert` is denied",
                "set `forward_client_cert_details: FORWARD_ONLY` and remove the header by the route \
                 (`request_headers_to_remove`), or take `forwardedClientCert` out",
            ),
            Self::LargePluginConfig => (
                "large_plugin_config",
                "the configuration of our filter is longer than 256 KiB, more than an API server may take, and every \
                 change of a policy sends all of it",
                "publish the policies (`countersign policy publish`) and name the bundle in `policyBundle`",
            ),
            Self::KeysOverPlaintext => (
                "keys_over_plaintext",
                "the keys that tokens are verified with come over the network in plaintext: whoever is on the way \
                 decides which tokens are good",
                "take an https jwksUri, with the roots of its server (`mesh.jwksRoots`), or write the keys in place",
            ),
            Self::SharedPluginName => (
                "shared_plugin_name",
                "a filter with another configuration has the same vm_id and name, and is taken for a version of \
                 this one",
                "give each plug-in configuration of a proxy its own `name`",
            ),
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts().1)
    }
}
