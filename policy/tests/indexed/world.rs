//! Policies and requests of a world so small that they meet, with every field that rules are found by.

use std::net::IpAddr;

use policy::{Peer, Request};
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};
use serde_json::{Map, Value, json};

/// Conditions and their values.
pub(crate) const FIELDS: &[(&str, &[&str])] = &[
    ("source.principal", PRINCIPALS),
    ("source.namespace", NAMESPACES),
    ("source.serviceAccount", ACCOUNTS),
    ("source.trustDomain", TRUST_DOMAINS),
    ("source.ip", BLOCKS),
    ("remote.ip", BLOCKS),
    ("destination.ip", BLOCKS),
    ("destination.port", PORTS),
    ("connection.sni", NAMES),
    ("request.headers[x-tenant]", NAMES),
    ("request.headers[:authority]", NAMES),
    ("request.auth.principal", TOKENS),
    ("request.auth.audiences", NAMES),
    ("request.auth.claims[group][name]", NAMES),
];

const PRINCIPALS: &[&str] = &[
    "*",
    "t/ns/a/sa/x",
    "t/ns/a/*",
    "*/sa/y",
    "u/other",
    "t/ns/a/sa/y",
    "t/*",
    "ns/ns/a/sa/x",
    "u/ns/b/*",
    "*y",
];
const IDS: &[&str] = &[
    "t/ns/a/sa/x",
    "t/ns/a/sa/y",
    "u/other",
    "u/ns/b/sa/y",
    "ns/ns/a/sa/x",
    "t/ns/a/z/sa/x/w",
    "t/ns/ns/a/sa/sa/x",
];
const NAMESPACES: &[&str] = &["a", "b", "ns", "a*", "*b", "c"];
const ACCOUNTS: &[&str] = &["x", "a/x", "a/y", "b/y", "default/x", "ns/sa", "ns/x"];
const TRUST_DOMAINS: &[&str] = &["t", "u", "ns", "mesh", "u*"];
const BLOCKS: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.1",
    "10.1.0.0/16",
    "::/0",
    "0.0.0.0/0",
    "192.0.2.0/24",
    "2001:db8::/32",
    "2001:db8::1",
    "::ffff:10.0.0.1",
];
const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.1.0.1",
    "192.0.2.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "203.0.113.1",
];
const PORTS: &[&str] = &["80", "8080", "443"];
const METHODS: &[&str] = &["GET", "POST", "*", "P*"];
const NAMES: &[&str] = &[
    "*", "one", "ONE:80", "*.test", "api.*", "a.test", "o*", "*e",
];
const ASKED_NAMES: &[&str] = &["one", "one:80", "A.test", "a.test", "api.x", "", "e"];
const PATHS: &[&str] = &[
    "/a",
    "/a/*",
    "*.png",
    "*",
    "/b",
    "/a/b*",
    "/a/{*}",
    "/a/{*}/c",
    "/{*}/b",
    "/a/{**}",
    "/{**}/c",
    "/a/{*}/{**}/d",
    "/a/",
    "/{*}/",
];
const ASKED_PATHS: &[&str] = &[
    "/a", "/a/b", "/x.png?y", "/b#z", "/", "/a/", "/a/b/c", "/a/b/c/d", "/x/b",
];
const TOKENS: &[&str] = &["i/s", "i/*", "*/s", "*", "i", "j/s", "i/t"];

fn list(
    of: &'static [&'static str],
    weight: f64,
) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    option::weighted(weight, subsequence(of, 1..=3))
}

