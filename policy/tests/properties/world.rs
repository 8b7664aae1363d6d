//! Policies and requests of a world so small that they meet.

use std::net::IpAddr;

use identity::TrustDomain;
use policy::{
    Action, AuthorizationPolicy, Condition, From, Operation, Peer, PolicySet, Request, Rule, Scope,
    Source, To,
};
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};
use serde_json::{Map, Value, json};

const PRINCIPALS: &[&str] = &[
    "*",
    "t/ns/a/sa/x",
    "t/ns/a/*",
    "*/sa/y",
    "u/other",
    "t/ns/a/sa/y",
];
const IDS: &[&str] = &["t/ns/a/sa/x", "t/ns/a/sa/y", "u/other", "u/ns/b/sa/y"];
const TRUST_DOMAINS: &[&str] = &["t", "u", "*", "t*"];
const SERVICE_ACCOUNTS: &[&str] = &["x", "a/x", "b/y"];
const REQUEST_PRINCIPALS: &[&str] = &["i/s", "i/*", "*/s", "*", "i", "https://i/s"];
const CLAIMS: &[&str] = &["v", "w", "*", "v*"];
const NAMESPACES: &[&str] = &["a", "b", "*"];
const BLOCKS: &[&str] = &["10.0.0.0/8", "10.0.0.1", "::/0", "192.0.2.0/24"];
const ADDRESSES: &[&str] = &["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"];
const HOSTS: &[&str] = &["*", "one", "ONE:80", "*.test", "api.*"];
const ASKED_HOSTS: &[&str] = &["one", "one:80", "A.test", "api.x", ""];
const PORTS: &[&str] = &["80", "8080"];
const METHODS: &[&str] = &["GET", "POST", "*", "P*"];
const PATHS: &[&str] = &[
    "/a", "/a/*", "*.png", "*", "/b", "/{*}", "/a/{**}", "/{*}/b",
];
pub(crate) const ASKED_PATHS: &[&str] = &["/a", "/a/b", "/x.png?y", "/b#z", "/"];
pub(crate) const ODD_PATHS: &[&str] = &["//a", "/a/../b", "/a%2fb", "*", "a"];
const VALUES: &[&str] = &["v", "w", "*", "v*"];

fn list(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    option::weighted(
        0.4,
        subsequence(of, 1..=2).prop_map(|list| list.into_iter().map(str::to_owned).collect()),
    )
}

prop_compose! {
    fn source()(
        principals in list(PRINCIPALS),
        not_principals in list(PRINCIPALS),
        namespaces in list(NAMESPACES),
        not_namespaces in list(NAMESPACES),
        blocks in (list(BLOCKS), list(BLOCKS), list(BLOCKS), list(BLOCKS)),
        trust_domains in list(TRUST_DOMAINS),
        not_trust_domains in list(TRUST_DOMAINS),
        request_principals in list(REQUEST_PRINCIPALS),
        not_request_principals in list(REQUEST_PRINCIPALS),
        accounts in option::weighted(0.2, (list(SERVICE_ACCOUNTS), list(SERVICE_ACCOUNTS))),
    ) -> From {
        let (ip_blocks, not_ip_blocks, remote_ip_blocks, not_remote_ip_blocks) = blocks;
        let mut source = Source {
            principals, not_principals, namespaces, not_namespaces, ip_blocks, not_ip_blocks,
            remote_ip_blocks, not_remote_ip_blocks, trust_domains, not_trust_domains,
            request_principals, not_request_principals, ..Source::default()
        };
        // Service accounts exclude principals and namespaces.
        if let Some((service_accounts, not_service_accounts)) = accounts {
            source = Source {
                service_accounts, not_service_accounts, principals: None, not_principals: None,
                namespaces: None, not_namespaces: None, ..source
            };
        }
        if source == Source::default() {
            source.principals = Some(vec!["*".to_owned()]);
        }
        From { source: Some(source) }
    }
}

