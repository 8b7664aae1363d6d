//! Our rules against the ones istiod makes of the same policies, for every case of Istio's own tests.
//!
//! The data is not part of this repository: `../shared/conformance/istio-authz` beside the checkout, or the folder
//! that `COUNTERSIGN_ISTIO_AUTHZ` names. Where there is none, the comparison says so and compares nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use envoy_config::rbac::{self, Rbac};
use policy::{AuthorizationPolicy, Protocol, Scope};
use serde_json::{Map, Value};

/// One input with its mesh settings and what istiod makes of it.
struct Case {
    input: &'static str,
    /// The mesh's trust domain and its aliases.
    trust_domains: &'static [&'static str],
    outputs: &'static [(&'static str, Output)],
}

/// Which part of the translation an expected output is.
#[derive(Clone, Copy)]
enum Output {
    /// The nth of the filters that enforce.
    Filter(usize),
    /// What asks the provider of this name.
    Asking(&'static str),
    /// What denies in place of the provider of this name.
    Denying(&'static str),
}

use Output::{Asking, Denying, Filter};

const fn case(input: &'static str, outputs: &'static [(&'static str, Output)]) -> Case {
    Case {
        input,
        trust_domains: &["cluster.local"],
        outputs,
    }
}

const fn in_mesh(mut case: Case, trust_domains: &'static [&'static str]) -> Case {
    case.trust_domains = trust_domains;
    case
}

const HTTP: &[Case] = &[
    case("allow-empty-rule", &[("allow-empty-rule-out", Filter(0))]),
    case("allow-full-rule", &[("allow-full-rule-out", Filter(0))]),
    case("allow-nil-rule", &[("allow-nil-rule-out", Filter(0))]),
    case("allow-path", &[("allow-path-out", Filter(0))]),
    case("audit-full-rule", &[("audit-full-rule-out", Filter(0))]),
    case(
        "custom-bad-multiple-providers",
        &[
            ("custom-bad-multiple-providers-out1", Denying("another")),
            ("custom-bad-multiple-providers-out2", Denying("default")),
        ],
    ),
    case(
        "custom-simple-http",
        &[
            ("custom-bad-out", Denying("default")),
            ("custom-grpc-provider-no-namespace-out1", Asking("default")),
            ("custom-grpc-provider-out1", Asking("default")),
            ("custom-http-provider-out1", Asking("default")),
        ],
    ),
    case(
        "deny-and-allow",
        &[
            ("deny-and-allow-out1", Filter(0)),
            ("deny-and-allow-out2", Filter(1)),
        ],
    ),
    case("deny-empty-rule", &[("deny-empty-rule-out", Filter(0))]),
    case(
        "dry-run-allow-and-deny",
        &[
            ("dry-run-allow-and-deny-out1", Filter(0)),
            ("dry-run-allow-and-deny-out2", Filter(1)),
        ],
    ),
    case("dry-run-allow", &[("dry-run-allow-out", Filter(0))]),
    case("dry-run-mix", &[("dry-run-mix-out", Filter(0))]),
    case("multiple-policies", &[("multiple-policies-out", Filter(0))]),
    case("single-policy", &[("single-policy-out", Filter(0))]),
    case("trust-domains", &[("trust-domains-out", Filter(0))]),
    in_mesh(
        case(
            "simple-policy-td-aliases",
            &[("simple-policy-td-aliases-out", Filter(0))],
        ),
        &["td1", "cluster.local"],
    ),
    in_mesh(
        case(
            "simple-policy-multiple-td-aliases",
            &[("simple-policy-multiple-td-aliases-out", Filter(0))],
        ),
        &["td1", "cluster.local", "some-td"],
    ),
    in_mesh(
        case(
            "simple-policy-principal-with-wildcard",
            &[("simple-policy-principal-with-wildcard-out", Filter(0))],
        ),
        &["td1", "foobar"],
    ),
    in_mesh(
        case(
            "td-aliases-source-principal",
            &[("td-aliases-source-principal-out", Filter(0))],
        ),
        &["new-td", "old-td", "some-trustdomain"],
    ),
];

const TCP: &[Case] = &[
    case(
        "allow-both-http-tcp",
        &[("allow-both-http-tcp-out", Filter(0))],
    ),
    case("allow-only-http", &[("allow-only-http-out", Filter(0))]),
    case(
        "audit-both-http-tcp",
        &[("audit-both-http-tcp-out", Filter(0))],
    ),
    case(
        "custom-both-http-tcp",
        &[("custom-both-http-tcp-out1", Asking("default"))],
    ),
    case(
        "deny-both-http-tcp",
        &[("deny-both-http-tcp-out", Filter(0))],
    ),
    case("dry-run-mix", &[("dry-run-mix-out", Filter(0))]),
];

/// Files that are looked at by nobody here, and why.
const NOT_COMPARED: &[(&str, &str)] = &[
    (
        "http/allow-host-before-111-out.yaml",
        "what istiod writes for proxies older than 1.11, in a field that Envoy has since withdrawn",
    ),
    (
        "http/custom-grpc-provider-no-namespace-out2.yaml",
        "ext_authz, no RBAC",
    ),
    ("http/custom-grpc-provider-out2.yaml", "ext_authz, no RBAC"),
    ("http/custom-http-provider-out2.yaml", "ext_authz, no RBAC"),
    ("tcp/custom-both-http-tcp-out2.yaml", "ext_authz, no RBAC"),
];

fn data() -> PathBuf {
    std::env::var_os("COUNTERSIGN_ISTIO_AUTHZ").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/istio-authz"),
        PathBuf::from,
    )
}

/// The folder; that there is none is said where the harness does not swallow it.
fn data_or_say_so() -> Option<PathBuf> {
    let folder = data();
    if folder.is_dir() {
        return Some(folder);
    }
    let said = format!(
        "NOT RUN: the comparison with istiod, no data at {}\n",
        folder.display()
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    None
}

fn policies(text: &str) -> Vec<AuthorizationPolicy> {
    let documents = text.split("\n---").map(|text| text.trim_start_matches('-'));
    documents
        .filter(|text| !text.trim().is_empty())
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect()
}

fn scope(case: &Case, protocol: Protocol) -> Scope {
    let mut names = case.trust_domains.iter().map(|name| name.parse().unwrap());
    let mut scope = Scope::new(names.next().unwrap(), "foo");
    scope.trust_domain_aliases = names.collect();
    for (name, value) in [("app", "httpbin"), ("version", "v1")] {
        scope.workload.labels.insert(name.into(), value.into());
    }
    scope.custom_providers = ["default", "another"].map(Into::into).into();
    scope.protocol = protocol;
    scope
}

fn of(output: Output, rbac: &Rbac, protocol: Protocol) -> Option<Value> {
    let tcp = protocol == Protocol::Tcp;
    match output {
        Filter(place) => {
            let filters = if tcp {
                rbac.network_filters()
            } else {
                rbac.http_filters()
            };
            filters.get(place).cloned()
        }
        Asking(provider) => rbac.custom.get(provider).map(|pair| {
            if tcp {
                pair.asking_network()
            } else {
                pair.asking()
            }
        }),
        Denying(provider) => rbac.custom.get(provider).map(rbac::RulePair::denying),
    }
}

/// Protobuf's JSON form takes `camelCase` and `snake_case`; the second is kept. Ids of policies are no field names.
fn normal(value: Value) -> Value {
    fn fields(value: Value, names: bool) -> Value {
        match value {
            Value::Array(list) => list.into_iter().map(|item| fields(item, true)).collect(),
            Value::Object(map) => {
                let field = |(name, value): (String, Value)| {
                    let ids = name == "policies";
                    let name = if names { snake_case(&name) } else { name };
                    (name, fields(value, !ids))
                };
                Value::Object(map.into_iter().map(field).collect::<Map<_, _>>())
            }
            other => other,
        }
    }
    fields(value, true)
}

fn snake_case(name: &str) -> String {
    let letter = |letter: char| match letter {
        'A'..='Z' => vec!['_', letter.to_ascii_lowercase()],
        letter => vec![letter],
    };
    name.chars().flat_map(letter).collect()
}

fn compare(folder: &Path, protocol: Protocol, cases: &[Case]) -> BTreeSet<String> {
    let part = match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
    };
    let read = |name: &str| {
        let path = folder.join(part).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut compared = BTreeSet::new();
    for case in cases {
        let policies = policies(&read(&format!("{}-in.yaml", case.input)));
        let rbac = rbac::translate(&policies, &scope(case, protocol)).unwrap_or_else(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            panic!("{}: {}", case.input, lines.join("\n"))
        });
        for (name, output) in case.outputs {
            let found = of(*output, &rbac, protocol).unwrap_or_else(|| panic!("{name}: nothing"));
            // Istio builds each output a second time by its newer route; both have to be ours.
            for prefix in ["", "extended-"] {
                let file = format!("{prefix}{name}.yaml");
                if !prefix.is_empty() && !folder.join(part).join(&file).is_file() {
                    continue;
                }
                let wanted: Value = serde_saphyr::from_str(&read(&file)).expect("YAML");
                let (found, wanted) = (normal(found.clone()), normal(wanted));
                assert!(
                    found == wanted,
                    "{file}: found\n{found:#}\nistiod makes\n{wanted:#}"
                );
                compared.insert(format!("{part}/{file}"));
            }
        }
    }
    compared
}

#[test]
fn makes_the_rules_that_istiod_makes() {
    let Some(folder) = data_or_say_so() else {
        return;
    };
    let mut compared = compare(&folder, Protocol::Http, HTTP);
    compared.extend(compare(&folder, Protocol::Tcp, TCP));
    // No file of the data goes unnoticed.
    for part in ["http", "tcp"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_output = name.contains("-out");
            let plain = format!("{part}/{}", name.strip_prefix("extended-").unwrap_or(&name));
            let excused = NOT_COMPARED.iter().any(|(file, _)| *file == plain);
            let seen = compared.contains(&format!("{part}/{name}"));
            assert!(
                !is_output || seen || excused,
                "{part}/{name} is not compared"
            );
            assert!(!(seen && excused), "{part}/{name} is excused and compared");
        }
    }
}

#[test]
fn refuses_a_condition_that_envoy_does_not_know() {
    let policy: AuthorizationPolicy = serde_saphyr::from_str(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pinned, namespace: foo}
spec:
  rules:
  - when:
    - {key: destination.port, values: ['80']}
    - {key: 'source.certificate.keyType', values: [EC]}
",
    )
    .unwrap();
    let scope = Scope::new("cluster.local".parse().unwrap(), "foo");
    let errors = rbac::translate(&[policy], &scope).unwrap_err();
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("spec.rules[0].when[1].key"), "{lines:?}");
}
