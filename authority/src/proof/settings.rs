//! Section `proofs` of the configuration file: what counts as a proof of who is calling.

use std::collections::BTreeSet;
use std::path::PathBuf;

use identity::TrustDomain;
use serde::Deserialize;

pub use self::values::{Audiences, ClusterName, HttpsUrl, Issuer, NodeAccount, ValueError};
use crate::config::Seconds;
use crate::proof::template::Template;

mod values;

/// What counts as a proof. By default join tokens, and our own certificates for a year after the
/// join token they go back to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ProofsConfig {
    /// Join tokens.
    pub join_tokens: JoinTokens,
    /// Renewal with a certificate of ours.
    pub renewal: Renewal,
    /// What is made of the names in a CSR.
    pub csr_names: CsrNames,
    /// Kubernetes clusters whose service account tokens are accepted.
    pub kubernetes: Vec<ClusterConfig>,
    /// Issuers of OpenID Connect tokens that are accepted.
    pub oidc: Vec<OidcConfig>,
    /// Foreign CAs whose certificates are accepted.
    pub x509pop: Vec<ForeignCaConfig>,
}

/// `joinTokens`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct JoinTokens {
    /// Whether they are accepted.
    pub enabled: bool,
}

impl Default for JoinTokens {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `renewal`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Renewal {
    /// Whether a certificate of ours is good for new ones.
    pub enabled: bool,
    /// How long after the join token that a chain of renewals goes back to.
    pub max_proof_age: Seconds,
    /// The same where it goes back to a bearer token or a foreign certificate: what such a one
    /// stands for, a pod or a job, may long be gone.
    pub max_token_proof_age: Seconds,
}

impl Default for Renewal {
    fn default() -> Self {
        Self {
            enabled: true,
            max_proof_age: Seconds::of(365 * 86_400),
            max_token_proof_age: Seconds::of(7 * 86_400),
        }
    }
}

/// What is made of the names in a CSR. Nothing of them is ever certified.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum CsrNames {
    /// Nothing, as istiod does.
    #[default]
    Ignore,
    /// A CSR that names anything but exactly the identity it gets is refused.
    MustMatch,
}

/// A Kubernetes cluster. With both `keys` and `tokenReview` a token must pass both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterConfig {
    /// What callers name in the header `clusterid`.
    pub name: ClusterName,
    /// Whether it is meant by callers that send no such header.
    #[serde(default)]
    pub default: bool,
    /// The only issuer accepted, exactly as in the tokens' `iss`.
    pub issuer: Issuer,
    /// One of these must be among the tokens' audiences.
    #[serde(default = "istio_audience")]
    pub audiences: Audiences,
    /// Where the issuer's keys are; tokens are then checked without asking the cluster.
    #[serde(default)]
    pub keys: Option<KeysConfig>,
    /// The API server.
    #[serde(default)]
    pub api_server: Option<ApiServerConfig>,
    /// Whether, and how, the API server reviews tokens.
    #[serde(default)]
    pub token_review: Option<TokenReviewConfig>,
    /// Service accounts of node agents, which may ask for the identities of pods on their node.
    #[serde(default)]
    pub trusted_node_accounts: Vec<NodeAccount>,
    /// The identity; Istio's `spiffe://<trust domain>/ns/{ns}/sa/{sa}` where it is not given.
    #[serde(default)]
    pub spiffe_id: Option<Template>,
}

/// `keys`: a file, a URL, or, with neither, what the issuer's discovery document points to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct KeysConfig {
    /// A JSON Web Key Set.
    pub file: Option<PathBuf>,
    /// Where to get one.
    pub url: Option<HttpsUrl>,
    /// Root certificates of that server, PEM.
    pub ca_file: Option<PathBuf>,
    /// Bearer token for that server, as a Kubernetes API server mostly wants one.
    pub token_file: Option<PathBuf>,
}

/// `apiServer`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApiServerConfig {
    /// Its address.
    pub url: HttpsUrl,
    /// Its root certificates, PEM.
    pub ca_file: PathBuf,
    /// Our own token there, which needs the role `system:auth-delegator` and, for node agents, to
    /// read pods. Read anew for each request.
    pub token_file: PathBuf,
    /// Time for one request.
    #[serde(default = "api_timeout")]
    pub timeout: Seconds,
}

/// `tokenReview`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TokenReviewConfig {
    /// How long a good review is relied on; never longer than the token lives.
    pub cache_for: Seconds,
}

impl Default for TokenReviewConfig {
    fn default() -> Self {
        Self {
            cache_for: Seconds::of(60),
        }
    }
}

/// `oidc`: an issuer of OpenID Connect tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OidcConfig {
    /// The issuer, exactly as in the tokens' `iss`.
    pub issuer: Issuer,
    /// One of these must be among the tokens' audiences.
    pub audiences: Audiences,
    /// Where its keys are.
    #[serde(default)]
    pub keys: KeysConfig,
    /// Claims that become selectors: texts, numbers, booleans, and lists of these.
    #[serde(default)]
    pub claims: Vec<String>,
    /// The identity, from `{sub}` and `{claim:<name>}`.
    #[serde(default)]
    pub spiffe_id: Option<Template>,
}

