//! What must hold of all policies and requests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "properties/world.rs"]
mod world;

use identity::TrustDomain;
use policy::{
    Action, AuthorizationPolicy, Condition, Decision, DenyReason, Outcome, Peer, PolicySet,
    Protocol, Request, Rule, Scope, config, path::PathNormalization,
};
use proptest::{collection::vec, prelude::*};

use world::{
    ASKED_PATHS, ODD_PATHS, arbitrary_json, asked, compile, condition, everything, policies, policy,
};

fn is_matched_deny(decision: &Decision) -> bool {
    matches!(decision, Decision::Deny(DenyReason::MatchedDeny(_)))
}

/// The rule made narrower in one of several ways.
fn narrow(rule: &Rule, how: usize, extra: Condition) -> Rule {
    let mut rule = rule.clone();
    match how {
        // One more condition.
        0 => rule.when.get_or_insert_default().push(extra),
        // One alternative less.
        1 => {
            if let Some(from) = rule.from.as_mut().filter(|from| from.len() > 1) {
                from.pop();
            }
        }
        2 => {
            if let Some(to) = rule.to.as_mut().filter(|to| to.len() > 1) {
                to.pop();
            }
        }
        // One value of each positive list less, one value of each negative list more.
        _ => {
            for source in rule
                .from
                .iter_mut()
                .flatten()
                .filter_map(|from| from.source.as_mut())
            {
                shorten(&mut source.principals);
                shorten(&mut source.ip_blocks);
                shorten(&mut source.trust_domains);
                shorten(&mut source.request_principals);
                shorten(&mut source.remote_ip_blocks);
                lengthen(&mut source.not_trust_domains, "u");
                lengthen(&mut source.not_request_principals, "i/t");
                // Service accounts exclude principals.
                if source.service_accounts.is_some() || source.not_service_accounts.is_some() {
                    lengthen(&mut source.not_service_accounts, "a/y");
                } else {
                    lengthen(&mut source.not_principals, "t/ns/a/sa/y");
                }
            }
            for to in rule
                .to
                .iter_mut()
                .flatten()
                .filter_map(|to| to.operation.as_mut())
            {
                shorten(&mut to.methods);
                shorten(&mut to.hosts);
                lengthen(&mut to.not_paths, "/b");
            }
        }
    }
    rule
}

fn shorten(list: &mut Option<Vec<String>>) {
    if let Some(list) = list.as_mut().filter(|list| list.len() > 1) {
        list.pop();
    }
}

