//! What a request is given, by the rules in force or without them.

use identity::x509::{SvidProfile, X509Svid};
use identity::{SpiffeId, UnixTime};

use crate::issuance::{BUILTIN_FILE, Denial, Facts, Limits, Profile};
use crate::issue::caller::{Caller, Lifetimes, Proof, Wish};
use crate::issue::csr::VerifiedCsr;
use crate::issue::grant::{Purpose, ServerNames};
use crate::issue::policy::{Application, IssuancePolicy, is_ours};
use crate::issue::refusal::Refusal;

impl IssuancePolicy {
    /// The authority's own certificates, which no file of rules can take away from it.
    pub(super) fn own(&self, application: &Application<'_>) -> Result<Given, Refusal> {
        let Lifetimes {
            default_ttl,
            max_ttl: max,
            ..
        } = self.lifetimes;
        let asked = application.wish.ttl_seconds;
        if asked > max {
            return Err(Refusal::TtlTooLong { asked, max });
        }
        let is_signer = matches!(application.by, Caller::ListSigner);
        Ok(Given {
            rule: OWN_RULE.to_owned(),
            spiffe_id: application.subject.clone(),
            server_names: if is_signer {
                ServerNames::default()
            } else {
                self.server_names.clone()
            },
            purpose: if is_signer {
                Purpose::ListSigning
            } else {
                Purpose::Tls
            },
            ttl: if asked > 0 { asked } else { default_ttl },
        })
    }

    /// The identity that the rules in force give a caller whose proof gives none.
    pub(super) fn named_by_rules(
        &self,
        by: &Caller,
        wish: &Wish,
        csr: &VerifiedCsr,
        now: UnixTime,
    ) -> Result<SpiffeId, Refusal> {
        let limits = self.limits(now, 0);
        let rules = self.rules.current();
        let allowed = rules.policy.decide(&Facts::unnamed(by, wish, csr), &limits);
        allowed.map(|allowed| allowed.spiffe_id).map_err(|denial| {
            if rules.source == BUILTIN_FILE {
                let caller = by.to_string();
                return Refusal::NoIdentity { caller };
            }
            denial.into()
        })
    }

    fn limits(&self, now: UnixTime, jitter: u16) -> Limits<'_> {
        Limits {
            trust_domain: &self.trust_domain,
            default_ttl: self.lifetimes.default_ttl,
            max_ttl: self.lifetimes.max_ttl,
            now,
            jitter,
        }
    }

    pub(super) fn by_rules(
        &self,
        application: &Application<'_>,
        now: UnixTime,
    ) -> Result<Given, Refusal> {
        let (asked, max) = (application.wish.ttl_seconds, self.lifetimes.max_ttl);
        if asked > max {
            return Err(Refusal::TtlTooLong { asked, max });
        }
        let limits = self.limits(now, application.jitter);
        let rules = self.rules.current();
        let facts = Self::facts(application);
        if let Caller::Certificate(certificate) = application.by {
            // What a deny rule says of a proof holds for the certificates that go back to it.
            let first = Facts {
                proof: certificate.origin.proven_by.clone(),
                selectors: certificate.origin.selectors.clone(),
                ..facts.clone()
            };
            rules.policy.denied(&first, now)?;
        }
        let allowed = rules.policy.decide(&facts, &limits)?;
        let wanted = allowed.spiffe_id;
        match application.by {
            // Whose identity it is was checked for the subject, so a rule can give no other.
            Caller::JoinToken(token) if wanted != application.subject => {
                return Err(Refusal::TokenBoundElsewhere {
                    bound: token.spiffe_id.clone(),
                    wanted,
                });
            }
            Caller::Certificate(certificate) if wanted != application.subject => {
                return Err(Refusal::NotParented {
                    caller: certificate.spiffe_id.clone(),
                    wanted,
                });
            }
            Caller::Certificate(certificate)
                if certificate.spiffe_id == wanted && widens(&certificate.der, allowed.profile) =>
            {
                return Err(Refusal::Rules(Denial::OtherPurpose {
                    rule: allowed.rule,
                    profile: allowed.profile,
                }));
            }
            _ => {}
        }
        self.check_assignable(&wanted)?;
        if is_ours(&wanted) && !allowed.names_own_part {
            return Err(Refusal::Reserved { wanted });
        }
        let ttl = match application.by {
            // A rule gave the first one its lifetime; renewed by the built-in rule, it gets no longer one.
            Caller::Certificate(certificate)
                if certificate.spiffe_id == wanted
                    && certificate.entry_id.is_none()
                    && allowed.rule.starts_with(BUILTIN_PREFIX)
                    && goes_back_to_a_rule(&certificate.origin.proven_by) =>
            {
                let lived = certificate.not_after.secs_since(certificate.issued_at);
                allowed.ttl_seconds.min(lived.max(1))
            }
            _ => allowed.ttl_seconds,
        };
        Ok(Given {
            rule: allowed.rule,
            spiffe_id: wanted,
            server_names: ServerNames {
                dns: allowed.dns_names,
                ip: Vec::new(),
            },
            purpose: match allowed.profile {
                Profile::Workload => Purpose::Tls,
                Profile::Ingress => Purpose::TlsServer,
                Profile::Egress => Purpose::TlsClient,
            },
            ttl,
        })
    }
}

/// Whether a proof is one of those whose certificates are given by rules alone: the operator has said of no
/// join token and of no entry how long its certificates live.
fn goes_back_to_a_rule(proven_by: &str) -> bool {
    [Proof::Kubernetes, Proof::Oidc, Proof::ForeignCertificate]
        .iter()
        .any(|proof| proof.as_str() == proven_by)
}

/// Whether a certificate of `profile` is good for a purpose of TLS that the one it renews is not: the
/// certificate of an egress gateway's outer side does not renew into one of the mesh.
fn widens(der: &[u8], profile: Profile) -> bool {
    // These very bytes were presented in TLS, so that they parse.
    let Ok(present) = X509Svid::parse(der, SvidProfile::Istio) else {
        return false;
    };
    let purposes: &[&str] = match profile {
        Profile::Workload => &[SERVER_AUTH, CLIENT_AUTH],
        Profile::Ingress => &[SERVER_AUTH],
        Profile::Egress => &[CLIENT_AUTH],
    };
    let has = |purpose: &str| {
        present
            .extended_key_usages()
            .iter()
            .any(|has| has == purpose)
    };
    !purposes.iter().copied().all(has)
}

/// id-kp-serverAuth (RFC 5280 §4.2.1.12).
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
/// id-kp-clientAuth (RFC 5280 §4.2.1.12).
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// What is to be certified beside the key.
pub(super) struct Given {
    pub(super) rule: String,
    pub(super) spiffe_id: SpiffeId,
    pub(super) server_names: ServerNames,
    pub(super) purpose: Purpose,
    pub(super) ttl: i64,
}

/// What the ids of built-in rules begin with.
const BUILTIN_PREFIX: &str = "builtin/";
/// Id on record for the authority's own certificates.
const OWN_RULE: &str = "builtin/authority";
