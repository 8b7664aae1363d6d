//! Who may have which certificate, for how long.

use identity::x509::Validity;
use identity::{SpiffeId, TrustDomain, UnixTime};

use crate::inventory::EntryRecord;
use crate::issuance::Facts;
use crate::issue::caller::{Caller, Lifetimes, Proof, Wish};
use crate::issue::csr::VerifiedCsr;
use crate::issue::grant::{Grant, ServerNames};
use crate::issue::refusal::{ProofFault, Refusal};
use crate::issue::rules::{LiveRules, LoadedRules};

/// The rules of issuance. Pure: what it must know about the record is handed in as [`Standing`].
#[derive(Clone, Debug)]
pub struct IssuancePolicy {
    trust_domain: TrustDomain,
    authority_id: SpiffeId,
    list_signer_id: SpiffeId,
    lifetimes: Lifetimes,
    server_names: ServerNames,
    rules: LiveRules,
}

/// A request whose parts have each been verified.
#[derive(Debug)]
pub struct Application<'a> {
    /// Who asks.
    pub by: &'a Caller,
    /// The key to certify.
    pub csr: VerifiedCsr,
    /// The identity to certify, from [`IssuancePolicy::subject`].
    pub subject: SpiffeId,
    /// What was asked for.
    pub wish: &'a Wish,
    /// What the record says.
    pub standing: Standing,
    /// A random number, for rules that shorten lifetimes at random.
    pub jitter: u16,
}

/// What the record says about a request.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The entry that makes the caller parent of the identity asked for; for a renewal the entry
    /// the present certificate lives on.
    pub entry: Option<EntryRecord>,
    /// Whether an unexpired certificate of the identity is suspended.
    pub suspended: bool,
}

