//! The part of a TLS context that both sides have: key and chain, roots, and whose certificate will do.

use std::net::IpAddr;
use std::path::Path;

use identity::{SpiffeId, TrustDomain};
use serde::Serialize;

use crate::cluster::AGENT_SDS_CLUSTER;
use crate::typed::{FileSource, Seconds};

use super::TlsSource;

#[derive(Clone, Debug, Serialize)]
pub(super) struct CommonTls {
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

    pub(super) fn web(roots: &Path, matcher: SanMatcher) -> Self {
        let mut tls = Self::empty(&["http/1.1"]);
        tls.validation_context = Some(Validation {
            trusted_ca: Some(FileSource::new(roots)),
            match_typed_subject_alt_names: vec![matcher],
            trust_chain_verification: "VERIFY_TRUST_CHAIN",
        });
        tls
    }

    pub(super) fn new(
        source: &TlsSource,
        matchers: Vec<SanMatcher>,
        alpn: &[&'static str],
    ) -> Self {
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
pub(super) struct SanMatcher {
    san_type: &'static str,
    matcher: TextMatcher,
}

impl SanMatcher {
    /// A SPIFFE ID, byte for byte.
    pub(super) fn id(id: &SpiffeId) -> Self {
        Self {
            san_type: "URI",
            matcher: TextMatcher::Exact(id.to_string()),
        }
    }

    /// Every SPIFFE ID of a trust domain.
    pub(super) fn trust_domain(domain: &TrustDomain) -> Self {
        Self {
            san_type: "URI",
            matcher: TextMatcher::Prefix(format!("spiffe://{domain}/")),
        }
    }

    /// A server of the web: an address, or a DNS name.
    pub(super) fn web(host: &str) -> Self {
        Self {
            san_type: match host.parse::<IpAddr>() {
                Ok(_) => "IP_ADDRESS",
                Err(_) => "DNS",
            },
            matcher: TextMatcher::Exact(host.to_owned()),
        }
    }

    /// Whether it is for a name, which can be asked for in the handshake.
    pub(super) fn is_dns(&self) -> bool {
        self.san_type == "DNS"
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
