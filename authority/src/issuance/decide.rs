//! From the facts of a request to what it may have.

use std::collections::BTreeSet;

use identity::{SpiffeId, TrustDomain, UnixTime};

use crate::issuance::denial::Denial;
use crate::issuance::dns;
use crate::issuance::facts::Facts;
use crate::issuance::rule::{Dns, Gives, IdSource, Policy, Profile, Rule, Ttl, takes};
use crate::issuance::template::{Missing, is_segment};

/// What the authority itself allows, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The trust domain served.
    pub trust_domain: &'a TrustDomain,
    /// Lifetime where nothing is asked for, in seconds.
    pub default_ttl: i64,
    /// Longest lifetime, in seconds.
    pub max_ttl: i64,
    /// The time now.
    pub now: UnixTime,
    /// A random number, of which the shortening by `jitterPercent` is made.
    pub jitter: u16,
}

/// What a request may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allowed {
    /// The rule that says so.
    pub rule: String,
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// What the certificate is for.
    pub profile: Profile,
    /// DNS names, sorted, each once.
    pub dns_names: Vec<String>,
    /// Lifetime in seconds.
    pub ttl_seconds: i64,
    /// Whether the rule itself, not a value put into it, names an identity of Countersign's own
    /// parts.
    pub names_own_part: bool,
}

impl Policy {
    /// Decides. A deny rule that matches wins; else the first allow rule that matches decides, also
    /// where it refuses what is asked for.
    ///
    /// # Errors
    /// [`Denial`], with the rule.
    pub fn decide(&self, facts: &Facts, limits: &Limits<'_>) -> Result<Allowed, Denial> {
        self.denied(facts, limits.now)?;
        let matches = |rule: &&Rule| rule.when.holds(facts, limits.now);
        let mut allowing = self.rules.iter().filter(|rule| rule.gives.is_some());
        let rule = allowing.find(matches).ok_or(Denial::NoRule)?;
        let Some(gives) = &rule.gives else {
            return Err(Denial::NoRule);
        };
        let allowed = gives.apply(&rule.id, facts, limits)?;
        if facts.requested_id.is_none() {
            // A rule that denies an identity means it, asked for by name or not.
            let named = Facts {
                requested_id: Some(allowed.spiffe_id.clone()),
                ..facts.clone()
            };
            self.denied(&named, limits.now)?;
        }
        Ok(allowed)
    }

