//! Requests made from what policies say: such that a value is hit, or just missed.

use std::net::IpAddr;

use policy::{AuthorizationPolicy, Rule};
use serde_json::{Value, json};

use crate::request::{Caller, METADATA, Request};

/// What one list of a rule looks at: the attribute's name as in `when`, or an operation's field.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    pub(crate) negated: bool,
    /// The rule with nothing in it but this list.
    pub(crate) alone: Value,
}

/// Every list of a rule.
pub(crate) fn lists(rule: &Rule) -> Vec<Listed> {
    let mut all = Vec::new();
    for from in rule.from.iter().flatten() {
        let source = serde_json::to_value(&from.source).expect("JSON");
        for (field, values) in source.as_object().into_iter().flatten() {
            let alone = json!({"from": [{"source": {field: values}}]});
            all.push(listed(field, values, alone));
        }
    }
    for to in rule.to.iter().flatten() {
        let operation = serde_json::to_value(&to.operation).expect("JSON");
        for (field, values) in operation.as_object().into_iter().flatten() {
            let alone = json!({"to": [{"operation": {field: values}}]});
            all.push(listed(field, values, alone));
        }
    }
    for when in rule.when.iter().flatten() {
        for (field, list) in [("values", &when.values), ("notValues", &when.not_values)] {
            let Some(values) = list else { continue };
            let alone = json!({"when": [{"key": when.key, field: values}]});
            let mut one = listed(field, &json!(values), alone);
            one.key.clone_from(&when.key);
            all.push(one);
        }
    }
    all
}

fn listed(field: &str, values: &Value, alone: Value) -> Listed {
    let negated = field.starts_with("not");
    let name = field.strip_prefix("not").unwrap_or(field);
    let mut letters = name.chars();
    let first = letters
        .next()
        .into_iter()
        .map(|first| first.to_ascii_lowercase());
    let name: String = first.chain(letters).collect();
    let key = match name.as_str() {
        "principals" => "source.principal",
        "namespaces" => "source.namespace",
        "serviceAccounts" => "source.serviceAccount",
        "trustDomains" => "source.trustDomain",
        "requestPrincipals" => "request.auth.principal",
        "ipBlocks" => "source.ip",
        "remoteIpBlocks" => "remote.ip",
        "ports" => "destination.port",
        other => other,
    };
    let values = values.as_array().into_iter().flatten();
    Listed {
        key: key.to_owned(),
        values: values
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect(),
        negated,
        alone,
    }
}

/// Changes the request so that it has the attribute with a value that `pattern` matches. `filler` stands for a `*`.
pub(crate) fn hit(request: &mut Request, key: &str, pattern: &str, filler: &str, namespace: &str) {
    let text = concrete(pattern, filler);
    let id = |path: String| Caller::Uri(format!("spiffe://{path}"));
    match key {
        "source.principal" => request.link.caller = id(principal(pattern, filler)),
        "source.namespace" => {
            request.link.caller = id(format!("cluster.local/ns/{text}/sa/{filler}"))
        }
        "source.serviceAccount" => {
            let (namespace, account) = pattern.split_once('/').unwrap_or((namespace, pattern));
            request.link.caller = id(format!("cluster.local/ns/{namespace}/sa/{account}"));
        }
        "source.trustDomain" => request.link.caller = id(format!("{text}/ns/default/sa/{filler}")),
        "source.ip" => {
            if let IpAddr::V4(address) = inside(pattern)
                && address.is_loopback()
            {
                request.link.source = address;
            }
        }
        "remote.ip" => request.set_remote(inside(pattern)),
        "destination.ip" => request.set_destination(inside(pattern)),
        "destination.port" => request
            .link
            .destination
            .set_port(pattern.parse().expect("a port")),
        "connection.sni" => request.link.sni = Some(text),
        "hosts" => request.host = text,
        "methods" => request.method = text,
        "paths" => request.path = path(pattern, filler),
        "request.auth.principal" => request_principal(request, pattern, filler),
        "request.auth.audiences" => request.claim(&["aud"], json!(text)),
        "request.auth.presenter" => request.claim(&["azp"], json!(text)),
        key => hit_map(request, key, pattern, filler),
    }
}

fn hit_map(request: &mut Request, key: &str, pattern: &str, filler: &str) {
    let (map, rest) = key
        .split_once('[')
        .unwrap_or_else(|| panic!("{key} is no attribute"));
    let path: Vec<&str> = rest.trim_end_matches(']').split("][").collect();
    let text = concrete(pattern, filler);
    match map {
        "request.headers" => match path[0].to_ascii_lowercase().as_str() {
            ":method" => request.method = text,
            ":path" => request.path = text,
            ":authority" => request.host = text,
            _ => request.headers.push((path[0].to_owned(), text)),
        },
        "request.auth.claims" => request.claim(&path, json!(text)),
        map => {
            let namespace = map.trim_start_matches("experimental.");
            let place = METADATA
                .iter()
                .position(|known| *known == (namespace, path[0]));
            let place = place.unwrap_or_else(|| panic!("no request carries {key}"));
            let element = pattern
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            request.metadata[place] = Some(match element {
                Some(element) => json!(["other", concrete(element, filler)]),
                None => json!(text),
            });
        }
    }
}

/// A text that the pattern matches.
pub(crate) fn concrete(pattern: &str, filler: &str) -> String {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), _) => format!("{filler}{rest}"),
        (None, Some(rest)) => format!("{rest}{filler}"),
        (None, None) => pattern.to_owned(),
    }
}

