//! Rules against rules.

use super::{
    super::{Code, LintContext, Report, cover, lint, model},
    NONE, codes, resources, rule,
};

const GET_A: &str = "{to: [{operation: {methods: [GET], paths: [/a]}}]}";

#[test]
fn finds_rules_that_another_covers() {
    let narrow = rule(
        "ALLOW",
        "{from: [{source: {principals: [t/ns/a/sa/b]}}], to: [{operation: {paths: [/a/b]}}]}",
    );
    for broad in [
        "{}",
        "{from: [{source: {principals: ['t/*']}}]}",
        "{from: [{source: {namespaces: [a, x]}}], to: [{operation: {paths: ['/a/*']}}]}",
        "{from: [{source: {serviceAccounts: [a/b]}}]}",
        "{to: [{operation: {paths: [/x]}}, {operation: {paths: [/a/b, /c]}}]}",
        "{from: [{source: {notPrincipals: [t/ns/a/sa/c]}, }], when: [{key: source.principal, values: ['*']}]}",
    ] {
        let found = codes(&[("narrow", &narrow), ("broad", &rule("ALLOW", broad))]);
        assert_eq!(found, ["shadowed-rule narrow spec.rules[0]"], "{broad}");
    }
    for other in [
        "{from: [{source: {principals: ['u/*']}}]}",
        "{from: [{source: {namespaces: [c]}}]}",
        "{from: [{source: {principals: ['t/*']}}], to: [{operation: {methods: [GET]}}]}",
        "{from: [{source: {principals: ['*'], notPrincipals: [t/ns/a/sa/b]}}]}",
    ] {
        let found = codes(&[("narrow", &narrow), ("other", &rule("ALLOW", other))]);
        assert_eq!(found, NONE, "{other}");
    }
}

#[test]
fn of_two_equal_rules_one_is_reported() {
    let found = codes(&[("a", &rule("DENY", GET_A)), ("b", &rule("DENY", GET_A))]);
    assert_eq!(found, ["shadowed-rule b spec.rules[0]"]);
    let twice = codes(&[(
        "a",
        &format!("{{action: ALLOW, rules: [{GET_A}, {GET_A}]}}"),
    )]);
    assert_eq!(twice, ["shadowed-rule a spec.rules[1]"]);
}

#[test]
fn finds_what_is_denied_anyway() {
    let found = codes(&[
        ("a", &rule("ALLOW", GET_A)),
        ("b", &rule("DENY", "{to: [{operation: {paths: ['/a*']}}]}")),
    ]);
    assert_eq!(found, ["allow-under-deny a spec.rules[0]"]);
    // The other way round it is what DENY is for.
    let found = codes(&[
        ("a", &rule("DENY", GET_A)),
        ("b", &rule("ALLOW", "{to: [{operation: {paths: ['/a*']}}]}")),
    ]);
    assert_eq!(found, NONE);
}

#[test]
fn only_policies_that_apply_wherever_the_other_does_cover_it() {
    let everything = rule("ALLOW", "{}");
    let selected = "{selector: {matchLabels: {app: x}}, rules: [{}]}";
    let two_labels = "{selector: {matchLabels: {app: x, v: '1'}}, rules: [{}]}";
    let narrow = rule("ALLOW", GET_A);
    assert_eq!(codes(&[("other/a", &everything), ("b", &narrow)]), NONE);
    assert_eq!(
        codes(&[("istio-system/a", &everything), ("b", &narrow)]),
        ["shadowed-rule b spec.rules[0]"]
    );
    assert_eq!(codes(&[("a", selected), ("b", &narrow)]), NONE);
    assert_eq!(
        codes(&[("a", selected), ("b", two_labels)]),
        ["shadowed-rule b spec.rules[0]"]
    );
    let target = "{targetRefs: [{kind: Service, name: s, group: ''}], rules: [{}]}";
    assert_eq!(codes(&[("a", &everything), ("b", target)]), NONE);
    assert_eq!(
        codes(&[("a", target), ("b", target)]),
        ["shadowed-rule b spec.rules[0]"]
    );
}

#[test]
fn dry_run_policies_cover_nothing() {
    let mut resources = resources(&[("a", &rule("ALLOW", "{}")), ("b", &rule("ALLOW", GET_A))]);
    let annotations = &mut resources.authorization[0].metadata.annotations;
    annotations.insert("istio.io/dry-run".to_owned(), "true".to_owned());
    assert_eq!(lint(&resources, &LintContext::default()), []);
}

/// All pairs of so many would take minutes.
#[test]
fn thousands_of_rules_are_compared_by_their_values() {
    let text = |index: usize| {
        let principal = format!("t/ns/a/sa/s{index}");
        rule(
            "ALLOW",
            &format!("{{from: [{{source: {{principals: [{principal}]}}}}]}}"),
        )
    };
    let rules: Vec<(String, String)> = (0..3000)
        .map(|index| (format!("p{index}"), text(index % 2999)))
        .collect();
    let policies: Vec<(&str, &str)> = rules
        .iter()
        .map(|(name, spec)| (name.as_str(), spec.as_str()))
        .collect();
    assert_eq!(codes(&policies), ["shadowed-rule p2999 spec.rules[0]"]);
}

#[test]
fn more_pairs_than_can_be_compared_are_told() {
    let path = |name: &str| {
        rule(
            "ALLOW",
            &format!("{{to: [{{operation: {{paths: ['/{name}/*']}}}}]}}"),
        )
    };
    let names = ["a", "b", "c", "d"];
    let rules = names.map(path);
    let policies: Vec<(&str, &str)> = names
        .into_iter()
        .zip(rules.iter().map(String::as_str))
        .collect();
    let resources = resources(&policies);
    let policies: Vec<_> = resources
        .authorization
        .iter()
        .map(model::Policy::new)
        .collect();
    let codes = |most: usize| {
        let mut report = Report(Vec::new());
        cover::check(&policies, &LintContext::default(), most, &mut report);
        report
            .0
            .iter()
            .map(|finding| (finding.code, finding.resource.name.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(12), []);
    assert_eq!(codes(11), [(Code::Incomplete, "d".to_owned())]);
}
