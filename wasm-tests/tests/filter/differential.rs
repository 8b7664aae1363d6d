//! Random policies and requests: the filter and the native engine always agree.

use std::cell::RefCell;
use std::sync::LazyLock;

use policy::config::AllowedLog;
use policy::corpus::{CasePeer, Expectation, File};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use wasm_tests::fixtures::NOW;
use wasm_tests::host::{Plugin, World};

use crate::cases::{Peers, through_the_filter};

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

/// Certificates of all peers, made once.
static EVERYBODY: LazyLock<Peers> = LazyLock::new(|| {
    let ids = PEERS.iter().filter(|peer| peer.starts_with("spiffe:"));
    let expect = json!({"verdict": "deny", "reason": "not looked at"});
    let cases: Vec<_> = ids
        .map(|id| json!({"name": id, "peer": id, "expect": expect}))
        .collect();
    let file = json!({"about": "all", "policies": [], "cases": cases}).to_string();
    Peers::of(&[&File::parse("all", &file).expect("a file")])
});

thread_local! {
    static PLUGIN: RefCell<Plugin> =
        RefCell::new(Plugin::start(&World::at(NOW)).expect("the filter starts"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn filter_and_native_engine_agree(file in file()) {
        let text = file.to_string();
        let file = File::parse("random", &text).expect("JSON is YAML");
        let mut config = file.plugin_config(EVERYBODY.trust(&file));
        config.decision_log.allowed = AllowedLog::All;
        let json = config.to_json().expect("JSON");
        PLUGIN.with_borrow_mut(|plugin| {
            let accepted = plugin.configure(&json).expect("no trap");
            let native = file.compile();
            prop_assert_eq!(accepted, native.is_ok(), "{:?}", native.err());
            let Ok(native) = native else { return Ok(()) };
            for case in &file.cases {
                let peer = case.peer.to_peer();
                let wanted = Expectation::of(&native.decide(&case.request(&peer)));
                let found = through_the_filter(plugin, &EVERYBODY, case);
                prop_assert_eq!(&found, &wanted, "{}: {:?}", &case.name, case);
                let doubtful = matches!(case.peer, CasePeer::CertificateMissing);
                prop_assert!(!doubtful || found.verdict == policy::corpus::Verdict::Deny);
            }
            Ok(())
        })?;
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
