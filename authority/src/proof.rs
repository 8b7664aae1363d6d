//! Proofs: from what a request presents to who is calling.
//!
//! Each kind of proof is a module, and any of them can be switched on together. A token that is
//! presented decides alone: a bad one is never made up for by a certificate, nor by another module.

use std::sync::Arc;

use identity::{SpiffeId, TrustDomain, UnixTime};

pub use self::https::FetchError;
pub use self::jwt::{LEEWAY_SECONDS, MAX_TOKEN_BYTES, TokenFault};
pub use self::keys::{KeySetError, MAX_KEY_SET_BYTES, MAX_KEYS};
pub use self::proven::Proven;
pub use self::settings::{
    ApiServerConfig, Audiences, ClusterConfig, ClusterName, CsrNames, ForeignCaConfig, HttpsUrl,
    Issuer, JoinTokens, KeysConfig, NodeAccount, OidcConfig, ProofsConfig, Renewal,
    TokenReviewConfig, ValueError,
};
pub use self::source::KeySourceError;
pub use self::template::{ExpandError, Template, TemplateError};
pub use self::unavailable::Unavailable;
use crate::inventory::CertificateRecord;
use crate::issue::attest::AttestError;
use crate::issue::{Proof, ProofFault, Refusal};
use crate::proof::foreign::ForeignCas;
use crate::proof::jwt::Unverified;
use crate::proof::kubernetes::Cluster;
use crate::proof::oidc::Oidc;

pub(crate) mod foreign;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub(crate) mod https;
mod jwt;
mod keys;
pub(crate) mod kubernetes;
mod oidc;
mod proven;
mod settings;
mod source;
mod strict_json;
mod template;
mod unavailable;

/// A bearer token as it came, and whatever tells which module it is for.
#[derive(Debug)]
pub(crate) struct Bearer<'a> {
    /// The token.
    pub(crate) text: &'a str,
    /// Its parts; nothing of them is proven.
    pub(crate) token: Unverified<'a>,
    /// The header `clusterid`.
    pub(crate) cluster: Option<&'a str>,
}

/// A kind of bearer token.
#[tonic::async_trait]
pub(crate) trait TokenProof: std::fmt::Debug + Send + Sync {
    /// Its name, one among all proofs that are configured.
    fn name(&self) -> &str;

    /// The only issuer whose tokens it takes.
    fn issuer(&self) -> &str;