    /// Whether a deny rule matches.
    ///
    /// # Errors
    /// [`Denial::Denied`], with the first that does.
    pub fn denied(&self, facts: &Facts, now: UnixTime) -> Result<(), Denial> {
        let mut denying = self.rules.iter().filter(|rule| rule.gives.is_none());
        match denying.find(|rule| rule.when.holds(facts, now)) {
            Some(rule) => Err(Denial::Denied {
                rule: rule.id.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl Gives {
    fn apply(&self, rule: &str, facts: &Facts, limits: &Limits<'_>) -> Result<Allowed, Denial> {
        if !takes(&self.keys, facts.key) {
            return Err(Denial::Key {
                rule: rule.to_owned(),
                key: facts.key,
            });
        }
        let spiffe_id = self.id.identity(rule, facts, limits)?;
        if let Some(wanted) = facts.requested_id.as_ref().filter(|id| **id != spiffe_id) {
            return Err(Denial::OtherId {
                rule: rule.to_owned(),
                granted: spiffe_id,
                wanted: wanted.clone(),
            });
        }
        self.check_metadata(rule, facts)?;
        Ok(Allowed {
            dns_names: self.dns_names(rule, facts, limits)?,
            ttl_seconds: self.ttl.seconds(rule, facts, limits)?,
            rule: rule.to_owned(),
            names_own_part: self.id.names_own_part(),
            profile: self.profile,
            spiffe_id,
        })
    }

    fn check_metadata(&self, rule: &str, facts: &Facts) -> Result<(), Denial> {
        for (key, pattern) in &self.metadata {
            let found = facts.metadata.get(key).filter(|value| !value.is_empty());
            if !found.is_some_and(|value| pattern.matches(value)) {
                return Err(Denial::Metadata {
                    rule: rule.to_owned(),
                    key: key.clone(),
                    pattern: pattern.to_string(),
                    found: found.cloned(),
                });
            }
        }
        Ok(())
    }

    /// The rule's own names, and those asked for that it allows. What is asked for without leave is
    /// refused, so that nobody finds out at the first handshake.
    fn dns_names(
        &self,
        rule: &str,
        facts: &Facts,
        limits: &Limits<'_>,
    ) -> Result<Vec<String>, Denial> {
        // As istiod does: a CSR's names mean nothing where no rule gives them a meaning.
        let Some(Dns {
            names,
            allow,
            wildcards,
        }) = &self.dns
        else {
            return Ok(Vec::new());
        };
        let mut found = BTreeSet::new();
        let refused = |name: String| Denial::DnsName {
            rule: rule.to_owned(),
            name,
        };
        for template in names {
            let name = template
                .render(limits.trust_domain, &facts.selectors, dns::is_label)
                .map_err(|missing| variable(rule, missing))?;
            if !(dns::is_name(&name) || *wildcards && dns::wildcard(&name).is_some()) {
                return Err(refused(name));
            }
            found.insert(name);
        }
        for asked in &facts.dns_names {
            let name = asked.to_ascii_lowercase();
            let is_allowed = |allowance: &dns::Allowance| allowance.allows(&name, *wildcards);
            if !allow.iter().any(is_allowed) {
                return Err(refused(asked.clone()));
            }
            found.insert(name);
        }
        if found.is_empty() && self.profile == Profile::Ingress {
            return Err(Denial::NoDnsName {
                rule: rule.to_owned(),
            });
        }
        Ok(found.into_iter().collect())
    }
}

impl IdSource {
    fn identity(&self, rule: &str, facts: &Facts, limits: &Limits<'_>) -> Result<SpiffeId, Denial> {
        let nothing = || Denial::NotAnId {
            rule: rule.to_owned(),
            found: String::new(),
        };
        match self {
            Self::Requested => facts.requested_id.clone().ok_or_else(nothing),
            Self::Caller => facts.caller_id.clone().ok_or_else(nothing),
            Self::Template(template) => {
                let text = template
                    .render(limits.trust_domain, &facts.selectors, is_segment)
                    .map_err(|missing| variable(rule, missing))?;
                match SpiffeId::new(&text) {
                    Ok(id) if id.is_member_of(limits.trust_domain) && !id.path().is_empty() => {
                        Ok(id)
                    }
                    _ => Err(Denial::NotAnId {
                        rule: rule.to_owned(),
                        found: text,
                    }),
                }
            }
        }
    }

    /// Whether the template's first segment is written as that of Countersign's own parts. A value
    /// that is put there does not make it one.
    fn names_own_part(&self) -> bool {
        match self {
            Self::Requested | Self::Caller => true,
            Self::Template(template) => template
                .shape()
                .split('/')
                .nth(3)
                .is_some_and(|segment| segment == "countersign"),
        }
    }
}

fn variable(rule: &str, missing: Missing) -> Denial {
    Denial::Variable {
        rule: rule.to_owned(),
        variable: missing.variable,
        fault: missing.fault,
    }
}

impl Ttl {
    /// Lifetime in seconds. Istiod's rule: more than the limit is an error, not shortened. A
    /// registration entry's own limit shortens without an error.
    fn seconds(&self, rule: &str, facts: &Facts, limits: &Limits<'_>) -> Result<i64, Denial> {
        let max = self
            .max
            .map_or(limits.max_ttl, |max| max.min(limits.max_ttl));
        let asked = facts.ttl_seconds;
        if asked > max {
            return Err(Denial::TtlTooLong {
                rule: rule.to_owned(),
                asked,
                max,
            });
        }
        let min = self.min.unwrap_or(1);
        if asked > 0 && asked < min {
            return Err(Denial::TtlTooShort {
                rule: rule.to_owned(),
                asked,
                min,
            });
        }
        let ttl = match (asked, facts.entry_ttl_seconds) {
            (..=0, Some(limit)) => limit,
            (..=0, None) => self.default.unwrap_or(limits.default_ttl),
            (asked, Some(limit)) => asked.min(limit),
            (asked, None) => asked,
        };
        let ttl = ttl.min(max);
        // At most half of it, of less than 2^63 seconds: no step of this can overflow in 128 bits.
        let most = i128::from(ttl) * i128::from(self.jitter_percent) / 100;
        let less = most * i128::from(limits.jitter) / i128::from(u16::MAX);
        let less = i64::try_from(less).unwrap_or(0);
        // A shortening never goes below what the rule promises; an entry's limit may.
        Ok((ttl - less).max(min.min(ttl)).max(1))
    }
}