/// `x509pop`: a foreign CA.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ForeignCaConfig {
    /// Name in selectors and in the record.
    pub name: ClusterName,
    /// Its root certificates, PEM.
    pub ca_file: PathBuf,
    /// The identity, from `{subject:cn}`, `{san:dns}`, `{san:uri-path}` and `{sha256}`.
    #[serde(default)]
    pub spiffe_id: Option<Template>,
}

fn istio_audience() -> Audiences {
    Audiences::of("istio-ca")
}

const fn api_timeout() -> Seconds {
    Seconds::of(3)
}

impl ProofsConfig {
    /// What is wrong between fields that are each right: path of the field, and the problem.
    pub(crate) fn problems(&self, trust_domain: Option<&TrustDomain>) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut found = |field: String, problem: &str| problems.push((field, problem.to_owned()));
        let mut names = BTreeSet::new();
        let mut issuers = BTreeSet::new();
        if self.kubernetes.iter().filter(|one| one.default).count() > 1 {
            let at = "proofs.kubernetes".to_owned();
            found(at, "more than one cluster is the default");
        }
        for (number, cluster) in self.kubernetes.iter().enumerate() {
            let at = format!("proofs.kubernetes[{number}]");
            if !names.insert(&cluster.name) {
                found(format!("{at}.name"), "another cluster has this name");
            }
            issuers.insert(cluster.issuer.as_str());
            cluster.problems(&at, &mut found);
            let template = cluster.spiffe_id.as_ref();
            check_template(&at, template, trust_domain, &KUBERNETES, &mut found);
        }
        for (number, oidc) in self.oidc.iter().enumerate() {
            let at = format!("proofs.oidc[{number}]");
            if !issuers.insert(oidc.issuer.as_str()) {
                found(format!("{at}.issuer"), "another proof has this issuer");
            }
            for (field, problem) in oidc.keys.problems(&oidc.issuer) {
                found(format!("{at}.keys{field}"), problem);
            }
            let template = oidc.spiffe_id.as_ref();
            check_template(&at, template, trust_domain, &OIDC, &mut found);
        }
        let mut names = BTreeSet::new();
        for (number, foreign) in self.x509pop.iter().enumerate() {
            let at = format!("proofs.x509pop[{number}]");
            if !names.insert(&foreign.name) {
                found(format!("{at}.name"), "another foreign CA has this name");
            }
            let template = foreign.spiffe_id.as_ref();
            check_template(&at, template, trust_domain, &FOREIGN, &mut found);
        }
        problems
    }
}

impl ClusterConfig {
    fn problems(&self, at: &str, found: &mut impl FnMut(String, &str)) {
        if self.keys.is_none() && self.token_review.is_none() {
            let problem = "neither keys nor tokenReview: no token could be checked";
            found(at.to_owned(), problem);
        }
        let nobody = "there is no apiServer to ask";
        if self.api_server.is_none() && self.token_review.is_some() {
            found(format!("{at}.tokenReview"), nobody);
        }
        if self.api_server.is_none() && !self.trusted_node_accounts.is_empty() {
            found(format!("{at}.trustedNodeAccounts"), nobody);
        }
        let keys = self.keys.iter();
        for (field, problem) in keys.flat_map(|keys| keys.problems(&self.issuer)) {
            found(format!("{at}.keys{field}"), problem);
        }
    }
}

impl KeysConfig {
    fn problems(&self, issuer: &Issuer) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if self.file.is_some() {
            let others = self.url.is_some() || self.ca_file.is_some() || self.token_file.is_some();
            if others {
                problems.push((".file", "with a file there is no url, caFile or tokenFile"));
            }
            return problems;
        }
        if self.ca_file.is_none() {
            problems.push((
                ".caFile",
                "missing: whose certificates to trust for the server of the keys",
            ));
        }
        if self.url.is_none() {
            if HttpsUrl::try_from(issuer.as_str().to_owned()).is_err() {
                problems.push((
                    "",
                    "neither file nor url, and the issuer is no https address",
                ));
            }
            if self.token_file.is_some() {
                problems.push((".tokenFile", "a token is only sent to a url that is given"));
            }
        }
        problems
    }
}

fn check_template(
    at: &str,
    template: Option<&Template>,
    trust_domain: Option<&TrustDomain>,
    known: &[&str],
    found: &mut impl FnMut(String, &str),
) {
    let Some(template) = template else { return };
    let at = format!("{at}.spiffeId");
    if trust_domain.is_some_and(|ours| ours != template.trust_domain()) {
        found(at.clone(), "it is not in the authority's trust domain");
    }
    for variable in template.variables() {
        let is_known = known.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => variable.len() > prefix.len() && variable.starts_with(prefix),
            None => *name == variable,
        });
        if !is_known {
            found(
                at.clone(),
                &format!(
                    "unknown variable {variable:?}, known are {}",
                    known.join(", ")
                ),
            );
        }
    }
}

/// Variables of templates; a star stands for any name.
const KUBERNETES: [&str; 4] = ["ns", "sa", "cluster", "pod"];
const OIDC: [&str; 2] = ["sub", "claim:*"];
const FOREIGN: [&str; 4] = ["subject:cn", "san:dns", "san:uri-path", "sha256"];