prop_compose! {
    fn operation()(
        hosts in list(HOSTS),
        not_hosts in list(HOSTS),
        ports in list(PORTS),
        not_ports in list(PORTS),
        methods in list(METHODS),
        not_methods in list(METHODS),
        paths in list(PATHS),
        not_paths in list(PATHS),
    ) -> To {
        let mut operation =
            Operation { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths };
        if operation == Operation::default() {
            operation.methods = Some(vec!["GET".to_owned()]);
        }
        To { operation: Some(operation) }
    }
}

/// Keys, each with values it takes.
const KEYS: &[(&str, &[&str])] = &[
    ("request.headers[h]", VALUES),
    ("request.auth.claims[c]", CLAIMS),
    ("request.auth.claims[c][d]", CLAIMS),
    ("request.auth.audiences", CLAIMS),
    ("request.auth.principal", REQUEST_PRINCIPALS),
    (
        "experimental.envoy.filters.f[k]",
        &["v", "[v]", "[*]", "w*"],
    ),
    ("source.trustDomain", TRUST_DOMAINS),
    ("remote.ip", BLOCKS),
    ("connection.sni", HOSTS),
    ("source.certificate.keyType", &["EC", "RSA"]),
    ("source.certificate.keyBits", &["256", "2048+"]),
];

pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    select(KEYS).prop_flat_map(|(key, of)| {
        (list(of), list(of)).prop_map(move |(values, not_values)| Condition {
            key: key.to_owned(),
            values: values.or_else(|| not_values.is_none().then(|| vec![of[0].to_owned()])),
            not_values,
        })
    })
}

prop_compose! {
    fn rule()(
        from in option::of(vec(source(), 1..3)),
        to in option::of(vec(operation(), 1..3)),
        when in option::of(vec(condition(), 1..3)),
    ) -> Rule {
        Rule { from, to, when }
    }
}

pub(crate) fn policy(action: Action) -> impl Strategy<Value = AuthorizationPolicy> {
    (vec(rule(), 1..4), "[a-z]{1,3}").prop_map(move |(rules, name)| {
        let resource = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"action": action.as_str(), "rules": rules},
        });
        serde_json::from_value(resource).unwrap()
    })
}

pub(crate) fn policies(action: Action) -> impl Strategy<Value = Vec<AuthorizationPolicy>> {
    vec(policy(action), 0..4).prop_map(move |mut policies| {
        for (index, policy) in policies.iter_mut().enumerate() {
            let name = policy.metadata.name.take().unwrap_or_default();
            policy.metadata.name =
                Some(format!("{name}-{index}-{}", action.as_str().to_lowercase()));
        }
        policies
    })
}

/// A request with what it borrows.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    peer: Peer,
    method: Option<&'static str>,
    pub(crate) path: Option<&'static str>,
    host: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    source_ip: Option<IpAddr>,
    remote_ip: Option<IpAddr>,
    port: Option<u16>,
    claims: Option<Value>,
    metadata: Value,
}

impl Asked {
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            method: self.method.map(str::as_bytes),
            path: self.path.map(str::as_bytes),
            host: self.host.map(str::as_bytes),
            headers: &self.headers,
            source_ip: self.source_ip,
            remote_ip: self.remote_ip,
            claims: match &self.claims {
                Some(claims) => Some(claims),
                None => None,
            },
            metadata: &self.metadata,
            destination_port: self.port,
            ..Request::new(&self.peer)
        }
    }
}

