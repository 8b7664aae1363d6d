//! Random policies and requests: the filter and the native engine always agree.

use std::path::Path;
use std::sync::LazyLock;

use policy::corpus::{CasePeer, File};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use wasm_tests::artefact;
use wasm_tests::runner::{Filter, FilterError, TestFile, run};

const PEERS: [&str; 6] = [
    "plaintext",
    "certificate-missing",
    "spiffe://cluster.local/ns/default/sa/sleep",
    "spiffe://cluster.local/ns/default/sa/httpbin",
    "spiffe://cluster.local/ns/other/sa/sleep",
    "spiffe://cluster.local/not/istio",
];

/// Fields of `source` and `operation`, each with values that hit some of the requests.
const SOURCE: [(&str, &[&str]); 8] = [
    ("principals", PRINCIPALS),
    ("notPrincipals", PRINCIPALS),
    ("namespaces", NAMESPACES),
    ("notNamespaces", NAMESPACES),
    (
        "serviceAccounts",
        &["sleep", "default/httpbin", "other/sleep"],
    ),
    (
        "notServiceAccounts",
        &["sleep", "default/httpbin", "other/sleep"],
    ),
    ("ipBlocks", BLOCKS),
    ("notIpBlocks", BLOCKS),
];
const OPERATION: [(&str, &[&str]); 8] = [
    ("methods", METHODS),
    ("notMethods", METHODS),
    ("paths", PATHS),
    ("notPaths", PATHS),
    ("hosts", HOSTS),
    ("notHosts", HOSTS),
    ("ports", &["8080", "9090"]),
    ("notPorts", &["8080", "9090"]),
];
const WHEN: [(&str, &[&str]); 6] = [
    ("request.headers[x-role]", &["admin", "ad*", "*in", "*"]),
    ("source.principal", PRINCIPALS),
    ("source.namespace", NAMESPACES),
    ("source.ip", BLOCKS),
    ("destination.port", &["8080", "9090"]),
    ("connection.sni", &["httpbin.default", "*.default", "*"]),
];
const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/default/sa/sleep",
    "cluster.local/ns/default/*",
    "*/sa/sleep",
    "*",
];
const NAMESPACES: &[&str] = &["default", "oth*", "*her", "*"];
const BLOCKS: &[&str] = &["10.0.0.0/8", "10.0.0.1", "192.0.2.0/24", "2001:db8::/32"];
const METHODS: &[&str] = &["GET", "P*", "*T", "*"];
const PATHS: &[&str] = &["/", "/admin*", "*.html", "/a/b", "*"];
const HOSTS: &[&str] = &[
    "httpbin.default",
    "HTTPBIN.default:8080",
    "*.default",
    "other*",
    "*",
];

/// One to three of these values.
fn values(of: &'static [&'static str]) -> impl Strategy<Value = Value> {
    subsequence(of, 1..=of.len().min(3)).prop_map(|values| json!(values))
}

/// An object with one to three of these fields.
fn fields(of: &'static [(&'static str, &'static [&'static str])]) -> impl Strategy<Value = Value> {
    subsequence(of, 1..=3).prop_flat_map(|chosen| {
        let all: Vec<_> = chosen
            .into_iter()
            .map(|(name, of)| values(of).prop_map(move |values| (name.to_owned(), values)))
            .collect();
        all.prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    })
}

