//! The compiled set and its decisions.

mod index;

use crate::{
    authorization_policy::{Action, AuthorizationPolicy},
    compile::{self, Rules},
    decision::{AllowReason, Decision, DenyReason, PolicyRule},
    error::CompileError,
    explain::{self, Explanation},
    path::PathNormalization,
    peer::Peer,
    request::Request,
    rule::{Rule, Test, View},
    scope::Scope,
};

use self::index::IndexedRules;

/// The policies of one workload, compiled.
///
/// The verdict and the reported rule do not depend on the order of the policies: of several matching rules of
/// one action the one whose id comes first in byte order is reported, as Envoy does (`rule[10]` before `rule[2]`).
#[derive(Debug)]
pub struct PolicySet {
    deny: IndexedRules,
    allow: IndexedRules,
    deny_policies: Vec<String>,
    allow_policies: Vec<String>,
    path_normalization: PathNormalization,
    needs: Needs,
}

/// What the loaded policies look at. Whoever builds a [`Request`] need not read the rest, and must deny
/// ([`crate::NotEvaluable`]) if something named here exists but cannot be read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Needs {
    /// [`Request::source_ip`].
    pub source_ip: bool,
    /// [`Request::destination_ip`].
    pub destination_ip: bool,
    /// [`Request::destination_port`].
    pub destination_port: bool,
    /// [`Request::sni`].
    pub sni: bool,
    /// [`Request::host`].
    pub host: bool,
    /// [`Request::method`].
    pub method: bool,
    /// [`Request::path`]; then paths must be in normal form.
    pub path: bool,
    /// [`Request::headers`].
    pub headers: bool,
}

impl PolicySet {
    /// Compiles `policies` for the workload of `scope`. Policies that do not apply to it are checked, then left out.
    ///
    /// # Errors
    /// Every problem of every policy. A set is made of all policies or not at all.
    pub fn compile(
        policies: &[AuthorizationPolicy],
        scope: &Scope,
    ) -> Result<Self, Vec<CompileError>> {
        let Rules {
            deny,
            allow,
            allow_policies,
            deny_policies,
        } = compile::compile(policies, scope)?;
        let mut needs = Needs::default();
        for condition in deny.iter().chain(&allow).flat_map(Rule::conditions) {
            needs.add(&condition.test);
        }
        Ok(Self {
            deny: IndexedRules::new(deny),
            allow: IndexedRules::new(allow),
            deny_policies,
            allow_policies,
            path_normalization: scope.path_normalization,
            needs,
        })
    }

    /// Decides one request.
    ///
    /// 1. A peer whose certificate does not prove an identity is denied.
    /// 2. With a path rule loaded, a path that is not in the declared normal form is denied.
    /// 3. "If there are any DENY policies that match the request, deny the request."
    /// 4. "If there are no ALLOW policies for the workload, allow the request."
    /// 5. "If any of the ALLOW policies match the request, allow the request."
    /// 6. "Deny the request."
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let view = View::new(request);
        if let Some(reason) = self.precondition(&view) {
            return Decision::Deny(reason);
        }
        if let Some(rule) = self.deny.first_match(&view) {
            return Decision::Deny(DenyReason::MatchedDeny(rule.id.clone()));
        }
        if self.allow_policies.is_empty() {
            return Decision::Allow(AllowReason::NoPolicy);
        }
        match self.allow.first_match(&view) {
            Some(rule) => Decision::Allow(AllowReason::Matched(rule.id.clone())),
            None => Decision::Deny(DenyReason::NoAllowMatched),
        }
    }

    /// Decides one request and says of each rule why it does or does not match. Slow: tests every rule.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let view = View::new(request);
        let rules = |action, rules: &IndexedRules| {
            rules
                .all()
                .iter()
                .map(|rule| explain::rule(action, rule, &view))
                .collect::<Vec<_>>()
        };
        let mut explained = rules(Action::Deny, &self.deny);
        explained.extend(rules(Action::Allow, &self.allow));
        Explanation {
            decision: self.decide(request),
            rules: explained,
            deny_policies: self.deny_policies.clone(),
            allow_policies: self.allow_policies.clone(),
        }
    }

    /// What the loaded policies look at.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Every loaded rule with its action, DENY first, each in the order of their ids.
    pub fn rules(&self) -> impl Iterator<Item = (Action, &PolicyRule)> {
        let deny = self.deny.all().iter().map(|rule| (Action::Deny, &rule.id));
        deny.chain(
            self.allow
                .all()
                .iter()
                .map(|rule| (Action::Allow, &rule.id)),
        )
    }

    fn precondition(&self, view: &View<'_>) -> Option<DenyReason> {
        if let Peer::Unidentified(fault) = view.request.peer {
            return Some(DenyReason::PeerRejected(fault.clone()));
        }
        let path = view.path.filter(|_| self.needs.path)?;
        // `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7); it is no path to normalise.
        let whole_server = path == b"*" && view.request.method == Some(b"OPTIONS".as_slice());
        let normal = whole_server || self.path_normalization.is_fixed_point(path);
        (!normal).then_some(DenyReason::PathNotNormalized)
    }
}

impl Needs {
    fn add(&mut self, test: &Test) {
        self.path |= test.looks_at_path();
        match test {
            Test::Principal(_) | Test::Namespace(_) | Test::ServiceAccount(_) | Test::Path(_) => {}
            Test::SourceIp(_) => self.source_ip = true,
            Test::DestinationIp(_) => self.destination_ip = true,
            Test::DestinationPort(_) => self.destination_port = true,
            Test::Sni(_) => self.sni = true,
            Test::Host(_) => self.host = true,
            Test::Method(_) => self.method = true,
            Test::Header(name, _) => match name.as_ref() {
                ":method" => self.method = true,
                ":authority" | "host" => self.host = true,
                ":path" => {}
                _ => self.headers = true,
            },
        }
    }
}

#[cfg(test)]
mod tests;