/// An object with some of `fields`, each positive, negative or both; never without any.
fn object(
    fields: &'static [(&'static str, &'static str, &'static [&'static str])],
) -> impl Strategy<Value = Value> {
    let weight = 1.4 / f64::from(u32::try_from(fields.len()).unwrap());
    let lists: Vec<_> = fields
        .iter()
        .map(|(_, _, of)| (list(of, weight), list(of, weight / 4.0)))
        .collect();
    (lists, 0..fields.len()).prop_map(move |(lists, one)| {
        let mut object = Map::new();
        for ((name, not, _), (values, others)) in fields.iter().zip(lists) {
            object.extend(values.map(|values| ((*name).to_owned(), json!(values))));
            object.extend(others.map(|values| ((*not).to_owned(), json!(values))));
        }
        if object.is_empty() {
            let (name, _, of) = fields[one];
            object.insert(name.to_owned(), json!([of[0]]));
        }
        Value::Object(object)
    })
}

fn source() -> impl Strategy<Value = Value> {
    let identity = object(&[
        ("principals", "notPrincipals", PRINCIPALS),
        ("namespaces", "notNamespaces", NAMESPACES),
        ("trustDomains", "notTrustDomains", TRUST_DOMAINS),
        ("ipBlocks", "notIpBlocks", BLOCKS),
        ("remoteIpBlocks", "notRemoteIpBlocks", BLOCKS),
        ("requestPrincipals", "notRequestPrincipals", TOKENS),
    ]);
    let account = object(&[
        ("serviceAccounts", "notServiceAccounts", ACCOUNTS),
        ("ipBlocks", "notIpBlocks", BLOCKS),
    ]);
    prop_oneof![3 => identity, 1 => account].prop_map(|source| json!({"source": source}))
}

fn operation() -> impl Strategy<Value = Value> {
    object(&[
        ("hosts", "notHosts", NAMES),
        ("ports", "notPorts", PORTS),
        ("methods", "notMethods", METHODS),
        ("paths", "notPaths", PATHS),
    ])
    .prop_map(|operation| json!({"operation": operation}))
}

fn condition() -> impl Strategy<Value = Value> {
    let values = any::<[proptest::sample::Index; 2]>();
    (select(FIELDS), values, 0..4_u8).prop_map(|((key, of), values, negated)| {
        let values = values.map(|value| of[value.index(of.len())]);
        json!({"key": key, (if negated == 0 { "notValues" } else { "values" }): values})
    })
}

pub(crate) fn rule() -> impl Strategy<Value = Value> {
    let part = |strategy: BoxedStrategy<Value>| option::of(vec(strategy, 1..4));
    (
        part(source().boxed()),
        part(operation().boxed()),
        part(condition().boxed()),
    )
        .prop_map(|(from, to, when)| {
            let mut rule = Map::new();
            for (name, value) in [("from", from), ("to", to), ("when", when)] {
                rule.extend(value.map(|value| (name.to_owned(), json!(value))));
            }
            Value::Object(rule)
        })
}

/// A request with what it borrows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Without `spiffe://`.
    pub(crate) peer: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) tenants: Vec<String>,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) remote_ip: Option<IpAddr>,
    pub(crate) destination_ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) sni: Option<String>,
    pub(crate) claims: Option<Value>,
}

impl Asked {
    pub(crate) fn with_request<T>(&self, then: impl FnOnce(&Request<'_>) -> T) -> T {
        let peer = match &self.peer {
            Some(id) => Peer::Workload(format!("spiffe://{id}").parse().unwrap()),
            None => Peer::Plaintext,
        };
        let headers: Vec<_> = self
            .tenants
            .iter()
            .map(|tenant| ("X-Tenant", tenant))
            .collect();
        then(&Request {
            method: self.method.as_deref().map(str::as_bytes),
            path: self.path.as_deref().map(str::as_bytes),
            host: self.host.as_deref().map(str::as_bytes),
            headers: &headers,
            source_ip: self.source_ip,
            remote_ip: self.remote_ip,
            destination_ip: self.destination_ip,
            destination_port: self.port,
            sni: self.sni.as_deref().map(str::as_bytes),
            claims: self
                .claims
                .as_ref()
                .map(|claims| -> &dyn policy::Claims { claims }),
            ..Request::new(&peer)
        })
    }
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let text =
        |of: &'static [&'static str]| option::weighted(0.9, select(of).prop_map(str::to_owned));
    let address = || {
        option::weighted(
            0.9,
            select(ADDRESSES).prop_map(|ip| ip.parse::<IpAddr>().unwrap()),
        )
    };
    let claims = (
        select(&["i", "j", ""][..]),
        select(&["s", "t", ""][..]),
        vec(select(ASKED_NAMES), 0..3),
        select(ASKED_NAMES),
    )
        .prop_map(|(iss, sub, aud, name)| json!({"iss": iss, "sub": sub, "aud": aud, "group": {"name": name}}));
    (
        text(IDS),
        (
            text(&["GET", "POST", "PUT"]),
            text(ASKED_PATHS),
            text(ASKED_NAMES),
        ),
        vec(select(ASKED_NAMES).prop_map(str::to_owned), 0..3),
        (address(), address(), address()),
        option::weighted(0.9, select(&[80_u16, 8080, 9090][..])),
        text(ASKED_NAMES),
        option::of(claims),
    )
        .prop_map(
            |(
                peer,
                (method, path, host),
                tenants,
                (source_ip, remote_ip, destination_ip),
                port,
                sni,
                claims,
            )| {
                Asked {
                    peer,
                    method,
                    path,
                    host,
                    tenants,
                    source_ip,
                    remote_ip,
                    destination_ip,
                    port,
                    sni,
                    claims,
                }
            },
        )
}
