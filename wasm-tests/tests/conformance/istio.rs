//! Istio's own cases: the inputs through the filter, istiod's outputs as Envoy's own rules.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use policy::{AuthorizationPolicy, Protocol};
use serde_json::{Map, Value, json};

use crate::aim;
use crate::dice::Dice;
use crate::group::{
    Group, Mesh, Native, OBSERVED_ALLOW, OBSERVED_AUDIT, OBSERVED_DENY, OBSERVED_DRY_ALLOW,
    OBSERVED_DRY_DENY, observer, policies,
};
use crate::request::Request;

/// Names the folder with the data.
pub(crate) const VARIABLE: &str = "COUNTERSIGN_ISTIO_AUTHZ";

/// The data, where it is: beside the checkout, or where [`VARIABLE`] says.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/istio-authz"),
        PathBuf::from,
    )
}

/// An input, the trust domains of its mesh, and the outputs that together enforce it.
pub(crate) struct Case {
    pub(crate) input: &'static str,
    trust_domains: &'static [&'static str],
    outputs: &'static [&'static str],
}

const LOCAL: &[&str] = &["cluster.local"];

const fn case(
    input: &'static str,
    trust_domains: &'static [&'static str],
    outputs: &'static [&'static str],
) -> Case {
    Case {
        input,
        trust_domains,
        outputs,
    }
}

/// Inputs with CUSTOM policies have no outputs here: asking a provider is no verdict of these filters, so what is
/// compared is that neither side decides anything.
pub(crate) const HTTP: &[Case] = &[
    case("allow-empty-rule", LOCAL, &["allow-empty-rule-out"]),
    case("allow-full-rule", LOCAL, &["allow-full-rule-out"]),
    case("allow-host-before-111", LOCAL, &[]),
    case("allow-nil-rule", LOCAL, &["allow-nil-rule-out"]),
    case("allow-path", LOCAL, &["allow-path-out"]),
    case("audit-full-rule", LOCAL, &["audit-full-rule-out"]),
    case("custom-bad-multiple-providers", LOCAL, &[]),
    case("custom-simple-http", LOCAL, &[]),
    case(
        "deny-and-allow",
        LOCAL,
        &["deny-and-allow-out1", "deny-and-allow-out2"],
    ),
    case("deny-empty-rule", LOCAL, &["deny-empty-rule-out"]),
    case(
        "dry-run-allow-and-deny",
        LOCAL,
        &["dry-run-allow-and-deny-out1", "dry-run-allow-and-deny-out2"],
    ),
    case("dry-run-allow", LOCAL, &["dry-run-allow-out"]),
    case("dry-run-mix", LOCAL, &["dry-run-mix-out"]),
    case("multiple-policies", LOCAL, &["multiple-policies-out"]),
    case("single-policy", LOCAL, &["single-policy-out"]),
    case("trust-domains", LOCAL, &["trust-domains-out"]),
    case(
        "simple-policy-td-aliases",
        &["td1", "cluster.local"],
        &["simple-policy-td-aliases-out"],
    ),
    case(
        "simple-policy-multiple-td-aliases",
        &["td1", "cluster.local", "some-td"],
        &["simple-policy-multiple-td-aliases-out"],
    ),
    case(
        "simple-policy-principal-with-wildcard",
        &["td1", "foobar"],
        &["simple-policy-principal-with-wildcard-out"],
    ),
    case(
        "td-aliases-source-principal",
        &["new-td", "old-td", "some-trustdomain"],
        &["td-aliases-source-principal-out"],
    ),
];

pub(crate) const TCP: &[Case] = &[
    case("allow-both-http-tcp", LOCAL, &["allow-both-http-tcp-out"]),
    case("allow-only-http", LOCAL, &["allow-only-http-out"]),
    case("audit-both-http-tcp", LOCAL, &["audit-both-http-tcp-out"]),
    case("custom-both-http-tcp", LOCAL, &[]),
    case("custom-only-http", LOCAL, &[]),
    case("deny-both-http-tcp", LOCAL, &["deny-both-http-tcp-out"]),
    case("dry-run-mix", LOCAL, &["dry-run-mix-out"]),
];

/// Requests aimed at each rule of a whole case, besides those that follow from its values.
const AIMED: usize = 6;