fn lengthen(list: &mut Option<Vec<String>>, value: &str) {
    list.get_or_insert_default().push(value.to_owned());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deny_dominates(
        deny in policies(Action::Deny),
        allow in policies(Action::Allow),
        asked in asked(ASKED_PATHS),
    ) {
        let request = asked.request();
        let alone = compile(&deny).decide(&request);
        let both = compile(&[deny, allow].concat()).decide(&request);
        prop_assert_eq!(is_matched_deny(&alone), is_matched_deny(&both));
        if is_matched_deny(&alone) {
            prop_assert_eq!(alone, both, "the same rule is reported");
        }
    }

    #[test]
    fn adding_a_deny_never_allows_more(
        mut set in policies(Action::Deny),
        allow in policies(Action::Allow),
        extra in policy(Action::Deny),
        asked in prop_oneof![asked(ASKED_PATHS), asked(ODD_PATHS)],
    ) {
        set.extend(allow);
        let before = compile(&set).decide(&asked.request());
        set.push(extra);
        let after = compile(&set).decide(&asked.request());
        prop_assert!(!after.is_allowed() || before.is_allowed(), "{} then {}", before, after);
    }

    #[test]
    fn narrowing_an_allow_never_allows_more(
        set in policies(Action::Allow),
        deny in policies(Action::Deny),
        which: (usize, usize),
        how in 0..4_usize,
        extra in condition(),
        asked in asked(ASKED_PATHS),
    ) {
        prop_assume!(!set.is_empty());
        let mut narrower = set.clone();
        let policy = which.0 % set.len();
        let rules = narrower[policy].spec.rules.as_mut().unwrap();
        let rule = which.1 % rules.len();
        rules[rule] = narrow(&rules[rule], how, extra);
        let before = compile(&[set, deny.clone()].concat()).decide(&asked.request());
        let after = compile(&[narrower, deny].concat()).decide(&asked.request());
        prop_assert!(!after.is_allowed() || before.is_allowed(), "{} then {}", before, after);
    }

    /// Neither AUDIT nor dry-run policies change a verdict, and what a dry run says is what becomes of it.
    #[test]
    fn shadow_policies_change_nothing_and_say_what_would_be(
        mut enforced in policies(Action::Deny),
        allow in policies(Action::Allow),
        mut candidates in vec(prop_oneof![policy(Action::Allow), policy(Action::Deny)], 0..3),
        audit in policies(Action::Audit),
        asked in prop_oneof![3 => asked(ASKED_PATHS), 1 => asked(ODD_PATHS)],
    ) {
        enforced.extend(allow);
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.metadata.name = Some(format!("candidate-{index}"));
        }
        let mut tried = candidates.clone();
        for candidate in &mut tried {
            candidate.metadata.annotations.insert("istio.io/dry-run".to_owned(), "true".to_owned());
        }
        let request = asked.request();
        let alone = compile(&enforced);
        let all = compile(&[enforced.clone(), tried, audit.clone()].concat());
        prop_assert_eq!(alone.decide(&request), all.decide(&request));
        prop_assert_eq!(alone.needs(), all.needs());
        prop_assert!(alone.claim_paths().eq(all.claim_paths()));
        prop_assert!(alone.metadata_keys().eq(all.metadata_keys()));
        prop_assert_eq!(all.has_shadow(), !candidates.is_empty() || !audit.is_empty());
        let shadow = all.shadow(&request);
        prop_assert_eq!(shadow.dry_run.is_some(), !candidates.is_empty());
        if let Some(dry_run) = shadow.dry_run {
            let in_force = compile(&[enforced, candidates].concat()).decide(&request);
            prop_assert_eq!(dry_run.combined, in_force);
        }
    }

    /// On TCP, ALLOW policies never allow more than for requests, and DENY policies never deny less.
    #[test]
    fn tcp_is_never_laxer(
        allow in policies(Action::Allow),
        deny in policies(Action::Deny),
        asked in asked(ASKED_PATHS),
    ) {
        let request = asked.request();
        let on = |protocol, policies: &[AuthorizationPolicy]| {
            let mut scope = Scope::new(TrustDomain::new("mesh").unwrap(), "default");
            scope.protocol = protocol;
            PolicySet::compile(policies, &scope).unwrap()
        };
        let (http, tcp) = (on(Protocol::Http, &allow), on(Protocol::Tcp, &allow));
        prop_assert!(http.decide(&request).is_allowed() || !tcp.decide(&request).is_allowed());
        let (http, tcp) = (on(Protocol::Http, &deny), on(Protocol::Tcp, &deny));
        prop_assert!(is_matched_deny(&tcp.decide(&request)) || !is_matched_deny(&http.decide(&request)));
        let needs = tcp.needs();
        let of_requests = [needs.host, needs.method, needs.path, needs.headers, needs.claims];
        prop_assert_eq!(of_requests, [false; 5]);
    }

    /// The index leaves nothing out, and neither it nor the order of policies changes which rule is reported.
    #[test]
    fn a_decision_is_that_of_testing_every_rule(
        mut set in policies(Action::Deny),
        allow in policies(Action::Allow),
        asked in prop_oneof![3 => asked(ASKED_PATHS), 1 => asked(ODD_PATHS)],
    ) {
        set.extend(allow);
        let request = asked.request();
        let explanation = compile(&set).explain(&request);
        set.reverse();
        prop_assert_eq!(&compile(&set).decide(&request), &explanation.decision);
        let first = |action| {
            let mut matching: Vec<_> = explanation
                .rules
                .iter()
                .filter(|rule| rule.action == action && rule.outcome == Outcome::Matched)
                .map(|rule| rule.rule.id())
                .collect();
            matching.sort_unstable();
            matching.first().copied()
        };
        let failing: Vec<_> = explanation
            .rules
            .iter()
            .filter(|rule| rule.action == Action::Allow && !rule.dry_run)
            .filter_map(|rule| match &rule.outcome {
                Outcome::Failed(conditions) => Some((rule.rule.id(), conditions[0].path.clone())),
                Outcome::Matched => None,
            })
            .collect();
        let told = compile(&set);
        let told = told.failed_allow_rules(&request).map(|(rule, path)| (rule.id(), path));
        prop_assert_eq!(told.collect::<Vec<_>>(), failing);
        let expected = match (first(Action::Deny), first(Action::Allow)) {
            _ if explanation.decision.code() == "path_not_normalized" => None,
            (Some(deny), _) => Some(("matched_deny", deny)),
            (None, Some(allow)) => Some(("matched_allow", allow)),
            (None, None) => None,
        };
        let found = explanation.decision.rule().map(|rule| (explanation.decision.code(), rule.id()));
        prop_assert_eq!(found, expected);
    }

    /// A path that is not in normal form is denied if and only if some rule looks at paths.
    #[test]
    fn odd_paths_are_denied_where_paths_are_looked_at(
        mut set in policies(Action::Deny),
        allow in policies(Action::Allow),
        asked in asked(ODD_PATHS),
    ) {
        set.extend(allow);
        let set = compile(&set);
        let refused = set.decide(&asked.request()).code() == "path_not_normalized";
        prop_assert_eq!(refused, set.needs().path && asked.path.is_some());
    }

    #[test]
    fn what_is_serialized_is_read_back(policy in policy(Action::Allow)) {
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&AuthorizationPolicy::from_json(text.as_bytes()).unwrap(), &policy);
        prop_assert_eq!(policy::yaml::policies("test", &text).unwrap(), vec![policy]);
    }

    #[test]
    fn forms_of_a_path_are_nested(path in r"/([ab./%\\]|%2[ef]|%5C|\.\.){0,12}") {
        use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
        let admitted = [None, Base, MergeSlashes, DecodeAndMergeSlashes]
            .map(|form| form.is_fixed_point(path.as_bytes()));
        prop_assert!(admitted.is_sorted_by(|a, b| a >= b), "{:?}", admitted);
        if admitted[3] {
            let lower = path.to_lowercase();
            for bad in ["//", "%2f", "%5c", "%2e", "\\"] {
                prop_assert!(!lower.contains(bad), "{}", bad);
            }
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in vec(any::<u8>(), 0..200)) {
        drop(AuthorizationPolicy::from_json(&text));
        drop(config::PluginConfig::from_json(&text));
        drop(policy::yaml::policies("test", &String::from_utf8_lossy(&text)));
        let peer = Peer::Plaintext;
        let request = Request::new(&peer).with_path(&text).with_host(&text).with_method(&text);
        drop(compile(&[everything()]).explain(&request));
    }

    #[test]
    fn arbitrary_json_never_panics(value in arbitrary_json()) {
        let scope = Scope::new(TrustDomain::new("t").unwrap(), "default");
        drop(policy::json::shape::<AuthorizationPolicy>(&value));
        let mut resource = serde_json::to_value(everything()).unwrap();
        resource["spec"] = value.clone();
        if let Ok(policy) = policy::json::shape::<AuthorizationPolicy>(&resource) {
            let compiled = PolicySet::compile(&[policy], &scope);
            drop(compiled.map(|set| set.explain(&Request::new(&Peer::Plaintext))));
        }
        if let Ok(config) = config::PluginConfig::from_json(value.to_string().as_bytes()) {
            drop(config::compile(&config));
        }
    }
}
