//! Values that do not mean what they look like.

use super::{super::Severity, LintContext, NONE, Protocol, allow, codes_in, deny, findings, rule};

#[test]
fn finds_values_that_no_request_has() {
    for (field, value) in [
        ("paths", "a/b"),
        ("paths", "/a?b=c"),
        ("paths", "/a//b"),
        ("paths", "/a/../b"),
        ("methods", "get"),
        ("hosts", "https://h"),
    ] {
        let found = allow(&format!(
            "{{to: [{{operation: {{{field}: ['{value}']}}}}]}}"
        ));
        let expected = format!("value-never-matches a spec.rules[0].to[0].operation.{field}[0]");
        assert!(found.contains(&expected), "{value}: {found:?}");
    }
    for (field, value) in [
        ("paths", "/a/*"),
        ("paths", "/a/.*"),
        ("paths", "*.png"),
        ("paths", "*"),
        ("paths", "/a%2*"),
        ("methods", "GET"),
        ("methods", "*"),
        ("methods", "G*"),
    ] {
        let found = allow(&format!(
            "{{to: [{{operation: {{{field}: ['{value}']}}}}]}}"
        ));
        assert_eq!(found, NONE, "{value}");
    }
    assert_eq!(
        allow("{from: [{source: {principals: ['spiffe://t/ns/a/sa/b']}}]}"),
        ["value-never-matches a spec.rules[0].from[0].source.principals[0]"]
    );
}

#[test]
fn finds_stars_that_are_no_wildcards() {
    for value in ["/a/*/b", "*a*", "/a**"] {
        let text = format!("{{to: [{{operation: {{paths: ['{value}']}}}}]}}");
        assert_eq!(
            allow(&text),
            ["literal-star a spec.rules[0].to[0].operation.paths[0]"],
            "{value}"
        );
    }
    assert_eq!(
        allow("{from: [{source: {namespaces: ['a*b']}}]}"),
        NONE,
        "a namespace may have it anywhere"
    );
}

#[test]
fn finds_http_fields_where_tcp_is_spoken() {
    let context = LintContext {
        protocol: Some(Protocol::Tcp),
        ..LintContext::default()
    };
    let text = "{to: [{operation: {methods: [GET], ports: ['80']}}], when: [{key: 'request.headers[x]', values: [v]}]}";
    let expected = [
        "http-field-on-tcp a spec.rules[0].to[0].operation.methods",
        "http-field-on-tcp a spec.rules[0].when[0].values",
    ];
    assert_eq!(codes_in(&[("a", &rule("DENY", text))], &context), expected);
    let sources = "{from: [{source: {principals: [t/a]}}], to: [{operation: {ports: ['80']}}]}";
    assert_eq!(codes_in(&[("a", &rule("DENY", sources))], &context), NONE);
    let by_port = LintContext {
        tcp_ports: [3306].into(),
        ..LintContext::default()
    };
    let mysql = "{to: [{operation: {methods: [GET], ports: ['3306', '80']}}]}";
    assert_eq!(
        codes_in(
            &[("a", &rule("ALLOW", mysql)), ("b", &rule("AUDIT", text))],
            &by_port
        ),
        ["http-field-on-tcp a spec.rules[0].to[0].operation.methods"]
    );
}

#[test]
fn finds_hosts_without_their_ports() {
    let hosts = |list: &str| format!("{{to: [{{operation: {{hosts: [{list}]}}}}]}}");
    let at = "host-without-port a spec.rules[0].to[0].operation.hosts[0]";
    for list in ["h", "'*.example.com'", "'h', 'hh:*'", "'[::1]'", "h:x"] {
        assert_eq!(allow(&hosts(list))[0], at, "{list}");
        assert_eq!(deny(&hosts(list))[0], at, "{list}");
    }
    for list in [
        "h, 'H:*'",
        "'h:80'",
        "'h', 'h:80'",
        "'*'",
        "'h*'",
        "'h', 'h*'",
        "'[::1]:80'",
        "'*.e', '*.e:80'",
    ] {
        assert_eq!(allow(&hosts(list)), NONE, "{list}");
    }
    let severity = |action| {
        findings(
            &[("a", &rule(action, &hosts("h")))],
            &LintContext::default(),
        )[0]
        .severity
    };
    assert_eq!(
        (severity("DENY"), severity("ALLOW")),
        (Severity::Warning, Severity::Note)
    );
}

#[test]
fn finds_path_templates() {
    let text = "{to: [{operation: {paths: ['/a/{*}/b', '/c']}}]}";
    assert_eq!(
        allow(text),
        ["path-template a spec.rules[0].to[0].operation.paths[0]"]
    );
    let severity =
        |action| findings(&[("a", &rule(action, text))], &LintContext::default())[0].severity;
    assert_eq!(
        (severity("DENY"), severity("ALLOW")),
        (Severity::Warning, Severity::Note)
    );
}
