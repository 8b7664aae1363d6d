use identity::{SpiffeId, TrustDomain, UnixTime};

use super::*;
use crate::issue::KeyType;

const NOW: i64 = 1_800_000_000;

fn facts(proof: &str, selectors: &[&str]) -> Facts {
    Facts {
        proof: proof.to_owned(),
        caller_id: None,
        selectors: selectors.iter().map(|&s| s.to_owned()).collect(),
        metadata: std::collections::BTreeMap::new(),
        requested_id: None,
        ttl_seconds: 0,
        key: KeyType::EcdsaP256,
        dns_names: Vec::new(),
        entry_ttl_seconds: None,
    }
}

fn k8s() -> Facts {
    facts(
        "kubernetes",
        &["k8s:cluster:east", "k8s:ns:payments", "k8s:sa:web"],
    )
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn decide_with(policy: &Policy, facts: &Facts, jitter: u16) -> Result<Allowed, Denial> {
    let trust_domain = TrustDomain::new("example.org").unwrap();
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: 3600,
        max_ttl: 86_400,
        now: UnixTime::from_secs(NOW),
        jitter,
    };
    policy.decide(facts, &limits)
}

fn decide(policy: &Policy, facts: &Facts) -> Result<Allowed, Denial> {
    // What decides and what explains are two walks over the same conditions.
    for rule in policy.rules() {
        let now = UnixTime::from_secs(NOW);
        assert_eq!(
            rule.when.holds(facts, now),
            rule.when.check(facts, now).is_ok()
        );
    }
    decide_with(policy, facts, 0)
}

