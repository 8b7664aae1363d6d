//! Istio's `RequestAuthentication` as Envoy's `jwt_authn` filter, what istiod makes of it.
//!
//! A request without a token passes, one with a token that no rule takes is answered 401. The claims of a token
//! that passed are left in dynamic metadata, where policies find them ([`METADATA_NAMESPACE`], key
//! [`PAYLOAD_KEY`]).

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use policy::request_authentication::JwtRule;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::Checks;
use crate::typed::{Empty, Seconds, Typed};

use self::keys::KeyServer;

/// The filter's namespace in dynamic metadata.
pub const METADATA_NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// The key there under which a token's claims are, as a JSON object.
pub const PAYLOAD_KEY: &str = "payload";

pub(crate) const FILTER_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// What a set of rules needs of a proxy.
#[derive(Clone, Debug)]
pub(crate) struct Jwt {
    pub(crate) filter: Typed<JwtAuthentication>,
    /// Where keys are fetched.
    pub(crate) clusters: Vec<Cluster>,
}

impl Jwt {
    /// Nothing without rules. `roots` verify the servers that keys are fetched from.
    pub(crate) fn new(
        rules: &[JwtRule],
        roots: Option<&Path>,
        checks: &mut Checks,
    ) -> Option<Self> {
        if rules.is_empty() {
            return None;
        }
        let mut servers = BTreeSet::new();
        let mut providers = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let keys = match KeyServer::of(rule) {
                None => Keys::local(rule),
                Some(server) => {
                    server.check(rule, checks);
                    let keys = Keys::remote(rule, &server);
                    servers.insert(server);
                    keys
                }
            };
            providers.insert(provider_name(index), Provider::new(rule, keys));
        }
        let clusters = servers.iter().filter_map(|server| {
            let cluster = server.cluster(roots);
            if cluster.is_none() {
                checks.refuse("mesh.jwksRoots", server.without_roots());
            }
            cluster
        });
        let clusters = clusters.collect();
        let message = JwtAuthentication {
            rules: vec![RequirementRule {
                r#match: EveryPath { prefix: "/" },
                requires: requirement(rules.len()),
            }],
            providers,
            bypass_cors_preflight: true,
        };
        Some(Self {
            filter: Typed::new(FILTER_TYPE, message),
            clusters,
        })
    }
}

/// istiod's name of the provider of a rule.
fn provider_name(index: usize) -> String {
    format!("origins-{index}")
}

/// Of one rule: its token or none. Of several: the token of any of them, which serves rules that look in the same
/// place, or every token that is there is good.
fn requirement(rules: usize) -> Requirement {
    let provider = |index| Requirement::ProviderName(provider_name(index));
    let or_missing =
        |index| Requirement::any(vec![provider(index), Requirement::AllowMissing(Empty {})]);
    if rules == 1 {
        return or_missing(0);
    }
    let all = Requirement::RequiresAll(Requirements {
        requirements: (0..rules).map(or_missing).collect(),
    });
    Requirement::any((0..rules).map(provider).chain([all]).collect())
}

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JwtAuthentication {
    providers: BTreeMap<String, Provider>,
    rules: Vec<RequirementRule>,
    bypass_cors_preflight: bool,
}

#[derive(Clone, Debug, Serialize)]
struct RequirementRule {
    r#match: EveryPath,
    requires: Requirement,
}

#[derive(Clone, Debug, Serialize)]
struct EveryPath {
    prefix: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Requirement {
    ProviderName(String),
    RequiresAny(Requirements),
    RequiresAll(Requirements),
    AllowMissing(Empty),
}

impl Requirement {
    fn any(requirements: Vec<Self>) -> Self {
        Self::RequiresAny(Requirements { requirements })
    }
}

#[derive(Clone, Debug, Serialize)]
struct Requirements {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, Serialize)]
struct Provider {
    issuer: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<String>,
    #[serde(flatten)]
    keys: Keys,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from_headers: Vec<FromHeader>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from_params: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from_cookies: Vec<String>,
    forward: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_payload_header: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claim_to_headers: Vec<ClaimToHeader>,
    payload_in_metadata: &'static str,
    normalize_payload_in_metadata: NormalizePayload,
}

impl Provider {
    fn new(rule: &JwtRule, keys: Keys) -> Self {
        let headers = rule.from_headers.iter().flatten();
        let claims = rule.output_claim_to_headers.iter().flatten();
        Self {
            issuer: rule.issuer.clone(),
            audiences: rule.audiences.clone().unwrap_or_default(),
            keys,
            from_headers: headers
                .map(|header| FromHeader {
                    name: header.name.clone(),
                    value_prefix: header.prefix.clone(),
                })
                .collect(),
            from_params: rule.from_params.clone().unwrap_or_default(),
            from_cookies: rule.from_cookies.clone().unwrap_or_default(),
            forward: rule.forward_original_token.unwrap_or_default(),
            forward_payload_header: rule.output_payload_to_header.clone(),
            claim_to_headers: claims
                .map(|one| ClaimToHeader {
                    header_name: one.header.clone(),
                    claim_name: one.claim.clone(),
                })
                .collect(),
            payload_in_metadata: PAYLOAD_KEY,
            normalize_payload_in_metadata: NormalizePayload::new(rule),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct FromHeader {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_prefix: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ClaimToHeader {
    header_name: String,
    claim_name: String,
}

/// Claims whose words become the elements of a list.
#[derive(Clone, Debug, Serialize)]
struct NormalizePayload {
    space_delimited_claims: BTreeSet<String>,
}

impl NormalizePayload {
    fn new(rule: &JwtRule) -> Self {
        let always = ["permission", "scope"].map(str::to_owned);
        let written = rule.space_delimited_claims.iter().flatten().cloned();
        Self {
            space_delimited_claims: written.chain(always).collect(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Keys {
    LocalJwks(InlineKeys),
    RemoteJwks(RemoteKeys),
}

impl Keys {
    fn local(rule: &JwtRule) -> Self {
        Self::LocalJwks(InlineKeys {
            inline_string: rule.jwks.clone().unwrap_or_default(),
        })
    }

    fn remote(rule: &JwtRule, server: &KeyServer) -> Self {
        Self::RemoteJwks(RemoteKeys {
            http_uri: HttpUri {
                uri: rule.jwks_uri.clone().unwrap_or_default(),
                cluster: server.cluster_name(),
                timeout: Seconds(rule.fetch_timeout().unwrap_or_default()),
            },
            cache_duration: Seconds::whole(5 * 60),
        })
    }
}

#[derive(Clone, Debug, Serialize)]
struct InlineKeys {
    inline_string: String,
}

#[derive(Clone, Debug, Serialize)]
struct RemoteKeys {
    http_uri: HttpUri,
    cache_duration: Seconds,
}

#[derive(Clone, Debug, Serialize)]
struct HttpUri {
    uri: String,
    cluster: String,
    timeout: Seconds,
}

#[cfg(test)]
mod tests;
