//! Issuing: attest, authorize, sign, record; the answer leaves after the record is durable.
//!
//! A request becomes a [`VerifiedCsr`] and a [`Caller`], those a [`Grant`], that an [`IssuedSvid`].
//! Each can only be had from the one before.

use std::sync::Arc;

use identity::{SpiffeId, UnixTime, chain, pem};

pub use self::caller::{Caller, Lifetimes, Proof, Wish};
pub use self::csr::{
    CsrError, KeyType, MAX_CSR_BYTES, MAX_NAMES, MAX_RSA_BITS, MIN_RSA_BITS, UnknownKeyType,
    VerifiedCsr,
};
pub use self::grant::{Grant, Purpose, ServerNames};
pub use self::policy::{Application, IssuancePolicy, Standing};
pub use self::profile::ProfileError;
pub use self::refusal::{ProofFault, Refusal, RefusalClass};
pub use self::rules::{LiveRules, LoadedRules};
pub use self::serial::{SerialNumber, random_serial};
pub use self::sign::{IssuedSvid, Issuer, SignError};
pub use self::slot::IssuerSlot;
use crate::clock::Clock;
use crate::crypto::{NoRandomness, random_bytes};
use crate::inventory::{
    CertificateRecord, CertificateState, Guard, GuardFailure, Inventory, InventoryError,
    NewCertificate, RecordOutcome, RefusalRecord, RequestContext, RequestNote,
};
use crate::issuance::Facts;
use crate::issue::policy::{TokenUse, token_use};
use crate::issue::suspensions::Suspensions;
use crate::metrics::Telemetry;
use crate::proof::{CsrNames, Proofs};

pub(crate) mod attest;
pub(crate) mod caller;
pub(crate) mod csr;
pub(crate) mod grant;
pub mod lint;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod refusal;
pub(crate) mod rules;
pub(crate) mod serial;
pub(crate) mod sign;
pub(crate) mod slot;
mod suspensions;

