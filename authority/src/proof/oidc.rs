//! OpenID Connect tokens, such as CI systems give to their jobs.

use identity::UnixTime;
use serde_json::Value;

use crate::crypto::sha256_hex;
use crate::issue::Proof;
use crate::issue::attest::AttestError;
use crate::proof::jwt::{Claims, Expected};
use crate::proof::proven::Proven;
use crate::proof::settings::OidcConfig;
use crate::proof::source::{KeySource, KeySourceError};
use crate::proof::{Bearer, TokenProof};

/// An issuer whose tokens are accepted.
#[derive(Debug)]
pub(crate) struct Oidc {
    config: OidcConfig,
    keys: KeySource,
}

impl Oidc {
    /// # Errors
    /// [`KeySourceError`] if its keys have no source.
    pub(crate) fn new(config: &OidcConfig) -> Result<Self, KeySourceError> {
        Ok(Self {
            keys: KeySource::new(&config.issuer, &config.keys)?,
            config: config.clone(),
        })
    }

    fn selectors(&self, claims: &Claims, subject: &str) -> Vec<String> {
        let mut selectors = vec![
            format!("oidc:iss:{}", self.config.issuer.as_str()),
            format!("oidc:sub:{subject}"),
        ];
        for name in &self.config.claims {
            let values = match claims.get(name) {
                Some(Value::Array(list)) => list.iter().collect(),
                Some(value) => vec![value],
                None => Vec::new(),
            };
            for value in values.into_iter().filter_map(plain) {
                selectors.push(format!("oidc:claim:{name}:{value}"));
            }
        }
        selectors
    }
}

/// A value that has one way to be written.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[tonic::async_trait]
impl TokenProof for Oidc {
    fn name(&self) -> &str {
        self.config.issuer.as_str()
    }

    fn issuer(&self) -> &str {
        self.config.issuer.as_str()
    }

    /// Whatever cluster a caller names: the issuer is pinned.
    fn is_for(&self, _: &Bearer<'_>) -> bool {
        true
    }

    async fn prove(&self, bearer: &Bearer<'_>, now: UnixTime) -> Result<Proven, AttestError> {
        let expected = Expected {
            issuer: self.config.issuer.as_str(),
            audiences: self.config.audiences.as_slice(),
        };
        bearer.token.precheck(expected, now)?;
        let claims = self
            .keys
            .verify(&bearer.token, now)
            .await?
            .accept(expected, now)?;
        let subject = claims.subject()?.to_owned();
        let value = |name: &str| match name.strip_prefix("claim:") {
            Some(claim) => claims.get(claim).and_then(plain),
            None => (name == "sub").then(|| subject.clone()),
        };
        let spiffe_id = self.config.spiffe_id.as_ref().and_then(|template| {
            template
                .expand(value)
                .inspect_err(
                    |error| tracing::debug!(%error, issuer = expected.issuer, "no identity"),
                )
                .ok()
        });
        Ok(Proven {
            proof: Proof::Oidc,
            by: expected.issuer.to_owned(),
            spiffe_id,
            selectors: self.selectors(&claims, &subject),
            evidence_sha256: sha256_hex(bearer.text.as_bytes()),
            proven_at: now,
            expires: claims.expiry()?,
            account: None,
            subject,
        })
    }

    async fn warm_up(&self, now: UnixTime) {
        warm_up(self.name(), &self.keys, now).await;
    }
}

/// Reads keys, and says so.
pub(super) async fn warm_up(proof: &str, keys: &KeySource, now: UnixTime) {
    match keys.warm_up(now).await {
        Ok(count) => tracing::info!(proof, keys = count, "read the issuer's keys"),
        Err(error) => tracing::error!(
            proof,
            error = identity::chain(&error),
            "the issuer's keys cannot be read: its tokens are not accepted until they can"
        ),
    }
}