/// A principal that the pattern matches, with a path where the pattern leaves room for one.
fn principal(pattern: &str, filler: &str) -> String {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => format!("cluster.local/ns/default/sa/{filler}"),
        (Some(rest), _) if rest.contains("/ns/") => format!("{filler}{rest}"),
        (Some(rest), _) if rest.starts_with("/sa/") => format!("cluster.local/ns/default{rest}"),
        (Some(rest), _) => format!("cluster.local/ns/default/sa/{filler}{rest}"),
        (None, Some(rest)) if rest.contains('/') => format!("{rest}{filler}"),
        (None, Some(rest)) => format!("{rest}{filler}/ns/default/sa/{filler}"),
        (None, None) => pattern.to_owned(),
    }
}

fn path(pattern: &str, filler: &str) -> String {
    if pattern.contains('{') {
        return pattern
            .replace("{**}", &format!("{filler}/more"))
            .replace("{*}", filler);
    }
    match pattern.strip_prefix('*') {
        Some(rest) => format!("/{filler}{rest}"),
        None => concrete(pattern, filler),
    }
}

fn request_principal(request: &mut Request, pattern: &str, filler: &str) {
    let (issuer, subject) = match pattern.rsplit_once('/') {
        Some((issuer, subject)) => (concrete(issuer, filler), concrete(subject, filler)),
        None if pattern.starts_with('*') => (
            "https://issuer.example".to_owned(),
            concrete(pattern, filler),
        ),
        None if pattern.ends_with('*') => (concrete(pattern, filler), filler.to_owned()),
        None => (pattern.to_owned(), String::new()),
    };
    request.claim(&["iss"], json!(issuer));
    request.claim(&["sub"], json!(subject));
}

/// An address in the range, not its first where there are several.
fn inside(range: &str) -> IpAddr {
    let (address, length) = range.split_once('/').unwrap_or((range, ""));
    let address: IpAddr = address
        .parse()
        .unwrap_or_else(|error| panic!("{range}: {error}"));
    match (address, length) {
        (address, "" | "32" | "128") => address,
        (IpAddr::V4(address), _) => IpAddr::from((u32::from(address) | 1).to_be_bytes()),
        (IpAddr::V6(address), _) => IpAddr::from((u128::from(address) | 1).to_be_bytes()),
    }
}

/// A request that has what one alternative of the rule asks for, as far as one request can.
pub(crate) fn at_rule(
    rule: &Rule,
    namespace: &str,
    mut pick: impl FnMut(usize) -> usize,
) -> Request {
    let mut request = Request::default();
    let mut one_of_each = Rule {
        when: rule.when.clone(),
        ..Rule::default()
    };
    let one = rule.from.as_ref().filter(|list| !list.is_empty());
    one_of_each.from = one.map(|list| vec![list[pick(list.len())].clone()]);
    let one = rule.to.as_ref().filter(|list| !list.is_empty());
    one_of_each.to = one.map(|list| vec![list[pick(list.len())].clone()]);
    for list in lists(&one_of_each).iter().filter(|list| !list.negated) {
        let value = &list.values[pick(list.values.len())];
        let fillers = ["x", "sleep", "deep"];
        hit(
            &mut request,
            &list.key,
            value,
            fillers[pick(fillers.len())],
            namespace,
        );
    }
    request
}

/// Requests for one list alone: each value hit, each just missed, and the attribute absent.
pub(crate) fn around_list(list: &Listed, namespace: &str) -> Vec<Request> {
    let mut requests = vec![Request::default()];
    for value in &list.values {
        let mut request = Request::default();
        hit(&mut request, &list.key, value, "x", namespace);
        requests.push(request);
        if let Some(near) = near_miss(&list.key, value) {
            let mut request = Request::default();
            hit(&mut request, &list.key, &near, "x", namespace);
            requests.push(request);
        }
    }
    let mut distinct: Vec<Request> = Vec::new();
    for request in requests {
        if !distinct.contains(&request) {
            distinct.push(request);
        }
    }
    distinct
}

/// A value of the same kind that differs a little from one the pattern matches.
fn near_miss(key: &str, pattern: &str) -> Option<String> {
    if pattern == "*" || pattern.contains("{**}") {
        return None;
    }
    Some(match key {
        "source.ip" | "remote.ip" | "destination.ip" => {
            let address = pattern
                .split('/')
                .next()?
                .parse::<std::net::Ipv4Addr>()
                .ok()?;
            let [a, b, c, d] = address.octets();
            std::net::Ipv4Addr::new(a, b ^ 1, c, d).to_string()
        }
        "destination.port" => (pattern.parse::<u16>().ok()? ^ 1).to_string(),
        "paths" if pattern.contains('{') => pattern.replace("{*}", "{*}/deeper"),
        _ if pattern.ends_with('*') => format!("y{pattern}"),
        _ => format!("{pattern}y"),
    })
}

/// The rules of policies with their namespaces.
pub(crate) fn rules(policies: &[AuthorizationPolicy]) -> Vec<(&Rule, &str)> {
    let of = |policy: &AuthorizationPolicy| policy.spec.rules.is_some();
    policies
        .iter()
        .filter(|policy| of(policy))
        .flat_map(|policy| {
            let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
            policy
                .spec
                .rules
                .iter()
                .flatten()
                .map(move |rule| (rule, namespace))
        })
        .collect()
}