/// The issuing path.
#[derive(Clone, Debug)]
pub struct Issuance {
    policy: Arc<IssuancePolicy>,
    issuer: IssuerSlot,
    inventory: Inventory,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    suspensions: Arc<Suspensions>,
    proofs: Proofs,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request was turned down, and that is on record.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The record failed.
    #[error("the record failed")]
    Inventory(#[from] InventoryError),
    /// Signing failed.
    #[error("signing failed")]
    Sign(#[from] SignError),
    /// No random serial number.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A token's certificate is not on record any more.
    #[error("the certificate {serial} a token was spent for is not on record")]
    LostCertificate {
        /// Its serial number.
        serial: String,
    },
}

/// A certificate that is on record.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM: leaf, intermediate, last the root bundle.
    pub chain: Vec<String>,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// The identity certified.
    pub spiffe_id: SpiffeId,
    /// Last second of validity.
    pub not_after: UnixTime,
}

impl Issuance {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        policy: IssuancePolicy,
        issuer: Issuer,
        inventory: Inventory,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            policy: Arc::new(policy),
            issuer: IssuerSlot::new(issuer),
            inventory,
            clock,
            telemetry: Arc::default(),
            suspensions: Arc::default(),
            proofs: Proofs::default(),
        }
    }

    /// What is counted.
    pub(crate) const fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// With other proofs than the default ones.
    #[must_use]
    pub fn with_proofs(mut self, proofs: Proofs) -> Self {
        self.proofs = proofs;
        self
    }

    /// What counts as a proof.
    #[must_use]
    pub const fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> &IssuancePolicy {
        &self.policy
    }

    /// The issuer in use.
    #[must_use]
    pub fn issuer(&self) -> Arc<Issuer> {
        self.issuer.current()
    }

    /// Where the issuer in use can be exchanged.
    #[must_use]
    pub const fn issuer_slot(&self) -> &IssuerSlot {
        &self.issuer
    }

    /// The record.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Issues a certificate for the key of `csr_pem` to `by`. A refusal is recorded.
    ///
    /// # Errors
    /// [`IssueError`]: refused, or the authority failed.
    pub async fn issue(
        &self,
        by: &Caller,
        csr_pem: &str,
        wish: &Wish,
    ) -> Result<Issued, IssueError> {
        self.issue_to(by, csr_pem, wish, RequestContext::default())
            .await
    }

    /// [`Self::issue`] for a request that came out of `context`, which goes on record.
    ///
    /// # Errors
    /// [`IssueError`]: refused, or the authority failed.
    pub async fn issue_to(
        &self,
        by: &Caller,
        csr_pem: &str,
        wish: &Wish,
        context: RequestContext,
    ) -> Result<Issued, IssueError> {
        let issued = self.try_issue(by, csr_pem, wish, context).await;
        match &issued {
            Ok(issued) => {
                self.telemetry.issued(by.proof());
                tracing::info!(
                    spiffe_id = %issued.spiffe_id, serial = %issued.serial, caller = by.to_string(),
                    proof = by.proof().as_str(), not_after = issued.not_after.as_secs(), "issued"
                );
            }
            Err(IssueError::Refused(refusal)) => {
                let wanted = wish.spiffe_id.as_ref().or_else(|| by.identity());
                self.record_refusal(&by.to_string(), wanted, refusal)
                    .await?;
            }
            Err(error) => {
                self.telemetry.failed();
                tracing::error!(
                    error = chain(error),
                    caller = by.to_string(),
                    "issuance failed"
                );
            }
        }
        issued
    }

    /// Records and logs a refusal.
    ///
    /// # Errors
    /// [`InventoryError`] if the record failed.
    pub async fn record_refusal(
        &self,
        caller: &str,
        wanted: Option<&SpiffeId>,
        refusal: &Refusal,
    ) -> Result<(), InventoryError> {
        self.telemetry.refused(refusal);
        let record = RefusalRecord {
            at: self.now(),
            caller: caller.to_owned(),
            // Empty stands for "not known": the refusal is on record in any case.
            spiffe_id: wanted.map(ToString::to_string).unwrap_or_default(),
            code: refusal.code().to_owned(),
            detail: refusal.to_string(),
            alarm: refusal.is_alarm(),
        };
        if record.alarm {
            tracing::error!(
                alarm = true,
                caller,
                spiffe_id = record.spiffe_id,
                code = record.code,
                detail = record.detail,
                "refused"
            );
        } else {
            tracing::warn!(
                caller,
                spiffe_id = record.spiffe_id,
                code = record.code,
                detail = record.detail,
                "refused"
            );
        }
        self.inventory.record_refusal(record).await
    }

    async fn try_issue(
        &self,
        by: &Caller,
        csr_pem: &str,
        wish: &Wish,
        context: RequestContext,
    ) -> Result<Issued, IssueError> {
        let now = self.now();
        let csr = VerifiedCsr::parse_pem(csr_pem).map_err(Refusal::Csr)?;
        if let Caller::Certificate(certificate) = by {
            let checked = self.proofs.check_renewal(certificate, now);
            checked.map_err(Refusal::Proof)?;
        }
        let subject = self.policy.subject_of(by, wish, &csr, now)?;
        let names_count = match by {
            Caller::JoinToken(_) | Caller::Certificate(_) | Caller::Proven(_) => {
                self.proofs.csr_names() == CsrNames::MustMatch
            }
            // The key is the operator's or our own business, and so are the names beside it.
            Caller::Operator { .. } | Caller::Authority | Caller::ListSigner => false,
        };
        if let Caller::JoinToken(token) = by {
            let used = token_use(token, csr.spki_sha256(), now).map_err(Refusal::Proof)?;
            if let TokenUse::Repeat { serial } = used {
                return self.repeat(&serial).await;
            }
        }
        let standing = self.standing(by, &subject, now).await?;
        let spki_sha256 = csr.spki_sha256().to_owned();
        let application = Application {
            by,
            csr,
            subject,
            wish,
            standing,
            jitter: u16::from_be_bytes(random_bytes()?),
        };
        let facts = IssuancePolicy::facts(&application);
        // From here to the answer one issuer, whatever is taken into use meanwhile.
        let issuer = self.issuer();
        let decided = self.policy.authorize(application, issuer.validity(), now);
        self.note(by, facts, &decided, now);
        let grant = decided?;
        if names_count && !grant.csr().names_exactly(grant.spiffe_id()) {
            let wanted = grant.spiffe_id().clone();
            return Err(Refusal::CsrNames { wanted }.into());
        }
        let rule = grant.rule().to_owned();
        let svid = issuer.issue(grant, random_serial()?, now).await?;
        self.record(by, &issuer, svid, rule, &spki_sha256, (now, context))
            .await
    }

    /// Keeps what was asked, for dry runs of other rules. It is no record: if it is lost, nothing is.
    fn note(&self, by: &Caller, facts: Facts, decided: &Result<Grant, Refusal>, now: UnixTime) {
        if by.proof() == Proof::Authority {
            return;
        }
        let (allowed, rule) = match decided {
            Ok(grant) => (true, Some(grant.rule())),
            Err(refusal) => (false, refusal.rule()),
        };
        self.inventory.note_request(RequestNote {
            at: now,
            facts,
            allowed,
            rule: rule.unwrap_or_default().to_owned(),
        });
    }

    /// What the record says about the request.
    async fn standing(
        &self,
        by: &Caller,
        subject: &SpiffeId,
        now: UnixTime,
    ) -> Result<Standing, InventoryError> {
        let entry = match by {
            Caller::Certificate(certificate) if certificate.spiffe_id == *subject => {
                match &certificate.entry_id {
                    Some(id) => self.inventory.entry(id).await?,
                    None => None,
                }
            }
            // Several entries may differ in selectors only; the longest life among them counts,
            // since the agent, not the authority, knows which one the workload matched.
            Caller::Certificate(certificate) => {
                let entries = self
                    .inventory
                    .entries(Some(&certificate.spiffe_id), Some(subject))
                    .await?;
                entries
                    .into_iter()
                    .max_by_key(|entry| match entry.ttl_seconds {
                        ..=0 => i64::MAX,
                        limit => limit,
                    })
            }
            _ => None,
        };
        let suspended = match by {
            Caller::Authority | Caller::ListSigner => false,
            _ => self.suspensions.has(subject, &self.inventory, now).await?,
        };
        Ok(Standing { entry, suspended })
    }

    /// Records what was signed. If what justified it has gone meanwhile, it never leaves.
    async fn record(
        &self,
        by: &Caller,
        issuer: &Issuer,
        svid: IssuedSvid,
        rule: String,
        spki_sha256: &str,
        (now, context): (UnixTime, RequestContext),
    ) -> Result<Issued, IssueError> {
        let guard = match by {
            Caller::JoinToken(token) => Guard {
                token_hash: Some(token.hash.clone()),
                ..Guard::default()
            },
            Caller::Certificate(certificate) => Guard {
                caller_sha256: Some(certificate.sha256.clone()),
                ..Guard::default()
            },
            Caller::Operator { .. } | Caller::Proven(_) => Guard::default(),
            Caller::Authority | Caller::ListSigner => Guard {
                despite_suspension: true,
                ..Guard::default()
            },
        };
        let issued = Issued {
            chain: issuer.chain(&svid.der),
            serial: svid.serial.to_string(),
            spiffe_id: svid.spiffe_id.clone(),
            not_after: svid.not_after,
        };
        let new = NewCertificate {
            svid,
            caller: by.to_string(),
            proof: by.proof().as_str(),
            issued_at: now,
            origin: by.origin(now),
            rule,
            context,
        };
        match self.inventory.record_certificate(new, guard).await? {
            RecordOutcome::Recorded => Ok(issued),
            RecordOutcome::Refused(failure) => {
                self.after_refused_record(by, issued.spiffe_id, failure, spki_sha256, now)
                    .await
            }
        }
    }

    async fn after_refused_record(
        &self,
        by: &Caller,
        wanted: SpiffeId,
        failure: GuardFailure,
        spki_sha256: &str,
        now: UnixTime,
    ) -> Result<Issued, IssueError> {
        let refusal = match (failure, by) {
            (GuardFailure::Token, Caller::JoinToken(token)) => {
                // Somebody was quicker; if with the same key, it was the same caller.
                let token = self.inventory.token(&token.hash).await?;
                let used = token
                    .ok_or(ProofFault::UnknownToken)
                    .and_then(|token| token_use(&token, spki_sha256, now));
                match used {
                    Ok(TokenUse::Repeat { serial }) => return self.repeat(&serial).await,
                    Ok(TokenUse::Fresh) => Refusal::Proof(ProofFault::TokenExpired),
                    Err(fault) => Refusal::Proof(fault),
                }
            }
            (GuardFailure::Caller, Caller::Certificate(certificate)) => {
                let now_on_record = self
                    .inventory
                    .certificate_by_sha256(&certificate.sha256)
                    .await?;
                let state = now_on_record.map_or(CertificateState::Revoked, |c| c.state);
                Refusal::Proof(ProofFault::CertificateNotGood { state })
            }
            (GuardFailure::Entry, _) => Refusal::EntryGone { wanted },
            _ => Refusal::IdentitySuspended { wanted },
        };
        Err(refusal.into())
    }

    /// Gives the answer again that a token was spent for.
    async fn repeat(&self, serial: &str) -> Result<Issued, IssueError> {
        let certificate = self
            .inventory
            .certificate_by_serial(serial)
            .await?
            .ok_or_else(|| IssueError::LostCertificate {
                serial: serial.to_owned(),
            })?;
        let CertificateRecord {
            state,
            der,
            spiffe_id,
            not_after,
            issuer_sha256,
            ..
        } = certificate;
        if state != CertificateState::Good {
            return Err(Refusal::Proof(ProofFault::CertificateNotGood { state }).into());
        }
        // Of an issuer from before a restart the answer cannot be given again; a new token can.
        let issuer = self
            .issuer
            .by_sha256(&issuer_sha256)
            .ok_or(Refusal::Proof(ProofFault::TokenExpired))?;
        Ok(Issued {
            chain: issuer.chain(&der),
            serial: serial.to_owned(),
            spiffe_id,
            not_after,
        })
    }
}

/// A leaf of the record as PEM.
pub(crate) fn leaf_pem(record: &CertificateRecord) -> String {
    pem::encode(&record.der, pem::CERTIFICATE)
}