impl IssuancePolicy {
    /// Rules for `trust_domain`, in which `authority_id` is the authority's own and gets
    /// `server_names`, and `list_signer_id` is the one of its deny list's key.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        authority_id: SpiffeId,
        list_signer_id: SpiffeId,
        lifetimes: Lifetimes,
        server_names: ServerNames,
    ) -> Self {
        Self {
            trust_domain,
            authority_id,
            list_signer_id,
            lifetimes,
            server_names,
            rules: LiveRules::new(LoadedRules::builtin()),
        }
    }

    /// The same with these rules instead of the built-in ones.
    #[must_use]
    pub fn with_rules(mut self, rules: LiveRules) -> Self {
        self.rules = rules;
        self
    }

    /// The issuance rules in force.
    #[must_use]
    pub const fn rules(&self) -> &LiveRules {
        &self.rules
    }

    /// What is known of a request, as rules see it.
    #[must_use]
    pub fn facts(application: &Application<'_>) -> Facts {
        let entry = application.standing.entry.as_ref();
        Facts::of(
            application.by,
            &application.subject,
            application.wish,
            &application.csr,
            entry.map(|entry| (entry.id.as_str(), entry.ttl_seconds)),
        )
    }

    /// The trust domain served.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authority's own identity.
    #[must_use]
    pub const fn authority_id(&self) -> &SpiffeId {
        &self.authority_id
    }

    /// The authority's own lifetimes.
    #[must_use]
    pub const fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// The longest lifetime that may be asked for, in seconds.
    #[must_use]
    pub const fn max_ttl_seconds(&self) -> i64 {
        self.lifetimes.max_ttl
    }

    /// The identity a request is about: the one asked for, or else the caller's own.
    ///
    /// # Errors
    /// [`Refusal`] if there is none, or it is not one that can be had.
    pub fn subject(&self, by: &Caller, wish: &Wish) -> Result<SpiffeId, Refusal> {
        let wanted = match (&wish.spiffe_id, by) {
            (None, Caller::Authority) => return Ok(self.authority_id.clone()),
            (None, Caller::ListSigner) => return Ok(self.list_signer_id.clone()),
            (Some(wanted), _) => wanted,
            (None, Caller::Proven(proven)) => {
                proven.spiffe_id().ok_or_else(|| Refusal::NoIdentity {
                    caller: proven.to_string(),
                })?
            }
            (None, _) => by.identity().ok_or(Refusal::BadField {
                field: "spiffe_id",
                problem: "the operator must name the identity",
            })?,
        };
        self.check_assignable(wanted)?;
        Ok(wanted.clone())
    }

    /// The identity a request is about, as [`subject`](Self::subject); where neither the request nor
    /// the proof names one, the rules do.
    ///
    /// # Errors
    /// [`Refusal`] if nobody names one, or it is not one that can be had.
    pub fn subject_of(
        &self,
        by: &Caller,
        wish: &Wish,
        csr: &VerifiedCsr,
        now: UnixTime,
    ) -> Result<SpiffeId, Refusal> {
        let unnamed = match by {
            Caller::Proven(proven) if wish.spiffe_id.is_none() => proven.spiffe_id().is_none(),
            _ => false,
        };
        if !unnamed {
            return self.subject(by, wish);
        }
        let wanted = self.named_by_rules(by, wish, csr, now)?;
        self.check_assignable(&wanted)?;
        Ok(wanted)
    }

    /// Whether anybody may be given `id`.
    ///
    /// # Errors
    /// [`Refusal`] if it belongs to another trust domain, is the trust domain itself, or is the
    /// authority's.
    pub fn check_assignable(&self, id: &SpiffeId) -> Result<(), Refusal> {
        if !id.is_member_of(&self.trust_domain) {
            return Err(Refusal::ForeignTrustDomain {
                wanted: id.clone(),
                trust_domain: self.trust_domain.to_string(),
            });
        }
        // X509-SVID §4.1: a leaf's SPIFFE ID has a non-root path.
        let own = [&self.authority_id, &self.list_signer_id];
        if id.path().is_empty() || own.contains(&id) {
            return Err(Refusal::Reserved { wanted: id.clone() });
        }
        Ok(())
    }

    /// Whether an entry may give `id` to a workload. The identities below `countersign/` are agents'
    /// and the authority's own: an entry for one would let an agent be another.
    ///
    /// # Errors
    /// [`Refusal`] as of [`check_assignable`](Self::check_assignable), or if it is one of these.
    pub fn check_workload(&self, id: &SpiffeId) -> Result<(), Refusal> {
        self.check_assignable(id)?;
        if is_ours(id) {
            return Err(Refusal::Reserved { wanted: id.clone() });
        }
        Ok(())
    }

    /// Decides. What no rule can give away is checked first: whose identity it is, and that it is
    /// not suspended. Then the rules in force decide, but for the authority's own certificates. The
    /// standing is checked again, atomically, when the certificate is recorded.
    ///
    /// # Errors
    /// [`Refusal`], the first rule that fails.
    pub fn authorize(
        &self,
        application: Application<'_>,
        issuer: Validity,
        now: UnixTime,
    ) -> Result<Grant, Refusal> {
        check_right(
            application.by,
            &application.subject,
            application.standing.entry.as_ref(),
        )?;
        if application.standing.suspended {
            return Err(Refusal::IdentitySuspended {
                wanted: application.subject,
            });
        }
        let given = match application.by {
            Caller::Authority | Caller::ListSigner => self.own(&application)?,
            _ => self.by_rules(&application, now)?,
        };
        let (not_before, not_after) = self.validity(given.ttl, issuer, now)?;
        Ok(Grant {
            spiffe_id: given.spiffe_id,
            csr: application.csr,
            not_before,
            not_after,
            server_names: given.server_names,
            entry_id: application.standing.entry.map(|entry| entry.id),
            purpose: given.purpose,
            rule: given.rule,
        })
    }

    fn validity(
        &self,
        ttl: i64,
        issuer: Validity,
        now: UnixTime,
    ) -> Result<(UnixTime, UnixTime), Refusal> {
        let out_of_range = Refusal::BadField {
            field: "validity_duration",
            problem: "beyond the calendar",
        };
        let not_before = self
            .lifetimes
            .not_before(now, ttl)
            .ok_or_else(|| out_of_range.clone())?;
        let not_after = now.plus_secs(ttl).ok_or(out_of_range)?;
        // A leaf never outlives its issuer, nor is older than it.
        Ok((
            not_before.max(issuer.not_before),
            not_after.min(issuer.not_after),
        ))
    }
}

