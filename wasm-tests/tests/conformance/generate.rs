//! Random policies over every field, and requests aimed at them.

use std::net::Ipv4Addr;

use policy::Protocol;
use serde_json::{Value, json};

use crate::aim;
use crate::dice::Dice;
use crate::group::{Group, LABELS, Mesh, Native, policies};
use crate::pools;
use crate::request::{Caller, METADATA, Odd, Request};

/// Requests of each generated set.
const REQUESTS: usize = 10;

/// The nth set of a run; the same seed and number give the same set, whatever the other sets are.
pub(crate) fn group(seed: u64, number: usize, protocol: Protocol) -> Group {
    let mut dice = Dice::new(seed ^ (u64::try_from(number).expect("64 bits") << 24));
    let dice = &mut dice;
    let trust_domains: &&[&str] = dice.pick(pools::MESHES);
    let mut mesh = Mesh::new("default", trust_domains);
    mesh.paths = *dice.pick(&["decodeAndMergeSlashes", "mergeSlashes", "base", "none"]);
    mesh.believes_headers = dice.one_in(4);
    mesh.only_metadata = dice.one_in(3);
    let count = 1 + dice.below(5);
    let values: Vec<Value> = (0..count).map(|place| policy(dice, place)).collect();
    let policies = policies(&values);
    let rbac = envoy_config::rbac::translate(&policies, &mesh.scope(protocol));
    let rbac = rbac.unwrap_or_else(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!(
            "set {number} of seed {seed}: {}\n{values:#?}",
            lines.join("\n")
        )
    });
    let requests = {
        let rules = aim::rules(&policies);
        let mut links = Vec::new();
        (0..REQUESTS)
            .map(|place| {
                let mut request = if rules.is_empty() || dice.one_in(4) {
                    anything(dice)
                } else {
                    let (rule, namespace) = *dice.pick(&rules);
                    let mut request = aim::at_rule(rule, namespace, |end| dice.below(end));
                    for _ in 0..dice.below(3) {
                        change(&mut request, dice);
                    }
                    request
                };
                // A connection carries several requests, as connections do.
                if place % 2 == 1 {
                    request.link = links.last().cloned().expect("the request before");
                } else {
                    links.push(request.link.clone());
                }
                request
            })
            .collect()
    };
    Group {
        name: format!("generated {protocol:?} {number}"),
        native: Native::translated(&rbac, protocol),
        policies,
        mesh,
        requests,
        must_differ: None,
    }
}

