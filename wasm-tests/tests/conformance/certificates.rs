//! The certificates that Envoy's own RBAC takes for something they do not prove.

use policy::Protocol;
use serde_json::{Value, json};

use crate::explain::Explained;
use crate::group::{Group, Mesh, Native, policies};
use crate::request::{Caller, Odd, Request};

/// One set for each: an ALLOW policy that the certificate should not get past.
pub(crate) fn groups() -> Vec<Group> {
    let impostor = "cluster.local/ns/default/sa/impostor";
    vec![
        group(
            Odd::TwoUris,
            json!({"principals": [impostor]}),
            Explained::TwoUriSans,
        ),
        group(
            Odd::DnsOnly,
            json!({"namespaces": ["dns"]}),
            Explained::NoUriSan,
        ),
        group(
            Odd::SubjectOnly,
            json!({"namespaces": ["subject"]}),
            Explained::NoUriSan,
        ),
        group(
            Odd::DnsBeside,
            json!({"namespaces": ["dns"]}),
            Explained::DnsSanIsNoIdentity,
        ),
    ]
}

fn group(odd: Odd, source: Value, must_differ: Explained) -> Group {
    let policies = policies(&[json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "only", "namespace": "default"},
        "spec": {"rules": [{"from": [{"source": source}]}]},
    })]);
    let mesh = Mesh::new("default", &["cluster.local"]);
    let rbac = envoy_config::rbac::translate(&policies, &mesh.scope(Protocol::Http));
    let mut request = Request::default();
    request.link.caller = Caller::Odd(odd);
    Group {
        name: format!("certificate {odd:?}"),
        native: Native::translated(
            &rbac.unwrap_or_else(|errors| panic!("{errors:?}")),
            Protocol::Http,
        ),
        policies,
        mesh,
        requests: vec![request],
        must_differ: Some(must_differ),
    }
}