fn compile(rules: &str) -> Policy {
    let text = format!("schemaVersion: 1\nbuiltinRules: none\nrules:\n{rules}");
    Policy::compile("rules.yaml", &text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// One allow rule for Kubernetes, with these lines besides.
fn with(lines: &str) -> Policy {
    compile(&format!(
        "- id: pods\n  effect: allow\n  when: {{proof: [kubernetes]}}\n  \
         spiffeId: \"spiffe://{{trustDomain}}/ns/{{k8s.ns}}/sa/{{k8s.sa}}\"\n{lines}"
    ))
}

fn problems(text: &str) -> Vec<String> {
    let problems = Policy::compile("rules.yaml", text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_built_in_rules_compile_and_are_what_was_always_decided() {
    let policy = Policy::builtin();
    assert_eq!(policy.rules().len(), 5);
    let mut operator = facts("operator", &["operator:uid:0"]);
    operator.requested_id = Some(id("spiffe://example.org/x"));
    assert_eq!(decide(&policy, &operator).unwrap().rule, "builtin/operator");
    let mut token = facts("join_token", &[]);
    token.caller_id = Some(id("spiffe://example.org/agent"));
    let allowed = decide(&policy, &token).unwrap();
    assert_eq!(allowed.spiffe_id, id("spiffe://example.org/agent"));
    assert_eq!(allowed.ttl_seconds, 3600);
    assert_eq!(
        decide(&policy, &k8s()).unwrap_err().code(),
        "not_an_identity"
    );
    token.requested_id = Some(id("spiffe://example.org/other"));
    assert_eq!(
        decide(&policy, &token).unwrap_err().code(),
        "other_identity"
    );
}

#[test]
fn other_proofs_give_their_identity_only_where_there_is_no_file() {
    let mut proven = k8s();
    proven.caller_id = Some(id("spiffe://example.org/ns/payments/sa/web"));
    let allowed = decide(&Policy::builtin(), &proven).unwrap();
    assert_eq!(allowed.rule, "builtin/proven");
    let file = Policy::compile("rules.yaml", "schemaVersion: 1\nrules: []\n").unwrap();
    assert_eq!(file.rules().len(), 4);
    assert_eq!(decide(&file, &proven), Err(Denial::NoRule));
    proven.requested_id = Some(id("spiffe://example.org/ns/payments/sa/admin"));
    let refused = decide(&Policy::builtin(), &proven).unwrap_err();
    assert_eq!(refused.code(), "other_identity");
}

#[test]
fn an_identity_is_made_of_selectors() {
    let allowed = decide(&with(""), &k8s()).unwrap();
    assert_eq!(
        allowed.spiffe_id,
        id("spiffe://example.org/ns/payments/sa/web")
    );
    assert_eq!(
        (allowed.rule.as_str(), allowed.profile),
        ("pods", Profile::Workload)
    );
    let missing = decide(&with(""), &facts("kubernetes", &["k8s:ns:payments"])).unwrap_err();
    assert_eq!(
        (missing.code(), missing.rule()),
        ("variable_missing", Some("pods"))
    );
    let path = decide(
        &with(""),
        &facts("kubernetes", &["k8s:ns:a/../b", "k8s:sa:x"]),
    );
    assert_eq!(path.unwrap_err().code(), "variable_not_a_name");
    let mut other = k8s();
    other.requested_id = Some(id("spiffe://example.org/ns/payments/sa/admin"));
    assert_eq!(
        decide(&with(""), &other).unwrap_err().code(),
        "other_identity"
    );
}

#[test]
fn deny_wins_wherever_it_stands_and_says_which() {
    let policy = compile(
        "- id: pods\n  effect: allow\n  when: {proof: [kubernetes]}\n  spiffeId: \"spiffe://{trustDomain}/x\"\n\
         - id: not-payments\n  effect: deny\n  when: {selectors: [\"k8s:ns:pay*\"]}\n",
    );
    let denied = decide(&policy, &k8s()).unwrap_err();
    assert_eq!(
        denied,
        Denial::Denied {
            rule: "not-payments".to_owned()
        }
    );
    decide(&policy, &facts("kubernetes", &["k8s:ns:shop"])).unwrap();
    assert_eq!(decide(&policy, &facts("oidc", &[])), Err(Denial::NoRule));
}

#[test]
fn the_first_allow_rule_that_matches_decides_even_where_it_refuses() {
    let policy = compile(
        "- id: a\n  effect: allow\n  when: {selectors: [\"k8s:ns:payments\"]}\n  \
           spiffeId: \"spiffe://{trustDomain}/a\"\n  keyAlgorithms: [ecdsa-p384]\n\
         - id: b\n  effect: allow\n  when: {}\n  spiffeId: \"spiffe://{trustDomain}/b\"\n",
    );
    let refused = decide(&policy, &k8s()).unwrap_err();
    assert_eq!(
        (refused.code(), refused.rule()),
        ("key_not_allowed", Some("a"))
    );
    assert_eq!(decide(&policy, &facts("x", &[])).unwrap().rule, "b");
}

#[test]
fn any_all_not_and_time_are_conditions() {
    let policy = compile(
        "- id: a\n  effect: allow\n  spiffeId: \"spiffe://{trustDomain}/a\"\n  when:\n    any:\n    \
           - selectors: [\"k8s:ns:shop\"]\n    - {selectors: [\"k8s:ns:payments\"], not: {selectors: [\"k8s:sa:web\"]}}\n    \
           - all: [{callerId: [\"spiffe://example.org/ns/*/sa/web\"]}, {time: {notAfter: 2027-01-15T08:00:00Z}}]\n",
    );
    assert!(decide(&policy, &facts("k", &["k8s:ns:shop"])).is_ok());
    assert_eq!(decide(&policy, &k8s()), Err(Denial::NoRule));
    assert!(decide(&policy, &facts("k", &["k8s:ns:payments", "k8s:sa:x"])).is_ok());
    let mut by_id = k8s();
    by_id.caller_id = Some(id("spiffe://example.org/ns/a/sa/web"));
    // 1,800,000,000 is that very second.
    assert!(decide(&policy, &by_id).is_ok());
    by_id.caller_id = Some(id("spiffe://example.org/ns/a/b/sa/web"));
    assert_eq!(decide(&policy, &by_id), Err(Denial::NoRule));
}

#[test]
fn lifetimes_have_a_default_a_maximum_a_minimum_and_jitter() {
    let policy = with("  ttl: {default: 10m, max: 1h, min: 5m, jitterPercent: 20}\n");
    let mut asks = k8s();
    let mut ttl = |asked, jitter| {
        asks.ttl_seconds = asked;
        decide_with(&policy, &asks, jitter).map(|allowed| allowed.ttl_seconds)
    };
    assert_eq!(ttl(0, 0), Ok(600));
    assert_eq!(ttl(0, u16::MAX), Ok(480));
    assert_eq!(ttl(3600, 0), Ok(3600));
    assert_eq!(ttl(3600, u16::MAX), Ok(2880));
    assert_eq!(ttl(310, u16::MAX), Ok(300), "never below the minimum");
    assert_eq!(ttl(3601, 0).unwrap_err().code(), "rule_ttl_too_long");
    assert_eq!(ttl(299, 0).unwrap_err().code(), "rule_ttl_too_short");
    // The authority's own limit holds, whatever a rule says.
    let long = with("  ttl: {max: 3650d}\n");
    asks.ttl_seconds = 86_401;
    assert_eq!(
        decide(&long, &asks).unwrap_err().code(),
        "rule_ttl_too_long"
    );
    asks.ttl_seconds = 0;
    asks.entry_ttl_seconds = Some(60);
    assert_eq!(
        decide(&policy, &asks).unwrap().ttl_seconds,
        60,
        "an entry's limit shortens"
    );
}

#[test]
fn keys_are_those_listed_and_an_rsa_length_is_the_least() {
    let mut asks = k8s();
    let mut takes = |policy: &Policy, key| {
        asks.key = key;
        decide(policy, &asks).is_ok()
    };
    let usual = with("");
    assert!(takes(&usual, KeyType::EcdsaP384) && takes(&usual, KeyType::Rsa { bits: 2048 }));
    assert!(!takes(&usual, KeyType::Ed25519));
    let long = with("  keyAlgorithms: [rsa-3072]\n");
    assert!(
        !takes(&long, KeyType::Rsa { bits: 2048 }) && takes(&long, KeyType::Rsa { bits: 4096 })
    );
    assert!(!takes(&long, KeyType::EcdsaP256));
    let files = with("  keyAlgorithms: [ed25519]\n  output: files\n");
    assert!(takes(&files, KeyType::Ed25519) && !takes(&files, KeyType::EcdsaP256));
}

#[test]
fn gateways_get_the_names_of_their_rule_and_no_others() {
    let policy = with(
        "  profile: ingress\n  dnsSans:\n    names: [\"{k8s.sa}.{k8s.ns}.example.org\"]\n    \
         allow: [shop.example.org, \"*.api.example.org\"]\n",
    );
    let mut asks = k8s();
    assert_eq!(
        decide(&policy, &asks).unwrap().dns_names,
        ["web.payments.example.org"]
    );
    asks.dns_names = vec![
        "SHOP.example.org".to_owned(),
        "v1.api.example.org".to_owned(),
    ];
    let allowed = decide(&policy, &asks).unwrap();
    assert_eq!(
        allowed.dns_names,
        [
            "shop.example.org",
            "v1.api.example.org",
            "web.payments.example.org"
        ]
    );
    assert_eq!(allowed.profile, Profile::Ingress);
    for bad in [
        "evil.example.org",
        "a.b.api.example.org",
        "*.api.example.org",
        "*",
        "",
        "shop.example.org\0.evil",
    ] {
        asks.dns_names = vec![bad.to_owned()];
        assert_eq!(
            decide(&policy, &asks).unwrap_err().code(),
            "dns_name_not_allowed",
            "{bad}"
        );
    }
    let wild = with(
        "  profile: ingress\n  dnsSans: {allow: [\"*.api.example.org\"], wildcardNames: true}\n",
    );
    asks.dns_names = vec!["*.api.example.org".to_owned()];
    assert_eq!(
        decide(&wild, &asks).unwrap().dns_names,
        ["*.api.example.org"]
    );
    asks.dns_names = Vec::new();
    assert_eq!(decide(&wild, &asks).unwrap_err().code(), "dns_name_missing");
    // Without a rule about names, what a CSR asks for means nothing.
    asks.dns_names = vec!["evil.example.org".to_owned()];
    assert!(decide(&with(""), &asks).unwrap().dns_names.is_empty());
}

#[test]
fn metadata_that_is_required_must_be_there_and_fit() {
    let policy = with("  requireMetadata: {owner: \"*\", costCentre: \"cc-*\"}\n");
    let mut asks = k8s();
    assert_eq!(
        decide(&policy, &asks).unwrap_err().code(),
        "metadata_required"
    );
    asks.metadata
        .insert("costCentre".to_owned(), "cc-7".to_owned());
    asks.metadata.insert("owner".to_owned(), String::new());
    assert_eq!(
        decide(&policy, &asks).unwrap_err().code(),
        "metadata_required"
    );
    asks.metadata.insert("owner".to_owned(), "web".to_owned());
    decide(&policy, &asks).unwrap();
    asks.metadata
        .insert("costCentre".to_owned(), "7".to_owned());
    assert_eq!(
        decide(&policy, &asks).unwrap_err().code(),
        "metadata_required"
    );
}

#[test]
fn only_a_rule_itself_names_countersigns_own_parts() {
    let named = compile(
        "- id: a\n  effect: allow\n  when: {}\n  spiffeId: \"spiffe://{trustDomain}/countersign/agent/{k8s.node}\"\n",
    );
    let allowed = decide(&named, &facts("k", &["k8s:node:n1"])).unwrap();
    assert!(allowed.names_own_part);
    let put = compile(
        "- id: a\n  effect: allow\n  when: {}\n  spiffeId: \"spiffe://{trustDomain}/{k8s.ns}/{k8s.sa}/x\"\n",
    );
    let allowed = decide(&put, &facts("k", &["k8s:ns:countersign", "k8s:sa:agent"])).unwrap();
    assert!(!allowed.names_own_part);
}

#[test]
fn a_file_is_refused_whole_with_every_problem_at_its_place() {
    let found = problems(
        "schemaVersion: 2\nrules:\n- id: Bad Id\n  effect: allow\n  when: {}\n- id: b\n  effect: deny\n  \
         when: {selectors: [nonsense]}\n  ttl: {}\n- id: c\n  effect: allow\n  when: {proof: []}\n  \
         spiffeId: \"spiffe://elsewhere/{x}\"\n  keyAlgorithms: [ed25519, dsa]\n  ttl: {max: 1m, min: 1h, jitterPercent: 51}\n",
    );
    for (start, part) in [
        ("rules.yaml:1:16: schemaVersion: is 2", ""),
        ("rules.yaml:3:7: rules[0].id: ", "Bad Id"),
        ("rules.yaml:3:3: rules[0].spiffeId: is required", ""),
        ("rules.yaml:8:22: rules[1].when.selectors[0]: ", "nonsense"),
        ("rules.yaml:6:3: rules[1].ttl: is only for allow rules", ""),
        ("rules.yaml: rules[2].when.proof: is empty", ""),
        ("rules.yaml:13:13: rules[2].spiffeId: ", "begin with"),
        ("rules.yaml:14:19: rules[2].keyAlgorithms[0]: ", "files"),
        ("rules.yaml:14:28: rules[2].keyAlgorithms[1]: ", "dsa"),
        ("rules.yaml:15:8: rules[2].ttl: is not min", ""),
        ("rules.yaml:15:42: rules[2].ttl.jitterPercent: is 51", ""),
    ] {
        assert!(
            found
                .iter()
                .any(|it| it.starts_with(start) && it.contains(part)),
            "{start:?} {part:?} in {found:#?}"
        );
    }
    assert_eq!(found.len(), 11, "{found:#?}");
}

#[test]
fn what_is_misspelt_doubled_or_of_another_type_is_refused_at_its_place() {
    let rule = "schemaVersion: 1\nrules:\n- id: a\n  effect: deny\n";
    for (text, wanted) in [
        (
            format!("{rule}  when: {{}}\n  whn: {{}}\n"),
            "rules.yaml:6:3: rules[0]",
        ),
        (
            format!("{rule}  when: {{slectors: []}}\n"),
            "rules.yaml:5:10: rules[0].when",
        ),
        (
            format!("{rule}  when: {{}}\n  when: {{}}\n"),
            "rules.yaml:6:3",
        ),
        (rule.to_owned(), "rules.yaml:4:3: rules[0]"),
        (
            format!("{rule}  when: []\n"),
            "rules.yaml:5:9: rules[0].when",
        ),
        ("rules: []\n".to_owned(), "rules.yaml:1:1"),
        (
            "schemaVersion: 1\nrules: {}\n".to_owned(),
            "rules.yaml:2:8: rules",
        ),
        (
            "schemaVersion: 1\nrules: []\n---\na: 1\n".to_owned(),
            "rules.yaml:4:1: multiple YAML documents",
        ),
        (String::new(), "rules.yaml"),
        ("a: [".to_owned(), "rules.yaml:1"),
        (
            format!("# {}\n", "x".repeat(MAX_FILE_BYTES)),
            "rules.yaml: is ",
        ),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text:.200}");
        assert!(
            found[0].starts_with(wanted),
            "{:?} for {text:.200}",
            found[0]
        );
    }
}

#[test]
fn ids_are_unique_and_those_of_the_built_in_rules_are_taken() {
    let deny = |id: &str| format!("- id: {id}\n  effect: deny\n  when: {{}}\n");
    let file = |rules: String| format!("schemaVersion: 1\nrules:\n{rules}");
    let twice = problems(&file(deny("a") + &deny("a")));
    assert!(twice[0].contains("line 3"), "{twice:?}");
    let taken = problems(&file(deny("builtin/x")));
    assert!(taken[0].contains("are taken"), "{taken:?}");
    let many = problems(&file(
        (0..=MAX_RULES).map(|n| deny(&format!("r{n}"))).collect(),
    ));
    assert!(many[0].contains("limit is 1000"), "{many:?}");
}

#[test]
fn templates_cannot_be_made_to_leave_their_place() {
    for (template, wanted) in [
        ("spiffe://example.org/a", "begin with"),
        ("spiffe://{trustDomain}.evil/a", "begin with"),
        ("spiffe://{trustDomain}", "begin with"),
        ("spiffe://{trustDomain}/", "empty segment"),
        ("spiffe://{trustDomain}/a//b", "empty segment"),
        ("spiffe://{trustDomain}/a/../b", "segment `.`"),
        ("spiffe://{trustDomain}/{a}{b}", "nothing between"),
        ("spiffe://{trustDomain}/a*", "character"),
        ("spiffe://{trustDomain}/a%2f", "character"),
        ("spiffe://{trustDomain}/{caller}", "stand alone"),
        ("spiffe://{trustDomain}/{a", "not closed"),
        ("{requested}/x", "stand alone"),
    ] {
        let text = format!(
            "schemaVersion: 1\nrules:\n- id: a\n  effect: allow\n  when: {{}}\n  spiffeId: \"{template}\"\n"
        );
        let found = problems(&text);
        assert!(found[0].contains(wanted), "{template}: {found:?}");
    }
}

#[test]
fn lints_find_what_can_hardly_be_meant() {
    let allow = |id: &str, when: &str, path: &str| {
        format!(
            "- id: {id}\n  effect: allow\n  when: {when}\n  spiffeId: \"spiffe://{{trustDomain}}/{path}\"\n"
        )
    };
    let deny = |id: &str, when: &str| format!("- id: {id}\n  effect: deny\n  when: {when}\n");
    let found = |rules: String| -> Vec<String> {
        let findings = lint(&compile(&rules));
        findings
            .iter()
            .map(|it| format!("{} {}", it.rule, it.code))
            .collect()
    };
    let ns = "{selectors: [\"k8s:ns:*\"]}";
    assert_eq!(found(allow("a", ns, "ns/{k8s.ns}")), Vec::<String>::new());
    assert_eq!(
        found(
            allow("a", ns, "a")
                + &allow("b", "{proof: [kubernetes], selectors: [\"k8s:ns:x\"]}", "b")
        ),
        ["b shadowed"]
    );
    assert_eq!(
        found(allow("a", "{selectors: [\"k8s:ns:x\"]}", "a") + &deny("d", ns)),
        ["a shadowed"]
    );
    assert_eq!(found(deny("d", "{}")), ["d denies-everybody"]);
    assert_eq!(found(allow("a", "{}", "a")), ["a allows-everybody"]);
    for never in [
        "{not: {}}",
        "{proof: [join_token], selectors: [\"operator:uid:0\"]}",
        "{selectors: [\"k8s:ns:a\", \"k8s:ns:b\"]}",
        "{selectors: [\"k8s:ns:a\"], not: {selectors: [\"k8s:*\"]}}",
        "{any: [{not: {}}, {proof: [operator], all: [{proof: [join_token]}]}]}",
    ] {
        assert_eq!(
            found(allow("a", never, "a")),
            ["a never-matches"],
            "{never}"
        );
    }
    assert_eq!(
        found(allow("a", ns, "{k8s.nss}")),
        ["a unknown-variable", "a unsure-variable"]
    );
    assert_eq!(
        found(
            allow(
                "a",
                "{selectors: [\"k8s:ns:x\", \"k8s:sa:*\"]}",
                "ns/x/sa/{k8s.sa}"
            ) + &allow(
                "b",
                "{selectors: [\"k8s:ns:y\", \"k8s:sa:*\"]}",
                "ns/x/sa/{k8s.sa}"
            )
        ),
        ["b overlapping-ids"]
    );
}

#[test]
fn each_rule_explains_its_first_condition_that_fails() {
    let policy = compile(
        "- id: a\n  effect: deny\n  when: {proof: [kubernetes], selectors: [\"k8s:ns:shop\"]}\n\
         - id: b\n  effect: deny\n  when: {any: [{selectors: [\"oidc:iss:x\"]}, {callerId: [\"spiffe://e/*\"]}]}\n",
    );
    let trust_domain = TrustDomain::new("example.org").unwrap();
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: 1,
        max_ttl: 1,
        now: UnixTime::from_secs(NOW),
        jitter: 0,
    };
    let traces = policy.explain(&k8s(), &limits);
    let unmet: Vec<_> = traces
        .iter()
        .map(|trace| trace.unmet.clone().unwrap())
        .collect();
    assert_eq!(unmet[0].path, "when.selectors[0]");
    assert_eq!(
        (unmet[0].wanted.as_str(), unmet[0].seen.as_str()),
        ("k8s:ns:shop", "k8s:ns:payments")
    );
    assert_eq!(unmet[1].path, "when.any");
    assert!(
        unmet[1].seen.contains("no selector of type oidc"),
        "{:?}",
        unmet[1]
    );
}

#[test]
fn a_dry_run_says_who_gains_and_who_loses() {
    let old = with("");
    let new = with("  keyAlgorithms: [ecdsa-p384]\n");
    let mut big = k8s();
    big.key = KeyType::EcdsaP384;
    let replay = |facts: &Facts| Replay {
        at: NOW,
        facts: facts.clone(),
        allowed: None,
        rule: None,
    };
    let requests = [replay(&k8s()), replay(&big), replay(&k8s())];
    let trust_domain = TrustDomain::new("example.org").unwrap();
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: 3600,
        max_ttl: 3600,
        now: UnixTime::from_secs(0),
        jitter: 0,
    };
    let lost = compare(&old, &new, &requests, &limits);
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].kind, lost[0].requests), (ChangeKind::Loses, 2));
    let gained = compare(&new, &old, &requests, &limits);
    assert_eq!((gained[0].kind, gained[0].requests), (ChangeKind::Gains, 2));
    assert!(compare(&old, &old, &requests, &limits).is_empty());
    let shorter = with("  ttl: {default: 60s}\n");
    assert_eq!(
        compare(&old, &shorter, &requests, &limits)[0].kind,
        ChangeKind::Differs
    );
}

