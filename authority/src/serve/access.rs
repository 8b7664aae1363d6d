//! Who may administrate over the network, and what.
//!
//! Two roles, given to SPIFFE IDs: a viewer reads, an operator does everything. Each call of each
//! service is classified here by name; one that is not is nobody's. The Unix socket is not asked
//! about any of this: whoever can open it owns the data folder.

use std::fmt;
use std::net::SocketAddr;

use identity::{SpiffeId, TrustDomain};
use serde::Deserialize;

use crate::settings::SettingsError;

/// Section `admin` of the configuration.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminSettings {
    /// Address to serve administration on over mutual TLS; only the Unix socket if there is none.
    pub listen: Option<SocketAddr>,
    /// Who may read.
    pub viewers: Vec<IdentityPattern>,
    /// Who may do everything.
    pub operators: Vec<IdentityPattern>,
}

/// A SPIFFE ID, or all below a path: `spiffe://example.org/ops/*`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct IdentityPattern {
    id: SpiffeId,
    below: bool,
}

/// Why a text is no [`IdentityPattern`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPattern {
    /// Neither a SPIFFE ID nor one followed by `/*`.
    #[error("{text:?} is not a SPIFFE ID, nor one followed by /*")]
    NotAnId {
        /// The text.
        text: String,
    },
    /// It would be everybody of the trust domain.
    #[error("{text:?} has no path: it would be everybody in the trust domain")]
    Everybody {
        /// The text.
        text: String,
    },
    /// Identities of the authority and its agents administrate nothing.
    #[error("{text:?} takes in the authority's own identity or its agents")]
    Machine {
        /// The text.
        text: String,
    },
}

impl IdentityPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let (base, below) = text
            .strip_suffix("/*")
            .map_or((text, false), |base| (base, true));
        let id = SpiffeId::new(base).map_err(|_bad| BadPattern::NotAnId {
            text: text.to_owned(),
        })?;
        if id.path().is_empty() {
            return Err(BadPattern::Everybody {
                text: text.to_owned(),
            });
        }
        let pattern = Self { id, below };
        let path = pattern.id.path();
        let ours = ["/countersign/agent", "/countersign/authority"];
        let takes_in = ours.iter().any(|own| is_below(path, own) || path == *own)
            || (below && path == "/countersign");
        if takes_in {
            return Err(BadPattern::Machine {
                text: text.to_owned(),
            });
        }
        Ok(pattern)
    }

    /// Whether it is this identity, or below it.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        if !self.below {
            return self.id == *id;
        }
        self.id.trust_domain() == id.trust_domain() && is_below(id.path(), self.id.path())
    }
}

/// Whether `path` has segments after those of `base`.
fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

impl TryFrom<String> for IdentityPattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.below { "/*" } else { "" })
    }
}

impl AdminSettings {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`SettingsError`] if nobody could use the listener, or somebody of another trust domain,
    /// whose certificates the listener does not take.
    pub fn check(&self, trust_domain: &TrustDomain) -> Result<(), SettingsError> {
        let all = || self.viewers.iter().chain(&self.operators);
        if let Some(foreign) = all().find(|pattern| !pattern.id.is_member_of(trust_domain)) {
            return Err(SettingsError {
                setting: "admin",
                found: foreign.to_string(),
                expected: "an identity of the trust domain",
            });
        }
        if self.listen.is_some() && all().next().is_none() {
            return Err(SettingsError {
                setting: "admin.listen",
                found: "an address, but neither viewers nor operators".to_owned(),
                expected: "somebody who may use it",
            });
        }
        if self.listen.is_none() && all().next().is_some() {
            return Err(SettingsError {
                setting: "admin",
                found: "viewers or operators without admin.listen".to_owned(),
                expected: "an address that they can reach",
            });
        }
        Ok(())
    }

    /// The role of an identity: the higher one of those it has.
    pub(crate) fn role(&self, id: &SpiffeId) -> Option<Role> {
        let any = |patterns: &[IdentityPattern]| patterns.iter().any(|p| p.matches(id));
        if any(&self.operators) {
            Some(Role::Operator)
        } else if any(&self.viewers) {
            Some(Role::Viewer)
        } else {
            None
        }
    }
}

/// What somebody may do; the later one may do what the earlier one may.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Role {
    /// Read.
    Viewer,
    /// Everything.
    Operator,
}

