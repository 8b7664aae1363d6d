//! TLS contexts: where keys and roots come from, who may be at the other end, and no resumption.

mod context;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use identity::{SpiffeId, TrustDomain};
use serde::Serialize;

use crate::error::{Checks, Problem};
use crate::typed::{Extension, Typed};

use self::context::{CommonTls, SanMatcher};

/// Where a side's private key, certificate chain and trusted roots come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsSource {
    /// An agent that serves SDS on a Unix socket; it rotates both while connections go on.
    Sds {
        /// The agent's socket.
        socket_path: PathBuf,
        /// SDS name of key and chain, such as `default` or a SPIFFE ID.
        certificate: String,
        /// SDS name of the validation context, such as `ROOTCA`.
        validation: String,
    },
    /// PEM files, read once when Envoy starts.
    Files {
        /// Chain, leaf first.
        certificate: PathBuf,
        /// Private key of the leaf.
        key: PathBuf,
        /// Roots that chains must end in.
        root: PathBuf,
    },
}

impl TlsSource {
    pub(crate) fn check(&self, path: &str, checks: &mut Checks) {
        match self {
            Self::Sds {
                socket_path,
                certificate,
                validation,
            } => {
                checks.socket_path(&format!("{path}.socketPath"), socket_path);
                checks.not_empty(&format!("{path}.certificate"), certificate);
                checks.not_empty(&format!("{path}.validation"), validation);
                if certificate == validation {
                    checks.refuse(
                        format!("{path}.validation"),
                        Problem::Duplicate {
                            value: validation.clone(),
                            by: format!("{path}.certificate"),
                        },
                    );
                }
            }
            Self::Files {
                certificate,
                key,
                root,
            } => {
                checks.file_path(&format!("{path}.certificate"), certificate);
                checks.file_path(&format!("{path}.key"), key);
                checks.file_path(&format!("{path}.root"), root);
            }
        }
    }

    pub(crate) fn sds_socket(&self) -> Option<&Path> {
        match self {
            Self::Sds { socket_path, .. } => Some(socket_path),
            Self::Files { .. } => None,
        }
    }
}

/// Which clients may finish a handshake with a server. The filter's policies come after this.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClientSans {
    /// Whoever holds a certificate under the roots.
    #[default]
    AnyVerified,
    /// Additionally one URI SAN must be in one of these trust domains.
    TrustDomains(BTreeSet<TrustDomain>),
}

impl ClientSans {
    pub(crate) fn check(&self, path: &str, checks: &mut Checks) {
        if matches!(self, Self::TrustDomains(domains) if domains.is_empty()) {
            checks.refuse(path, Problem::NoIdentity);
        }
    }

    fn matchers(&self) -> Vec<SanMatcher> {
        match self {
            Self::AnyVerified => Vec::new(),
            Self::TrustDomains(domains) => domains.iter().map(SanMatcher::trust_domain).collect(),
        }
    }
}

/// `DownstreamTlsContext` or `UpstreamTlsContext` as a transport socket.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum TransportSocket {
    Downstream(Extension<DownstreamTls>),
    Upstream(Extension<UpstreamTls>),
}

const TRANSPORT_SOCKET: &str = "envoy.transport_sockets.tls";
pub(crate) const DOWNSTREAM_TYPE: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
pub(crate) const UPSTREAM_TYPE: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

impl TransportSocket {
    /// The server side: a client certificate is required and no session can be resumed, because a resumed
    /// one skips verification (an expired certificate was seen to pass).
    pub(crate) fn server(source: &TlsSource, clients: &ClientSans) -> Self {
        Self::server_with(source, clients, &["h2", "http/1.1"])
    }

    /// The same for protocols without ALPN.
    pub(crate) fn tcp_server(source: &TlsSource, clients: &ClientSans) -> Self {
        Self::server_with(source, clients, &[])
    }

    fn server_with(source: &TlsSource, clients: &ClientSans, alpn: &[&'static str]) -> Self {
        Self::Downstream(Extension {
            name: TRANSPORT_SOCKET,
            typed_config: Typed::new(
                DOWNSTREAM_TYPE,
                DownstreamTls {
                    common_tls_context: CommonTls::new(source, clients.matchers(), alpn),
                    require_client_certificate: true,
                    disable_stateless_session_resumption: true,
                    disable_stateful_session_resumption: true,
                },
            ),
        })
    }

    /// The client side: the server's URI SAN has to be one of `allowed`, byte for byte. `None` leaves the
    /// SAN unchecked, for tests of the other lock.
    pub(crate) fn client(
        source: &TlsSource,
        allowed: Option<&BTreeSet<SpiffeId>>,
        sni: Option<&str>,
        alpn: &'static str,
    ) -> Self {
        Self::client_with(source, allowed, sni, &[alpn])
    }

    /// The same for protocols without ALPN.
    pub(crate) fn tcp_client(
        source: &TlsSource,
        allowed: Option<&BTreeSet<SpiffeId>>,
        sni: Option<&str>,
    ) -> Self {
        Self::client_with(source, allowed, sni, &[])
    }

    fn client_with(
        source: &TlsSource,
        allowed: Option<&BTreeSet<SpiffeId>>,
        sni: Option<&str>,
        alpn: &[&'static str],
    ) -> Self {
        let matchers = allowed.into_iter().flatten();
        let matchers = matchers.map(SanMatcher::id);
        Self::Upstream(Extension {
            name: TRANSPORT_SOCKET,
            typed_config: Typed::new(
                UPSTREAM_TYPE,
                UpstreamTls {
                    common_tls_context: CommonTls::new(source, matchers.collect(), alpn),
                    sni: sni.map(str::to_owned),
                    max_session_keys: 0,
                },
            ),
        })
    }

    /// A client without a certificate of its own, for servers of the web: `roots` verify the server, and its
    /// certificate has to be for `host`, a name or an address.
    pub(crate) fn web_client(roots: &Path, host: &str) -> Self {
        let matcher = SanMatcher::web(host);
        let sni = matcher.is_dns().then(|| host.to_owned());
        Self::Upstream(Extension {
            name: TRANSPORT_SOCKET,
            typed_config: Typed::new(
                UPSTREAM_TYPE,
                UpstreamTls {
                    common_tls_context: CommonTls::web(roots, matcher),
                    sni,
                    max_session_keys: 0,
                },
            ),
        })
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct DownstreamTls {
    common_tls_context: CommonTls,
    require_client_certificate: bool,
    disable_stateless_session_resumption: bool,
    disable_stateful_session_resumption: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct UpstreamTls {
    common_tls_context: CommonTls,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<String>,
    max_session_keys: u32,
}

/// Only the fields that stop resumption on a server, to be merged into a context somebody else wrote.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DownstreamNoResumption {
    disable_stateless_session_resumption: bool,
    disable_stateful_session_resumption: bool,
}

/// Only the field that stops resumption on a client, to be merged likewise.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UpstreamNoResumption {
    max_session_keys: u32,
}

pub(crate) const fn downstream_no_resumption() -> Extension<DownstreamNoResumption> {
    let message = DownstreamNoResumption {
        disable_stateless_session_resumption: true,
        disable_stateful_session_resumption: true,
    };
    Extension {
        name: TRANSPORT_SOCKET,
        typed_config: Typed::new(DOWNSTREAM_TYPE, message),
    }
}

pub(crate) const fn upstream_no_resumption() -> Extension<UpstreamNoResumption> {
    let message = UpstreamNoResumption {
        max_session_keys: 0,
    };
    Extension {
        name: TRANSPORT_SOCKET,
        typed_config: Typed::new(UPSTREAM_TYPE, message),
    }
}
