//! Service account tokens of Kubernetes clusters.
//!
//! A token is checked with the issuer's public keys, or by the API server's TokenReview, or by both.
//! Either way its form, issuer, audience and times are looked at first: what is sure to be refused
//! is not worth a question.

use std::time::Duration;

use identity::{SpiffeId, TrustDomain, UnixTime};

pub(crate) use self::account::Account;
use self::api_server::ApiServer;
use self::node::NodeAgents;
use self::reviews::Reviews;
use crate::crypto::sha256_hex;
use crate::issue::Proof;
use crate::issue::attest::AttestError;
use crate::proof::jwt::{Expected, TokenFault};
use crate::proof::proven::Proven;
use crate::proof::settings::ClusterConfig;
use crate::proof::source::{KeySource, KeySourceError};
use crate::proof::template::Template;
use crate::proof::{Bearer, TokenProof};

mod account;
mod api_server;
mod node;
mod reviews;

/// A cluster whose service account tokens are accepted.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: String,
    is_default: bool,
    issuer: String,
    audiences: Vec<String>,
    keys: Option<KeySource>,
    reviews: Option<Reviews>,
    node_agents: NodeAgents,
    mapping: Mapping,
}

/// How an account becomes an identity.
#[derive(Clone, Debug)]
pub(crate) enum Mapping {
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    Istio(TrustDomain),
    /// As configured.
    Template(Template),
}

impl Cluster {
    /// The cluster that `config` describes, in an authority for `trust_domain`. If it is the only
    /// one, it is meant by callers who name none.
    ///
    /// # Errors
    /// [`KeySourceError`] if its keys have no source.
    pub(crate) fn new(
        config: &ClusterConfig,
        is_only: bool,
        trust_domain: &TrustDomain,
    ) -> Result<Self, KeySourceError> {
        let name = config.name.as_str().to_owned();
        let keys = config.keys.as_ref();
        let keys = keys
            .map(|keys| KeySource::new(&config.issuer, keys))
            .transpose()?;
        let api = config
            .api_server
            .as_ref()
            .map(|api| ApiServer::new(&name, api));
        let audiences = config.audiences.as_slice().to_vec();
        let reviews = match (&api, config.token_review, &config.api_server) {
            (Some(api), Some(review), Some(server)) => {
                // Waiting for a turn and the request itself.
                let seconds = u64::try_from(server.timeout.get()).unwrap_or(1);
                let patience = Duration::from_secs(seconds.saturating_mul(2));
                let cache_for = review.cache_for.get();
                Some(Reviews::new(api.clone(), &audiences, cache_for, patience))
            }
            _ => None,
        };
        let mapping = config
            .spiffe_id
            .clone()
            .map_or_else(|| Mapping::Istio(trust_domain.clone()), Mapping::Template);
        Ok(Self {
            is_default: config.default || is_only,
            issuer: config.issuer.as_str().to_owned(),
            audiences,
            keys,
            reviews,
            node_agents: NodeAgents::new(api, &config.trusted_node_accounts),
            mapping,
            name,
        })
    }

    fn proven(
        &self,
        account: Account,
        evidence_sha256: String,
        (now, expires): (UnixTime, UnixTime),
    ) -> Proven {
        Proven {
            proof: Proof::Kubernetes,
            by: self.name.clone(),
            subject: format!(
                "system:serviceaccount:{}:{}",
                account.namespace, account.name
            ),
            spiffe_id: self.mapping.identity(&self.name, &account),
            selectors: account.selectors(&self.name),
            evidence_sha256,
            proven_at: now,
            expires,
            account: Some(account),
        }
    }
}

#[tonic::async_trait]
impl TokenProof for Cluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn is_for(&self, bearer: &Bearer<'_>) -> bool {
        match bearer.cluster {
            Some(name) => name == self.name,
            None => self.is_default,
        }
    }

    async fn prove(&self, bearer: &Bearer<'_>, now: UnixTime) -> Result<Proven, AttestError> {
        let expected = Expected {
            issuer: &self.issuer,
            audiences: &self.audiences,
        };
        bearer.token.precheck(expected, now)?;
        let expires = bearer.token.expiry()?;
        let mut account = None;
        if let Some(keys) = &self.keys {
            let signed = keys.verify(&bearer.token, now).await?;
            account = Some(Account::of_claims(&signed.accept(expected, now)?)?);
        }
        if let Some(reviews) = &self.reviews {
            let reviewed = reviews.review(bearer.text, expires, now).await?;
            let differs = |known: &Account| {
                (&known.namespace, &known.name) != (&reviewed.namespace, &reviewed.name)
            };
            if account.as_ref().is_some_and(differs) {
                return Err(TokenFault::NotServiceAccount {
                    problem: "the API server takes it for another account's",
                }
                .into());
            }
            account = Some(reviewed);
        }
        // A configuration with neither is refused; without one, nothing is proven.
        let account = account.ok_or(TokenFault::NotReviewed)?;
        let evidence = sha256_hex(bearer.text.as_bytes());
        Ok(self.proven(account, evidence, (now, expires)))
    }

    async fn act_for(
        &self,
        proven: &Proven,
        wanted: &SpiffeId,
        now: UnixTime,
    ) -> Result<Proven, AttestError> {
        let workload = self
            .node_agents
            .workload(proven, wanted, &self.mapping, now)
            .await?;
        let mut acting = self.proven(
            workload,
            proven.evidence_sha256.clone(),
            (proven.proven_at, proven.expires),
        );
        acting
            .selectors
            .push(format!("k8s:node-agent:{}", proven.subject));
        acting.subject = format!("{} for {wanted}", proven.subject);
        acting.spiffe_id = Some(wanted.clone());
        Ok(acting)
    }

    async fn warm_up(&self, now: UnixTime) {
        if let Some(keys) = &self.keys {
            super::oidc::warm_up(&self.name, keys, now).await;
        }
    }
}

impl Mapping {
    /// The identity of `account`; `None` if there is none for it.
    pub(crate) fn identity(&self, cluster: &str, account: &Account) -> Option<SpiffeId> {
        match self {
            Self::Istio(trust_domain) => SpiffeId::new(format!(
                "spiffe://{}/ns/{}/sa/{}",
                trust_domain.as_str(),
                account.namespace,
                account.name
            ))
            .ok(),
            Self::Template(template) => {
                let value = |name: &str| match name {
                    "ns" => Some(account.namespace.clone()),
                    "sa" => Some(account.name.clone()),
                    "cluster" => Some(cluster.to_owned()),
                    "pod" => account.pod.as_ref().map(|pod| pod.name.clone()),
                    _ => None,
                };
                let expanded = template.expand(value);
                expanded
                    .inspect_err(|error| tracing::debug!(%error, cluster, "no identity"))
                    .ok()
            }
        }
    }
}

/// Whether `text` is a name of a namespace, service account, pod or node: RFC 1123 subdomain, lower
/// case. Every such name is a path segment of a SPIFFE ID.
pub(crate) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(inner)
            && bytes.last().is_some_and(inner)
            && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}