    /// Whether a token of that issuer is this module's to decide about.
    fn is_for(&self, bearer: &Bearer<'_>) -> bool;

    /// Whose the token is.
    ///
    /// # Errors
    /// [`AttestError`]: it does not hold, or nobody can tell now.
    async fn prove(&self, bearer: &Bearer<'_>, now: UnixTime) -> Result<Proven, AttestError>;

    /// Lets a proven caller act for another identity, as node agents do for the pods of their node.
    ///
    /// # Errors
    /// [`Refusal::Impersonation`], which is what a module says that knows no such thing.
    async fn act_for(
        &self,
        proven: &Proven,
        wanted: &SpiffeId,
        now: UnixTime,
    ) -> Result<Proven, AttestError> {
        let _ = now;
        Err(Refusal::Impersonation {
            caller: proven.to_string(),
            wanted: wanted.clone(),
            problem: NO_NODE_AGENTS,
        }
        .into())
    }

    /// Reads keys, to notice at the start what would be noticed at the first token.
    async fn warm_up(&self, now: UnixTime);
}

/// What counts as a proof.
#[derive(Clone, Debug)]
pub struct Proofs(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    join_tokens: JoinTokens,
    renewal: Renewal,
    csr_names: CsrNames,
    tokens: Vec<Box<dyn TokenProof>>,
    foreign: ForeignCas,
}

/// Why what counts as a proof cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofsError {
    /// A problem between fields of the section.
    #[error("{field}: {problem}")]
    Config {
        /// Path of the field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// An issuer's keys have no source.
    #[error("the keys of {issuer}")]
    Keys {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        #[source]
        source: KeySourceError,
    },
    /// A foreign CA's certificates cannot be used.
    #[error("the foreign CA {name}")]
    ForeignCa {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: FetchError,
    },
}

impl Default for Proofs {
    /// Join tokens and renewal.
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl Proofs {
    /// Sets up what `config` says, for identities of `trust_domain`. Foreign CAs' certificates are
    /// read; nobody is asked for anything.
    ///
    /// # Errors
    /// [`ProofsError`].
    pub fn new(config: &ProofsConfig, trust_domain: &TrustDomain) -> Result<Self, ProofsError> {
        if let Some((field, problem)) = config.problems(Some(trust_domain)).into_iter().next() {
            return Err(ProofsError::Config { field, problem });
        }
        let mut tokens: Vec<Box<dyn TokenProof>> = Vec::new();
        let is_only = config.kubernetes.len() == 1;
        for cluster in &config.kubernetes {
            let built = Cluster::new(cluster, is_only, trust_domain);
            tokens.push(Box::new(built.map_err(|source| ProofsError::Keys {
                issuer: cluster.issuer.as_str().to_owned(),
                source,
            })?));
        }
        for oidc in &config.oidc {
            let built = Oidc::new(oidc).map_err(|source| ProofsError::Keys {
                issuer: oidc.issuer.as_str().to_owned(),
                source,
            })?;
            tokens.push(Box::new(built));
        }
        Ok(Self(Arc::new(Inner {
            join_tokens: config.join_tokens,
            renewal: config.renewal,
            csr_names: config.csr_names,
            tokens,
            foreign: ForeignCas::new(&config.x509pop)?,
        })))
    }

    /// Whether join tokens are accepted.
    pub(crate) fn join_tokens(&self) -> bool {
        self.0.join_tokens.enabled
    }

    /// What is made of the names in a CSR.
    pub(crate) fn csr_names(&self) -> CsrNames {
        self.0.csr_names
    }

    /// The foreign CAs whose certificates are accepted.
    pub(crate) fn foreign(&self) -> &ForeignCas {
        &self.0.foreign
    }

    /// Whether `certificate`, which is good, is good for another one.
    ///
    /// # Errors
    /// [`ProofFault::RenewalOff`] or [`ProofFault::TooOld`].
    pub(crate) fn check_renewal(
        &self,
        certificate: &CertificateRecord,
        now: UnixTime,
    ) -> Result<(), ProofFault> {
        let renewal = self.0.renewal;
        if !renewal.enabled {
            return Err(ProofFault::RenewalOff);
        }
        let origin = &certificate.origin;
        let is_token = [Proof::Kubernetes, Proof::Oidc, Proof::ForeignCertificate]
            .iter()
            .any(|kind| kind.as_str() == origin.proven_by);
        let max = if is_token {
            renewal.max_token_proof_age.get()
        } else {
            renewal.max_proof_age.get()
        };
        let age = now.secs_since(origin.proven_at);
        if age > max {
            return Err(ProofFault::TooOld { age, max });
        }
        Ok(())
    }

    /// Whose a bearer token is.
    ///
    /// # Errors
    /// [`AttestError`]: it does not hold, or nobody can tell now.
    pub(crate) async fn bearer(
        &self,
        text: &str,
        cluster: Option<&str>,
        now: UnixTime,
    ) -> Result<Proven, AttestError> {
        let bearer = Bearer {
            text,
            token: Unverified::parse(text)?,
            cluster,
        };
        self.token_proof(&bearer)?.prove(&bearer, now).await
    }

    fn token_proof(&self, bearer: &Bearer<'_>) -> Result<&dyn TokenProof, TokenFault> {
        let issuer = bearer.token.issuer()?;
        let mut of_issuer = self
            .0
            .tokens
            .iter()
            .filter(|one| one.issuer() == issuer)
            .peekable();
        if of_issuer.peek().is_none() {
            return Err(TokenFault::Issuer {
                found: jwt::clip(issuer, 128),
            });
        }
        let found = of_issuer.find(|one| one.is_for(bearer));
        found.map(AsRef::as_ref).ok_or_else(|| TokenFault::Cluster {
            found: jwt::clip(bearer.cluster.unwrap_or_default(), 63),
        })
    }

    /// Lets a proven caller act for another identity.
    ///
    /// # Errors
    /// [`AttestError`]; without a module of the caller's issuer [`Refusal::Impersonation`].
    pub(crate) async fn act_for(
        &self,
        proven: &Proven,
        wanted: &SpiffeId,
        now: UnixTime,
    ) -> Result<Proven, AttestError> {
        match self.0.tokens.iter().find(|one| one.name() == proven.by()) {
            Some(module) => module.act_for(proven, wanted, now).await,
            None => Err(Refusal::Impersonation {
                caller: proven.to_string(),
                wanted: wanted.clone(),
                problem: NO_NODE_AGENTS,
            }
            .into()),
        }
    }

    /// Reads all keys once; what cannot be read is logged and tried again when it is needed.
    pub(crate) async fn warm_up(&self, now: UnixTime) {
        futures::future::join_all(self.0.tokens.iter().map(|one| one.warm_up(now))).await;
    }
}

const NO_NODE_AGENTS: &str = "its kind of proof knows no node agents";
