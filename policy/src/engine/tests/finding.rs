//! What the index finds, and how many rules it tests for that.

use super::{super::index::IndexedRules, *};

/// Any policy of `rules` (name, action, rules) with a hash of few bits, so that texts collide all the time.
fn indexed(rules: Vec<Rule>, mask: u64) -> IndexedRules {
    IndexedRules::with_mask(rules, mask)
}

fn rules_of(policies: &[(String, String)]) -> Vec<Rule> {
    let text: String = policies
        .iter()
        .map(|(name, rules)| {
            format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                 metadata: {{name: {name}, namespace: default}}\nspec: {{action: ALLOW, rules: {rules}}}\n"
            )
        })
        .collect();
    let policies = yaml::policies("test", &text).unwrap();
    compile::compile(&policies, &scope())
        .unwrap()
        .enforced
        .allow
}

/// 1,000 rules, for 25 callers and 40 paths each.
fn pairs() -> Vec<(String, String)> {
    (0..1000)
        .map(|index| {
            let from = format!("[{{source: {{principals: [t/caller-{}]}}}}]", index / 40);
            let to = format!("[{{operation: {{paths: ['/path-{}/*']}}}}]", index % 40);
            (
                format!("p{index:04}"),
                format!("[{{from: {from}, to: {to}}}]"),
            )
        })
        .collect()
}

#[test]
fn colliding_hashes_hide_no_rule() {
    for mask in [u64::MAX, 0xff, 7, 0] {
        let index = indexed(rules_of(&pairs()), mask);
        for (caller, path, expected) in [(0, 0, "p0000"), (24, 39, "p0999"), (3, 7, "p0127")] {
            let peer = workload(&format!("spiffe://t/caller-{caller}"));
            let path = format!("/path-{path}/x");
            let request = Request::new(&peer).with_path(&path);
            let found = index
                .first_match(&View::new(&request))
                .map(|rule| rule.id.policy());
            assert_eq!(found, Some(expected), "{mask:x}");
        }
        let peer = workload("spiffe://t/caller-3");
        let request = Request::new(&peer).with_path("/path-40/x");
        assert!(index.first_match(&View::new(&request)).is_none());
    }
}

#[test]
fn few_rules_are_tested_however_many_there_are() {
    let index = indexed(rules_of(&pairs()), u64::MAX);
    let peer = workload("spiffe://t/caller-17");
    let request = Request::new(&peer).with_path("/path-33/x");
    assert_eq!(index.tested(&View::new(&request)), 1);
    let nothing = Request::new(&peer).with_path("/path-41/x");
    assert_eq!(index.tested(&View::new(&nothing)), 0);
    let shapes: [fn(usize) -> String; 8] = [
        |n| {
            format!(
                "{{from: [{{source: {{ipBlocks: [10.{}.{}.0/24]}}}}]}}",
                n / 250,
                n % 250
            )
        },
        |n| {
            format!(
                "{{from: [{{source: {{serviceAccounts: [ns{}/sa{}]}}}}]}}",
                n % 25,
                n / 25
            )
        },
        |n| format!("{{to: [{{operation: {{hosts: ['*.h{n}.test']}}}}]}}"),
        |n| {
            format!("{{to: [{{operation: {{paths: ['/v1/{{*}}/n{n}/{{**}}'], methods: [GET]}}}}]}}")
        },
        |n| format!("{{from: [{{source: {{requestPrincipals: [i/s{n}]}}}}]}}"),
        |n| format!("{{when: [{{key: 'request.headers[x-tenant]', values: [t{n}]}}]}}"),
        |n| format!("{{when: [{{key: 'request.auth.claims[a][b]', values: [t{n}]}}]}}"),
        // Neither source has anything in common with the other.
        |n| {
            format!(
                "{{from: [{{source: {{principals: [t/s{n}]}}}}, {{source: {{remoteIpBlocks: [10.1.{}.{}]}}}}]}}",
                n / 250,
                n % 250
            )
        },
    ];
    let headers = [("x-tenant", "t502")];
    let claims = serde_json::json!({"iss": "i", "sub": "s502", "a": {"b": "t502"}});
    let peer = workload("spiffe://t/ns/ns2/sa/sa20");
    let other = workload("spiffe://t/s502");
    for (which, shape) in shapes.iter().enumerate() {
        let policies: Vec<_> = (0..1000)
            .map(|n| (format!("p{n:04}"), format!("[{}]", shape(n))))
            .collect();
        let index = indexed(rules_of(&policies), u64::MAX);
        let request = Request::new(if which == 7 { &other } else { &peer })
            .with_source_ip("10.2.2.7".parse().unwrap())
            .with_remote_ip("10.1.3.7".parse().unwrap())
            .with_host("a.h502.test")
            .with_method("GET")
            .with_path("/v1/x/n502/y")
            .with_headers(&headers)
            .with_claims(&claims);
        let view = View::new(&request);
        let found = index.first_match(&view).map(|rule| rule.id.policy());
        assert_eq!(found, Some("p0502"), "shape {which}");
        assert!(
            index.tested(&view) <= 2,
            "shape {which}: {}",
            index.tested(&view)
        );
    }
}

#[test]
fn shapes_that_mix_are_found_too() {
    let mut policies = Vec::new();
    for n in 0..300 {
        for (kind, rule) in [
            (
                "caller",
                format!("[{{from: [{{source: {{principals: [t/s{n}]}}}}]}}]"),
            ),
            (
                "path",
                format!("[{{to: [{{operation: {{paths: ['/p{n}']}}}}]}}]"),
            ),
            (
                "block",
                format!(
                    "[{{from: [{{source: {{ipBlocks: [10.0.{}.{}]}}}}]}}]",
                    n / 250,
                    n % 250
                ),
            ),
        ] {
            policies.push((format!("{kind}-{n}"), rule));
        }
    }
    let index = indexed(rules_of(&policies), u64::MAX);
    let peer = workload("spiffe://t/s7");
    let request = Request::new(&peer)
        .with_path("/p9")
        .with_source_ip("10.0.0.8".parse().unwrap());
    let found = index
        .first_match(&View::new(&request))
        .map(|rule| rule.id.policy());
    assert_eq!(found, Some("block-8"));
    assert!(index.tested(&View::new(&request)) <= 3);
}