fn policy(dice: &mut Dice, place: usize) -> Value {
    let action = *dice.pick(&["ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]);
    // `rule[10]` comes before `rule[2]`, so now and then a policy has that many.
    let most = if dice.one_in(12) { 12 } else { 3 };
    let count = match action {
        "ALLOW" => dice.below(most + 1),
        _ => 1 + dice.below(most),
    };
    let rules: Vec<Value> = (0..count).map(|_| rule(dice, most)).collect();
    let mut spec = json!({"action": action, "rules": rules});
    if dice.one_in(3) {
        let (name, value) = *dice.pick(&[LABELS[0], LABELS[1], ("app", "another")]);
        spec["selector"] = json!({"matchLabels": {name: value}});
    }
    // Names in no particular order: which of several rules is reported depends on them.
    let name = format!("{}{place}", dice.pick(&["b", "a", "a-b", "a.b", "zz"]));
    let namespace = *dice.pick(&["default", "default", "default", "istio-system", "elsewhere"]);
    let mut policy = json!({
        "apiVersion": dice.pick(&["security.istio.io/v1", "security.istio.io/v1beta1"]),
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    });
    if dice.one_in(6) {
        let text = *dice.pick(&["true", "1", "false"]);
        policy["metadata"]["annotations"] = json!({"istio.io/dry-run": text});
    }
    policy
}

fn rule(dice: &mut Dice, most: usize) -> Value {
    let mut rule = json!({});
    // Short rules where there are many, else hardly one would ever match.
    let alternatives = if most > 3 { 1 } else { 2 };
    if dice.one_in(2) {
        let from = (0..1 + dice.below(alternatives)).map(|_| json!({"source": source(dice)}));
        rule["from"] = from.collect();
    }
    if dice.one_in(2) {
        let to = (0..1 + dice.below(alternatives))
            .map(|_| json!({"operation": fields(dice, pools::OPERATION)}));
        rule["to"] = to.collect();
    }
    let when = match dice.below(5) {
        0 | 1 => 0,
        2 | 3 => 1,
        _ => 2,
    };
    if when > 0 {
        rule["when"] = (0..when).map(|_| condition(dice)).collect();
    }
    rule
}

/// `serviceAccounts` exclude `principals` and `namespaces`.
fn source(dice: &mut Dice) -> Value {
    let mut source = fields(dice, pools::SOURCE);
    let map = source.as_object_mut().expect("an object");
    if map.contains_key("serviceAccounts") || map.contains_key("notServiceAccounts") {
        for other in ["principals", "notPrincipals", "namespaces", "notNamespaces"] {
            map.remove(other);
        }
    }
    source
}

/// One or two fields; now and then a `not…` in its place.
fn fields(dice: &mut Dice, of: &[(&str, &[&str])]) -> Value {
    let mut all = json!({});
    for (name, values) in dice.some(of, 2) {
        let name = if dice.one_in(4) {
            negative(name)
        } else {
            (*name).to_owned()
        };
        all[name] = json!(dice.some(values, 3));
    }
    all
}

fn negative(name: &str) -> String {
    let mut letters = name.chars();
    let first: String = letters
        .next()
        .into_iter()
        .map(|first| first.to_ascii_uppercase())
        .collect();
    format!("not{first}{}", letters.as_str())
}

fn condition(dice: &mut Dice) -> Value {
    let (key, values) = *dice.pick(pools::WHEN);
    let mut condition = json!({"key": key});
    match dice.below(6) {
        0 => condition["notValues"] = json!(dice.some(values, 3)),
        1 => {
            condition["values"] = json!(dice.some(values, 3));
            condition["notValues"] = json!(dice.some(values, 1));
        }
        _ => condition["values"] = json!(dice.some(values, 3)),
    }
    condition
}

/// A request with an attribute of each kind, most of them ones that some policy names.
fn anything(dice: &mut Dice) -> Request {
    let mut request = Request::default();
    for _ in 0..8 {
        change(&mut request, dice);
    }
    request
}

/// Changes one attribute.
fn change(request: &mut Request, dice: &mut Dice) {
    match dice.below(14) {
        0 => {
            request.link.caller = match dice.below(12) {
                0 => Caller::Plaintext,
                1 => Caller::NoCertificate,
                2 => Caller::Odd(*dice.pick(&Odd::ALL)),
                _ => Caller::Uri((*dice.pick(pools::IDENTITIES)).to_owned()),
            };
        }
        1 => {
            let [b, c, d] = *dice.pick(&[[1, 2, 3], [1, 9, 9], [200, 0, 1], [0, 0, 1]]);
            request.link.source = Ipv4Addr::new(127, b, c, d);
        }
        2 => request.set_remote(dice.pick(pools::REMOTES).parse().expect("an address")),
        3 => request.set_destination(dice.pick(pools::DESTINATIONS).parse().expect("an address")),
        4 => request
            .link
            .destination
            .set_port(*dice.pick(&[80, 443, 8080, 8443, 9090])),
        5 => {
            let name = dice.pick(&[
                "httpbin.default",
                "api.httpbin.default",
                "HTTPBIN.default",
                "other.example",
            ]);
            request.link.sni = (!dice.one_in(5)).then(|| (*name).to_owned());
        }
        6 => {
            request.method =
                (*dice.pick(&["GET", "POST", "PUT", "get", "GETS", "DELETE", "OPTIONS"])).to_owned()
        }
        7 | 8 => request.path = (*dice.pick(pools::REQUEST_PATHS)).to_owned(),
        9 => request.host = (*dice.pick(pools::REQUEST_HOSTS)).to_owned(),
        10 => header(request, dice),
        11 => {
            let forwarded = dice.pick(&[
                "10.1.1.1",
                "192.0.2.7",
                "203.0.113.9, 10.1.1.1",
                "2001:db8::1",
                "no address",
            ]);
            request
                .headers
                .push(("x-forwarded-for".to_owned(), (*forwarded).to_owned()));
        }
        12 => token(request, dice),
        _ => {
            let place = dice.below(METADATA.len());
            let values = [
                json!("gold"),
                json!("golden"),
                json!(["gold", "lead"]),
                json!(["lead"]),
                json!(7),
                json!({"gold": true}),
                json!(""),
                json!([]),
            ];
            request.metadata[place] = Some(dice.pick(&values).clone());
        }
    }
}

fn header(request: &mut Request, dice: &mut Dice) {
    if dice.one_in(6) {
        request.headers.clear();
    }
    let (name, values) = *dice.pick(pools::REQUEST_HEADERS);
    // Each of several values counts on its own; one with a comma in it is one value.
    for _ in 0..1 + dice.below(2) {
        request
            .headers
            .push((name.to_owned(), (*dice.pick(values)).to_owned()));
    }
}

fn token(request: &mut Request, dice: &mut Dice) {
    if dice.one_in(6) {
        request.payload = None;
        return;
    }
    let issuers = [
        json!("https://issuer.example"),
        json!("https://other.example/x"),
        json!("issuer"),
    ];
    let subjects = [
        json!("alice"),
        json!("alicia"),
        json!("bob"),
        json!(""),
        json!(12),
    ];
    request.claim(&["iss"], dice.pick(&issuers).clone());
    request.claim(&["sub"], dice.pick(&subjects).clone());
    for _ in 0..2 {
        let (path, values) = *dice.pick(pools::CLAIMS);
        let text: &&str = dice.pick(values);
        let value: Value = serde_json::from_str(text).expect("JSON");
        request.claim(path, value);
    }
}