#[test]
fn cases_compare_only_what_they_expect() {
    let text = "trustDomain: example.org\ncases:\n\
        - name: web\n  request: {proof: kubernetes, selectors: [\"k8s:ns:payments\", \"k8s:sa:web\"]}\n  \
          expect: {effect: allow, rule: pods, spiffeId: \"spiffe://example.org/ns/payments/sa/web\", ttlSeconds: 86400}\n\
        - name: wrong\n  request: {proof: kubernetes}\n  expect: {effect: allow}\n\
        - name: none\n  request: {proof: oidc, key: rsa-2048}\n  expect: {effect: deny, code: no_rule}\n";
    let file = CaseFile::read("cases.yaml", text).unwrap();
    let reports = run_cases(&file, &with(""));
    let differences: Vec<_> = reports
        .iter()
        .map(|report| report.differences.clone())
        .collect();
    assert_eq!(differences, [vec![], vec!["effect"], vec![]]);
    assert_eq!(reports[1].line, 6);
    assert!(!reports[1].rules.is_empty());
    for (bad, wanted) in [
        (text.replace("key: rsa-2048", "key: rsa-1"), "rsa-1"),
        (
            text.replace("expect: {effect: deny", "expect: {effct: deny"),
            "effct",
        ),
        (
            text.replace("trustDomain: example.org", "trustDomain: A b"),
            "trustDomain",
        ),
        ("cases: []".to_owned(), "is empty"),
    ] {
        let problems = CaseFile::read("cases.yaml", &bad).unwrap_err();
        assert!(problems[0].to_string().contains(wanted), "{problems:?}");
    }
}

#[test]
fn facts_survive_being_written_and_read() {
    let mut facts = k8s();
    facts.caller_id = Some(id("spiffe://example.org/a"));
    facts.key = KeyType::Rsa { bits: 3072 };
    facts.dns_names = vec!["a.example".to_owned()];
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
    let bad = text.replace("spiffe://example.org/a", "http://example.org/a");
    assert!(serde_json::from_str::<Facts>(&bad).is_err());
}

#[test]
fn the_schema_describes_what_is_read() {
    let schema = schema::json_schema();
    let text = schema.to_string();
    for field in [
        "schemaVersion",
        "builtinRules",
        "spiffeId",
        "requireMetadata",
        "jitterPercent",
        "wildcardNames",
    ] {
        assert!(text.contains(field), "{field}");
    }
    assert!(!text.contains("At_"), "{text}");
}
