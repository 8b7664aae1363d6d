//! TLS contexts: where keys and roots come from, who may be at the other end, and no resumption.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use identity::{SpiffeId, TrustDomain};
use serde::Serialize;

use crate::cluster::AGENT_SDS_CLUSTER;
use crate::error::{Checks, Problem};
use crate::typed::{Extension, FileSource, Seconds, Typed};

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
            Self::TrustDomains(domains) => domains
                .iter()
                .map(|domain| SanMatcher::uri(TextMatcher::Prefix(format!("spiffe://{domain}/"))))
                .collect(),
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
        let matchers = matchers.map(|id| SanMatcher::uri(TextMatcher::Exact(id.to_string())));
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
        let san_type = match host.parse::<IpAddr>() {
            Ok(_) => "IP_ADDRESS",
            Err(_) => "DNS",
        };
        let matcher = SanMatcher {
            san_type,
            matcher: TextMatcher::Exact(host.to_owned()),
        };
        Self::Upstream(Extension {
            name: TRANSPORT_SOCKET,
            typed_config: Typed::new(
                UPSTREAM_TYPE,
                UpstreamTls {
                    common_tls_context: CommonTls::web(roots, matcher),
                    sni: (san_type == "DNS").then(|| host.to_owned()),
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

#[derive(Clone, Debug, Serialize)]
struct CommonTls {
    tls_params: TlsParams,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_certificates: Vec<TlsCertificate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_certificate_sds_secret_configs: Vec<SdsSecret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_context: Option<Validation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    combined_validation_context: Option<CombinedValidation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alpn_protocols: Vec<&'static str>,
}

impl CommonTls {
    fn empty(alpn: &[&'static str]) -> Self {
        Self {
            tls_params: TlsParams {
                tls_minimum_protocol_version: "TLSv1_2",
                tls_maximum_protocol_version: "TLSv1_3",
            },
            tls_certificates: Vec::new(),
            tls_certificate_sds_secret_configs: Vec::new(),
            validation_context: None,
            combined_validation_context: None,
            alpn_protocols: alpn.to_vec(),
        }
    }

    fn web(roots: &Path, matcher: SanMatcher) -> Self {
        let mut tls = Self::empty(&["http/1.1"]);
        tls.validation_context = Some(Validation {
            trusted_ca: Some(FileSource::new(roots)),
            match_typed_subject_alt_names: vec![matcher],
            trust_chain_verification: "VERIFY_TRUST_CHAIN",
        });
        tls
    }

    fn new(source: &TlsSource, matchers: Vec<SanMatcher>, alpn: &[&'static str]) -> Self {
        let mut tls = Self::empty(alpn);
        let validation = |trusted_ca| Validation {
            trusted_ca,
            match_typed_subject_alt_names: matchers,
            trust_chain_verification: "VERIFY_TRUST_CHAIN",
        };
        match source {
            TlsSource::Sds {
                certificate,
                validation: roots,
                ..
            } => {
                tls.tls_certificate_sds_secret_configs
                    .push(SdsSecret::new(certificate));
                tls.combined_validation_context = Some(CombinedValidation {
                    default_validation_context: validation(None),
                    validation_context_sds_secret_config: SdsSecret::new(roots),
                });
            }
            TlsSource::Files {
                certificate,
                key,
                root,
            } => {
                tls.tls_certificates.push(TlsCertificate {
                    certificate_chain: FileSource::new(certificate),
                    private_key: FileSource::new(key),
                });
                tls.validation_context = Some(validation(Some(FileSource::new(root))));
            }
        }
        tls
    }
}

#[derive(Clone, Debug, Serialize)]
struct TlsParams {
    tls_minimum_protocol_version: &'static str,
    tls_maximum_protocol_version: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct TlsCertificate {
    certificate_chain: FileSource,
    private_key: FileSource,
}

#[derive(Clone, Debug, Serialize)]
struct Validation {
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_ca: Option<FileSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    match_typed_subject_alt_names: Vec<SanMatcher>,
    trust_chain_verification: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct CombinedValidation {
    default_validation_context: Validation,
    validation_context_sds_secret_config: SdsSecret,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SanMatcher {
    san_type: &'static str,
    matcher: TextMatcher,
}

impl SanMatcher {
    const fn uri(matcher: TextMatcher) -> Self {
        Self {
            san_type: "URI",
            matcher,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum TextMatcher {
    Exact(String),
    Prefix(String),
}

/// A secret served by the agent.
#[derive(Clone, Debug, Serialize)]
struct SdsSecret {
    name: String,
    sds_config: ConfigSource,
}

#[derive(Clone, Debug, Serialize)]
struct ConfigSource {
    api_config_source: ApiConfigSource,
    initial_fetch_timeout: Seconds,
    resource_api_version: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ApiConfigSource {
    api_type: &'static str,
    transport_api_version: &'static str,
    grpc_services: Vec<GrpcService>,
    set_node_on_first_message_only: bool,
}

#[derive(Clone, Debug, Serialize)]
struct GrpcService {
    envoy_grpc: EnvoyGrpc,
}

#[derive(Clone, Debug, Serialize)]
struct EnvoyGrpc {
    cluster_name: &'static str,
}

impl SdsSecret {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            sds_config: ConfigSource {
                api_config_source: ApiConfigSource {
                    api_type: "GRPC",
                    transport_api_version: "V3",
                    grpc_services: vec![GrpcService {
                        envoy_grpc: EnvoyGrpc {
                            cluster_name: AGENT_SDS_CLUSTER,
                        },
                    }],
                    set_node_on_first_message_only: true,
                },
                // Wait for the identity without limit: ready means that the workload has one.
                initial_fetch_timeout: Seconds::whole(0),
                resource_api_version: "V3",
            },
        }
    }
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