impl Role {
    /// Stable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// The role that a call takes, by its path `/<package>.<Service>/<Method>`; `None` for a call that
/// nobody has classified, which is refused.
///
/// Whatever makes a certificate, a token or a policy, or takes something back, is an operator's;
/// so is whatever tells a secret.
pub(crate) fn required(path: &str) -> Option<Role> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match service {
        "countersign.admin.v1.AdminService" => match method {
            "ListEntries" | "ListCertificates" | "GetCertificate" | "ListPolicyBundles"
            | "GetPolicyBundle" | "ListRefusals" | "GetStatus" | "Diagnose" => Some(Role::Viewer),
            "CreateEntry"
            | "DeleteEntry"
            | "CreateJoinToken"
            | "IssueCertificate"
            | "ChangeState"
            | "RotateDenyListKey"
            | "PublishPolicyBundle" => Some(Role::Operator),
            _ => None,
        },
        // The rules in force, and what was asked lately.
        "countersign.issuance.v1.IssuanceService" => match method {
            "GetRules" | "ListRequests" => Some(Role::Viewer),
            _ => None,
        },
        // The record, to be searched and proven.
        "countersign.record.v1.RecordService" => match method {
            "SearchCertificates" | "SearchRefusals" | "ReportExpiry" | "GetTreeHead"
            | "ProveInclusion" | "ProveConsistency" | "ListLeaves" => Some(Role::Viewer),
            _ => None,
        },
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            (method == "ServerReflectionInfo").then_some(Role::Viewer)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use api::descriptors::methods;

    use super::*;

    fn id(text: &str) -> SpiffeId {
        SpiffeId::new(text).unwrap()
    }

    #[test]
    fn a_pattern_is_one_identity_or_all_below_a_path() {
        let one = IdentityPattern::new("spiffe://td/ops/alice").unwrap();
        assert!(one.matches(&id("spiffe://td/ops/alice")));
        assert!(!one.matches(&id("spiffe://td/ops/alice/x")));
        let all = IdentityPattern::new("spiffe://td/ops/*").unwrap();
        assert!(all.matches(&id("spiffe://td/ops/alice")));
        assert!(all.matches(&id("spiffe://td/ops/a/b")));
        for other in [
            "spiffe://td/ops",
            "spiffe://td/opsx/a",
            "spiffe://other/ops/a",
        ] {
            assert!(!all.matches(&id(other)), "{other}");
        }
    }

    #[test]
    fn a_pattern_of_everybody_or_of_machines_is_refused() {
        let refused = |text: &str| IdentityPattern::new(text).unwrap_err();
        for text in [
            "*",
            "spiffe://td/op*",
            "spiffe://td/*/x",
            "https://td/x",
            "",
        ] {
            assert!(
                matches!(refused(text), BadPattern::NotAnId { .. }),
                "{text}"
            );
        }
        for text in ["spiffe://td", "spiffe://td/*"] {
            assert!(
                matches!(refused(text), BadPattern::Everybody { .. }),
                "{text}"
            );
        }
        for text in [
            "spiffe://td/countersign/*",
            "spiffe://td/countersign/agent/*",
            "spiffe://td/countersign/agent/one",
            "spiffe://td/countersign/authority",
            "spiffe://td/countersign/authority/deny-list",
        ] {
            assert!(
                matches!(refused(text), BadPattern::Machine { .. }),
                "{text}"
            );
        }
        IdentityPattern::new("spiffe://td/countersign/operator/*").unwrap();
    }

    #[test]
    fn settings_that_nobody_could_use_are_refused() {
        let td = TrustDomain::new("td").unwrap();
        let read = |text: &str| serde_json::from_str::<AdminSettings>(text);
        let ours = read(r#"{"listen": "127.0.0.1:0", "viewers": ["spiffe://td/ops/*"]}"#).unwrap();
        ours.check(&td).unwrap();
        AdminSettings::default().check(&td).unwrap();
        for bad in [
            r#"{"listen": "127.0.0.1:0"}"#,
            r#"{"operators": ["spiffe://td/ops/*"]}"#,
            r#"{"listen": "127.0.0.1:0", "operators": ["spiffe://other/ops/*"]}"#,
        ] {
            read(bad).unwrap().check(&td).unwrap_err();
        }
        read(r#"{"listen": "127.0.0.1:0", "admins": []}"#).unwrap_err();
        read(r#"{"viewers": ["spiffe://td/*"]}"#).unwrap_err();
    }

    #[test]
    fn who_has_both_roles_is_an_operator() {
        let pattern = |text: &str| vec![IdentityPattern::new(text).unwrap()];
        let admin = AdminSettings {
            listen: None,
            viewers: pattern("spiffe://td/ops/*"),
            operators: pattern("spiffe://td/ops/alice"),
        };
        assert_eq!(
            admin.role(&id("spiffe://td/ops/alice")),
            Some(Role::Operator)
        );
        assert_eq!(admin.role(&id("spiffe://td/ops/bob")), Some(Role::Viewer));
        assert_eq!(admin.role(&id("spiffe://td/ns/a/sa/b")), None);
    }

    /// A new call must be classified in [`required`] before it can be merged.
    #[test]
    fn every_call_of_the_administration_is_classified() {
        let mut count = 0;
        // Everything that is neither Istio's nor the agents' is administration.
        let public = ["istio.v1.auth", "countersign.agent.v1"];
        for method in methods().filter(|method| !public.contains(&method.package.as_str())) {
            let path = method.path();
            assert!(required(&path).is_some(), "{path} is not classified");
            count += 1;
        }
        assert!(count >= 15, "only {count} calls found");
        for path in [
            "/countersign.admin.v1.AdminService/Nothing",
            "/istio.v1.auth.IstioCertificateService/CreateCertificate",
            "countersign.admin.v1.AdminService/GetStatus",
            "/",
            "",
        ] {
            assert_eq!(required(path), None, "{path}");
        }
    }
}