/// Every case as a whole, and every list of its rules alone.
pub(crate) fn groups(folder: &Path, part: &str, cases: &[Case], seed: u64) -> Vec<Group> {
    let mut dice = Dice::new(seed);
    let mut groups = Vec::new();
    for case in cases {
        let policies = inputs(&folder.join(part).join(format!("{}-in.yaml", case.input)));
        let mut mesh = Mesh::new("foo", case.trust_domains);
        mesh.paths = "none";
        let protocol = if part == "tcp" {
            Protocol::Tcp
        } else {
            Protocol::Http
        };
        let native = native(case, &folder.join(part), &policies, &mesh, protocol);
        let mut requests = Vec::new();
        let mut alone = Vec::new();
        for (rule, namespace) in aim::rules(&policies) {
            for _ in 0..AIMED {
                push(
                    &mut requests,
                    aim::at_rule(rule, namespace, |end| dice.below(end)),
                );
            }
            for list in aim::lists(rule) {
                let around = aim::around_list(&list, namespace);
                requests.extend(around.iter().take(3).cloned());
                alone.push((list, around));
            }
        }
        push(&mut requests, Request::default());
        let name = format!("{part}/{}", case.input);
        for (list, requests) in alone {
            groups.push(slice(&name, &list, requests, &mesh, protocol));
        }
        groups.push(Group {
            name,
            policies,
            mesh,
            native,
            requests,
            must_differ: None,
        });
    }
    groups
}

fn push(requests: &mut Vec<Request>, request: Request) {
    if !requests.contains(&request) {
        requests.push(request);
    }
}

/// A case's rules are often too long for any request to match; each list alone is hit and missed.
fn slice(
    name: &str,
    list: &aim::Listed,
    requests: Vec<Request>,
    mesh: &Mesh,
    protocol: Protocol,
) -> Group {
    let policies = policies(&[json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "alone", "namespace": "foo"},
        "spec": {"rules": [list.alone]},
    })]);
    let rbac = envoy_config::rbac::translate(&policies, &mesh.scope(protocol));
    Group {
        name: format!("{name}: {}", list.alone),
        native: Native::translated(
            &rbac.unwrap_or_else(|errors| panic!("{name}: {errors:?}")),
            protocol,
        ),
        policies,
        mesh: mesh.clone(),
        requests,
        must_differ: None,
    }
}

/// istiod's filters, or ours where istiod's part is asking a provider.
fn native(
    case: &Case,
    folder: &Path,
    policies: &[AuthorizationPolicy],
    mesh: &Mesh,
    protocol: Protocol,
) -> Native {
    if case.outputs.is_empty() {
        let rbac = envoy_config::rbac::translate(policies, &mesh.scope(protocol));
        let rbac = rbac.unwrap_or_else(|errors| panic!("{}: {errors:?}", case.input));
        return Native::translated(&rbac, protocol);
    }
    let (mut filters, mut observers) = (Vec::new(), Vec::new());
    for output in case.outputs {
        let text = read(&folder.join(format!("{output}.yaml")));
        let filter: Value =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{output}: {error}"));
        let filter = attainable(filter);
        let config = &filter["typedConfig"];
        for (field, names) in [
            ("rules", [OBSERVED_DENY, OBSERVED_AUDIT, OBSERVED_ALLOW]),
            (
                "shadowRules",
                [OBSERVED_DRY_DENY, OBSERVED_AUDIT, OBSERVED_DRY_ALLOW],
            ),
        ] {
            let [deny, audit, allow] = names;
            let rules = &config[field];
            let prefix = match rules["action"].as_str() {
                Some("DENY") => deny,
                Some("LOG") => audit,
                _ => allow,
            };
            if rules.is_object() {
                observers.push(observer(rules, prefix, protocol));
            }
        }
        filters.push(filter);
    }
    Native { filters, observers }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn inputs(path: &Path) -> Vec<AuthorizationPolicy> {
    let text = read(path);
    let documents = text.split("\n---").map(|text| text.trim_start_matches('-'));
    let values: Vec<Value> = documents
        .filter(|text| !text.trim().is_empty())
        .map(|text| {
            let value = serde_saphyr::from_str(text);
            attainable(value.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    policies(&values)
}

/// Inputs and outputs with what no client can send replaced on both sides alike: IPv4 addresses are moved into
/// 127.0.0.0/8, from where a test can connect, and names like `rule[0]-to[0]-host[1]` lose their brackets, which
/// neither a host nor a SPIFFE ID may have.
fn attainable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(attainable_text(text)),
        Value::Array(list) => list.into_iter().map(attainable).collect(),
        Value::Object(map) => {
            let field = |(name, value)| (name, attainable(value));
            Value::Object(map.into_iter().map(field).collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn attainable_text(text: String) -> String {
    if text.contains("rule[") || text.contains(r"rule\[") {
        return text
            .replace(r"\[", "-")
            .replace(r"\]", "")
            .replace('[', "-")
            .replace(']', "");
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text.as_str(), None),
    };
    let Ok(address) = address.parse::<Ipv4Addr>() else {
        return text;
    };
    let [_, b, c, d] = address.octets();
    let moved = Ipv4Addr::new(127, b, c, d);
    length.map_or_else(|| moved.to_string(), |length| format!("{moved}/{length}"))
}
