//! The quickstart's policies do what their comments say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads its files"
)]

use std::fs;

use identity::TrustDomain;
use policy::{Peer, PolicySet, Request, Scope, yaml::PolicyFiles};

fn quickstart() -> PolicySet {
    let mut files = PolicyFiles::new();
    for name in ["allow-sleep.yaml", "deny-admin.yaml"] {
        let path = format!(
            "{}/../examples/quickstart/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        files.add(name, &fs::read_to_string(path).unwrap()).unwrap();
    }
    let mut scope = Scope::new(TrustDomain::new("cluster.local").unwrap(), "default");
    scope
        .workload
        .labels
        .insert("app".to_owned(), "httpbin".to_owned());
    files.compile(&scope).unwrap()
}

#[test]
fn the_quickstart_decides_as_it_says() {
    let set = quickstart();
    let sleep = Peer::Workload(
        "spiffe://cluster.local/ns/default/sa/sleep"
            .parse()
            .unwrap(),
    );
    let impostor = Peer::Workload(
        "spiffe://cluster.local/ns/default/sa/impostor"
            .parse()
            .unwrap(),
    );
    let allowed = "ns[default]-policy[allow-sleep]-rule[0]";
    let denied = "ns[default]-policy[deny-admin]-rule[0]";
    for (peer, method, path, code, rule) in [
        (&sleep, "GET", "/get", "matched_allow", Some(allowed)),
        (
            &sleep,
            "GET",
            "/headers?a=b",
            "matched_allow",
            Some(allowed),
        ),
        (&sleep, "GET", "/status/200", "matched_allow", Some(allowed)),
        (&sleep, "POST", "/post", "matched_allow", Some(allowed)),
        (&sleep, "GET", "/delay/1", "matched_allow", Some(allowed)),
        (&sleep, "DELETE", "/get", "no_allow_matched", None),
        (&sleep, "GET", "/ip", "no_allow_matched", None),
        (&sleep, "GET", "/admin", "matched_deny", Some(denied)),
        (&sleep, "GET", "/admin/users", "matched_deny", Some(denied)),
        (&sleep, "GET", "//admin", "path_not_normalized", None),
        (&impostor, "GET", "/get", "no_allow_matched", None),
        (&Peer::Plaintext, "GET", "/get", "no_allow_matched", None),
    ] {
        let request = Request::new(peer).with_method(method).with_path(path);
        let decision = set.decide(&request);
        let found = (decision.code(), decision.rule().map(|rule| rule.id()));
        assert_eq!(found, (code, rule), "{peer:?} {method} {path}");
    }
}