fn condition() -> impl Strategy<Value = Value> {
    select(&WHEN[..]).prop_flat_map(|(key, of)| {
        let values = (values(of), select(&["values", "notValues"][..]));
        values.prop_map(move |(values, field)| json!({"key": key, field: values}))
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let from = vec(
        fields(&SOURCE).prop_map(|source| json!({"source": source})),
        0..3,
    );
    let to = vec(
        fields(&OPERATION).prop_map(|operation| json!({"operation": operation})),
        0..3,
    );
    (from, to, vec(condition(), 0..2)).prop_map(|(from, to, when)| {
        let parts = [("from", from), ("to", to), ("when", when)];
        let present = parts.into_iter().filter(|(_, list)| !list.is_empty());
        present
            .map(|(name, list)| (name.to_owned(), json!(list)))
            .collect::<Map<_, _>>()
            .into()
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let action = select(&["ALLOW", "ALLOW", "DENY"][..]);
    let namespace = select(&["default", "default", "istio-system", "elsewhere"][..]);
    let selector = proptest::option::of(select(&["httpbin", "another"][..]));
    (action, namespace, selector, vec(rule(), 0..3), 0..1000_u32).prop_map(
        |(action, namespace, selector, rules, number)| {
            let mut spec = json!({"action": action, "rules": rules});
            if let Some(app) = selector {
                spec["selector"] = json!({"matchLabels": {"app": app}});
            }
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": format!("p{number}"), "namespace": namespace},
                "spec": spec,
            })
        },
    )
}

fn case() -> impl Strategy<Value = Value> {
    let role = proptest::option::of(select(&["admin", "user", ""][..]));
    (
        select(&PEERS[..]),
        select(&["GET", "POST", "PUT", "get"][..]),
        select(
            &[
                "/",
                "/admin",
                "/admin/x?y=/",
                "/a/b",
                "/index.html",
                "/a/../b",
                "/%61",
            ][..],
        ),
        select(&["httpbin.default", "httpbin.default:8080", "other.example"][..]),
        (role, select(&["10.0.0.1", "192.0.2.7", "2001:db8::1"][..])),
        select(&[8080, 9090, 443][..]),
        proptest::option::of(select(&["httpbin.default", "other.example"][..])),
    )
        .prop_map(|(peer, method, path, host, (role, source), port, sni)| {
            let headers: Vec<[&str; 2]> = role.into_iter().map(|role| ["x-role", role]).collect();
            json!({
                "peer": peer, "method": method, "path": path, "host": host,
                "headers": headers, "sourceIp": source, "destinationPort": port, "sni": sni,
                "expect": {"verdict": "deny", "reason": "not looked at"},
            })
        })
}

fn file() -> impl Strategy<Value = Value> {
    (vec(policy(), 0..5), vec(case(), 12)).prop_map(|(policies, mut cases)| {
        for (at, case) in cases.iter_mut().enumerate() {
            case["name"] = json!(format!("case {at}"));
        }
        json!({"about": "random", "policies": policies, "cases": cases})
    })
}

static FILTER: LazyLock<Filter> =
    LazyLock::new(|| Filter::load(&artefact::path()).expect("the built filter"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn filter_and_native_engine_agree(file in file()) {
        let test = TestFile::parse("random", &file.to_string(), Path::new(""));
        // Policies that do not compile are found here, or by `run`; the filter must refuse them as well.
        let test = test.unwrap_or_else(|problems| panic!("{problems:?}"));
        let Ok(mut report) = run(&test) else {
            let refused = FILTER.configure(&test).err();
            prop_assert!(matches!(refused, Some(FilterError::Refused { .. })), "{:?}", refused);
            return Ok(());
        };
        FILTER.run(&test, &mut report).unwrap_or_else(|error| panic!("{error}"));
        for ((case, _), reported) in test.cases().zip(&report.cases) {
            prop_assert_eq!(reported.filter.as_ref(), Some(&reported.found), "{:?}", case);
            let doubtful = matches!(case.peer, CasePeer::CertificateMissing);
            prop_assert!(!doubtful || !reported.found.is_allowed());
        }
    }
}

/// The generator is worth something: it makes policies that compile, and both verdicts.
#[test]
fn random_policies_allow_and_deny() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut compiled, mut allowed, mut denied) = (0, 0, 0);
    for _ in 0..200 {
        let value = file().new_tree(&mut runner).expect("a value").current();
        let file = File::parse("random", &value.to_string()).expect("JSON is YAML");
        let Ok(native) = file.compile() else { continue };
        compiled += 1;
        for case in &file.cases {
            let peer = case.peer.to_peer();
            if native.decide(&case.request(&peer)).is_allowed() {
                allowed += 1
            } else {
                denied += 1
            }
        }
    }
    assert!(compiled > 60, "{compiled} of 200 compile");
    assert!(
        allowed > 100 && denied > 100,
        "{allowed} allowed, {denied} denied"
    );
}
