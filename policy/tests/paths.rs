//! No way of writing a path gets it past a path rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use identity::TrustDomain;
use policy::{AuthorizationPolicy, Peer, PolicySet, Request, Scope, path::PathNormalization};
use serde_json::json;

fn set(form: PathNormalization, action: &str, paths: &[&str]) -> PolicySet {
    let policy: AuthorizationPolicy = serde_json::from_value(json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"action": action, "rules": [{"to": [{"operation": {"paths": paths}}]}]},
    }))
    .unwrap();
    let mut scope = Scope::new(TrustDomain::new("td").unwrap(), "default");
    scope.path_normalization = form;
    PolicySet::compile(&[policy], &scope).unwrap()
}

fn code(set: &PolicySet, path: &str) -> &'static str {
    set.decide(&Request::new(&Peer::Plaintext).with_path(path))
        .code()
}

/// Ways to write `/admin` that a server may take for it, and the loosest form in which each is refused.
const DISGUISES: &[(&str, PathNormalization)] = &[
    ("/x/../admin", PathNormalization::Base),
    ("/./admin", PathNormalization::Base),
    ("/x/%2e%2e/admin", PathNormalization::Base),
    ("/x/.%2E/admin", PathNormalization::Base),
    ("/%61dmin", PathNormalization::Base),
    ("/%41dmin/../admin", PathNormalization::Base),
    (r"\admin", PathNormalization::Base),
    (r"/\admin", PathNormalization::Base),
    (r"/x\..\admin", PathNormalization::Base),
    ("/x/..;/admin", PathNormalization::Base),
    ("/.;a=b/admin", PathNormalization::Base),
    ("admin", PathNormalization::Base),
    ("/x/../../admin", PathNormalization::Base),
    ("/admin%00/../admin", PathNormalization::Base),
    ("/x%00/admin", PathNormalization::Base),
    ("http://h/admin", PathNormalization::Base),
    ("//admin", PathNormalization::MergeSlashes),
    ("///admin", PathNormalization::MergeSlashes),
    ("/x//admin", PathNormalization::MergeSlashes),
    ("//admin?a=b", PathNormalization::MergeSlashes),
    ("//admin#a", PathNormalization::MergeSlashes),
    ("/%2fadmin", PathNormalization::DecodeAndMergeSlashes),
    ("/%2Fadmin", PathNormalization::DecodeAndMergeSlashes),
    ("/%5cadmin", PathNormalization::DecodeAndMergeSlashes),
    ("/x%2fadmin", PathNormalization::DecodeAndMergeSlashes),
    ("/x%2f..%2fadmin", PathNormalization::DecodeAndMergeSlashes),
    ("/x%5C..%5Cadmin", PathNormalization::DecodeAndMergeSlashes),
    (
        "/admin%2f..%2fadmin",
        PathNormalization::DecodeAndMergeSlashes,
    ),
];

#[test]
fn a_disguised_path_is_denied_from_the_form_on_that_undoes_it() {
    for form in [
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ] {
        for rule in [
            &["/admin*"][..],
            &["/admin/{**}"],
            &["/admin"],
            &["*/secret"],
        ] {
            let deny = set(form, "DENY", rule);
            let allow = set(form, "ALLOW", &["/public/*", "/public/{**}", "*"]);
            for (path, from) in DISGUISES.iter().filter(|(_, from)| form >= *from) {
                assert_eq!(
                    code(&deny, path),
                    "path_not_normalized",
                    "{form:?} {from:?} {path}"
                );
                assert_eq!(
                    code(&allow, path),
                    "path_not_normalized",
                    "{form:?} {from:?} {path}"
                );
            }
        }
    }
}

#[test]
fn an_honest_path_is_decided_by_the_rules() {
    let deny = set(
        PathNormalization::default(),
        "DENY",
        &["/admin", "/admin/*", "/{*}/keys"],
    );
    for (path, found) in [
        ("/admin", "matched_deny"),
        ("/admin?x=//y", "matched_deny"),
        ("/admin/a", "matched_deny"),
        ("/a/keys#x", "matched_deny"),
        ("/administrator", "no_policy"),
        ("/Admin", "no_policy"),
        ("/a/b/keys", "no_policy"),
        ("/a%20b", "no_policy"),
    ] {
        assert_eq!(code(&deny, path), found, "{path}");
    }
}

#[test]
fn templates_look_at_paths_like_any_other_value() {
    for field in ["paths", "notPaths"] {
        let policy: AuthorizationPolicy = serde_json::from_value(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"rules": [{"to": [{"operation": {(field): ["/a/{*}"]}}]}]},
        }))
        .unwrap();
        let scope = Scope::new(TrustDomain::new("td").unwrap(), "default");
        let set = PolicySet::compile(&[policy], &scope).unwrap();
        assert!(set.needs().path);
        assert_eq!(code(&set, "/a/b/../c"), "path_not_normalized");
    }
}