/// Whether the caller may have a certificate of `subject`.
fn check_right(
    by: &Caller,
    subject: &SpiffeId,
    entry: Option<&EntryRecord>,
) -> Result<(), Refusal> {
    let certificate = match by {
        Caller::Operator { .. } | Caller::Authority | Caller::ListSigner => return Ok(()),
        Caller::JoinToken(token) if token.spiffe_id == *subject => return Ok(()),
        Caller::JoinToken(token) => {
            return Err(Refusal::TokenBoundElsewhere {
                bound: token.spiffe_id.clone(),
                wanted: subject.clone(),
            });
        }
        Caller::Proven(proven) if proven.spiffe_id() == Some(subject) => return Ok(()),
        // A proof that gives no identity leaves it to the rules, which have to name this one.
        Caller::Proven(proven) if proven.spiffe_id().is_none() => return Ok(()),
        Caller::Proven(proven) => {
            return Err(Refusal::Impersonation {
                caller: proven.to_string(),
                wanted: subject.clone(),
                problem: "it is not the identity that was proven",
            });
        }
        Caller::Certificate(certificate) => certificate,
    };
    let entry = entry.filter(|entry| entry.spiffe_id == *subject);
    if certificate.spiffe_id == *subject {
        // The operator chose its lifetime; renewals would make that, and the choice, worthless.
        if certificate.proof == Proof::Operator.as_str() {
            return Err(Refusal::NotRenewable {
                wanted: subject.clone(),
            });
        }
        // A renewal needs no entry, unless the certificate was had through one.
        return match (&certificate.entry_id, entry) {
            (None, _) => Ok(()),
            (Some(id), Some(entry)) if *id == entry.id => Ok(()),
            (Some(_), _) => Err(Refusal::EntryGone {
                wanted: subject.clone(),
            }),
        };
    }
    match entry {
        Some(_) if is_ours(subject) => Err(Refusal::Reserved {
            wanted: subject.clone(),
        }),
        Some(entry) if entry.parent_id == certificate.spiffe_id => Ok(()),
        _ => Err(Refusal::NotParented {
            caller: certificate.spiffe_id.clone(),
            wanted: subject.clone(),
        }),
    }
}

/// Whether an identity is one of Countersign's own parts.
fn is_ours(id: &SpiffeId) -> bool {
    let mut segments = id.path().split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some("countersign")
}

/// How long after a token was spent the same key may ask again for a reply that was lost, in
/// seconds.
pub(crate) const REPLY_REPEAT_SECONDS: i64 = 60;

/// Whether a token that may have been spent can be used, or its answer repeated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TokenUse {
    /// It has not been spent.
    Fresh,
    /// It was spent a moment ago with the same key: the reply may be given again.
    Repeat {
        /// Serial number of the certificate it was spent for.
        serial: String,
    },
}

/// Judges a token for a request with the key `spki_sha256`.
///
/// # Errors
/// [`ProofFault`] if it is expired or spent.
pub(crate) fn token_use(
    token: &crate::inventory::TokenRecord,
    spki_sha256: &str,
    now: UnixTime,
) -> Result<TokenUse, ProofFault> {
    match &token.spent {
        None if now > token.expires_at => Err(ProofFault::TokenExpired),
        None => Ok(TokenUse::Fresh),
        Some(spent) if spent.spki_sha256 != spki_sha256 => Err(ProofFault::TokenSpentByOther),
        Some(spent) if now.secs_since(spent.at) > REPLY_REPEAT_SECONDS => {
            Err(ProofFault::TokenSpent)
        }
        Some(spent) => Ok(TokenUse::Repeat {
            serial: spent.serial.clone(),
        }),
    }
}

mod given;
#[cfg(test)]
mod tests;