pub(crate) fn asked(paths: &'static [&'static str]) -> impl Strategy<Value = Asked> {
    let peer = prop_oneof![
        1 => Just(Peer::Plaintext),
        4 => select(IDS).prop_map(|id| Peer::Workload(format!("spiffe://{id}").parse().unwrap())),
    ];
    (
        peer,
        option::weighted(0.9, select(&["GET", "POST", "PUT"][..])),
        option::weighted(0.9, select(paths)),
        option::weighted(0.9, select(ASKED_HOSTS)),
        vec((Just("h"), select(&["v", "w", "vv", ""][..])), 0..3),
        address(),
        address(),
        option::weighted(0.9, select(&[80_u16, 8080, 9090][..])),
        option::weighted(0.7, claims()),
        metadata(),
    )
        .prop_map(
            |(peer, method, path, host, headers, source_ip, remote_ip, port, claims, metadata)| {
                Asked {
                    peer,
                    method,
                    path,
                    host,
                    headers,
                    source_ip,
                    remote_ip,
                    port,
                    claims,
                    metadata,
                }
            },
        )
}

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    option::weighted(0.9, select(ADDRESSES).prop_map(|ip| ip.parse().unwrap()))
}

fn claims() -> impl Strategy<Value = Value> {
    let text = || select(&["v", "w", "vv", ""][..]);
    let value = prop_oneof![
        text().prop_map(Value::from),
        vec(text(), 0..3).prop_map(Value::from),
        text().prop_map(|d| json!({"d": d})),
        vec(text(), 0..3).prop_map(|d| json!({"d": d})),
        any::<i32>().prop_map(Value::from),
    ];
    (
        select(&["i", "https://i", ""][..]),
        select(&["s", ""][..]),
        value.clone(),
        value,
    )
        .prop_map(|(iss, sub, aud, c)| json!({"iss": iss, "sub": sub, "aud": aud, "c": c}))
}

fn metadata() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"envoy.filters.f": {"k": "v"}})),
        Just(json!({"envoy.filters.f": {"k": ["v", "w"]}})),
        Just(json!({"envoy.filters.g": {"k": "v"}})),
    ]
}

pub(crate) fn compile(policies: &[AuthorizationPolicy]) -> PolicySet {
    let scope = Scope::new(TrustDomain::new("mesh").unwrap(), "default");
    PolicySet::compile(policies, &scope).unwrap()
}

/// A policy that looks at hosts, paths, methods and headers.
pub(crate) fn everything() -> AuthorizationPolicy {
    let text = br#"{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"rules": [{"to": [{"operation":
            {"hosts": ["h", "*.h"], "paths": ["/a", "*b"], "methods": ["M*"]}}]}]}}"#;
    AuthorizationPolicy::from_json(text).unwrap()
}

/// Values made of the schemas' own words, so that many of them get past the first field.
pub(crate) fn arbitrary_json() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "rules",
        "from",
        "to",
        "when",
        "source",
        "operation",
        "principals",
        "notPrincipals",
        "serviceAccounts",
        "trustDomains",
        "requestPrincipals",
        "ipBlocks",
        "remoteIpBlocks",
        "targetRefs",
        "annotations",
        "istio.io/dry-run",
        "federation",
        "allow",
        "decisionLog",
        "forwardedClientCert",
        "hop",
        "protocol",
        "tcp",
        "paths",
        "ports",
        "key",
        "values",
        "notValues",
        "selector",
        "matchLabels",
        "action",
        "provider",
        "trust",
        "issuers",
        "policies",
        "denyList",
        "keys",
        "secureNaming",
        "clusters",
        "workload",
        "namespace",
        "direction",
        "schemaVersion",
        "trustDomain",
        "security.istio.io/v1",
        "AuthorizationPolicy",
        "ALLOW",
        "DENY",
        "AUDIT",
        "CUSTOM",
        "source.ip",
        "request.headers[x]",
        "request.auth.claims[a][b]",
        "experimental.envoy.filters.a[b]",
        "source.certificate.keyBits",
        "/a/{*}",
        "inbound",
        "*",
        "a/b",
        "10.0.0.0/8",
        "é",
        "",
    ];
    let word = || select(WORDS);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((word(), inner), 0..6).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect::<Map<_, _>>())
            }),
        ]
    })
}
